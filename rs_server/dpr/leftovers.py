"""Takes away what jobs have left that came to their end while no worker was at work on them.

A job that is dismissed, or given up, while its worker is dead leaves a cluster, a storage key and files that nobody
knows as a product. A cluster that a job still remembers after its end is such a leftover, and so is an open key of its.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from uuid import UUID

import structlog

from rs_server.database import Database
from rs_server.dpr.execute import CLUSTER, GatewayClusters
from rs_server.dpr.payload import Order, Target
from rs_server.dpr.process import Bucket, Catalog, Keys, purpose
from rs_server.dpr.records import RecordRows
from rs_server.errors import NotFound
from rs_server.storage import layout

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Leftover:
    """What a job that is over has left: a cluster, or an open key."""

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
                "AND (memory->>%(cluster)s IS NOT NULL OR id IN (SELECT substring(purpose FROM 5)::uuid "
                "FROM rs.storage_credentials WHERE revoked IS NULL AND purpose ^@ 'job ')) ORDER BY updated LIMIT 100",
                {"cluster": CLUSTER},
            )
            return [Leftover(row["id"], row["cluster"]) for row in await rows.fetchall()]

    async def _remove(self, left: Leftover) -> None:
        await self.keys.revoke_all(purpose(left.job))  # first, so that nothing is written behind the deletion
        if left.cluster is not None:
            await self.clusters.stop(left.cluster)
        record = await self.records.get(left.job)
        orders: Sequence[Order] = [Order.parse(each) for each in record.orders] if record else ()
        for target in (target for each in orders for target in each.targets):
            if not await self._published(target):
                await self.storage(target.bucket).delete_prefix(target.prefix)
        async with self.database.connection() as conn:
            await conn.execute("UPDATE rs.jobs SET memory = memory - %s::text WHERE id = %s", [CLUSTER, left.job])
        log.info("leftovers_removed", job=str(left.job))

    async def _published(self, target: Target) -> bool:
        """Whether the catalog's item of a product is of this run."""
        try:
            item = await self.catalog.item(target.collection, target.id)
        except NotFound:
            return False
        return any(each.key.startswith(target.prefix) for each in layout.named(item))
