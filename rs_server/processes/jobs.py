"""What may be done with jobs, by whom: ask for one, look at it, dismiss it, and work it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from typing import Any, NoReturn
from uuid import UUID

import structlog
from pydantic import ValidationError

from rs_server import tracing
from rs_server.access import audit, policy
from rs_server.access.guards import require
from rs_server.access.policy import OTHERS_JOBS, Principal, Right, Service
from rs_server.database import Database
from rs_server.errors import BadInput, Conflict, RsError, Unavailable, status_of, type_of
from rs_server.processes.model import (
    Ended,
    Failure,
    HandOver,
    Inputs,
    Job,
    NoSuchJob,
    NoSuchProcess,
    Outcome,
    Pause,
    Process,
    Progress,
    Status,
    Turn,
)
from rs_server.processes.queue import AFTER_OTHERS, Queue, TryAgain
from rs_server.processes.rows import TOUCH_EVERY_S, JobRows, Line, Selection
from rs_server.processes.run import Run, Superseded, digest

log = structlog.get_logger(__name__)

MOST_ATTEMPTS = 5
_OUTAGE_S = 5
_NOTED_S = 0.5


class Jobs:
    """The engine: processes on one side, rows and queue on the other."""

    def __init__(self, database: Database, queue: Queue, processes: Iterable[Process[Any]]) -> None:
        self._database = database
        self._queue = queue
        self._rows = JobRows(database)
        self._processes: Mapping[str, Process[Any]] = {process.id: process for process in processes}

    def processes(self, who: Principal) -> list[Process[Any]]:
        """The processes that the caller may know about."""
        known = policy.permitted(who, Right.READ, Service.PROCESSES, self._processes)
        return [self._processes[name] for name in known]

    def process(self, who: Principal, name: str) -> Process[Any]:
        """One process; ``NoSuchProcess`` when the caller may not know about it."""
        if not policy.allows(who, Right.READ, Service.PROCESSES, name):
            raise _no_process(name)
        return self._known(name)

    async def submit(
        self, who: Principal, name: str, inputs: Mapping[str, Any], key: str | None, *, parent: UUID | None = None
    ) -> tuple[Job, bool]:
        """Ask for a job; whether it is new. The same ``key`` again finds the job of the first time.

        ``parent`` is the job that asks for it: when that one is dismissed, so is this one.
        """
        process = self._known(name)
        require(who, Right.EXECUTE, Service.PROCESSES, name)
        asked = digest(inputs)
        job = None if key is None else await self._rows.asked_before(name, who.login, key, asked)
        if new := job is None:  # else nothing need be looked up, which may be gone by now, or away
            request = await process.admit(who, valid(process.inputs, inputs))
            job, new = await self._rows.add(
                *(name, who, request.model_dump(mode="json"), key, tracing.current()),
                queue=process.queue,
                parent=parent,
                asked=asked,
            )
        if new:
            await audit.record(self._database, who, "job.submit", str(job.id), process=name)
        if job.status is Status.ACCEPTED:
            await self._queue.put(job.id, job.queue)
        return job, new

    async def job(self, who: Principal, job_id: UUID) -> Job:
        """A job that the caller may see; ``NoSuchJob`` for all others."""
        job = await self._rows.get(job_id)
        if job.who.login != who.login and not _oversees(who, Right.READ):
            raise NoSuchJob(f"there is no job {job_id}")
        return job

    async def select(self, who: Principal, wanted: Selection) -> list[Job]:
        """The caller's jobs, or everybody's for who oversees them; the newest first."""
        if wanted.after is not None:
            await self._is_there(who, wanted.after)
        owner = wanted.owner if _oversees(who, Right.READ) else who.login
        return await self._rows.newest(owner, wanted) if wanted.owner in (None, owner) else []

    async def _is_there(self, who: Principal, last: UUID) -> None:
        """``BadInput`` when the last job of a page is forgotten by now: nobody could say what comes after it."""
        try:
            await self.job(who, last)
        except NoSuchJob as error:
            raise BadInput(f"after: there is no job {last}", hint="begin with the first page again") from error

    async def log(self, who: Principal, job_id: UUID, after: int = 0) -> Sequence[Line]:
        """What the job said after a line of its log."""
        return await self._rows.log((await self.job(who, job_id)).id, after)

    async def wake(self, job_id: UUID) -> bool:
        """Let a job that pauses go on at once, for what it waited for has happened; False: not now, but soon."""
        asked, queue = await self._rows.wake(job_id)
        if queue:
            await self._queue.put(job_id, queue)
        return asked

    async def note(self, job_id: UUID, progress: Callable[[], Awaitable[Progress]]) -> None:
        """Note how far a job is, on the part of those that work for it between its steps, if no other of them just did.

        Of a large job, that is not asked for nothing.
        """
        if not await self._rows.noted(job_id, _NOTED_S):
            await self._rows.note(job_id, await progress())

    async def dismiss(self, who: Principal, job_id: UUID) -> Job:
        """End a job; ``Conflict`` when it has come to its end already."""
        job = await self.job(who, job_id)
        resource = job.process if job.who.login == who.login else OTHERS_JOBS
        require(who, Right.DISMISS, Service.PROCESSES, resource)
        if job.status is Status.DISMISSED:
            return job
        dismissed = await self._rows.dismiss(job_id, who.login)
        if not dismissed:
            now = await self._rows.get(job_id)
            if now.status is Status.DISMISSED:  # by somebody else, at this very moment
                return now
            raise Conflict(f"job {job_id} is {now.status} already")
        await audit.record(self._database, who, "job.dismiss", str(job_id), process=job.process)
        for each in dismissed:
            await self._queue.stop(each.id)
        return dismissed[0]

    async def perform(self, job_id: UUID) -> None:
        """Work one job to its end; called by the worker. Raises ``TryAgain`` when it is worth another attempt."""
        try:
            await self._perform(job_id)
        except Unavailable as error:  # not the job's own trouble: its row cannot be read or written
            raise TryAgain(_OUTAGE_S) from error

    async def _perform(self, job_id: UUID) -> None:
        while job := await self._rows.begin(job_id):
            with (
                structlog.contextvars.bound_contextvars(job=str(job_id), process=job.process, attempt=job.attempt),
                tracing.span(f"step {job.process}", job.trace, job=str(job_id), attempt=job.attempt),
            ):
                if not await self._attempt(job):
                    return

    async def lost(self, older_than_s: float) -> list[tuple[UUID, str]]:
        """Jobs that wait although no worker was busy with them for a while, with their queues."""
        return await self._rows.waiting(older_than_s)

    async def _attempt(self, job: Job) -> bool:
        """Work one step; whether the next one is wanted at once."""
        log.info("job_started", owner=job.who.login)
        try:
            ended = await _while_held(self._run(job), self._hold(job))
        except Superseded:
            log.info("job_superseded")
        except HandOver as step:
            await self._handed_over(job, step)
        except asyncio.CancelledError:
            await self._cancelled(job)
        except RsError as error:
            await self._failed(job, error)
        except Exception as error:  # a bug ends the job that met it, not the worker with all the others
            log.error("job_met_a_bug", exc_info=error)
            await self._failed(job, RsError("the server met an error it did not expect"))
        else:
            return await self._ended(job, ended)
        return False

    async def _ended(self, job: Job, ended: Ended) -> bool:
        match ended:
            case Pause(wake_s):
                left_s = await self._rows.pause(job, wake_s)
                return left_s is not None and left_s <= 0
            case Turn():
                if await self._rows.pause(job, 0) is not None:
                    await self._queue.put(job.id, job.queue, AFTER_OTHERS)
            case Failure():
                await self._fail(job, ended)
            case Outcome():
                await self._rows.succeed(job, ended)
                log.info("job_successful", message=ended.message)
        return False

    async def _run(self, job: Job) -> Ended:
        if job.tries > MOST_ATTEMPTS:
            raise RsError(f"given up: {MOST_ATTEMPTS} workers died or were stopped while working it")
        return await self._known(job.process).run(Run(self._rows, job, self))

    async def _hold(self, job: Job) -> NoReturn:
        """Renew the lease for ever; ends by raising when the job is no longer this attempt's."""
        while True:
            await asyncio.sleep(TOUCH_EVERY_S)
            try:
                mine = await self._rows.touch(job)
            except Unavailable as error:
                log.warning("lease_not_renewed", reason=error.detail)
                continue
            if not mine:
                raise Superseded

    async def _handed_over(self, job: Job, step: HandOver) -> None:
        if await self._rows.hand_over(job, step.queue, step.line):
            await self._queue.put(job.id, step.queue)
        log.info("job_handed_over", queue=step.queue)

    async def _cancelled(self, job: Job) -> None:
        """Dismissed: the end. Else the worker stops, and hands the job to the next one."""
        if await self._rows.give_back(job, "the worker was stopped; waiting for another"):
            raise asyncio.CancelledError
        log.info("job_dismissed")

    async def _failed(self, job: Job, error: RsError) -> None:
        if isinstance(error, Unavailable) and job.tries < MOST_ATTEMPTS:
            delay_s = 2**job.tries
            log.warning("job_waits", reason=error.detail, delay_s=delay_s)
            await self._rows.give_back(job, f"{error.detail}; trying again in {delay_s} s")
            raise TryAgain(delay_s) from error
        await self._fail(job, Failure(error))

    async def _fail(self, job: Job, failure: Failure) -> None:
        log.warning("job_failed", reason=failure.error.detail)
        await self._rows.fail(job, failure.error.detail, _problem(failure.error), failure.report)

    def _known(self, name: str) -> Process[Any]:
        if name not in self._processes:
            raise _no_process(name)
        return self._processes[name]


async def _while_held[T](work: Coroutine[Any, Any, T], hold: Coroutine[Any, Any, NoReturn]) -> T:
    """The work's result; the work is cancelled, to its end, when ``hold`` raises or the caller is cancelled."""
    working, holding = asyncio.ensure_future(work), asyncio.ensure_future(hold)
    try:
        await asyncio.wait({working, holding}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for task in (working, holding):
            task.cancel()
        ended, held = await asyncio.gather(working, holding, return_exceptions=True)
    if isinstance(ended, asyncio.CancelledError) and isinstance(held, Superseded):
        raise held
    return working.result()


def _oversees(who: Principal, right: Right) -> bool:
    return policy.allows(who, right, Service.PROCESSES, OTHERS_JOBS)


def _no_process(name: str) -> NoSuchProcess:
    return NoSuchProcess(f"there is no process {name}")


def valid[I: Inputs](model: type[I], inputs: Mapping[str, Any]) -> I:
    """The inputs, checked; ``BadInput`` names the first that is wrong, and lists all."""
    try:
        return model.model_validate(inputs)
    except ValidationError as error:
        faults = [
            {"where": ".".join(("inputs", *_place(inputs, fault["loc"]))), "what": fault["msg"]}
            for fault in error.errors()
        ]
        raise BadInput(f"{faults[0]['where']}: {faults[0]['what']}", errors=faults) from error


def _place(inputs: Any, path: Sequence[str | int]) -> Iterator[str]:
    """Where in the inputs a fault is: without the steps that are names of our own, as of the form that an item has."""
    value = inputs
    for number, step in enumerate(path, 1):
        try:
            value = value[step]
        except (KeyError, IndexError, TypeError):
            if number < len(path):
                continue
        yield str(step)


def _problem(error: RsError) -> dict[str, Any]:
    status = status_of(error)
    stated = {"type": type_of(error), "title": status.phrase, "status": int(status), "detail": error.detail}
    return stated | ({"hint": error.hint} if error.hint else {}) | error.members
