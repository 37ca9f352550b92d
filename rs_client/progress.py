"""How far a job is: the server's status document as a value."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any


class Status(StrEnum):
    """States of a job (OGC API – Processes, statusCode)."""

    ACCEPTED = "accepted"
    RUNNING = "running"
    SUCCESSFUL = "successful"
    FAILED = "failed"
    DISMISSED = "dismissed"


ENDED = frozenset({Status.SUCCESSFUL, Status.FAILED, Status.DISMISSED})


@dataclass(frozen=True, slots=True)
class Progress:
    """A job at one moment; sizes in bytes, ``percent`` from 0 to 100, ``waiting`` what it waits for, if anything."""

    status: Status
    message: str
    percent: int
    bytes_done: int
    bytes_total: int
    files_done: int
    files_total: int
    created: datetime | None
    finished: datetime | None
    waiting: str = ""
    estimated_end: datetime | None = None

    @classmethod
    def of(cls, document: dict[str, Any]) -> Progress:
        """Read a statusInfo document."""
        return cls(
            status=Status(document["status"]),
            message=str(document.get("message") or ""),
            percent=_number(document, "progress"),
            bytes_done=_number(document, "bytes_done"),
            bytes_total=_number(document, "bytes_total"),
            files_done=_number(document, "files_done"),
            files_total=_number(document, "files_total"),
            created=_time(document, "created"),
            finished=_time(document, "finished"),
            waiting=str(document.get("waiting") or ""),
            estimated_end=_time(document, "estimated_end"),
        )


def _number(document: dict[str, Any], name: str) -> int:
    return int(document.get(name) or 0)


def _time(document: dict[str, Any], name: str) -> datetime | None:
    return datetime.fromisoformat(document[name]) if document.get(name) else None
