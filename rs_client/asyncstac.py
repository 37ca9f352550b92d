"""Stations and catalog for asyncio: searches, items and collections, from the same conversations."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Any, ClassVar, Unpack, cast

from pystac_client import ItemSearch

from rs_client import display
from rs_client.flow import Flow, Server, read
from rs_client.stac import (
    Item,
    ItemCollection,
    ItemList,
    StacClient,
    StationClient,
    StationList,
    collections_at,
    collections_of,
    items_of,
    own_address,
    stated,
    stations_of,
    understood,
)

if TYPE_CHECKING:
    from rs_client.aio import AsyncRsClient
    from rs_client.jobs import AsyncJob
    from rs_client.staging import StagingOptions

_USES = (
    ("search it", 'async for item in s.{name}.search(datetime="2024-11-14")'),
    ("its collections", "await s.{name}.collections()"),
)


class AsyncSearch:
    """A lazy search, as ``Search``: nothing is asked before you look. ``async for`` goes through its items.

    Whatever looks raises ``Invalid`` for parameters that make no sense, and for a station that you do not see.
    """

    def __init__(
        self, session: AsyncRsClient, asked: Mapping[str, Any], state: Callable[[], Awaitable[ItemSearch]]
    ) -> None:
        self._session, self._asked, self._stated = session, asked, state

    def __aiter__(self) -> AsyncIterator[Item]:
        return self.items()

    async def items(self) -> AsyncGenerator[Item]:
        """The items, page by page."""
        async for page in self.pages():
            for item in page.items:
                yield cast("Item", item)

    async def pages(self) -> AsyncGenerator[ItemCollection]:
        """The items, a page at a time."""
        search, http = await self._stated(), self._session.http
        left = search._max_items  # noqa: SLF001 - told in no other way
        request: _Request | None = _first(search)
        while request is not None and left != 0:
            page, request = await http.run(_page(http.server, request))
            found = items_of({**page, "features": page["features"][:left]})
            left = None if left is None else left - len(found)
            yield found

    async def item_collection(self) -> ItemCollection:
        """All items at once; each call asks the server again."""
        return ItemCollection([item async for item in self.items()], clone_items=False)

    async def matched(self) -> int | None:
        """How many items there are in all; ``None`` where the server does not count, as stations do not."""
        search, http = await self._stated(), self._session.http
        page, _ = await http.run(_page(http.server, _first(search, limit=1)))
        return cast("int | None", page.get("numberMatched"))

    async def first(self, count: int = 1) -> ItemList:
        """The first ``count`` items, or as many as there are."""
        found = ItemList()
        async with aclosing(self.items()) as items:
            while len(found) < count and (item := await anext(items, None)) is not None:
                found.append(item)
        return found

    async def stage(self, to: str, **options: Unpack[StagingOptions]) -> AsyncJob:
        """Bring what it finds into a collection; returns at once. ``Invalid`` when it finds nothing."""
        return await self._session.stage(self, to, **options)

    async def process(self, processor: str, to: str | None = None, **inputs: Any) -> AsyncJob:
        """Run a processor on what it finds; returns at once. ``Invalid`` when it finds nothing."""
        return await self._session.process(processor, self, to, **inputs)

    def __repr__(self) -> str:
        return f"<AsyncSearch {json.dumps(self._asked, default=str)}>"

    def _repr_html_(self) -> str:
        uses = [("look at it", "await hits.first(10)"), ("bring it", 'await hits.stage(to="…")')]
        return display.card([("search", self._session.server_url), *self._asked.items(), *uses])


class AsyncStac:
    """One of the platform's STAC services: searches, items by their ids, and collections, which are documents."""

    KIND: ClassVar[type[StacClient]]
    """The same service without asyncio."""

    def __init__(self, session: AsyncRsClient) -> None:
        self.session = session
        self._url = ""

    def search(self, **parameters: Any) -> AsyncSearch:
        """Search lazily; parameters as without asyncio."""
        return AsyncSearch(self.session, parameters, lambda: self._stated(parameters))

    async def _stated(self, parameters: Mapping[str, Any]) -> ItemSearch:
        """A search of ``pystac_client``."""
        return stated(ItemSearch, understood(self.KIND.WORDS, parameters), f"{await self._opened()}/search")

    async def _opened(self) -> str:
        """The address that the service calls its own, which its links lead to."""
        http = self.session.http
        if not self._url:
            landing = await http.get(f"{self.KIND.PATH}/")
            self._url = own_address(landing, f"{http.server_url}{self.KIND.PATH}/").rstrip("/")
            http.server.also_at(self._url)
        return self._url

    async def item(self, collection: str, item_id: str) -> Item:
        """One item by its id; ``NotFound`` if there is none, or you may not see it."""
        return Item.from_dict(await self.session.http.get(f"{self.KIND.PATH}/collections/{collection}/items/{item_id}"))

    async def collections(self) -> list[dict[str, Any]]:
        """The collections that you may read, as documents."""
        http = self.session.http
        return await http.run(collections_of(http.server, f"{await self._opened()}/collections"))

    async def get_collection(self, collection_id: str) -> dict[str, Any]:
        """One collection, as a document; ``NotFound`` if there is none, or you may not see it."""
        found: dict[str, Any] = await self.session.http.get(f"{self.KIND.PATH}/collections/{collection_id}")
        return found

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.session.server_url}{self.KIND.PATH}/>"

    def _repr_html_(self) -> str:
        name = self.KIND.PATH.strip("/")
        uses = [(what, call.format(name=name)) for what, call in _USES]
        return display.card([(name, f"{self.session.server_url}{self.KIND.PATH}/"), *uses])


class AsyncStation(AsyncStac):
    """A kind of station, whose collections belong to one station each."""

    KIND: ClassVar[type[StationClient]]

    async def stations(self) -> StationList:
        """The stations that you may read, and the collections of each."""
        return stations_of(await self.collections())

    def search(self, *, station: str | None = None, **parameters: Any) -> AsyncSearch:
        """Search lazily, at one ``station`` if you name it; parameters as without asyncio."""
        if station is None:
            return super().search(**parameters)

        async def at_station() -> ItemSearch:
            return await self._stated({"collections": collections_at(station, await self.stations()), **parameters})

        return AsyncSearch(self.session, {"station": station, **parameters}, at_station)


type _Request = dict[str, Any]
"""What a page is asked for with: ``href``, ``method``, and ``body``, which are the parameters of a GET."""


def _first(search: ItemSearch, **more: Any) -> _Request:
    """What the first page of a search is asked for with."""
    return {"href": search.url, "method": search.method, "body": {**search.get_parameters(), **more}}


def _page(server: Server, request: _Request) -> Flow[tuple[dict[str, Any], _Request | None]]:
    """One page of a search, and what the next is asked for with."""
    body = {"json": request["body"]} if request["method"] == "POST" else {"params": request["body"]}
    page: dict[str, Any] = read((yield from server.again(request["method"], request["href"], **body)))
    following = next((link for link in page.get("links", ()) if link["rel"] == "next"), None)
    if following is None or not page["features"]:
        return page, None
    stated = following.get("body") or {}
    merged = {**(request["body"] or {}), **stated} if following.get("merge") else stated
    return page, {"href": following["href"], "method": following.get("method", "GET"), "body": merged}
