"""One page of items: one statement, in the order asked for, from where the page before ended.

A token is the values of the sort keys at an edge of a page. It says where to go on and opens nothing: the search that
it is sent with is narrowed to the caller like any other.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
from hydraters import hydrate

from rs_server.bodies import as_json
from rs_server.errors import BadInput

COUNTED = 10_000  # matches are counted up to here; of more, the database's estimate is told
_LONGEST_TOKEN = 4_096
_DIRECTIONS = {"next": False, "prev": True}

_SEARCH = "SELECT * FROM rs.item_search($1::text::jsonb, $2, $3, $4, $5, $6)"
_CONDITION = "SELECT rs.item_condition($1::text::jsonb, $2)"
_ITEM = """
    SELECT i.collection, i.id, i.content, ST_AsGeoJSON(i.geometry, 20) AS geometry, i.xmin::text AS version,
        i.content->>'pgstac:base_item' AS base,
        collection_base_item(i.collection, (i.content->>'pgstac:base_item')::integer)::text AS base_item
    FROM items i WHERE i.collection = $1 AND i.id = $2
"""
BASE_TAG = "pgstac:base_item"  # pgstac's key in what it stores of an item


@dataclass(frozen=True, slots=True)
class Place:
    """An edge between two items: the sort keys of the one beside it, and the way to go from there."""

    keys: tuple[str | None, ...]
    backwards: bool = False

    @property
    def token(self) -> str:
        """The place as a caller sends it back: ``next:…`` or ``prev:…``."""
        keys = base64.urlsafe_b64encode(orjson.dumps(self.keys)).rstrip(b"=").decode()
        return f"{'prev' if self.backwards else 'next'}:{keys}"

    @classmethod
    def read(cls, token: str) -> Place:
        """The place that a token names; ``BadInput`` for what is no token."""
        direction, _, text = token.partition(":")
        try:
            keys = orjson.loads(
                base64.b64decode(text.encode() + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
            )
        except (binascii.Error, ValueError):
            keys = None
        whole = isinstance(keys, list) and all(isinstance(key, str | None) for key in keys)
        if direction not in _DIRECTIONS or not whole or len(token) > _LONGEST_TOKEN:
            raise BadInput("token: not a token of this catalog", hint="follow the links of an answer, or search again")
        return cls(tuple(keys), _DIRECTIONS[direction])


@dataclass(frozen=True, slots=True)
class Stored:
    """An item as it is stored, whole again but for its links; ``version`` changes with each write."""

    collection: str
    id: str
    version: str
    document: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Page:
    """Items, and how to go on; ``matched`` counts exactly up to ``COUNTED``."""

    items: list[Stored]
    matched: int
    following: Place | None
    preceding: Place | None


async def page(
    conn: Any, request: Mapping[str, Any], *, wanted: int, place: Place | None, names: Sequence[str] | None
) -> Page:
    """Search; ``request`` is pgstac's, already narrowed, without ids (``names``), limit (``wanted``) and token."""
    keys, backwards = (place.keys, place.backwards) if place else (None, False)
    rows = await conn.fetch(_SEARCH, as_json(request).decode(), wanted, keys, backwards, COUNTED, names)
    *found, last = rows
    more, found = len(found) > wanted, found[:wanted]
    if backwards:
        found.reverse()
    before, after = (more, True) if backwards else (place is not None, more)
    return Page(
        items=_stored(found),
        matched=last["matched"],
        following=Place(tuple(found[-1]["place_here"])) if found and after else None,
        preceding=Place(tuple(found[0]["place_here"]), backwards=True) if found and before else None,
    )


async def condition(conn: Any, request: Mapping[str, Any], names: Sequence[str] | None) -> str:
    """What the items of a search are found by, as SQL; what the request says stands in it as literals."""
    text: str = await conn.fetchval(_CONDITION, as_json(request).decode(), names)
    return text


async def one(conn: Any, collection: str, item_id: str) -> Stored | None:
    """An item, or None."""
    row = await conn.fetchrow(_ITEM, collection, item_id)
    return _stored([row])[0] if row is not None else None


def _stored(rows: Sequence[Mapping[str, Any]]) -> list[Stored]:
    bases = {
        (row["collection"], row["base"]): {
            name: value for name, value in orjson.loads(row["base_item"]).items() if value is not None
        }
        for row in rows
        if row["base_item"] is not None
    }
    return [
        Stored(row["collection"], row["id"], row["version"], _whole(row, bases[row["collection"], row["base"]]))
        for row in rows
    ]


def _whole(row: Mapping[str, Any], base: dict[str, Any]) -> dict[str, Any]:
    """The item with what it shares with its collection; its geometry stays the database's text."""
    document: dict[str, Any] = hydrate(base, row["content"])
    document.pop(BASE_TAG, None)
    document["id"] = row["id"]
    geometry = row["geometry"]
    document["geometry"] = None if geometry is None else orjson.Fragment(geometry)
    return document
