"""What a job says of its progress, and of what it waits for."""

from datetime import UTC, datetime
from typing import Any

import pytest

from rs_server.staging.rows.waiting import progress_of

ROW: dict[str, Any] = {
    **dict.fromkeys(("files", "size", "done", "files_done", "files_failed", "files_running", "waiting", "ordered"), 0),
    **dict.fromkeys(("rate", "station", "paused", "ordering")),
}
CLOSED = {"reason": "station sgs: it answered 503", "closed_until": datetime(2026, 11, 25, 21, 5, 7, tzinfo=UTC)}


@pytest.mark.parametrize(
    ("row", "station", "waiting"),
    [
        ({}, None, None),
        ({"files_running": 1, "waiting": 3, "station": "sgs"}, CLOSED, None),
        ({"waiting": 3, "station": "sgs"}, CLOSED, "station sgs: it answered 503; trying again at 21:05:07 UTC"),
        ({"waiting": 3, "station": "sgs"}, None, "waiting for a free connection to station sgs"),
        ({"waiting": 3, "station": ""}, None, "waiting for a free connection to the object storage"),
        ({"paused": "it broke off"}, None, "it broke off; trying again soon"),
        ({"ordered": 1}, None, "waiting for the archive to bring files back"),
        ({"ordered": 1, "ordering": "x is ordered: queued"}, None, "x is ordered: queued"),
    ],
)
def test_what_a_job_waits_for(row: dict[str, Any], station: dict[str, Any] | None, waiting: str | None) -> None:
    assert progress_of(ROW | row, station).waiting == waiting


@pytest.mark.parametrize(("done", "size", "percent"), [(0, 0, 0), (0, 10, 0), (5, 10, 49), (10, 10, 99)])
def test_the_last_percent_is_the_publication(done: int, size: int, percent: int) -> None:
    assert progress_of(ROW | {"done": done, "size": size}, None).percent == percent


def test_how_long_the_rest_takes() -> None:
    assert progress_of(ROW | {"done": 4, "size": 10, "rate": 2.0}, None).seconds_left == 3
    assert progress_of(ROW | {"done": 4, "size": 10}, None).seconds_left is None
