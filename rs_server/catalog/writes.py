"""What the catalog's writers do in the database: each function is a step of a transaction that its caller holds."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import shapely
from fastapi import Request
from hydraters import dehydrate

from rs_server.bodies import as_json
from rs_server.catalog import pages
from rs_server.catalog.connections import Contended
from rs_server.catalog.documents import instant
from rs_server.catalog.pages import BASE_TAG, Stored
from rs_server.errors import NotFound, PreconditionFailed

_PAUSES_S = (0.02, 0.1, 0.3, 0.8)  # between attempts that others got in the way of

_ADD = "SELECT rs.add_items($1, $2, $3, $4, $5, $6, $7)"
_COLUMNS = frozenset({"id", "geometry", "collection", "type"})  # of an item: not in its content
_BASE = "SELECT base_item_id, base_item FROM current_base_item($1)"


async def transaction[T](request: Request, work: Callable[[Any], Awaitable[T]]) -> T:
    """Run all of ``work`` in one transaction; again, where writers had locked each other out."""
    for pause in _PAUSES_S:
        try:
            return await _attempt(request, work)
        except Contended:
            await asyncio.sleep(pause * random.uniform(0.5, 1.5))  # noqa: S311 - nobody is to guess it
    return await _attempt(request, work)


async def _attempt[T](request: Request, work: Callable[[Any], Awaitable[T]]) -> T:
    async with request.app.state.get_connection(request, "w") as conn, conn.transaction():
        return await work(conn)


async def locked_item(conn: Any, collection: str, item_id: str, if_match: str | None = None) -> Stored:
    """The item, which nobody else changes until the end of the transaction.

    Raises ``NotFound``, or ``PreconditionFailed`` when it is not the version that ``if_match`` names.
    """
    await conn.execute("SELECT rs.lock_item($1, $2)", collection, item_id)
    stored = await pages.one(conn, collection, item_id)
    if stored is None:
        raise NotFound(f"item {item_id} of collection {collection} does not exist")
    if if_match is not None and not _names(if_match, stored.version):
        raise PreconditionFailed(
            f"item {item_id} of collection {collection} is not the version that If-Match names",
            hint="read the item again, and make your change to what it is now",
        )
    return stored


async def read_back(conn: Any, collection: str, item_id: str) -> Stored:
    """The item that this transaction has just written."""
    stored = await pages.one(conn, collection, item_id)
    assert stored is not None
    return stored


async def add(conn: Any, collection: str, items: Sequence[Mapping[str, Any]], *, replace: bool = False) -> None:
    """Add items, which have been checked, or with ``replace`` add or replace them.

    Raises ``NotFound`` when the collection is gone.
    """
    alone = replace or len(items) > 1  # pgstac draws a partition's span anew: two that do lock each other out
    lock = "SELECT rs.lock_items($1)" if alone else "SELECT rs.share_items($1)"
    await conn.execute(lock, collection)
    await _write(conn, collection, items, replace=replace)


async def update(conn: Any, item: Mapping[str, Any]) -> None:
    """Replace the item, which is locked."""
    await _write(conn, item["collection"], [item], replace=True)


async def _write(conn: Any, collection: str, items: Sequence[Mapping[str, Any]], *, replace: bool) -> None:
    base = await conn.fetchrow(_BASE, collection)
    if base["base_item"] is None:
        raise NotFound(f"collection {collection} does not exist")
    if items:
        await conn.execute(_ADD, collection, *await asyncio.to_thread(_columns, items, base), replace)


def _columns(items: Sequence[Mapping[str, Any]], base: Mapping[str, Any]) -> tuple[list[Any], ...]:
    """Items as the columns that they are stored in: ids, shapes, starts, ends, contents."""
    spans = [_span(item["properties"]) for item in items]
    contents = [_content(item, base) for item in items]
    shapes = [None if item["geometry"] is None else as_json(item["geometry"]) for item in items]
    return (
        [item["id"] for item in items],
        list(shapely.to_wkb(shapely.from_geojson(shapes))),
        [start for start, _ in spans],
        [end for _, end in spans],
        contents,
    )


def _span(properties: Mapping[str, Any]) -> tuple[datetime, datetime]:
    """When an item begins and ends."""
    start, end = instant(properties.get("start_datetime")), instant(properties.get("end_datetime"))
    if start is None or end is None:
        start = end = instant(properties["datetime"])
    assert start is not None
    assert end is not None
    return start, end


def _content(item: Mapping[str, Any], base: Mapping[str, Any]) -> str:
    """What an item has beside its columns and what it shares with its collection; names the base it is without."""
    own = dehydrate(base["base_item"], dict(item))
    content = {name: value for name, value in own.items() if name not in _COLUMNS}
    if base["base_item_id"] is not None:
        content[BASE_TAG] = base["base_item_id"]
    return as_json(content).decode()


async def delete(conn: Any, collection: str, item_id: str) -> None:
    """Delete the item, which is locked, and note its files for deletion."""
    await conn.execute("SELECT rs.doom_files($1, ARRAY[$2])", collection, item_id)
    await conn.execute("SELECT delete_item($1, $2)", item_id, collection)


async def earlier(conn: Any, collection: str, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    """What is to be known of the items that are about to be replaced: properties and assets, by id."""
    rows = await conn.fetch(
        "SELECT id, content->'properties' AS properties, content->'assets' AS assets "
        "FROM items WHERE collection = $1 AND id = ANY ($2)",
        collection,
        ids,
    )
    return {row["id"]: {"properties": row["properties"], "assets": row["assets"] or {}} for row in rows}


async def rescue(conn: Any, collection: str, ids: Sequence[str]) -> None:
    """Take files of these items off the list of those to be deleted: they are about to be named again.

    What the list does not hold has been deleted by now: look whether the files are there after this, not before.
    """
    await conn.execute("DELETE FROM rs.doomed_files WHERE collection = $1 AND item = ANY ($2)", collection, ids)


async def doom(conn: Any, collection: str, files: Iterable[tuple[str, str]]) -> None:
    """Note files (item, address) for deletion."""
    await conn.executemany(
        "INSERT INTO rs.doomed_files (collection, item, address) VALUES ($1, $2, $3)",
        [(collection, item, address) for item, address in files],
    )


def _names(if_match: str, version: str) -> bool:
    tags = [tag.strip().removeprefix("W/").strip('"') for tag in if_match.split(",")]
    return "*" in tags or version in tags
