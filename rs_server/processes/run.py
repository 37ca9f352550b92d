"""A running job, as the process that works it sees it."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol
from uuid import UUID

from psycopg import AsyncConnection

from rs_server.access.policy import Principal
from rs_server.database import Row
from rs_server.errors import RsError
from rs_server.processes.model import Job, Progress
from rs_server.processes.rows import JobRows, Superseded

__all__ = ["Run", "Superseded"]

_REPORT_EVERY_S = 0.5


class Asked(Protocol):
    """What a job may ask of the engine: other jobs."""

    async def submit(
        self, who: Principal, name: str, inputs: Mapping[str, Any], key: str | None, *, parent: UUID | None = None
    ) -> tuple[Job, bool]:
        """Ask for a job."""
        ...

    async def job(self, who: Principal, job_id: UUID) -> Job:
        """A job."""
        ...


class Run:
    """One attempt to work a job; its methods raise ``Superseded`` once the job is no longer its own."""

    def __init__(self, rows: JobRows, job: Job, engine: Asked) -> None:
        self._rows = rows
        self._job = job
        self._engine = engine
        self._memory = dict(job.memory)
        self._reported = 0.0

    @property
    def id(self) -> UUID:
        """The job's id."""
        return self._job.id

    @property
    def who(self) -> Principal:
        """Who asked for the job, with the roles held then: the work is narrowed to these rights."""
        return self._job.who

    @property
    def request(self) -> Mapping[str, Any]:
        """What was admitted."""
        return self._job.request

    @property
    def memory(self) -> Mapping[str, Any]:
        """What earlier attempts left, and this one."""
        return self._memory

    @property
    def repeated(self) -> bool:
        """Whether an earlier attempt was cut off, which may have left something behind."""
        return self._job.attempt > 1

    @property
    def job(self) -> Job:
        """The job as it was when this attempt began."""
        return self._job

    def transaction(self) -> AbstractAsyncContextManager[AsyncConnection[Row]]:
        """A transaction that is committed only while the job is this attempt's: no other can take it up meanwhile."""
        return self._rows.transaction(self._job)

    async def report(self, progress: Progress) -> None:
        """Note how far the job is; reports that follow too closely are passed over."""
        if time.monotonic() - self._reported < _REPORT_EVERY_S:
            return
        self._reported = time.monotonic()
        await self.settle(progress)

    async def settle(self, progress: Progress) -> None:
        """Note how far the job is, now; also the way to learn whether the job is still this attempt's."""
        _unless(await self._rows.report(self._job, progress))

    async def say(self, line: str) -> None:
        """Tell in one sentence what happens now."""
        _unless(await self._rows.say(self._job, line))

    async def ask(self, process: str, inputs: Mapping[str, Any]) -> Job:
        """Ask for a job in the same name; the same request again finds the one that an earlier attempt asked for.

        It is dismissed when this one is.
        """
        key = f"{self.id}:{digest([process, inputs])}"
        job, _ = await self._engine.submit(self.who, process, inputs, key, parent=self.id)
        return job

    async def finished(self, job: Job, look_every_s: float = 0.5) -> AsyncIterator[Job]:
        """A job that was asked for, each time it is looked at, until its end; the last one is at its end."""
        while True:
            job = await self._engine.job(self.who, job.id)
            yield job
            if job.status.final:
                return
            await asyncio.sleep(look_every_s)

    async def over(self) -> bool:
        """Whether the job has come to its end, rather than going on with another attempt; False when nobody can say.

        What an attempt that is cut off asks, before it takes away what the next one could go on with.
        """
        try:
            return (await self._rows.get(self._job.id)).status.final
        except RsError:
            return False

    async def tell(self, line: str, again_s: float = 0.0) -> None:
        """Add a line to the log, beside what happens now, unless it was told within the last ``again_s`` seconds."""
        await self._rows.add_line(self._job, line, again_s)

    async def remember(self, **values: str | None) -> None:
        """Leave something for the next attempt."""
        _unless(await self._rows.remember(self._job, **values))
        self._memory |= values


def digest(value: Any) -> str:
    """The same for the same JSON, however it is written."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _unless(mine: bool) -> None:  # noqa: FBT001
    if not mine:
        raise Superseded
