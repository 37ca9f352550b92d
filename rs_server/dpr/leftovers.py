"""Takes away what jobs have left that came to their end while no worker was at work on them.

A job that is dismissed, or given up, while its worker is dead leaves a cluster, a storage key and files that nobody
knows as a product. A cluster that a job still remembers after its end is such a leftover, and so is an open key of its;
files may be there of a job that has begun to write and did not come to publish.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from uuid import UUID

import structlog

from rs_server.database import Database
from rs_server.dpr.execute import CLUSTER, GatewayClusters
from rs_server.dpr.payload import Order
from rs_server.dpr.process import WROTE, Bucket, Catalog, Keys, purpose, take_away
from rs_server.dpr.records import RecordRows

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Leftover:
    """What a job that is over has left: a cluster, an open key, or files."""

    job: UUID
    cluster: str | None


@dataclass(frozen=True, slots=True)
class Leftovers:
    """Finds and removes them."""

    database: Database
    clusters: GatewayClusters
    keys: Keys
    storage: Callable[[str], Bucket]  # by the name of the bucket
    catalog: Catalog
    records: RecordRows

    async def sweep(self) -> int:
        """Remove all; how many jobs had left something, and clusters that no job remembers."""
        found = await self._found()
        for each in found:
            await self._remove(each)
        return len(found) + await self.clusters.stop_orphans(self.records.clusters)

    async def _found(self) -> list[Leftover]:
        async with self.database.connection() as conn:
            rows = await conn.execute(
                "SELECT id, memory->>%(cluster)s AS cluster FROM rs.jobs "
                "WHERE status NOT IN ('accepted', 'running') AND updated < now() - interval '10 seconds' "
                "AND (memory->>%(cluster)s IS NOT NULL OR memory->>%(wrote)s IS NOT NULL AND status <> 'successful' "
                "OR id IN (SELECT substring(purpose FROM 5)::uuid FROM rs.storage_credentials "
                "WHERE revoked IS NULL AND purpose ^@ 'job ')) ORDER BY updated LIMIT 100",
                {"cluster": CLUSTER, "wrote": WROTE},
            )
            return [Leftover(row["id"], row["cluster"]) for row in await rows.fetchall()]

    async def _remove(self, left: Leftover) -> None:
        await self.keys.revoke_all(purpose(left.job))  # first, so that nothing is written behind the deletion
        if left.cluster is not None:
            await self.clusters.stop(left.cluster)
        record = await self.records.get(left.job)
        orders: Sequence[Order] = [Order.parse(each) for each in record.orders] if record else ()
        await take_away(self.storage, self.catalog, orders)
        async with self.database.connection() as conn:
            forget = "UPDATE rs.jobs SET memory = memory - %s::text[] WHERE id = %s"
            await conn.execute(forget, [[CLUSTER, WROTE], left.job])
        log.info("leftovers_removed", job=str(left.job))
