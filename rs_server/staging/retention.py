"""Forgets what is long over: first the files of ended jobs, whose sum the job keeps, then the jobs themselves.

And what standing orders have found, once they look only for what is newer, and the orders of archives.
"""

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
# A standing order knows by these rows what it has seen. It looks again at what was published since its cursor and a
# stretch before it: what it noted long before that bears an earlier date still.
_SEEN = """
    WITH gone AS (
        DELETE FROM rs.subscription_items WHERE (subscription, collection, item) IN (
            SELECT i.subscription, i.collection, i.item
            FROM rs.subscription_items i JOIN rs.subscriptions s ON s.id = i.subscription
            WHERE i.at < now() - make_interval(days => %(days)s) AND (i.job IS NOT NULL OR i.reason IS NOT NULL)
            AND (s.ended IS NOT NULL
                OR i.at < s.cursor - make_interval(secs => %(overlap_s)s) - make_interval(days => %(days)s))
            LIMIT %(most)s FOR UPDATE OF i SKIP LOCKED)
        RETURNING subscription)
    UPDATE rs.subscriptions s SET forgotten = s.forgotten + n.count
    FROM (SELECT subscription, count(*)::int AS count FROM gone GROUP BY 1) n WHERE s.id = n.subscription
"""
_ENDED = """
    DELETE FROM rs.subscriptions WHERE id IN (
        SELECT s.id FROM rs.subscriptions s WHERE s.ended < now() - make_interval(days => %(days)s)
        AND NOT EXISTS (SELECT 1 FROM rs.subscription_items WHERE subscription = s.id)
        LIMIT %(most)s FOR UPDATE SKIP LOCKED)
"""
_ORDERS = """
    DELETE FROM rs.orders WHERE id IN (
        SELECT id FROM rs.orders WHERE status IN ('completed', 'failed', 'cancelled')
        AND updated < now() - make_interval(days => %(days)s) AND coalesce(expires < now(), true)
        LIMIT %(most)s FOR UPDATE SKIP LOCKED)
"""


@dataclass(frozen=True, slots=True)
class Retention:
    """How long rows are kept; ``overlap_s`` is how far standing orders look back."""

    database: Database
    settings: JobSettings
    overlap_s: float

    async def prune(self) -> tuple[int, int]:
        """Delete all that is due, in batches of one transaction each; how many items and jobs that were."""
        items = await self._all(_ITEMS, min(self.settings.keep_files_days, self.settings.keep_days))
        jobs = await self._all(_JOBS, self.settings.keep_days)
        for query in (_SEEN, _ENDED, _ORDERS):
            await self._all(query, self.settings.keep_days)
        if items or jobs:
            log.info("rows_pruned", items=items, jobs=jobs)
        return items, jobs

    async def _all(self, query: str, days: int) -> int:
        total = 0
        while True:
            async with self.database.connection() as conn:
                values = {"days": days, "most": _BATCH, "overlap_s": self.overlap_s}
                done = (await conn.execute(query, values)).rowcount
            total += done
            if not done:
                return total
