"""`connect()`: one session with the platform, from wherever you are."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import httpx

from rs_client import display
from rs_client.auth import Auth, choose
from rs_client.errors import NotConfigured, ServiceUnavailable
from rs_client.http import TIMEOUT, Http

if TYPE_CHECKING:
    from rs_client.auxip import AuxipClient
    from rs_client.cadip import CadipClient
    from rs_client.catalog import CatalogClient
    from rs_client.dpr import DprClient
    from rs_client.jobs import Job
    from rs_client.staging import StagingClient
    from rs_client.storage import Storage


@dataclass(frozen=True, slots=True)
class User:
    """Who you are to the platform."""

    login: str
    roles: tuple[str, ...]
    groups: tuple[str, ...]


class RsClient:
    """A session with the platform; its parts open when they are first used."""

    def __init__(self, http: Http) -> None:
        self._http = http

    @property
    def server_url(self) -> str:
        """Where rs-server is."""
        return self._http.server_url

    @cached_property
    def cadip(self) -> CadipClient:
        """Raw downlink sessions at the CADIP stations."""
        from rs_client.cadip import CadipClient

        return CadipClient.connect(self._http, "/cadip", self._storage)

    @cached_property
    def auxip(self) -> AuxipClient:
        """Auxiliary files at the AUXIP stations."""
        from rs_client.auxip import AuxipClient

        return AuxipClient.connect(self._http, "/auxip", self._storage)

    @cached_property
    def catalog(self) -> CatalogClient:
        """The catalog."""
        from rs_client.catalog import CatalogClient

        return CatalogClient.connect(self._http, "/catalog", self._storage)

    @cached_property
    def staging(self) -> StagingClient:
        """From stations into object storage."""
        from rs_client.staging import StagingClient

        return StagingClient(self._http, self.catalog)

    @cached_property
    def dpr(self) -> DprClient:
        """Processors on Dask."""
        from rs_client.dpr import DprClient

        return DprClient(self._http, self.catalog)

    @cached_property
    def _storage(self) -> Storage:
        from rs_client.storage import Storage

        return Storage(self._http)

    def job(self, job_id: str) -> Job:
        """A job by its id, for coming back to it; ``NotFound`` if it is not yours."""
        from rs_client.jobs import Job

        return Job(self._http, self.catalog, self._http.get(f"/jobs/{job_id}"))

    def jobs(self) -> list[Job]:
        """Your jobs, the newest first."""
        from rs_client.jobs import Job

        return [Job(self._http, self.catalog, document) for document in self._http.get("/jobs")["jobs"]]

    def cluster(self, workers: int = 2) -> Any:
        """A Dask cluster of your own (``dask_gateway.GatewayCluster``); close it when done, or use it in a ``with``.

        Works inside the hub, where the gateway knows you by your server's token; elsewhere raises ``NotConfigured``.
        """
        if "DASK_GATEWAY__ADDRESS" not in os.environ:
            raise NotConfigured("no Dask Gateway is known here", hint="clusters start from a server of the hub")
        from dask_gateway import Gateway  # type: ignore[import-untyped]  # no types there

        cluster = Gateway().new_cluster()
        cluster.scale(workers)
        return cluster

    def whoami(self) -> User:
        """Who you are to the server."""
        me = self._http.get("/auth/me")
        return User(me["login"], tuple(me["roles"]), tuple(me["groups"]))

    def close(self) -> None:
        """Close the connections; a ``with`` does it by itself, and the end of the program too."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<RsClient {self.server_url}>"

    def _repr_html_(self) -> str:
        return display.session(self.server_url, self.whoami())


def connect(server_url: str | None = None, *, auth: Auth | None = None) -> RsClient:
    """Open a session; asks nothing in a hub server or with ``RS_API_KEY``, else for a login in the browser.

    ``server_url`` defaults to ``RS_SERVER_URL``. Raises ``NotConfigured`` when nothing says where the platform is.
    """
    url = server_url or os.environ.get("RS_SERVER_URL")
    if not url:
        raise NotConfigured(
            "nothing says where rs-server is", hint='run eval "$(rs env --user NAME)", or connect("http://…")'
        )
    client = httpx.Client(timeout=TIMEOUT)
    return RsClient(Http(url, auth or choose(os.environ, lambda: _issuer(url, client), client), client))


def _issuer(server_url: str, client: httpx.Client) -> str | None:
    """Where the server's users log in, as its OpenAPI document says."""
    try:
        answer = client.get(f"{server_url.rstrip('/')}/openapi.json")
        answer.raise_for_status()
    except httpx.HTTPError as error:
        raise ServiceUnavailable(f"{server_url} does not answer: {error}", hint="is the platform up?") from error
    login = answer.json().get("components", {}).get("securitySchemes", {}).get("login")
    if login is None:
        return None
    url: str = login["flows"]["authorizationCode"]["authorizationUrl"]
    return url.partition("/protocol/")[0]
