"""`connect_async()`: the same session for asyncio, from the same conversations."""

from __future__ import annotations

import asyncio
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self, Unpack

from rs_client import display
from rs_client.asynchttp import AsyncHttp
from rs_client.auth import Auth, NoLogin, choose, without_issuer
from rs_client.execution import AsyncItems
from rs_client.http import Http
from rs_client.session import User, address, issuer_of
from rs_client.settings import Settings

if TYPE_CHECKING:
    import xarray as xr

    from rs_client.auxip import AsyncAuxipClient
    from rs_client.cadip import AsyncCadipClient
    from rs_client.catalog import AsyncCatalogClient
    from rs_client.dpr import AsyncDprClient
    from rs_client.jobs import AsyncJob, AsyncJobList
    from rs_client.keys import AsyncKeyClient
    from rs_client.lta import AsyncLtaClient
    from rs_client.prip import AsyncPripClient
    from rs_client.stac import Item
    from rs_client.staging import AsyncStagingClient, StagingOptions


_PARTS = (
    ("stations", "s.cadip, s.auxip, s.prip, s.lta"),
    ("and", "s.catalog, s.staging, s.dpr, s.keys, await s.jobs()"),
)


class AsyncRsClient:
    """A session with the platform for asyncio; ``async with`` closes it. Raises as ``RsClient`` does."""

    def __init__(self, http: AsyncHttp) -> None:
        self.http = http
        self._blocking: Http | None = None

    @property
    def server_url(self) -> str:
        """Where rs-server is."""
        return self.http.server_url

    @cached_property
    def cadip(self) -> AsyncCadipClient:
        """Raw downlink sessions at the CADIP stations."""
        from rs_client.cadip import AsyncCadipClient

        return AsyncCadipClient(self)

    @cached_property
    def auxip(self) -> AsyncAuxipClient:
        """Auxiliary files at the AUXIP stations."""
        from rs_client.auxip import AsyncAuxipClient

        return AsyncAuxipClient(self)

    @cached_property
    def prip(self) -> AsyncPripClient:
        """Fresh products at the PRIP stations."""
        from rs_client.prip import AsyncPripClient

        return AsyncPripClient(self)

    @cached_property
    def lta(self) -> AsyncLtaClient:
        """Products in the long-term archives."""
        from rs_client.lta import AsyncLtaClient

        return AsyncLtaClient(self)

    @cached_property
    def catalog(self) -> AsyncCatalogClient:
        """The catalog."""
        from rs_client.catalog import AsyncCatalogClient

        return AsyncCatalogClient(self)

    @cached_property
    def staging(self) -> AsyncStagingClient:
        """From stations into object storage."""
        from rs_client.staging import AsyncStagingClient

        return AsyncStagingClient(self)

    @cached_property
    def dpr(self) -> AsyncDprClient:
        """Processors on Dask."""
        from rs_client.dpr import AsyncDprClient

        return AsyncDprClient(self)

    @cached_property
    def keys(self) -> AsyncKeyClient:
        """Your API keys."""
        from rs_client.keys import AsyncKeyClient

        return AsyncKeyClient(self)

    async def stage(self, items: AsyncItems, to: str, **options: Unpack[StagingOptions]) -> AsyncJob:
        """Bring items of a station into a collection; the same as ``staging.stage``."""
        return await self.staging.stage(items, to, **options)

    async def process(self, processor: str, items: AsyncItems, to: str | None = None, **inputs: Any) -> AsyncJob:
        """Run a processor on staged items; the same as ``dpr.run``."""
        return await self.dpr.run(processor, items, to, **inputs)

    async def job(self, job_id: str) -> AsyncJob:
        """A job by its id; ``NotFound`` if it is not yours."""
        from rs_client.jobs import AsyncJob

        return AsyncJob(self, await self.http.get(f"/jobs/{job_id}"))

    async def jobs(self, limit: int = 100) -> AsyncJobList:
        """Your jobs, the newest first; at most ``limit`` of them (1 to 1000)."""
        from rs_client.jobs import AsyncJob, AsyncJobList

        return AsyncJobList(
            AsyncJob(self, document) for document in (await self.http.get("/jobs", limit=limit))["jobs"]
        )

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

    def _repr_html_(self) -> str:
        return display.card([("server", self.server_url), ("who you are", "await s.whoami()"), *_PARTS])


async def connect_async(server_url: str | None = None, *, auth: Auth | None = None) -> AsyncRsClient:
    """Open a session for asyncio; finds the platform and your way in as ``connect`` does, and raises as it."""
    settings = Settings.here()
    http = AsyncHttp(address(server_url, settings), auth or without_issuer(settings) or NoLogin())
    if auth is None and isinstance(http.auth, NoLogin):
        http.auth = choose(settings, settings.issuer or await http.run(issuer_of(http.server)))
    return AsyncRsClient(http)
