"""How far a job is, and what it waits for, in words."""

from __future__ import annotations

from datetime import UTC

from rs_server.database import Row
from rs_server.processes.model import Progress


def progress_of(row: Row, station: Row | None) -> Progress:
    """The last percent is the publication."""
    return Progress(
        percent=min(99, row["done"] * 99 // max(1, row["size"])),
        bytes_done=row["done"],
        bytes_total=row["size"],
        files_done=row["files_done"],
        files_total=row["files"],
        files_failed=row["files_failed"],
        files_running=row["files_running"],
        rate=row["rate"],
        waiting=None if row["files_running"] else _waits_for(row, station),
    )


def _waits_for(row: Row, station: Row | None) -> str | None:
    """What a job none of whose files is under way waits for, in plain words."""
    if station is not None:
        return f"{station['reason']}; trying again at {station['closed_until'].astimezone(UTC):%H:%M:%S} UTC"
    if row["waiting"]:
        return f"waiting for a free connection to {_called(row['station'])}"
    if row["paused"]:
        return f"{row['paused']}; trying again soon"
    if row["ordered"]:
        return str(row["ordering"] or "waiting for the archive to bring files back")
    return None


def _called(station: str) -> str:
    return f"station {station}" if station else "the object storage"
