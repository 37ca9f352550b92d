"""The closing line of `make test`, and what the demo reads from its notebook."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from rs_platform.checks import Counts, Outcome, closing, counted
from rs_platform.demo import finished_since, install_times, table

RECORD = """<?xml version="1.0"?><testsuites>
<testsuite name="pytest" errors="1" failures="2" skipped="3" tests="10" time="1"/></testsuites>"""


def test_an_error_counts_as_a_failure() -> None:
    assert counted(RECORD) == Counts(passed=4, failed=3, skipped=3)


def test_the_closing_line_sums_up() -> None:
    outcomes = [
        Outcome("lint", ok=True, seconds=1),
        Outcome("unit", ok=True, seconds=1, counts=Counts(10, 0, 1)),
        Outcome("integration", ok=False, seconds=1, counts=Counts(5, 2, 0)),
    ]
    assert closing(outcomes) == "15 passed, 2 failed, 1 skipped"


def test_only_steps_that_took_time_are_told_and_the_sum_is_of_the_clock() -> None:
    told = {"seconds": 40.0, "parts": [["uv", 0.0], ["Keycloak", 31.5], ["VersityGW", 39.0]]}
    parts, times = install_times(json.dumps(told))
    assert parts == [("Keycloak", 31.5), ("VersityGW", 39.0)]
    assert table(parts, [*times, ("main job", 20)])[-1].split() == ["in", "all", "60.0", "s"]


def test_where_nothing_was_installed_nothing_is_told_of_it() -> None:
    assert install_times(None) == ([], [])
    assert install_times(json.dumps({"seconds": 0.4, "parts": [["uv", 0.0]]})) == ([], [])


def test_the_demo_tells_what_its_own_jobs_made() -> None:
    jobs = [
        {"jobID": "new", "status": "successful", "created": "2026-11-24T10:05:00Z"},
        {"jobID": "newer", "status": "failed", "created": "2026-11-24T10:06:00Z"},
        {"jobID": "first", "status": "successful", "created": "2026-11-24T10:04:00.5Z"},
        {"jobID": "old", "status": "successful", "created": "2026-11-24T09:00:00Z"},
    ]
    since = datetime(2026, 11, 24, 10, tzinfo=UTC)
    assert [job["jobID"] for job in finished_since(jobs, since)] == ["first", "new"]
