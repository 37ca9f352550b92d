"""Items where they come from, a station or the catalog: one by its address, many by a search, as far as rights go."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from typing import Any, Protocol

from rs_server.access import policy
from rs_server.access.guards import require, require_visible
from rs_server.access.policy import Principal, Right, Service
from rs_server.catalog import filters
from rs_server.catalog.names import CollectionName, resolve
from rs_server.errors import BadInput, NotFound
from rs_server.processes.references import Reference
from rs_server.staging.inputs import Search
from rs_server.stations import oldquery
from rs_server.stations.client import Page
from rs_server.stations.kinds import KINDS
from rs_server.stations.paging import Cursor
from rs_server.stations.requests import SearchBody
from rs_server.stations.search import SearchRequest
from rs_server.stations.station import Collection

_PAGE_ITEMS = 200
_SOLID = 6  # numbers of a box that has heights
_CONDITIONS = frozenset({"filter", "filter-lang", "filter-crs", "query"})
_NEVER = {"op": "=", "args": [{"property": "id"}, ""]}
SESSIONS_AT_ONCE = 16  # each is asked for by itself, or its quality records: a slow station takes seconds for so many

Found = tuple[Reference, dict[str, Any]]
_Page = tuple[list[dict[str, Any]], str | None]


@dataclass(frozen=True, slots=True)
class FoundPage:
    """Some of what a search finds; ``after`` names the page that comes next, None: there is none."""

    found: list[Found]
    after: str | None


class Stations(Protocol):
    """What finding needs of the stations."""

    async def item(self, service: str, collection: str, item_id: str) -> dict[str, Any]:
        """The STAC item; ``NotFound``."""
        ...

    def station_of(self, service: str, collection: str) -> str:
        """The station that a collection belongs to; ``NotFound``."""
        ...

    def collections(self, service: str) -> list[Collection]:
        """The collections of one kind of station."""
        ...

    async def search(self, service: str, request: SearchRequest, collections: Sequence[str]) -> Page:
        """One page."""
        ...


class Catalog(Protocol):
    """What finding needs of the catalog."""

    async def item(self, collection_id: str, item_id: str) -> dict[str, Any]:
        """An item; ``NotFound``."""
        ...

    async def search(self, body: Mapping[str, Any], collections: Sequence[str]) -> dict[str, Any]:
        """One page of a search."""
        ...

    async def collection_ids(self) -> list[str]:
        """The ids of all collections."""
        ...


@dataclass(frozen=True, slots=True)
class Finder:
    """Finds what may be staged."""

    stations: Stations
    catalog: Catalog

    def permit(self, who: Principal, source: Reference) -> Reference:
        """The same item by its full name; an error unless the caller may fetch it."""
        if source.service == Service.CATALOG:
            name = resolve(source.collection, who)
            require_visible(who, Service.CATALOG, name.resource, f"item {source.path}")
            require(who, Right.DOWNLOAD, Service.CATALOG, name.resource)
            return replace(source, collection=name.full)
        if source.service not in KINDS:
            raise BadInput(f"{source.path} is neither an item of a station nor of the catalog")
        service = Service(source.service)
        station = self.stations.station_of(source.service, source.collection)
        require_visible(who, service, station, f"item {source.path}")
        require(who, Right.DOWNLOAD, service, station)
        return source

    def station_of(self, source: Reference) -> str:
        """The station that an item is fetched from; empty for the catalog."""
        catalog = source.service == Service.CATALOG
        return "" if catalog else self.stations.station_of(source.service, source.collection)

    async def one(self, source: Reference) -> dict[str, Any]:
        """An item; ``NotFound``."""
        if source.service == Service.CATALOG:
            return await self.catalog.item(source.collection, source.item)
        return await self.stations.item(source.service, source.collection, source.item)

    async def collections(self, who: Principal, search: Search) -> list[str]:
        """The collections of a search that the caller may fetch from; ``NotFound`` when there are none."""
        if search.service == "catalog":
            found = await self._of_catalog(who, search)
        else:
            found = self._of_stations(who, search)
        if not found:
            raise NotFound("the search is about no collection that you may download from")
        return found

    async def check(self, who: Principal, search: Search) -> None:
        """An error when a search can never find what the caller may fetch; ``BadInput`` for what is not understood.

        That of a station is read by us; that of the catalog is asked for, as only the catalog itself reads it.
        """
        collections = await self.collections(who, search)
        if search.service == "catalog":
            await self.catalog.search({**as_stored(search), "limit": 1}, collections)

    async def pages(self, who: Principal, search: Search, begin: str | None = None) -> AsyncIterator[FoundPage]:
        """All that a search finds and the caller may fetch, page by page, from the page on that one before named."""
        collections = await self.collections(who, search)
        look = self._in_catalog if search.service == "catalog" else self._in_stations
        async for items, after in look(search, collections, begin):
            yield FoundPage(
                [(Reference(search.service, each["collection"], each["id"]), each) for each in items], after
            )

    async def _in_stations(self, search: Search, collections: Sequence[str], begin: str | None) -> AsyncIterator[_Page]:
        most = SESSIONS_AT_ONCE if search.service == "cadip" else _PAGE_ITEMS
        request = replace(understood(search), limit=most, cursor=_cursor(begin) if begin else None)
        while True:
            page = await self.stations.search(search.service, request, collections)
            yield page.items, json.dumps(astuple(page.next)) if page.next else None
            if page.next is None:
                return
            request = replace(request, cursor=page.next)

    async def _in_catalog(self, search: Search, collections: Sequence[str], begin: str | None) -> AsyncIterator[_Page]:
        asked, token = {**as_stored(search), "limit": _PAGE_ITEMS}, begin
        while True:
            body = {**asked, **({"token": token} if token else {})}
            page = await self.catalog.search(body, collections)
            after = next((link["href"] for link in page["links"] if link["rel"] == "next"), None)
            token = after and after.partition("token=")[2]
            yield page["features"], token
            if token is None:
                return

    def _of_stations(self, who: Principal, search: Search) -> list[str]:
        service = Service(search.service)
        understood(search)
        wanted = search.body.get("collections")
        of_station = {
            collection.id: collection.station
            for collection in self.stations.collections(search.service)
            if wanted is None or collection.id in wanted
        }
        return [
            name
            for name, station in of_station.items()
            if policy.allows(who, Right.READ, service, station) and policy.allows(who, Right.DOWNLOAD, service, station)
        ]

    async def _of_catalog(self, who: Principal, search: Search) -> list[str]:
        wanted = search.body.get("collections")
        names = (
            [CollectionName.parse(name) for name in await self.catalog.collection_ids()]
            if wanted is None
            else [resolve(name, who) for name in wanted]
        )
        return [
            name.full
            for name in names
            if policy.allows(who, Right.READ, Service.CATALOG, name.resource)
            and policy.allows(who, Right.DOWNLOAD, Service.CATALOG, name.resource)
        ]


def _cursor(written: str) -> Cursor:
    values, *others = json.loads(written)
    return Cursor(tuple(values), *others)


def understood(search: Search) -> SearchRequest:
    """A search of a station, every part of it understood; ``BadInput`` names the part that is not."""
    if search.service not in KINDS:
        raise BadInput(f"this server has no stations of the kind {search.service}")
    return SearchBody.model_validate(search.body).understood(KINDS[search.service])


def as_stored(search: Search) -> dict[str, Any]:
    """A search of the catalog in the words of the database, to find what the catalog's own routes do; ``BadInput``."""
    body = {name: value for name, value in search.body.items() if name not in _CONDITIONS}
    if len(box := body.get("bbox") or ()) == _SOLID:
        body["bbox"] = [*box[:2], *box[3:5]]  # items lie on the ground
    terms = [*_conditions(search.body)]
    if not terms:
        return body
    whole = filters.calculated(filters.checked(terms[0] if len(terms) == 1 else {"op": "and", "args": terms}))
    if whole is True:
        return body
    return {**body, "filter": whole or _NEVER, "filter-lang": "cql2-json"}


def _conditions(body: Mapping[str, Any]) -> Iterator[Any]:
    if (query := body.get("query")) is not None:
        yield oldquery.as_cql2(query)
    if isinstance(given := body.get("filter"), str):
        yield filters.parsed(given, body.get("filter-lang"))
    elif given is not None:
        yield given
