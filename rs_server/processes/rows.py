"""Jobs as rows of PostgreSQL.

An attempt to work a job carries a number, and writes only while that number is the newest and the job still runs: a
worker that was taken for dead, or whose job was dismissed, learns so at its next write and changes nothing. Between
two steps of a job no attempt holds it; then only its progress is written, by those that it waits for.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.types.json import Jsonb

from rs_server.access.policy import Principal
from rs_server.database import Database, Row
from rs_server.errors import Conflict
from rs_server.processes.model import QUEUE, Job, NoSuchJob, Outcome, Progress, Status

LEASE_S = 4.0  # an attempt that has not shown itself for so long may be taken over
TOUCH_EVERY_S = 1.0

_MINE = "id = %(id)s AND attempt = %(attempt)s AND status = 'running'"
_PROGRESS = (
    "progress = %(percent)s, bytes_done = %(bytes_done)s, bytes_total = %(bytes_total)s, files_done = %(files_done)s, "
    "files_total = %(files_total)s, files_failed = %(files_failed)s, files_running = %(files_running)s, "
    "rate = %(rate)s, waiting = %(waiting)s"
)
_LINE = "line AS (INSERT INTO rs.job_log (job, line) SELECT id, message FROM changed) SELECT * FROM changed"


@dataclass(frozen=True, slots=True)
class Selection:
    """Which jobs of those that the caller may see; durations in seconds, from a job's start to its end or to now."""

    processes: tuple[str, ...] = ()
    statuses: tuple[Status, ...] = ()
    owner: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    min_duration_s: float | None = None
    max_duration_s: float | None = None
    after: UUID | None = None
    limit: int = 100


class Superseded(Exception):
    """The job is no longer this attempt's: it was dismissed, or another worker has taken it up."""


@dataclass(frozen=True, slots=True)
class Line:
    """One thing that a job said; ``id`` grows."""

    id: int
    at: datetime
    line: str


class JobRows:
    """The table of jobs."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(
        self,
        process: str,
        who: Principal,
        request: Mapping[str, Any],
        key: str | None,
        trace: str | None = None,
        *,
        queue: str = QUEUE,
        parent: UUID | None = None,
        asked: str | None = None,
    ) -> tuple[Job, bool]:
        """Note a new job, or find the one that the same owner made with the same key; whether it is new.

        ``asked`` is a digest of the inputs as they came. Raises ``Conflict`` when the key was used for another request,
        ``Superseded`` when the ``parent`` does not run (any more).
        """
        values = [process, who.login, Jsonb(who.as_json()), Jsonb(request), key, trace, queue, parent, asked]
        async with self._database.connection() as conn:
            if parent is not None:
                await _hold_running(conn, parent)
            made = await conn.execute(
                "INSERT INTO rs.jobs "
                "(process, owner, principal, request, idempotency_key, trace, queue, parent, asked, message) VALUES "
                "(%s, %s, %s, %s, %s, %s, %s, %s, %s, 'waiting for a worker') "
                "ON CONFLICT (owner, process, idempotency_key) DO NOTHING RETURNING *",
                values,
            )
            if row := await made.fetchone():
                return _job(row), True
            found = await conn.execute(
                "SELECT * FROM rs.jobs WHERE process = %s AND owner = %s AND idempotency_key = %s",
                [process, who.login, key],
            )
            row = await found.fetchone()
        if row is None:  # the one that the insertion met was forgotten at this very moment
            return await self.add(process, who, request, key, trace, queue=queue, parent=parent, asked=asked)
        if row["request"] != request:
            raise Conflict(f"the idempotency key was used for another request, job {row['id']}")
        return _job(row), False

    async def asked_before(self, process: str, owner: str, key: str, asked: str) -> Job | None:
        """The job that an owner made with a key, of the very same inputs."""
        return await self._changed(
            "SELECT * FROM rs.jobs WHERE process = %(process)s AND owner = %(owner)s AND idempotency_key = %(key)s "
            "AND asked = %(asked)s",
            process=process,
            owner=owner,
            key=key,
            asked=asked,
        )

    async def get(self, job_id: UUID) -> Job:
        """One job; ``NoSuchJob``."""
        return await self._one("SELECT * FROM rs.jobs WHERE id = %(id)s", id=job_id)

    async def newest(self, owner: str | None, wanted: Selection) -> list[Job]:
        """The jobs wanted, the newest first: of one owner, or of all."""
        async with self._database.connection() as conn:
            found = await conn.execute(
                "SELECT * FROM rs.jobs WHERE (%(owner)s::text IS NULL OR owner = %(owner)s) "
                "AND (%(processes)s::text[] = '{}' OR process = ANY(%(processes)s)) "
                "AND (%(statuses)s::text[] = '{}' OR status = ANY(%(statuses)s)) "
                "AND (%(since)s::timestamptz IS NULL OR created >= %(since)s) "
                "AND (%(until)s::timestamptz IS NULL OR created <= %(until)s) "
                "AND (%(least)s::float IS NULL "
                "OR coalesce(finished, now()) - started >= make_interval(secs => %(least)s)) "
                "AND (%(most)s::float IS NULL "
                "OR coalesce(finished, now()) - started <= make_interval(secs => %(most)s)) "
                "AND (%(after)s::uuid IS NULL OR (created, id) < "
                "(SELECT created, id FROM rs.jobs WHERE id = %(after)s)) "
                "ORDER BY created DESC, id DESC LIMIT %(limit)s",
                {
                    "owner": owner,
                    "processes": list(wanted.processes),
                    "statuses": [str(status) for status in wanted.statuses],
                    "since": wanted.since,
                    "until": wanted.until,
                    "least": wanted.min_duration_s,
                    "most": wanted.max_duration_s,
                    "after": wanted.after,
                    "limit": wanted.limit,
                },
            )
            return [_job(row) for row in await found.fetchall()]

    async def begin(self, job_id: UUID) -> Job | None:
        """Take a job up as its next attempt; None when it has come to its end, or an attempt at it is alive."""
        return await self._changed(
            "UPDATE rs.jobs SET status = 'running', attempt = attempt + 1, tries = tries + 1, wake = NULL, "
            "started = coalesce(started, now()), held_until = now() + make_interval(secs => %(lease)s) "
            "WHERE id = %(id)s AND status IN ('accepted', 'running') "
            "AND (held_until IS NULL OR held_until < now()) RETURNING *",
            id=job_id,
            lease=LEASE_S,
        )

    async def touch(self, job: Job) -> bool:
        """Show that the attempt is alive; False when it is no longer the job's."""
        return await self._mine(job, "held_until = now() + make_interval(secs => %(lease)s)", lease=LEASE_S)

    async def give_back(self, job: Job, why: str) -> bool:
        """Let another attempt go on at once; False when the job is no longer the attempt's."""
        return await self._mine(job, "status = 'accepted', held_until = NULL, message = %(line)s", line=why)

    async def pause(self, job: Job, wake_s: float) -> float | None:
        """End a step: the seconds until the next one is wanted, or None when the job is no longer the attempt's.

        Less than ``wake_s`` when something woke the job while the step was at work.
        """
        row = await self._row(
            "UPDATE rs.jobs SET held_until = NULL, tries = 0, "  # noqa: S608 - constants of ours
            "wake = least(wake, now() + make_interval(secs => %(wake_s)s)) "
            f"WHERE {_MINE} RETURNING extract(epoch FROM wake - now())::float AS wake_s",
            id=job.id,
            attempt=job.attempt,
            wake_s=wake_s,
        )
        return None if row is None else float(row["wake_s"])

    async def wake(self, job_id: UUID) -> tuple[bool, str | None]:
        """Ask for a job's next step: whether it is asked for, and the queue that the job must be put into then.

        The queue is None while somebody is at work on the job, and when it does not run. It cannot be asked for while
        the step is in a transaction, which may be long: who wakes has others to wake.
        """
        row = await self._row(
            "WITH free AS (SELECT id FROM rs.jobs WHERE id = %(id)s AND status = 'running' "
            "FOR NO KEY UPDATE SKIP LOCKED), woken AS (UPDATE rs.jobs SET wake = now() "
            "WHERE id = (SELECT id FROM free) "
            "RETURNING id, CASE WHEN coalesce(held_until < now(), true) THEN queue END AS queue) "
            "SELECT woken.id IS NOT NULL OR status <> 'running' AS asked, woken.queue "
            "FROM rs.jobs LEFT JOIN woken USING (id) WHERE id = %(id)s",
            id=job_id,
        )
        return (True, None) if row is None else (row["asked"], row["queue"])

    async def hand_over(self, job: Job, queue: str, line: str) -> bool:
        """Leave the next step to the workers of another queue; False when the job is no longer the attempt's."""
        step = "status = 'accepted', held_until = NULL, queue = %(queue)s, message = %(line)s"
        return await self._mine(job, step, queue=queue, line=line)

    async def report(self, job: Job, progress: Progress) -> bool:
        """Note how far the attempt is; False when it is no longer the job's."""
        return await self._mine(job, _PROGRESS, **asdict(progress))

    async def say(self, job: Job, line: str) -> bool:
        """Make a sentence the job's message and a line of its log; False when the job is no longer the attempt's."""
        return await self._mine(job, "message = %(line)s", line=line)

    async def remember(self, job: Job, **values: str | None) -> bool:
        """Keep something for the next attempt; False when the job is no longer the attempt's."""
        return await self._mine(job, "memory = memory || %(values)s", values=Jsonb(values))

    @asynccontextmanager
    async def transaction(self, job: Job) -> AsyncIterator[AsyncConnection[Row]]:
        """A transaction in which the job stays the attempt's; ``Superseded`` when it is not to begin with."""
        async with self._database.connection() as conn:
            found = await conn.execute(
                f"SELECT 1 FROM rs.jobs WHERE {_MINE} FOR NO KEY UPDATE",  # noqa: S608 - a constant of ours
                {"id": job.id, "attempt": job.attempt},
            )
            if await found.fetchone() is None:
                raise Superseded
            yield conn

    async def noted(self, job_id: UUID, within_s: float) -> bool:
        """Whether something was noted of a job within some seconds, or it is not there any more."""
        row = await self._row(
            "SELECT updated < now() - make_interval(secs => %(within)s) AS old FROM rs.jobs WHERE id = %(id)s",
            id=job_id,
            within=within_s,
        )
        return row is None or not row["old"]

    async def note(self, job_id: UUID, progress: Progress) -> None:
        """Note how far a job is, on the part of those that it waits for; nothing when it does not run.

        Nor while its step is in a transaction: who notes has leases to renew, and does so again soon.
        """
        async with self._database.connection() as conn:
            await conn.execute(
                f"UPDATE rs.jobs SET {_PROGRESS} WHERE id = (SELECT id FROM rs.jobs WHERE id = %(id)s "  # noqa: S608
                "AND status = 'running' FOR NO KEY UPDATE SKIP LOCKED)",
                {"id": job_id, **asdict(progress)},
            )

    async def add_line(self, job: Job, line: str, again_s: float) -> None:
        """Add a line to the log beside the message, while the job is the attempt's.

        Nothing happens when the same was said within ``again_s`` seconds.
        """
        async with self._database.connection() as conn:
            await conn.execute(
                f"INSERT INTO rs.job_log (job, line) SELECT id, %(line)s FROM rs.jobs WHERE {_MINE} "  # noqa: S608
                "AND NOT EXISTS (SELECT 1 FROM rs.job_log WHERE job = %(id)s AND line = %(line)s "
                "AND at > now() - make_interval(secs => %(again)s))",
                {"id": job.id, "attempt": job.attempt, "line": line, "again": again_s},
            )

    async def succeed(self, job: Job, outcome: Outcome) -> bool:
        """End an attempt well; False when the job is no longer the attempt's."""
        outputs = {name: list(paths) for name, paths in outcome.outputs.items()}
        return await self._end(job, Status.SUCCESSFUL, outcome.message, outputs=outputs, report=outcome.report)

    async def fail(
        self, job: Job, message: str, problem: Mapping[str, Any], report: tuple[Mapping[str, Any], ...] = ()
    ) -> bool:
        """End an attempt badly; False when the job is no longer the attempt's."""
        return await self._end(job, Status.FAILED, message, problem=problem, report=report)

    async def dismiss(self, job_id: UUID, by: str) -> list[Job]:
        """End a job on somebody's wish, and all that it has asked for: itself first; nothing when it has ended before.

        All of it or none: who is killed meanwhile leaves no job behind that works for one that is gone.
        """
        async with self._database.connection() as conn:
            # First, so that a job which it asks for at this moment is either there by now or refused.
            found = await conn.execute(
                "SELECT 1 FROM rs.jobs WHERE id = %s AND status IN ('accepted', 'running') FOR UPDATE", [job_id]
            )
            if await found.fetchone() is None:
                return []
            ended = await conn.execute(
                "WITH RECURSIVE family AS (SELECT %(id)s::uuid AS id UNION "  # noqa: S608 - constants of ours
                "SELECT j.id FROM rs.jobs j JOIN family f ON j.parent = f.id), changed AS (UPDATE rs.jobs "
                "SET status = 'dismissed', message = %(line)s, finished = now(), wake = NULL, held_until = NULL, "
                "waiting = NULL, rate = NULL, files_running = 0 "
                "WHERE id IN (SELECT id FROM family) AND status IN ('accepted', 'running') RETURNING *), "
                f"{_LINE} ORDER BY id <> %(id)s",
                {"id": job_id, "line": f"dismissed by {by}"},
            )
            return [_job(row) for row in await ended.fetchall()]

    async def waiting(self, older_than_s: float) -> list[tuple[UUID, str]]:
        """Jobs whose next step is due, and those that nobody works for a while though the queue has forgotten them."""
        async with self._database.connection() as conn:
            found = await conn.execute(
                "SELECT id, queue FROM rs.jobs WHERE status IN ('accepted', 'running') AND ("
                "status = 'accepted' AND updated < now() - make_interval(secs => %(age)s) "
                "OR status = 'running' AND held_until < now() - make_interval(secs => %(age)s) "
                "OR status = 'running' AND held_until IS NULL AND coalesce(wake, updated) <= now()) "
                "AND NOT EXISTS (SELECT 1 FROM procrastinate.procrastinate_jobs "
                "WHERE queueing_lock = rs.jobs.id::text AND status = 'todo') "
                "ORDER BY wake LIMIT 100",
                {"age": older_than_s},
            )
            return [(row["id"], row["queue"]) for row in await found.fetchall()]

    async def log(self, job_id: UUID, after: int = 0, limit: int = 10_000) -> list[Line]:
        """The lines of a job's log that come after a line, the oldest first."""
        async with self._database.connection() as conn:
            found = await conn.execute(
                "SELECT id, at, line FROM rs.job_log WHERE job = %s AND id > %s ORDER BY id LIMIT %s",
                [job_id, after, limit],
            )
            return [Line(**row) for row in await found.fetchall()]

    async def _end(
        self,
        job: Job,
        status: Status,
        message: str,
        *,
        outputs: Mapping[str, Any] | None = None,
        problem: Mapping[str, Any] | None = None,
        report: tuple[Mapping[str, Any], ...] = (),
    ) -> bool:
        return await self._mine(
            job,
            "status = %(status)s, message = %(line)s, outputs = %(outputs)s, problem = %(problem)s, "
            "report = %(report)s, finished = now(), wake = NULL, held_until = NULL, waiting = NULL, rate = NULL, "
            "files_running = 0, progress = CASE WHEN %(status)s = 'successful' THEN 100 ELSE progress END",
            line=message,
            status=str(status),
            outputs=None if outputs is None else Jsonb(outputs),
            problem=None if problem is None else Jsonb(problem),
            report=Jsonb(report) if report else None,
        )

    async def _mine(self, job: Job, change: str, **values: Any) -> bool:
        """Change the row while the job is the attempt's; a ``line`` among the values goes to the log as well."""
        update = f"UPDATE rs.jobs SET {change} WHERE {_MINE} RETURNING *"  # noqa: S608 - constants of ours
        query = f"WITH changed AS ({update}), {_LINE}" if "line" in values else update
        return await self._row(query, id=job.id, attempt=job.attempt, **values) is not None

    async def _one(self, query: str, **values: Any) -> Job:
        job = await self._changed(query, **values)
        if job is None:
            raise NoSuchJob("there is no such job")
        return job

    async def _changed(self, query: str, **values: Any) -> Job | None:
        row = await self._row(query, **values)
        return None if row is None else _job(row)

    async def _row(self, query: str, **values: Any) -> Row | None:
        async with self._database.connection() as conn:
            return await (await conn.execute(query, values)).fetchone()


async def _hold_running(conn: AsyncConnection[Row], job_id: UUID) -> None:
    """Keep a job from ending within this transaction; ``Superseded`` when it does not run."""
    found = await conn.execute("SELECT 1 FROM rs.jobs WHERE id = %s AND status = 'running' FOR SHARE", [job_id])
    if await found.fetchone() is None:
        raise Superseded


def _job(row: Row) -> Job:
    counts = ("bytes_done", "bytes_total", "files_done", "files_total", "files_failed", "files_running")
    progress = Progress(
        percent=row["progress"], **{name: row[name] for name in counts}, rate=row["rate"], waiting=row["waiting"]
    )
    same = ("id", "process", "request", "message", "attempt", "tries", "version", "trace", "queue", "parent")
    moments = ("created", "updated", "started", "finished")
    return Job(
        **{name: row[name] for name in (*same, *moments)},
        status=Status(row["status"]),
        who=Principal.from_json(row["principal"]),
        progress=progress,
        memory=row["memory"],
        outputs=row["outputs"],
        problem=row["problem"],
        report=tuple(row["report"] or ()),
    )
