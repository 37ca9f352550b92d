"""Jobs as rows of PostgreSQL.

An attempt to work a job carries a number, and writes only while that number is the newest and the job still runs: a
worker that was taken for dead, or whose job was dismissed, learns so at its next write and changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from rs_server.access.policy import Principal
from rs_server.database import Database, Row
from rs_server.errors import Conflict
from rs_server.processes.model import Job, NoSuchJob, Outcome, Progress, Status

LEASE_S = 4.0  # an attempt that has not shown itself for so long may be taken over
TOUCH_EVERY_S = 1.0


class JobRows:
    """The table of jobs."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, process: str, who: Principal, request: Mapping[str, Any], key: str | None) -> tuple[Job, bool]:
        """Note a new job, or find the one that the same owner made with the same key; whether it is new.

        Raises ``Conflict`` when the key was used for another request.
        """
        values = [process, who.login, Jsonb(who.as_json()), Jsonb(request), key]
        async with self._database.connection() as conn:
            made = await conn.execute(
                "INSERT INTO rs.jobs (process, owner, principal, request, idempotency_key, message) "
                "VALUES (%s, %s, %s, %s, %s, 'waiting for a worker') "
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
        assert row is not None  # the insertion met it, and jobs are not deleted
        if row["request"] != request:
            raise Conflict(f"the idempotency key was used for another request, job {row['id']}")
        return _job(row), False

    async def get(self, job_id: UUID) -> Job:
        """One job; ``NoSuchJob``."""
        return await self._one("SELECT * FROM rs.jobs WHERE id = %(id)s", id=job_id)

    async def newest(
        self,
        owner: str | None,
        *,
        processes: Sequence[str] = (),
        statuses: Sequence[Status] = (),
        after: UUID | None = None,
        limit: int,
    ) -> list[Job]:
        """Jobs, the newest first: of one owner or all, of some processes or statuses, those that come after another."""
        async with self._database.connection() as conn:
            found = await conn.execute(
                "SELECT * FROM rs.jobs WHERE (%(owner)s::text IS NULL OR owner = %(owner)s) "
                "AND (%(processes)s::text[] = '{}' OR process = ANY(%(processes)s)) "
                "AND (%(statuses)s::text[] = '{}' OR status = ANY(%(statuses)s)) "
                "AND (%(after)s::uuid IS NULL OR (created, id) < "
                "(SELECT created, id FROM rs.jobs WHERE id = %(after)s)) "
                "ORDER BY created DESC, id DESC LIMIT %(limit)s",
                {
                    "owner": owner,
                    "processes": list(processes),
                    "statuses": [str(status) for status in statuses],
                    "after": after,
                    "limit": limit,
                },
            )
            return [_job(row) for row in await found.fetchall()]

    async def begin(self, job_id: UUID) -> Job | None:
        """Take a job up as its next attempt; None when it has come to its end, or an attempt at it is alive."""
        return await self._changed(
            "UPDATE rs.jobs SET status = 'running', attempt = attempt + 1, started = coalesce(started, now()), "
            "updated = now() WHERE id = %(id)s AND (status = 'accepted' "
            "OR status = 'running' AND updated < now() - make_interval(secs => %(lease)s)) RETURNING *",
            id=job_id,
            lease=LEASE_S,
        )

    async def touch(self, job: Job) -> bool:
        """Show that the attempt is alive; False when it is no longer the job's."""
        changed = await self._changed(
            "UPDATE rs.jobs SET updated = now() "
            "WHERE id = %(id)s AND attempt = %(attempt)s AND status = 'running' RETURNING *",
            id=job.id,
            attempt=job.attempt,
        )
        return changed is not None

    async def give_back(self, job: Job, why: str) -> bool:
        """Let another attempt go on at once; False when the job is no longer the attempt's."""
        changed = await self._changed(
            "WITH changed AS (UPDATE rs.jobs SET status = 'accepted', message = %(why)s, updated = now() "
            "WHERE id = %(id)s AND attempt = %(attempt)s AND status = 'running' RETURNING *), "
            "line AS (INSERT INTO rs.job_log (job, line) SELECT id, message FROM changed) SELECT * FROM changed",
            id=job.id,
            attempt=job.attempt,
            why=why,
        )
        return changed is not None

    async def report(self, job: Job, progress: Progress) -> bool:
        """Note how far the attempt is; False when it is no longer the job's."""
        changed = await self._changed(
            "UPDATE rs.jobs SET progress = %(percent)s, bytes_done = %(bytes_done)s, bytes_total = %(bytes_total)s, "
            "files_done = %(files_done)s, files_total = %(files_total)s, updated = now() "
            "WHERE id = %(id)s AND attempt = %(attempt)s AND status = 'running' RETURNING *",
            id=job.id,
            attempt=job.attempt,
            **asdict(progress),
        )
        return changed is not None

    async def say(self, job: Job, line: str) -> bool:
        """Make a sentence the job's message and a line of its log; False when the job is no longer the attempt's."""
        changed = await self._changed(
            "WITH changed AS (UPDATE rs.jobs SET message = %(line)s, updated = now() "
            "WHERE id = %(id)s AND attempt = %(attempt)s AND status = 'running' RETURNING *), "
            "line AS (INSERT INTO rs.job_log (job, line) SELECT id, message FROM changed) SELECT * FROM changed",
            id=job.id,
            attempt=job.attempt,
            line=line,
        )
        return changed is not None

    async def remember(self, job: Job, **values: str | None) -> bool:
        """Keep something for the next attempt; False when the job is no longer the attempt's."""
        changed = await self._changed(
            "UPDATE rs.jobs SET memory = memory || %(values)s, updated = now() "
            "WHERE id = %(id)s AND attempt = %(attempt)s AND status = 'running' RETURNING *",
            id=job.id,
            attempt=job.attempt,
            values=Jsonb(values),
        )
        return changed is not None

    async def succeed(self, job: Job, outcome: Outcome) -> bool:
        """End an attempt well; False when the job is no longer the attempt's."""
        return await self._end(
            job, Status.SUCCESSFUL, outcome.message, outputs={k: list(v) for k, v in outcome.outputs.items()}
        )

    async def fail(self, job: Job, message: str, problem: Mapping[str, Any]) -> bool:
        """End an attempt badly; False when the job is no longer the attempt's."""
        return await self._end(job, Status.FAILED, message, problem=problem)

    async def dismiss(self, job_id: UUID, by: str) -> Job | None:
        """End a job on somebody's wish; None when it has come to its end already."""
        return await self._changed(
            "WITH changed AS (UPDATE rs.jobs "
            "SET status = 'dismissed', message = %(line)s, finished = now(), updated = now() "
            "WHERE id = %(id)s AND status IN ('accepted', 'running') RETURNING *), "
            "line AS (INSERT INTO rs.job_log (job, line) SELECT id, message FROM changed) SELECT * FROM changed",
            id=job_id,
            line=f"dismissed by {by}",
        )

    async def waiting(self, older_than_s: float) -> list[UUID]:
        """Jobs that nothing has moved for a while, though they are not at their end."""
        async with self._database.connection() as conn:
            found = await conn.execute(
                "SELECT id FROM rs.jobs WHERE status IN ('accepted', 'running') "
                "AND updated < now() - make_interval(secs => %s) ORDER BY updated LIMIT 100",
                [older_than_s],
            )
            return [row["id"] for row in await found.fetchall()]

    async def log(self, job_id: UUID) -> list[tuple[datetime, str]]:
        """The lines of a job's log, the oldest first."""
        async with self._database.connection() as conn:
            found = await conn.execute("SELECT at, line FROM rs.job_log WHERE job = %s ORDER BY id", [job_id])
            return [(row["at"], row["line"]) for row in await found.fetchall()]

    async def _end(
        self,
        job: Job,
        status: Status,
        message: str,
        *,
        outputs: Mapping[str, Any] | None = None,
        problem: Mapping[str, Any] | None = None,
    ) -> bool:
        changed = await self._changed(
            "WITH changed AS (UPDATE rs.jobs SET status = %(status)s, message = %(message)s, "
            "outputs = %(outputs)s, problem = %(problem)s, finished = now(), updated = now(), "
            "progress = CASE WHEN %(status)s = 'successful' THEN 100 ELSE progress END "
            "WHERE id = %(id)s AND attempt = %(attempt)s AND status = 'running' RETURNING *), "
            "line AS (INSERT INTO rs.job_log (job, line) SELECT id, message FROM changed) SELECT * FROM changed",
            id=job.id,
            attempt=job.attempt,
            status=str(status),
            message=message,
            outputs=None if outputs is None else Jsonb(outputs),
            problem=None if problem is None else Jsonb(problem),
        )
        return changed is not None

    async def _one(self, query: str, **values: Any) -> Job:
        job = await self._changed(query, **values)
        if job is None:
            raise NoSuchJob("there is no such job")
        return job

    async def _changed(self, query: str, **values: Any) -> Job | None:
        async with self._database.connection() as conn:
            row = await (await conn.execute(query, values)).fetchone()
        return None if row is None else _job(row)


def _job(row: Row) -> Job:
    progress = Progress(row["progress"], row["bytes_done"], row["bytes_total"], row["files_done"], row["files_total"])
    same = ("id", "process", "request", "message", "attempt", "created", "updated", "started", "finished")
    return Job(
        **{name: row[name] for name in same},
        status=Status(row["status"]),
        who=Principal.from_json(row["principal"]),
        progress=progress,
        memory=row["memory"],
        outputs=row["outputs"],
        problem=row["problem"],
    )
