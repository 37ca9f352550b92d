"""What `rs staging status` shows."""

from typing import Any

import pytest
from rich.console import Console
from rich.table import Table

from rs_platform.staging import _size, jobs_table, stations_table

JOB: dict[str, Any] = {
    "id": "0b3a",
    "owner": "alice",
    "status": "running",
    "message": "staging 38 files",
    "waiting": None,
    "progress": 10,
    "bytes_done": 1_500_000,
    "bytes_total": 11_510_023_588,
    "files_done": 3,
    "files_total": 38,
    "files_failed": 0,
    "rate": 2_000_000.0,
    "created": "2026-11-25T20:00:00Z",
}
STATION: dict[str, Any] = {
    "name": "sgs",
    "circuit": 0,
    "closed_until": None,
    "reason": None,
    "running": 4,
    "waiting": 34,
    "bytes_per_s": 2_000_000.0,
}


def shown(table: Table) -> str:
    console = Console(width=200)
    with console.capture() as captured:
        console.print(table)
    return captured.get()


def test_a_job_says_how_far_it_is_and_what_it_waits_for() -> None:
    line = shown(jobs_table([JOB]))
    assert all(text in line for text in ("alice", "3 of 38", "1.5 MB of 11.5 GB", "2.0 MB/s", "staging 38 files"))
    line = shown(jobs_table([{**JOB, "rate": None, "files_failed": 2, "waiting": "station sgs: it answered 503"}]))
    assert all(text in line for text in ("3 of 38, 2 failed", "station sgs: it answered 503"))


def test_a_station_in_trouble_says_so() -> None:
    assert all(text in shown(stations_table([STATION])) for text in ("sgs", "4", "34", "2.0 MB/s", "in use"))
    down = {**STATION, "circuit": 2, "reason": "it answered 503"}
    assert "left alone: it answered 503" in shown(stations_table([down]))
    assert "object storage" in shown(stations_table([{**STATION, "name": ""}]))


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (12_345_678, "12.3 MB"), (5e15, "5000.0 TB")]
)
def test_sizes(count: float, text: str) -> None:
    assert _size(count) == text
