"""Forgets what is long over: first the files of ended jobs, whose sum the job keeps, then the jobs themselves."""

from __future__ import annotations

from dataclasses import dataclass

import structlog

from rs_server.database import Database
from rs_server.settings import JobSettings

log = structlog.get_logger(__name__)

_BATCH = 1000

# With an item go its transfers and their parts. The sweep knows the keys that staging wrote by these rows: they stay
# until it has looked at all of them.
_ITEMS = """
    DELETE FROM rs.staging_items WHERE id IN (
        SELECT i.id FROM rs.jobs j JOIN rs.staging_items i ON i.job = j.id
        WHERE j.finished < now() - make_interval(days => %(days)s) AND NOT EXISTS (
            SELECT 1 FROM rs.transfers t WHERE t.item = i.id AND (
                t.upload IS NOT NULL OR t.state IN ('waiting', 'paused', 'ordered', 'running')
                OR t.fence > 0 AND NOT t.swept AND i.state <> 'published'))
        LIMIT %(most)s FOR UPDATE OF i SKIP LOCKED)
"""
# A job that asked for others goes after them; with a job go its log and what processing keeps of it.
_JOBS = """
    DELETE FROM rs.jobs WHERE id IN (
        SELECT j.id FROM rs.jobs j WHERE j.finished < now() - make_interval(days => %(days)s)
        AND NOT EXISTS (SELECT 1 FROM rs.jobs WHERE parent = j.id)
        AND NOT EXISTS (SELECT 1 FROM rs.staging_items WHERE job = j.id)
        LIMIT %(most)s FOR UPDATE SKIP LOCKED)
"""


@dataclass(frozen=True, slots=True)
class Retention:
    """How long rows are kept."""

    database: Database
    settings: JobSettings

    async def prune(self) -> tuple[int, int]:
        """Delete all that is due, in batches of one transaction each; how many items and jobs that were."""
        items = await self._all(_ITEMS, min(self.settings.keep_files_days, self.settings.keep_days))
        jobs = await self._all(_JOBS, self.settings.keep_days)
        if items or jobs:
            log.info("rows_pruned", items=items, jobs=jobs)
        return items, jobs

    async def _all(self, query: str, days: int) -> int:
        total = 0
        while True:
            async with self.database.connection() as conn:
                done = (await conn.execute(query, {"days": days, "most": _BATCH})).rowcount
            total += done
            if not done:
                return total
