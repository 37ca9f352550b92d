"""How far a job is: the server's status document as a value."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any


class Status(StrEnum):
    """States of a job (OGC API – Processes, Part 1, schema ``statusCode``)."""

    ACCEPTED = "accepted"
    RUNNING = "running"
    SUCCESSFUL = "successful"
    FAILED = "failed"
    DISMISSED = "dismissed"


ENDED = frozenset({Status.SUCCESSFUL, Status.FAILED, Status.DISMISSED})


@dataclass(frozen=True, slots=True)
class Progress:
    """A job at one moment: sizes in bytes, ``percent`` of its work from 0 to 100, times with their zone (UTC).

    ``waiting`` says what it waits for, if anything. What the server does not tell is 0, empty or ``None``.
    """

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
        """Read a ``statusInfo`` document (OGC API – Processes, Part 1, and members of the platform's own)."""
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

    def _repr_html_(self) -> str:
        from rs_client import display  # which reads this module

        return display.moment(self)


def _number(document: dict[str, Any], name: str) -> int:
    return int(document.get(name) or 0)


def _time(document: dict[str, Any], name: str) -> datetime | None:
    return datetime.fromisoformat(document[name]) if document.get(name) else None
