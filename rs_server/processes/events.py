"""Tells those who watch a job that it has changed: PostgreSQL notifies, one connection listens for all watchers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from uuid import UUID

from rs_server.notices import listening
from rs_server.processes.model import Job
from rs_server.settings import DatabaseSettings

CHANNEL = "rs_jobs"
LOOK_EVERY_S = 5.0  # a notice that got lost (the database restarted) costs no more than this
_QUIET_S = 0.2  # changes that follow one another more closely are told together


class Changes:
    """Whose jobs are watched, and the notices about them."""

    def __init__(self) -> None:
        self._watchers: dict[UUID, set[asyncio.Event]] = {}

    @contextmanager
    def watch(self, job_id: UUID) -> Iterator[asyncio.Event]:
        """An event that is set whenever the job changes."""
        changed = asyncio.Event()
        self._watchers.setdefault(job_id, set()).add(changed)
        try:
            yield changed
        finally:
            self._watchers[job_id].discard(changed)
            if not self._watchers[job_id]:
                del self._watchers[job_id]

    def tell(self, job_id: UUID) -> None:
        """The job has changed."""
        for changed in self._watchers.get(job_id, ()):
            changed.set()

    def connected(self) -> None:
        """Any job may have changed before the database could be listened to."""
        for job_id in self._watchers:
            self.tell(job_id)

    def heard(self, payload: str) -> None:
        """The database says that a job has changed."""
        self.tell(UUID(payload))

    def lost(self) -> None:
        """Watchers look by themselves now and then."""


async def versions(look: Callable[[], Awaitable[Job]], changed: asyncio.Event, seen: int = -1) -> AsyncIterator[Job]:
    """The job whenever it is another than before, from the one after version ``seen`` on, up to its end."""
    while True:
        changed.clear()
        job = await look()
        if job.version != seen or job.status.final:
            yield job
        if job.status.final:
            return
        seen = job.version
        await asyncio.sleep(_QUIET_S)
        with suppress(TimeoutError):
            await asyncio.wait_for(changed.wait(), LOOK_EVERY_S)


@asynccontextmanager
async def open_changes(settings: DatabaseSettings) -> AsyncIterator[Changes]:
    """Listen in the background, through losses of the database."""
    changes = Changes()
    async with listening(settings, CHANNEL, changes):
        yield changes
