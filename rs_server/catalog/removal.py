"""Deletes the files that no item names any more: at once where that works, again later where it does not."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

import structlog

from rs_server.catalog.names import CollectionName
from rs_server.database import Database, Row
from rs_server.errors import BadInput, RsError
from rs_server.storage import layout
from rs_server.storage.buckets import Storage
from rs_server.storage.layout import Location

log = structlog.get_logger(__name__)

_AT_ONCE_S = 10.0  # how long a caller waits for files to go; the rest is swept
_BATCH = 100

_NEXT = """
    SELECT id, collection, item, address, marked, attempts FROM rs.doomed_files
    WHERE due <= now() AND (%(collection)s::text IS NULL OR collection = %(collection)s)
        AND (%(item)s::text IS NULL OR item = %(item)s)
    ORDER BY due LIMIT 1 FOR UPDATE SKIP LOCKED
"""
_NAMED = """
    SELECT 1 FROM pgstac.items i, jsonb_each(i.content->'assets') asset
    WHERE i.collection = %s AND i.id = %s AND asset.value->>'href' = %s
"""
# A minute, doubled with each attempt, half a day at most.
_LATER = """
    UPDATE rs.doomed_files SET attempts = attempts + 1,
        due = now() + least(interval '1 minute' * power(2, attempts), interval '12 hours')
    WHERE id = %s
"""


class Removal:
    """Works the list of files to be deleted."""

    def __init__(self, database: Database, storage: Storage) -> None:
        self._database = database
        self._storage = storage

    async def now(self, collection: str, item: str | None = None) -> None:
        """Delete what was just noted of a collection, or of one item of it; what does not go now is swept later."""
        try:
            async with asyncio.timeout(_AT_ONCE_S):
                while await self._one(collection, item):
                    pass
        except (RsError, TimeoutError) as error:
            log.warning("files_not_removed_yet", collection=collection, item=item, reason=str(error))

    async def sweep(self) -> int:
        """Delete what is due; how many entries of the list were looked at."""
        for number in range(_BATCH):
            if not await self._one(None, None):
                return number
        return _BATCH

    async def _one(self, collection: str | None, item: str | None) -> bool:
        """Take one entry off the list; False when there is none."""
        async with self._database.connection() as conn:
            cursor = await conn.execute(_NEXT, {"collection": collection, "item": item})
            row = await cursor.fetchone()
            if row is None:
                return False
            cursor = await conn.execute(_NAMED, [row["collection"], row["item"], row["address"]])
            named = await cursor.fetchone() is not None
            if named or await self._removed(row):
                await conn.execute("DELETE FROM rs.doomed_files WHERE id = %s", [row["id"]])
            else:
                await conn.execute(_LATER, [row["id"]])
        return True

    async def _removed(self, row: Row | Mapping[str, Any]) -> bool:
        """Delete the files of an entry; False when the storage does not do it just now."""
        try:
            place = layout.parse(row["address"])
            _require_own(row, place)
            gone = await self._storage.at(place.bucket).delete_older(place.key, row["marked"])
        except RsError as error:
            log.warning("files_not_removed", address=row["address"], attempts=row["attempts"], reason=error.detail)
            return False
        log.info("files_removed", address=row["address"], objects=gone)
        return True


def _require_own(row: Row | Mapping[str, Any], place: Location) -> None:
    """Whatever the list says: nothing is deleted but at the place of the item that it was noted for."""
    prefix = layout.item_prefix(CollectionName.parse(row["collection"]), row["item"])
    if not place.key.startswith(prefix):
        raise BadInput(f"{row['address']} does not lie under {prefix}")
