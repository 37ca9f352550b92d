"""Withdraws items whose time is over: the item stays, marked as unpublished; its files go."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import structlog

from rs_server.catalog.lifecycle import withdrawn
from rs_server.database import Database

log = structlog.get_logger(__name__)

BATCH = 100

_DUE = """
    SELECT collection, id FROM items
    WHERE content->'properties' ? 'expires' AND NOT content->'properties' ? 'unpublished'
        AND to_tstz(content->'properties'->'expires') < %s
    ORDER BY collection, id LIMIT %s
"""
_STILL_DUE = """
    SELECT content_hydrate(items) AS item FROM items
    WHERE collection = %s AND id = %s
        AND content->'properties' ? 'expires' AND NOT content->'properties' ? 'unpublished'
        AND to_tstz(content->'properties'->'expires') < %s
"""


class Expiry:
    """The work that is done again and again; killed at any point, it goes on where it was."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def run(self) -> int:
        """Withdraw all that is due, in batches of one transaction each; how many items that were."""
        total = 0
        while done := await self._batch(datetime.now(UTC)):
            total += done
            log.info("items_withdrawn", items=done)
        return total

    async def _batch(self, now: datetime) -> int:
        async with self._database.connection() as conn:
            await conn.execute("SET LOCAL search_path TO pgstac, public")
            cursor = await conn.execute(_DUE, [now, BATCH])
            due = [(str(row["collection"]), str(row["id"])) for row in await cursor.fetchall()]
            for collection, item in due:  # in the order of their names, so that no two of these wait for each other
                await conn.execute("SELECT rs.lock_item(%s, %s)", [collection, item])
                cursor = await conn.execute(_STILL_DUE, [collection, item, now])
                row = await cursor.fetchone()
                if row is not None:  # nobody has staged it again, or deleted it, meanwhile
                    await conn.execute("SELECT rs.doom_files(%s, ARRAY[%s])", [collection, item])
                    document = withdrawn(row["item"], now)
                    await conn.execute("SELECT update_item(%s::jsonb)", [json.dumps(document)])
        return len(due)
