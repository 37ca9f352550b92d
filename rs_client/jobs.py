"""Jobs of the platform: how far they are, waiting for them, and what came out."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from rs_client import display
from rs_client.errors import JobDismissed, JobFailed, RsError, ServiceUnavailable, Timeout
from rs_client.http import Http

if TYPE_CHECKING:
    from rs_client.catalog import CatalogClient
    from rs_client.stac import Item

POLL_S = 1.0
"""Seconds between two looks at a job."""
PATIENCE_S = 300.0
"""How long, in seconds, ``wait`` bears with a server that does not answer: jobs outlive its restarts."""


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
    """A job at one moment; sizes in bytes, ``percent`` from 0 to 100."""

    status: Status
    message: str
    percent: int
    bytes_done: int
    bytes_total: int
    files_done: int
    files_total: int
    created: datetime | None
    finished: datetime | None

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
        )


def _number(document: dict[str, Any], name: str) -> int:
    return int(document.get(name) or 0)


def _time(document: dict[str, Any], name: str) -> datetime | None:
    return datetime.fromisoformat(document[name]) if document.get(name) else None


class Job:
    """A job that runs on the platform, whether you watch or not."""

    def __init__(self, http: Http, catalog: CatalogClient, document: dict[str, Any]) -> None:
        self._http, self._catalog = http, catalog
        self.id: str = document["jobID"]
        self.process: str = document.get("processID", "")
        self._progress = Progress.of(document)

    @property
    def progress(self) -> Progress:
        """How far it is now; asks the server while the job is not over."""
        if self._progress.status not in ENDED:
            self._progress = Progress.of(self._http.get(f"/jobs/{self.id}"))
        return self._progress

    @property
    def status(self) -> Status:
        """Its state now."""
        return self.progress.status

    def wait(self, timeout: float | None = None) -> Job:
        """Wait until it is over, with one live line; ``timeout`` in seconds.

        Raises ``JobFailed`` or ``JobDismissed`` with the reason, ``Timeout`` when you waited long enough (the job goes
        on). Ctrl-C stops the waiting, not the job.
        """
        deadline = None if timeout is None else time.monotonic() + timeout
        with display.live_line() as line:
            try:
                self._watch(line, deadline)
            except KeyboardInterrupt:
                line.show(f"{self.process} {self.id} goes on; come back with session.job({self.id!r}).wait()")
                raise
        self._raise_for_end()
        return self

    def _watch(self, line: display.Line, deadline: float | None) -> None:
        """Look until the end; a server that is away for a while is waited for, as the job is."""
        answered = time.monotonic()
        while True:
            try:
                now = self.progress
                answered = time.monotonic()
                line.show(display.progress(self, now))
                if now.status in ENDED:
                    return
            except (ServiceUnavailable, Timeout) as error:
                if time.monotonic() - answered > PATIENCE_S:
                    raise
                line.show(f"{self.process} · {error.detail} · looking again")
            self._sleep(deadline)

    def _sleep(self, deadline: float | None) -> None:
        if deadline is not None and time.monotonic() > deadline:
            raise Timeout(
                f"job {self.id} is still {self._progress.status}", hint=f"it goes on: session.job({self.id!r}).wait()"
            )
        time.sleep(POLL_S)

    def _raise_for_end(self) -> None:
        progress = self.progress
        if progress.status is Status.FAILED:
            raise JobFailed(f"{self.process} failed: {progress.message}", hint=self._last_lines())
        if progress.status is Status.DISMISSED:
            raise JobDismissed(f"{self.process} {self.id} was dismissed")

    def _last_lines(self) -> str:
        try:
            lines = self._http.get(f"/jobs/{self.id}/log")
        except RsError:
            return ""
        return "its log ended with: " + " | ".join(str(entry["line"]) for entry in lines[-3:]) if lines else ""

    @property
    def items(self) -> list[Item]:
        """The items that it published; waits for nothing, and raises if the job has no results."""
        from rs_client.stac import Item

        results = self._http.get(f"/jobs/{self.id}/results")
        documents = [self._http.get(link["href"]) for link in results["items"]]
        return [Item.from_dict(document, root=self._catalog) for document in documents]

    def dismiss(self) -> Job:
        """Stop it; what is not published yet never will be."""
        self._progress = Progress.of(self._http.delete(f"/jobs/{self.id}"))
        return self

    def __repr__(self) -> str:
        return f"<Job {display.progress(self, self.progress)}>"

    def _repr_html_(self) -> str:
        return display.job(self, self.progress)
