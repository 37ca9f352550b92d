"""What all tables of staging have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from psycopg import AsyncConnection

from rs_server.database import Database, Row
from rs_server.processes.references import Reference
from rs_server.staging.model import ItemState, StagedItem

CHANNEL = "rs_transfers"

# Of a transfer t: whether it is still wanted, by its item and its job.
WANTED_OF = "rs.staging_items i, rs.jobs j"
WANTED = "i.id = t.item AND j.id = t.job AND i.state NOT IN ('failed', 'gone') AND j.status IN ('accepted', 'running')"
UNWANTED = (
    "i.id = t.item AND j.id = t.job AND (i.state IN ('failed', 'gone') OR j.status NOT IN ('accepted', 'running'))"
)


class Rows:
    """The tables of staging; items that name no bucket, as the older ones, are at home in ``bucket``.

    What is in nobody's way any more is left alone for ``grace_s`` seconds, and swept then.
    """

    def __init__(self, database: Database, bucket: str, grace_s: float) -> None:
        self._database = database
        self._bucket = bucket
        self._grace_s = grace_s

    async def _set_aside(self, conn: AsyncConnection[Row], rows: Sequence[Row]) -> None:
        """What carriers have written of transfers (``id``, ``fence``), or may still write, is swept when it is due."""
        await conn.execute(
            "INSERT INTO rs.leftovers (bucket, key, collection, item, due) "
            "SELECT i.bucket, t.key, j.request->>'collection', i.item, now() + make_interval(secs => %s) "
            "FROM rs.transfers t JOIN unnest(%s::bigint[], %s::int[]) AS mine (id, fence) USING (id, fence) "
            "JOIN rs.staging_items i ON i.id = t.item JOIN rs.jobs j ON j.id = t.job ON CONFLICT (key) DO NOTHING",
            [self._grace_s, [row["id"] for row in rows], [row["fence"] for row in rows]],
        )

    def _item(self, row: Row) -> StagedItem:
        source = Reference(row["service"], row["collection"], row["item"])
        bucket = row["bucket"] or self._bucket
        return StagedItem(row["id"], source, row["document"], ItemState(row["state"]), row["reason"], bucket)

    async def _one(self, query: str, values: Sequence[Any]) -> Row | None:
        async with self._database.connection() as conn:
            return await (await conn.execute(query, values)).fetchone()
