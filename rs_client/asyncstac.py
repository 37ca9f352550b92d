"""Stations and catalog for asyncio: searches, items and collections, from the same conversations."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any, ClassVar

from pystac_client import ItemSearch

from rs_client import display
from rs_client.asynchttp import AsyncHttp
from rs_client.flow import Flow, Server, read
from rs_client.stac import (
    Item,
    StacClient,
    StationClient,
    StationList,
    collections_at,
    collections_of,
    own_address,
    stated,
    stations_of,
    understood,
)

_USES = (
    ("search it", 'async for item in s.{name}.search(datetime="2024-11-14")'),
    ("its collections", "await s.{name}.collections()"),
)


class AsyncStac:
    """One of the platform's STAC services: searches, items by their ids, and collections, which are documents."""

    KIND: ClassVar[type[StacClient]]
    """The same service without asyncio."""

    def __init__(self, http: AsyncHttp) -> None:
        self._http = http
        self._url = ""

    async def search(self, **parameters: Any) -> AsyncIterator[Item]:
        """The items that a search finds, page by page; parameters as without asyncio.

        Raises ``Invalid`` for parameters that make no sense.
        """
        url = f"{await self._opened()}/search"
        search = stated(ItemSearch, understood(self.KIND.WORDS, parameters), url)
        left = search._max_items if search._max_items is not None else -1  # noqa: SLF001 - told in no other way
        request: _Request | None = {"href": url, "method": search.method, "body": search.get_parameters()}
        while request is not None and left:
            page, request = await self._http.run(_page(self._http.server, request))
            for document in page["features"]:
                if left == 0:
                    return
                left -= 1
                yield Item.from_dict(document, preserve_dict=False)

    async def _opened(self) -> str:
        """The address that the service calls its own, which its links lead to."""
        if not self._url:
            landing = await self._http.get(f"{self.KIND.PATH}/")
            self._url = own_address(landing, f"{self._http.server_url}{self.KIND.PATH}/").rstrip("/")
            self._http.server.also_at(self._url)
        return self._url

    async def item(self, collection: str, item_id: str) -> Item:
        """One item by its id; ``NotFound`` if there is none, or you may not see it."""
        return Item.from_dict(await self._http.get(f"{self.KIND.PATH}/collections/{collection}/items/{item_id}"))

    async def collections(self) -> list[dict[str, Any]]:
        """The collections that you may read, as documents."""
        return await self._http.run(collections_of(self._http.server, f"{await self._opened()}/collections"))

    async def get_collection(self, collection_id: str) -> dict[str, Any]:
        """One collection, as a document; ``NotFound`` if there is none, or you may not see it."""
        found: dict[str, Any] = await self._http.get(f"{self.KIND.PATH}/collections/{collection_id}")
        return found

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._http.server_url}{self.KIND.PATH}/>"

    def _repr_html_(self) -> str:
        name = self.KIND.PATH.strip("/")
        uses = [(what, call.format(name=name)) for what, call in _USES]
        return display.card([(name, f"{self._http.server_url}{self.KIND.PATH}/"), *uses])


class AsyncStation(AsyncStac):
    """A kind of station, whose collections belong to one station each."""

    KIND: ClassVar[type[StationClient]]

    async def stations(self) -> StationList:
        """The stations that you may read, and the collections of each."""
        return stations_of(await self.collections())

    async def search(self, *, station: str | None = None, **parameters: Any) -> AsyncIterator[Item]:
        """The items that a search finds, page by page, at one ``station`` if you name it; else as without asyncio.

        Raises ``Invalid`` for parameters that make no sense, and for a station that you do not see.
        """
        if station is not None:
            parameters = {"collections": collections_at(station, await self.stations()), **parameters}
        async for item in super().search(**parameters):
            yield item


type _Request = dict[str, Any]
"""What a page is asked for with: ``href``, ``method``, and ``body``, which are the parameters of a GET."""


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
