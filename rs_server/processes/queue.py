"""The queue that hands jobs to workers, kept in PostgreSQL by Procrastinate.

Why Procrastinate, and not PgQueuer: both claim with ``FOR UPDATE SKIP LOCKED`` and wake workers by ``NOTIFY``.
Procrastinate also knows which worker holds what: each one has a row with a heartbeat, a job that is being worked
names its worker, and the jobs of a worker whose heartbeat stopped (``kill -9``) are one query away and go back with
another; it cancels a running job on request. With PgQueuer a killed worker's jobs come back by a fixed time-out on
the job, which for transfers of hours is either too short or much too long. What is true about a job stands in
``rs.jobs``, with a lease that the working attempt renews; the queue says only whose turn it is. So a job may be
queued once too often without harm, and what the queue forgets is put back by ``Queue.tend``.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NoReturn
from uuid import UUID

import structlog
from procrastinate import App, BaseRetryStrategy, PsycopgConnector, RetryDecision
from procrastinate.exceptions import AlreadyEnqueued, ConnectorException
from procrastinate.jobs import Job as QueuedJob

from rs_server.database import OPTIONS
from rs_server.errors import Unavailable
from rs_server.processes.model import QUEUE
from rs_server.settings import DatabaseSettings

log = structlog.get_logger(__name__)

SCHEMA = "procrastinate"
TASK = "work_job"
AFTER_OTHERS = -1  # the priority of jobs that had a turn and are not done: short steps come before them

HEARTBEAT_S = 1.0
# More than a heartbeat and the lease of an attempt together, so that the attempt may be taken over by then. One that is
# given up too early loses its right to write, not its data.
DEAD_AFTER_S = 5.5
TEND_EVERY_S = 1.0
LOST_AFTER_S = 3.0
_AGAIN_S = 1.0  # after which a queue that was lost is worked again
_ABORT_POLL_S = 2.0  # a request to abort comes by NOTIFY; this is for the one that got lost
_GRACE_S = 3.0


class TryAgain(Exception):
    """The job could not go on just now; it is worth another attempt after ``delay_s``."""

    def __init__(self, delay_s: int) -> None:
        super().__init__(f"again in {delay_s} s")
        self.delay_s = delay_s


@dataclass(frozen=True, slots=True)
class Chore:
    """What is to be done again and again; ``cron`` says when (five fields, UTC)."""

    name: str
    cron: str
    do: Callable[[], Awaitable[object]]


class _AfterStopOrOutage(BaseRetryStrategy):
    """Put a job back when its worker was stopped, or when the job asks for it."""

    def get_retry_decision(self, *, exception: BaseException, job: QueuedJob) -> RetryDecision | None:  # noqa: ARG002
        if isinstance(exception, TryAgain):
            return RetryDecision(retry_in={"seconds": exception.delay_s})
        return RetryDecision(retry_in={"seconds": 0}) if isinstance(exception, asyncio.CancelledError) else None


class Queue:
    """Puts jobs into the queue, and works them."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def put(self, job_id: UUID, queue: str = QUEUE, priority: int = 0) -> None:
        """Queue a job; nothing happens when it is queued already. Those of the same priority come in order."""
        name = str(job_id)
        task = self._app.configure_task(TASK, queue=queue, queueing_lock=name, priority=priority)
        try:
            await task.defer_async(job_id=name)
        except AlreadyEnqueued:
            return
        except ConnectorException as error:
            raise Unavailable("the job queue does not answer", hint="try again in a few seconds") from error

    async def stop(self, job_id: UUID) -> None:
        """Take a job out of the queue, or cancel the work on it."""
        try:
            for queued in await self._app.job_manager.list_jobs_async(queueing_lock=str(job_id)):
                if queued.id is not None and queued.status in ("todo", "doing"):
                    await self._app.job_manager.cancel_job_by_id_async(queued.id, abort=True)
        except ConnectorException as error:
            raise Unavailable("the job queue does not answer", hint="try again in a few seconds") from error

    async def work(
        self,
        perform: Callable[[UUID], Awaitable[None]],
        concurrency: Mapping[str, int],
        stop: asyncio.Event,
        chores: Iterable[Chore] = (),
    ) -> None:
        """Work the jobs of these queues, as many of each at a time, until it is told to ``stop``.

        What is then unfinished goes back into its queue. Each queue has a worker of its own, so that jobs of one that
        wait for jobs of another never stand in their way. Each chore is done by one of all workers when it is time.
        A database that goes away is waited for.
        """

        async def work_job(job_id: str) -> None:
            await perform(UUID(job_id))

        self._app.task(name=TASK, queue=QUEUE, retry=_AfterStopOrOutage())(work_job)
        for chore in chores:
            self._schedule(chore)
        tasks = [asyncio.ensure_future(self._work_on(*each)) for each in concurrency.items()]
        try:
            await asyncio.wait([asyncio.ensure_future(stop.wait()), *tasks], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            ended = await asyncio.gather(*tasks, return_exceptions=True)
        for error in ended:
            if isinstance(error, Exception):
                raise error

    def _schedule(self, chore: Chore) -> None:
        async def do_chore(timestamp: int) -> None:  # noqa: ARG001 - when it was due
            await chore.do()

        task = self._app.task(
            name=chore.name, queue=QUEUE, lock=chore.name, queueing_lock=chore.name, retry=_AfterStopOrOutage()
        )(do_chore)
        self._app.periodic(cron=chore.cron)(task)

    async def _work_on(self, queue: str, concurrency: int) -> NoReturn:
        """Work a queue for ever: Procrastinate's worker ends with its connection, and a new one takes its place.

        Jobs that the old one could not put back are then those of a dead worker, which ``tend`` puts back.
        """
        while True:
            try:
                await self._app.run_worker_async(
                    queues=[queue],
                    concurrency=concurrency,
                    install_signal_handlers=False,  # between two workers, nobody would listen
                    update_heartbeat_interval=HEARTBEAT_S,
                    stalled_worker_timeout=DEAD_AFTER_S,
                    fetch_job_polling_interval=TEND_EVERY_S,
                    abort_job_polling_interval=_ABORT_POLL_S,
                    shutdown_graceful_timeout=_GRACE_S,
                    delete_jobs="successful",
                )
            except ConnectorException as error:
                log.warning("queue_lost", queue=queue, reason=str(error.__cause__ or error))
                if (me := asyncio.current_task()) is not None and me.cancelling():
                    raise asyncio.CancelledError from error  # it was told to stop when the connection was lost
            await asyncio.sleep(_AGAIN_S)

    async def tend(self, lost: Callable[[float], Awaitable[list[tuple[UUID, str]]]]) -> None:
        """Put back, for ever, the jobs of dead workers and those that ``lost`` finds to be in no queue."""
        while True:
            try:
                await self._put_back_stalled()
                for job_id, queue in await lost(LOST_AFTER_S):
                    await self.put(job_id, queue)
            except (ConnectorException, Unavailable) as error:
                log.warning("queue_not_tended", reason=str(error))
            await asyncio.sleep(TEND_EVERY_S)

    async def _put_back_stalled(self) -> None:
        manager = self._app.job_manager
        for stalled in await manager.get_stalled_jobs(seconds_since_heartbeat=DEAD_AFTER_S):
            assert stalled.id is not None
            await manager.retry_job_by_id_async(stalled.id, retry_at=datetime.now(UTC))
            log.warning("job_put_back", job=stalled.queueing_lock, reason="its worker died")


@asynccontextmanager
async def open_queue(settings: DatabaseSettings) -> AsyncIterator[Queue]:
    """Connect to the queue; ``Unavailable`` when its database does not answer."""
    connector = PsycopgConnector(
        conninfo=settings.dsn.get_secret_value(),
        kwargs={"options": f"-c search_path={SCHEMA} {OPTIONS}"},
        min_size=1,
        max_size=settings.pool_max,
    )
    app = App(connector=connector)
    try:
        await app.open_async()
    except ConnectorException as error:
        raise Unavailable("the job queue does not answer") from error
    try:
        yield Queue(app)
    finally:
        await app.close_async()
