"""`connect_async()`: the same session for asyncio, from the same conversations."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any, Self

from rs_client.asynchttp import AsyncHttp
from rs_client.auth import Auth, NoLogin, choose, without_issuer
from rs_client.execution import Items, addresses, execute
from rs_client.flow import Flow, Server, read
from rs_client.http import Http
from rs_client.session import User, address, issuer_of
from rs_client.settings import Settings
from rs_client.staging import PROCESS as STAGING

if TYPE_CHECKING:
    import xarray as xr

    from rs_client.jobs import AsyncJob
    from rs_client.stac import Item

_SERVICES = ("cadip", "auxip", "prip", "lta", "catalog")


class AsyncStac:
    """One of the platform's STAC services: search, and items by their ids."""

    def __init__(self, http: AsyncHttp, name: str) -> None:
        self._http, self._name = http, name
        self._url = ""

    async def search(self, *, station: str | None = None, **parameters: Any) -> AsyncIterator[Item]:
        """The items that a search finds, page by page; parameters as without asyncio.

        Raises ``Invalid`` for parameters that make no sense, and for a station that you do not see.
        """
        from pystac_client import ItemSearch

        from rs_client.stac import Item, collections_at, stated, stations_of, understood

        if station is not None:
            here = collections_at(station, stations_of(await self.collections()))
            parameters = {"collections": here, **parameters}
        url = f"{await self._opened()}/search"
        search = stated(ItemSearch, understood(_words(self._name), parameters), url)
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
        from rs_client.stac import own_address

        if not self._url:
            here = f"{self._http.server_url}/{self._name}/"
            self._url = own_address(await self._http.get(f"/{self._name}/"), here).rstrip("/")
            self._http.server.also_at(self._url)
        return self._url

    async def item(self, collection: str, item_id: str) -> Item:
        """One item by its id; ``NotFound`` if there is none, or you may not see it."""
        from rs_client.stac import Item

        return Item.from_dict(await self._http.get(f"/{self._name}/collections/{collection}/items/{item_id}"))

    async def collections(self) -> list[dict[str, Any]]:
        """The collections that you may read, as documents."""
        return await self._http.run(_collections(self._http.server, f"{await self._opened()}/collections"))

    def __repr__(self) -> str:
        return f"<AsyncStac {self._http.server_url}/{self._name}/>"


class AsyncRsClient:
    """A session with the platform for asyncio; ``async with`` closes it. Raises as ``RsClient`` does."""

    cadip: AsyncStac
    auxip: AsyncStac
    prip: AsyncStac
    lta: AsyncStac
    catalog: AsyncStac

    def __init__(self, http: AsyncHttp) -> None:
        self.http = http
        self._blocking: Http | None = None
        for name in _SERVICES:
            setattr(self, name, AsyncStac(http, name))

    @property
    def server_url(self) -> str:
        """Where rs-server is."""
        return self.http.server_url

    async def stage(self, items: Items, to: str) -> AsyncJob:
        """Bring items of a station into a collection; see ``StagingClient.stage``."""
        return await self._executed(STAGING, items, to)

    async def process(self, processor: str, items: Items, to: str | None = None, **inputs: Any) -> AsyncJob:
        """Run a processor on staged items; see ``DprClient.run``."""
        return await self._executed(processor, items, to, **inputs)

    async def _executed(self, process: str, items: Items, to: str | None, **inputs: Any) -> AsyncJob:
        from rs_client.jobs import AsyncJob

        return AsyncJob(self, await self.http.run(execute(self.http.server, process, addresses(items), to, inputs)))

    async def job(self, job_id: str) -> AsyncJob:
        """A job by its id; ``NotFound`` if it is not yours."""
        from rs_client.jobs import AsyncJob

        return AsyncJob(self, await self.http.get(f"/jobs/{job_id}"))

    async def jobs(self, limit: int = 100) -> list[AsyncJob]:
        """Your jobs, the newest first; at most ``limit`` of them (1 to 1000)."""
        from rs_client.jobs import AsyncJob

        return [AsyncJob(self, document) for document in (await self.http.get("/jobs", limit=limit))["jobs"]]

    async def open(self, item: Item) -> xr.DataTree:
        """The product of a catalog item, lazily; see ``Item.open``. What blocks runs in a thread."""
        from rs_client.storage import Storage

        self._blocking = self._blocking or Http(self.server_url, self.http.auth)
        return await asyncio.to_thread(Storage(self._blocking).open, item)

    async def whoami(self) -> User:
        """Who you are to the server."""
        return User.of(await self.http.get("/auth/me"))

    async def close(self) -> None:
        """Close the connections."""
        if self._blocking is not None:
            self._blocking.close()
        await self.http.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def __repr__(self) -> str:
        return f"<AsyncRsClient {self.server_url}>"


async def connect_async(server_url: str | None = None, *, auth: Auth | None = None) -> AsyncRsClient:
    """Open a session for asyncio; finds the platform and your way in as ``connect`` does, and raises as it."""
    settings = Settings.here()
    http = AsyncHttp(address(server_url, settings), auth or without_issuer(settings) or NoLogin())
    if auth is None and isinstance(http.auth, NoLogin):
        http.auth = choose(settings, settings.issuer or await http.run(issuer_of(http.server)))
    return AsyncRsClient(http)


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


def _collections(server: Server, url: str) -> Flow[list[dict[str, Any]]]:
    """The collections of all pages."""
    found: list[dict[str, Any]] = []
    while url:
        page = yield from server.get(url)
        found += page["collections"]
        url = next((link["href"] for link in page.get("links", ()) if link["rel"] == "next"), "")
    return found


def _words(name: str) -> dict[str, str]:
    from rs_client.auxip import AuxipClient
    from rs_client.cadip import CadipClient
    from rs_client.catalog import CatalogClient
    from rs_client.lta import LtaClient
    from rs_client.prip import PripClient

    kinds = {kind.PATH: kind.WORDS for kind in (CadipClient, AuxipClient, PripClient, LtaClient, CatalogClient)}
    return dict(kinds[f"/{name}"])
