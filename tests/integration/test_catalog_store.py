"""What the server writes to the catalog, on a real database: others wait, however many items it is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from psycopg import AsyncConnection

from rs_server.catalog.names import CollectionName
from rs_server.catalog.store import CatalogStore
from rs_server.database import Database, open_database
from tests.conftest import Platform
from tests.integration.jobs import settings

NAME = CollectionName("local", f"store{uuid4().hex[:8]}")


@pytest.fixture
async def database(platform: Platform) -> AsyncIterator[Database]:
    """The platform's own, with a collection of ours as long as a test runs."""
    async with open_database(settings(platform).database) as opened:
        await CatalogStore(opened).ensure_collection(NAME, title="a test of the store")
        yield opened
        async with opened.connection() as conn:
            await conn.execute("SET LOCAL search_path TO pgstac, public")
            await conn.execute("SELECT delete_collection(%s)", [NAME.full])


def item(item_id: str) -> dict[str, Any]:
    """The least that pgstac takes."""
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "id": item_id,
        "collection": NAME.full,
        "geometry": {"type": "Point", "coordinates": [0, 0]},
        "bbox": [0, 0, 0, 0],
        "properties": {"datetime": "2024-11-14T10:00:00Z"},
        "assets": {},
        "links": [],
    }


async def locks(conn: AsyncConnection[Any]) -> int:
    """How many advisory locks a transaction holds."""
    found = await conn.execute(
        "SELECT count(*) AS n FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'advisory'"
    )
    row = await found.fetchone()
    assert row
    return int(row["n"])


@pytest.mark.parametrize(("number", "most"), [(20, 21), (20_000, 1)])
async def test_many_items_need_few_locks_and_are_locked(database: Database, number: int, most: int) -> None:
    store, ids = CatalogStore(database), [f"i{n}" for n in range(number)]
    async with database.connection() as conn:
        await store.lock(conn, NAME.full, ids)
        assert await locks(conn) == most
        async with database.connection() as other:
            await other.execute("SET LOCAL lock_timeout = '200ms'")
            with pytest.raises(psycopg.errors.LockNotAvailable):
                async with other.transaction():
                    await store.lock(other, NAME.full, ["i7"])
    async with database.connection() as other:
        await store.lock(other, NAME.full, ["i7"])


async def test_publishing_many_items_needs_few_locks(database: Database) -> None:
    store, number = CatalogStore(database), 600
    async with database.connection() as conn:
        before = await locks(conn)  # and what is published is part of a transaction from now on
        await store.publish(conn, [item(f"i{n}") for n in range(number)])
        assert await locks(conn) < before + 50
    assert len(await store.items(NAME.full, [f"i{n}" for n in range(number)])) == number
