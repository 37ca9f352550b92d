"""What is searched together: each station that the caller may read, and the catalog."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any, Protocol

import cql2
import httpx
import orjson
from starlette.types import ASGIApp, Receive, Scope, Send

from rs_server.discovery.merge import Hit, Position, Side, Start
from rs_server.errors import BadInput, Unavailable
from rs_server.stations import instants, oldquery
from rs_server.stations.client import Stations
from rs_server.stations.model import StationKind
from rs_server.stations.odata import SortKey
from rs_server.stations.paging import Cursor
from rs_server.stations.requests import SearchBody
from rs_server.stations.search import SearchRequest

CATALOG = "catalog"

_AFTER_ALL = "\uffff"  # no collection's name comes after it
_PASSED_ON = ("authorization", "x-api-key", "cookie")
_INTERNAL = "http://catalog.internal"  # an address that never leaves the process


class Source(Protocol):
    """One of them."""

    @property
    def name(self) -> str:
        """Its name in tokens and warnings."""
        ...

    async def hits(self, count: int, start: Start | None) -> list[Hit]:
        """Its first rows after a place, or those before one, nearest first."""
        ...

    async def items(self, hits: Sequence[Hit]) -> list[dict[str, Any]]:
        """The items of some of its rows."""
        ...


@dataclass(frozen=True, slots=True)
class StationSource:
    """The collections of one station."""

    station: str
    kind: StationKind
    collections: tuple[str, ...]
    request: SearchRequest
    stations: Stations

    @property
    def name(self) -> str:
        """Kind and name of the station."""
        return f"{self.kind.name}:{self.station}"

    async def hits(self, count: int, start: Start | None) -> list[Hit]:
        """Its first rows after a place, or those before one, nearest first."""
        asked = replace(self.request, cursor=_cursor(start), limit=count)
        rows = await self.stations.rows(self.kind.name, asked, self.collections)
        cursors = [row.cursor(asked.order, backwards=False) for row in rows]
        return [
            Hit(self.name, _micros(cursor.values[0]), (cursor.values, cursor.collection, cursor.id), row)
            for cursor, row in zip(cursors, rows, strict=True)
        ]

    async def items(self, hits: Sequence[Hit]) -> list[dict[str, Any]]:
        """The items of some of its rows."""
        return await self.stations.features(self.kind.name, [hit.row for hit in hits])


@dataclass(frozen=True, slots=True)
class CatalogSource:
    """The collections of the catalog, asked as the caller and over its own API."""

    http: httpx.AsyncClient
    body: SearchBody
    descending: bool

    @property
    def name(self) -> str:
        """There is but one."""
        return CATALOG

    async def hits(self, count: int, start: Start | None) -> list[Hit]:
        """Its first items after a place, or those before one, nearest first."""
        answer = await self.http.post("/catalog/search", json=self._asked(count, start))
        if answer.status_code == HTTPStatus.BAD_REQUEST:
            raise BadInput(f"the catalog cannot search so: {answer.json().get('detail', '')}")
        if answer.is_error:
            raise Unavailable(f"the catalog answered {answer.status_code}", hint="try again in a few seconds")
        return [self._hit(item) for item in orjson.loads(answer.content)["features"]]

    async def items(self, hits: Sequence[Hit]) -> list[dict[str, Any]]:
        """They came along."""
        return [hit.row for hit in hits]

    def _asked(self, count: int, start: Start | None) -> dict[str, Any]:
        names = {"collections", "ids", "bbox", "intersects", "datetime"}
        stated = self.body.model_dump(mode="json", include=names, exclude_none=True)
        backwards = start is not None and start[0] is not Side.AFTER
        order = {"datetime": self.descending is not backwards, "collection": backwards, "id": backwards}
        # Up to its last item is what a catalog has at all.
        beyond = [] if start is None or start[0] is Side.UP_TO else [_beyond(start[1], order)]
        terms = [*_filter_of(self.body), *beyond]
        condition = {"op": "and", "args": terms} if len(terms) > 1 else terms[0] if terms else None
        return {
            **stated,
            **({"filter": condition, "filter-lang": "cql2-json"} if condition else {}),
            "sortby": [
                {"field": name, "direction": "desc" if descending else "asc"} for name, descending in order.items()
            ],
            "limit": count,
        }

    def _hit(self, item: dict[str, Any]) -> Hit:
        properties = item["properties"]
        moment = properties.get("datetime") or properties.get("start_datetime")
        return Hit(CATALOG, _micros(moment), (moment, item["collection"], item["id"]), item)


def _filter_of(body: SearchBody) -> list[Any]:
    """The caller's own filter as CQL2 JSON; it has been read before."""
    old = [] if body.query is None else [oldquery.as_cql2(body.query)]
    if isinstance(body.filter, str):
        parse = cql2.parse_text if body.filter_lang == "cql2-text" else cql2.parse_json
        return [*old, parse(body.filter).to_json()]
    return old if body.filter is None else [*old, body.filter]


def _cursor(start: Start | None) -> Cursor | None:
    """The place as a station's search has it."""
    if start is None:
        return None
    side, (values, collection, item_id) = start
    if side is Side.UP_TO:
        return Cursor(tuple(values), _AFTER_ALL, "", backwards=True)
    return Cursor(tuple(values), collection, item_id, backwards=side is Side.BEFORE)


def _beyond(place: Position, order: Mapping[str, bool]) -> dict[str, Any]:
    """What comes after an item in an order; ``order``: whether it goes down, by name."""
    moment, collection, item_id = place
    at = {"timestamp": instants.utc(moment)}

    def beyond(name: str, value: Any) -> dict[str, Any]:
        return {"op": "<" if order[name] else ">", "args": [{"property": name}, value]}

    def equal(name: str, value: Any) -> dict[str, Any]:
        return {"op": "=", "args": [{"property": name}, value]}

    def either(*terms: Any) -> dict[str, Any]:
        return {"op": "or", "args": list(terms)}

    def both(*terms: Any) -> dict[str, Any]:
        return {"op": "and", "args": list(terms)}

    tie = either(beyond("collection", collection), both(equal("collection", collection), beyond("id", item_id)))
    return either(beyond("datetime", at), both(equal("datetime", at), tie))


def datetime_order(kind: StationKind, *, descending: bool) -> tuple[SortKey, ...]:
    """The order that all sources share."""
    return (SortKey(kind.by_name["datetime"], descending=descending),)


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


def _micros(moment: Any) -> int | None:
    return None if moment is None else instants.micros(str(moment))
