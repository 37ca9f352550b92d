"""The catalog as one source of a search over all: its own API, asked as the caller, in the order that stations have.

Where a sort key has no value, stations put a row first, and last where the key goes down, as OData has it; the catalog
does the opposite. So those with a value and those without are asked for one after the other. In what order the catalog
puts them is not relied upon.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import cmp_to_key
from http import HTTPStatus
from typing import Any

import cql2
import httpx
import orjson
from starlette.types import ASGIApp, Receive, Scope, Send

from rs_server.catalog.filters import DEEPEST, require_depth
from rs_server.discovery.merge import Hit, Side, Start
from rs_server.errors import BadInput, Unavailable
from rs_server.stations import instants, oldquery
from rs_server.stations.model import Property, ValueType
from rs_server.stations.odata import SortKey, compared, flipped
from rs_server.stations.requests import SearchBody

CATALOG = "catalog"

_PASSED_ON = ("authorization", "x-api-key", "cookie")
_INTERNAL = "http://catalog.internal"  # an address that never leaves the process
_TIES = tuple(Property(name, (name,), required=True) for name in ("collection", "id"))
_MEMBERS = frozenset({"collection", "id"})
_SPANS = {"datetime": "start_datetime", "start_datetime": "start_datetime", "end_datetime": "end_datetime"}

Item = dict[str, Any]
Term = dict[str, Any]  # of CQL2 JSON


@dataclass(frozen=True, slots=True)
class Key:
    """A sort key of items, and whether an item that is asked for may be without a value."""

    by: SortKey
    nullable: bool

    @property
    def name(self) -> str:
        """Its property."""
        return self.by.by.stac

    @property
    def term(self) -> Term:
        """Its property in CQL2."""
        return {"property": self.name}

    def value(self, item: Item) -> Any:
        """What the catalog sorts an item by. Its times are those of the span, if it has one."""
        if self.name in _MEMBERS:
            return item[self.name]
        properties = item["properties"]
        if self.name in _SPANS:
            spans = properties.get("start_datetime") is not None and properties.get("end_datetime") is not None
            return properties[_SPANS[self.name] if spans else "datetime"]
        return properties.get(self.name)

    def comparable(self, item: Item) -> Any:
        """The same as it compares with values of other places; ``BadInput`` names an item that has another type there.

        A catalog takes whatever is valid STAC: a day is where a moment is asked for its begin, as in the database.
        """
        value = self.value(item)
        try:
            if value is not None and self.by.by.type is ValueType.INSTANT:
                return instants.span(value)[0].us
            return self.by.comparable(value)
        except (TypeError, ValueError) as error:
            where = f"item {item['id']} of the catalog's collection {item['collection']}"
            raise BadInput(f"sortby: {self.name} of {where} does not compare with others: {value!r}") from error

    def equal(self, value: Any) -> Term:
        """Items with this value, or without any."""
        if value is None:
            return {"op": "isNull", "args": [self.term]}
        return {"op": "=", "args": [self.term, self._literal(value)]}

    def further(self, value: Any) -> Term | None:
        """Items that come later than this value; None if there are none."""
        if value is None:
            return None if self.by.descending else _not(self.equal(None))
        later = {"op": "<" if self.by.descending else ">", "args": [self.term, self._literal(value)]}
        return _joined("or", [later, self.equal(None)]) if self.by.descending and self.nullable else later

    def _literal(self, value: Any) -> Any:
        """As the item has it: the catalog reads it there in the same way."""
        return {"timestamp": value} if self.by.by.type is ValueType.INSTANT else value


@dataclass(frozen=True, slots=True)
class CatalogSource:
    """The collections of the catalog, asked as the caller and over its own API."""

    http: httpx.AsyncClient
    body: SearchBody
    order: tuple[SortKey, ...]

    @property
    def name(self) -> str:
        """There is but one."""
        return CATALOG

    async def hits(self, count: int, start: Start | None) -> list[Hit]:
        """Its first items after a place, or those before one, nearest first."""
        backwards = start is not None and start[0] is not Side.AFTER
        keys = self._keys(backwards=backwards)
        terms = _filter_of(self.body)
        if start is not None and start[0] is not Side.UP_TO:  # up to its last item is what a catalog has at all
            terms.append(_beyond(keys, start[1]))
        return [self._hit(keys, item) for item in await self._first(keys, terms, count)]

    async def items(self, hits: Sequence[Hit]) -> list[Item]:
        """They came along."""
        return [hit.row for hit in hits]

    def _keys(self, *, backwards: bool) -> list[Key]:
        """The sort keys, and those that decide among equals."""
        stated = flipped(self.order) if backwards else self.order
        names = {each.by.stac for each in stated}
        ties = [SortKey(each, descending=backwards) for each in _TIES if each.stac not in names]
        return [Key(each, each.by.stac not in _MEMBERS | _SPANS.keys()) for each in (*stated, *ties)]

    def _hit(self, keys: Sequence[Key], item: Item) -> Hit:
        values = tuple(key.comparable(item) for key in keys[: len(self.order)])
        return Hit(CATALOG, values, [key.value(item) for key in keys], item)

    async def _first(self, keys: Sequence[Key], terms: Sequence[Term], count: int) -> list[Item]:
        """The first items of a condition in the order of some keys, those without a value in their place."""
        unsure = next((at for at, key in enumerate(keys) if key.nullable), None)
        if unsure == 0:
            return await self._first_in_two(keys, terms, count)
        found = await self._page(keys, terms, count)
        if unsure is None:
            return found
        if len(found) < count:
            return _sorted(found, keys)
        # Of those equal to the last one up to the key, there may be more, which come before it.
        same, last = keys[:unsure], found[-1]
        edge = [key.comparable(last) for key in same]
        whole = [item for item in found if [key.comparable(item) for key in same] != edge]
        equal = [key.equal(key.value(last)) for key in same]
        rest = await self._first(keys[unsure:], [*terms, *equal], count - len(whole))
        return [*_sorted(whole, keys), *rest]

    async def _first_in_two(self, keys: Sequence[Key], terms: Sequence[Term], count: int) -> list[Item]:
        """The same, where the first key decides whether items without a value come first or last."""
        first, *others = keys
        without = first.equal(None)
        parts = [(others, without), ([replace(first, nullable=False), *others], _not(without))]
        found: list[Item] = []
        for of, term in reversed(parts) if first.by.descending else parts:
            if len(found) < count:
                found += await self._first(of, [*terms, term], count - len(found))
        return found

    async def _page(self, keys: Sequence[Key], terms: Sequence[Term], count: int) -> list[Item]:
        """The first items of a condition as the catalog itself sorts them."""
        names = {"collections", "ids", "bbox", "intersects", "datetime"}
        stated = self.body.model_dump(mode="json", include=names, exclude_none=True)
        filtered = {"filter": _joined("and", terms), "filter-lang": "cql2-json"} if terms else {}
        order = [{"field": key.name, "direction": "desc" if key.by.descending else "asc"} for key in keys]
        answer = await self.http.post("/catalog/search", json={**stated, **filtered, "sortby": order, "limit": count})
        if answer.status_code == HTTPStatus.BAD_REQUEST:
            raise BadInput(f"the catalog cannot search so: {answer.json().get('detail', '')}")
        if answer.is_error:
            raise Unavailable(f"the catalog answered {answer.status_code}", hint="try again in a few seconds")
        found: list[Item] = orjson.loads(answer.content)["features"]
        return found


def _sorted(items: Sequence[Item], keys: Sequence[Key]) -> list[Item]:
    """Items in the order of some keys."""
    falls = [key.by.descending for key in keys]

    def order(a: tuple[list[Any], Item], b: tuple[list[Any], Item]) -> int:
        return compared(a[0], b[0], falls)

    valued = [([key.comparable(item) for key in keys], item) for item in items]
    return [item for _, item in sorted(valued, key=cmp_to_key(order))]


def _beyond(keys: Sequence[Key], place: Sequence[Any]) -> Term:
    """What comes after a place in an order: later by one key, equal by those before it."""
    ways: list[Term] = []
    for at, key in enumerate(keys):
        later = key.further(place[at])
        if later is not None:
            ways.append(_joined("and", [*(each.equal(place[n]) for n, each in enumerate(keys[:at])), later]))
    return _joined("or", ways)


def _joined(word: str, terms: Sequence[Term]) -> Term:
    return {"op": word, "args": list(terms)} if len(terms) > 1 else terms[0]


def _not(term: Term) -> Term:
    return {"op": "not", "args": [term]}


def _filter_of(body: SearchBody) -> list[Any]:
    """The caller's own filter as CQL2 JSON; it has been read before. Raises for one that is too deep for the catalog:
    on every page, as on the pages after the first there is a level around it.
    """
    found = _stated(body)
    for each in found:
        require_depth(each, DEEPEST)
    return found


def _stated(body: SearchBody) -> list[Any]:
    old = [] if body.query is None else [oldquery.as_cql2(body.query)]
    if isinstance(body.filter, str):
        parse = cql2.parse_text if body.filter_lang == "cql2-text" else cql2.parse_json
        return [*old, parse(body.filter).to_json()]
    return old if body.filter is None else [*old, body.filter]


@asynccontextmanager
async def catalog_client(
    catalog: ASGIApp, headers: Mapping[str, str], state: Mapping[str, Any]
) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the catalog inside this process, with the caller's own login."""

    async def inside(scope: Scope, receive: Receive, send: Send) -> None:
        await catalog({**scope, "root_path": "/catalog", "state": dict(state)}, receive, send)

    kept = {name: headers[name] for name in _PASSED_ON if name in headers}
    transport = httpx.ASGITransport(app=inside, raise_app_exceptions=False)
    async with httpx.AsyncClient(transport=transport, base_url=_INTERNAL, headers=kept) as http:
        yield http
