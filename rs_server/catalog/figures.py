"""Figures of the catalog, as the database has them: for the metrics."""

from __future__ import annotations

from dataclasses import dataclass

from prometheus_client.core import GaugeMetricFamily, Metric

from rs_server.database import Database

# What the database counts as rows come and go, and what its last look at the tables found: a crash forgets the former.
_ITEMS = (
    "SELECT coalesce(sum(greatest(pg_stat_get_live_tuples(c.oid), c.reltuples, 0)), 0)::float AS n "
    "FROM pg_partition_tree('pgstac.items') t JOIN pg_class c ON c.oid = t.relid WHERE t.isleaf"
)


@dataclass(frozen=True, slots=True)
class Figures:
    """Read from the database's statistics each time, never from the items."""

    database: Database

    async def metrics(self) -> list[Metric]:
        """The figures that Prometheus collects; ``Unavailable``."""
        async with self.database.connection() as conn:
            row = await (await conn.execute(_ITEMS)).fetchone()
        assert row is not None
        told = "Items in the catalog, as the statistics of the database estimate: it is not counted"
        return [GaugeMetricFamily("catalog_items_total", told, value=row["n"])]
