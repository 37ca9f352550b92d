"""The closing line of `make test`, and what the demo reads from its notebook."""

from __future__ import annotations

import json

from rs_platform.checks import Counts, Outcome, closing, counted
from rs_platform.demo import install_times, products, table

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


def test_only_steps_that_took_time_are_told() -> None:
    assert install_times(json.dumps([["uv", 0.0], ["Keycloak", 31.5]])) == [("Keycloak", 31.5)]
    assert table([("Keycloak", 31.5), ("main job", 20)])[-1].split() == ["in", "all", "51.5", "s"]


def test_products_are_found_in_an_executed_notebook() -> None:
    outputs = [
        {"name": "stdout", "text": ["written s3://rs-data/alice/s1-l0/X/X.zarr\n", "and s3://rs-data/alice/raw.bin"]},
        {"data": {"text/plain": ["'s3://rs-data/alice/s1-l0/X/X.zarr'"]}},
        {"ename": "none"},
    ]
    notebook = {"cells": [{"source": ""}, {"outputs": outputs}]}
    assert products(json.dumps(notebook)) == ["s3://rs-data/alice/s1-l0/X/X.zarr"]
