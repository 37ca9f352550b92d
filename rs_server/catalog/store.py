"""The catalog for the server's own code: read and write items after the policy has been asked."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import psycopg
from psycopg import AsyncConnection

from rs_server.catalog.assets import addresses
from rs_server.catalog.lifecycle import Rules, stamped
from rs_server.catalog.names import CollectionName
from rs_server.database import Database, Row
from rs_server.errors import BadInput, NotFound, Unavailable

_MOST_LOCKS = 250  # of items, in one transaction
_WHOLE_WORLD = {"spatial": {"bbox": [[-180, -90, 180, 90]]}, "temporal": {"interval": [[None, None]]}}


class CatalogStore:
    """Collections and items in pgstac. It asks nobody whether they may: its callers have."""

    def __init__(self, database: Database, rules: Rules | None = None) -> None:
        self._database = database
        self._rules = rules or Rules()  # to look things up, none are needed

    async def has_collection(self, name: CollectionName) -> bool:
        """Whether the collection is there."""
        async with self._database.connection() as conn:
            cursor = await conn.execute("SELECT 1 FROM pgstac.collections WHERE id = %s", [name.full])
            return await cursor.fetchone() is not None

    async def ensure_collection(self, name: CollectionName, *, title: str) -> None:
        """Make the collection unless it is there; an existing one is left as it is."""
        document = {
            "type": "Collection",
            "stac_version": "1.1.0",
            "id": name.full,
            "title": title,
            "description": title,
            "license": "other",
            "extent": _WHOLE_WORLD,
            "links": [],
        }
        async with self._database.connection() as conn:
            await _search_path(conn)
            await conn.execute(
                "INSERT INTO pgstac.collections (content) VALUES (%s::jsonb) ON CONFLICT (id) DO NOTHING",
                [json.dumps(document)],
            )

    async def upsert_item(self, item: dict[str, Any]) -> None:
        """Add an item or replace it, with its times; its files are there, and stay.

        Raises ``NotFound`` if its collection is not there, ``BadInput`` if pgstac refuses the item.
        """
        async with self._database.connection() as conn:
            await self.publish(conn, [item])

    async def publish(self, conn: AsyncConnection[Row], items: Sequence[Mapping[str, Any]]) -> None:
        """Add or replace items as part of a transaction; an error leaves the transaction as it was before."""
        if not items:
            return
        ordered = sorted(items, key=lambda each: (each["collection"], each["id"]))  # locks come in one order
        async with conn.transaction():
            await _search_path(conn)
            with _refused(ordered[0]):
                await self._write(conn, ordered)

    async def lock(self, conn: AsyncConnection[Row], collection_id: str, item_ids: Sequence[str]) -> None:
        """Let nobody else change these items until a transaction ends; they need not be there."""
        await _lock(conn, {collection_id: item_ids})

    async def _write(self, conn: AsyncConnection[Row], items: Sequence[Mapping[str, Any]]) -> None:
        names = [CollectionName.parse(item["collection"]).full for item in items]
        ids = [item["id"] for item in items]
        of_name: dict[str, list[str]] = {}
        for name, each in zip(names, ids, strict=True):
            of_name.setdefault(name, []).append(each)
        await _lock(conn, of_name)
        wanted = [(name, item["id"], each) for name, item in zip(names, items, strict=True) for each in addresses(item)]
        await conn.execute(
            "DELETE FROM rs.doomed_files d "
            "USING unnest(%s::text[], %s::text[], %s::text[]) AS w (collection, item, address) "
            "WHERE d.collection = w.collection AND d.item = w.item AND d.address = w.address",
            [[name for name, _, _ in wanted], [item for _, item, _ in wanted], [address for _, _, address in wanted]],
        )
        found = await conn.execute(
            "SELECT collection, id, get_item(id, collection) AS item "
            "FROM unnest(%s::text[], %s::text[]) AS mine (collection, id)",
            [names, ids],
        )
        before = {(row["collection"], row["id"]): row["item"] for row in await found.fetchall()}
        whole = [self._stamped(item, before[name, item["id"]]) for name, item in zip(names, items, strict=True)]
        await conn.execute("SELECT upsert_items(%s::jsonb)", [json.dumps(whole)])

    async def doom(self, conn: AsyncConnection[Row], collection: str, item: str, addresses: Sequence[str]) -> None:
        """Note files of an item, or folders of them, for deletion as part of a transaction."""
        await conn.execute(
            "INSERT INTO rs.doomed_files (collection, item, address) SELECT %s, %s, unnest(%s::text[])",
            [collection, item, list(addresses)],
        )

    def _stamped(self, item: Mapping[str, Any], before: dict[str, Any] | None) -> dict[str, Any]:
        name = CollectionName.parse(item["collection"])
        kept = self._rules.kept(name, item["properties"].get("product:type"))
        return stamped(item, now=datetime.now(UTC), kept=kept, before=before)

    async def item(self, collection_id: str, item_id: str) -> dict[str, Any]:
        """An item as it was stored, without the links the catalog adds; ``NotFound`` if it is not there."""
        async with self._database.connection() as conn:
            await _search_path(conn)
            cursor = await conn.execute("SELECT get_item(%s, %s) AS item", [item_id, collection_id])
            row = await cursor.fetchone()
        if row is None or row["item"] is None:
            raise NotFound(f"item {item_id} of collection {collection_id} does not exist")
        found: dict[str, Any] = row["item"]
        return found

    async def items(self, collection_id: str, item_ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Those of these items that are there, by id, as they were stored."""
        async with self._database.connection() as conn:
            await _search_path(conn)
            found = await conn.execute(
                "SELECT id, get_item(id, %s) AS item FROM unnest(%s::text[]) AS id", [collection_id, list(item_ids)]
            )
            return {row["id"]: row["item"] for row in await found.fetchall() if row["item"] is not None}

    async def search(self, body: Mapping[str, Any], collections: Sequence[str]) -> dict[str, Any]:
        """One page of the items of these collections that a STAC search finds, as pgstac answers it.

        ``BadInput`` when pgstac refuses it.
        """
        if not collections:
            return {"features": [], "links": []}  # to pgstac, none named means all
        async with self._database.connection() as conn:
            await _search_path(conn)
            try:
                wanted = json.dumps({**body, "collections": list(collections)})
                cursor = await conn.execute("SELECT search(%s::jsonb) AS page", [wanted])
            except (psycopg.DataError, psycopg.errors.RaiseException, psycopg.ProgrammingError) as error:
                raise BadInput(f"the catalog refuses the search: {str(error).partition('\n')[0]}") from error
            row = await cursor.fetchone()
        assert row is not None
        found: dict[str, Any] = row["page"]
        return found

    async def collection_ids(self) -> list[str]:
        """The ids of all collections."""
        async with self._database.connection() as conn:
            found = await conn.execute("SELECT id FROM pgstac.collections ORDER BY id")
            return [row["id"] for row in await found.fetchall()]

    async def delete_item(self, collection_id: str, item_id: str) -> None:
        """Remove an item; nothing happens if it is not there."""
        async with self._database.connection() as conn:
            await conn.execute("DELETE FROM pgstac.items WHERE id = %s AND collection = %s", [item_id, collection_id])


async def _lock(conn: AsyncConnection[Row], items: Mapping[str, Sequence[str]]) -> None:
    """Lock the items of each collection; where they are many, the whole collection instead: the server's table of
    locks has room for some thousands, of all transactions together.
    """
    for collection, ids in items.items():
        if len(ids) > _MOST_LOCKS:
            await conn.execute("SELECT rs.lock_items(%s)", [collection])
        else:
            await conn.execute("SELECT rs.lock_item(%s, id) FROM unnest(%s::text[]) AS id", [collection, sorted(ids)])


async def _search_path(conn: AsyncConnection[Row]) -> None:
    """Within this transaction only: the pool's other users have theirs."""
    await conn.execute("SET LOCAL search_path TO pgstac, public")


@contextmanager
def _refused(item: Mapping[str, Any]) -> Iterator[None]:
    try:
        yield
    except (psycopg.errors.ForeignKeyViolation, psycopg.errors.NoDataFound, psycopg.errors.CheckViolation) as error:
        raise NotFound(f"collection {item.get('collection')} does not exist") from error
    except psycopg.errors.UndefinedTable as error:  # pgstac is making or taking away a partition just now
        raise Unavailable("the catalog is being rearranged", hint="try again in a few seconds") from error
    except (psycopg.DataError, psycopg.errors.RaiseException, psycopg.IntegrityError) as error:
        raise BadInput(f"the catalog refuses item {item.get('id')}: {error}") from error
