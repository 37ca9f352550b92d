"""`connect()`: one session with the platform, from wherever you are."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self, Unpack

from rs_client import display
from rs_client.auth import Auth, NoLogin, choose, without_issuer
from rs_client.errors import NotConfigured
from rs_client.flow import Flow, Server, document
from rs_client.glance import CARD_S, glance
from rs_client.http import Http
from rs_client.settings import Settings

if TYPE_CHECKING:
    from rs_client.auxip import AuxipClient
    from rs_client.cadip import CadipClient
    from rs_client.catalog import CatalogClient
    from rs_client.dpr import DprClient
    from rs_client.execution import Items
    from rs_client.jobs import Job, JobList
    from rs_client.keys import KeyClient
    from rs_client.lta import LtaClient
    from rs_client.prip import PripClient
    from rs_client.staging import StagingClient, StagingOptions
    from rs_client.storage import Storage


@dataclass(frozen=True, slots=True)
class User:
    """Who you are to the platform; ``via`` says how it knows: bearer, api_key or local.

    ``roles`` are those of the access token, ``rs_SERVICE_RESOURCE_RIGHT``; ``groups`` those of Keycloak.
    """

    login: str
    roles: tuple[str, ...]
    groups: tuple[str, ...]
    via: str = field(default="", compare=False)

    @classmethod
    def of(cls, document: dict[str, Any]) -> User:
        """Read the answer of ``/auth/me``."""
        return cls(document["login"], tuple(document["roles"]), tuple(document["groups"]), document.get("via", ""))

    def _repr_html_(self) -> str:
        return display.user(self)


class RsClient:
    """A session with the platform; its parts open when they are first used. Several threads may share it.

    Whatever asks the server, here and in the parts, raises an ``RsError`` (``rs_client.errors``) for what it answers:
    ``NotAuthenticated``, ``Forbidden``, ``NotFound``, ``Invalid``, ``Conflict``, ``QuotaExceeded`` or
    ``StationUnavailable``; and ``ServiceUnavailable`` or ``Timeout`` when it does not, within 10 s for a connection and
    120 s for the next piece of an answer. Docstrings name what else may happen, and when.
    """

    def __init__(self, http: Http, settings: Settings | None = None) -> None:
        self.http = http
        self._settings = settings or Settings()

    @property
    def server_url(self) -> str:
        """Where rs-server is."""
        return self.http.server_url

    @cached_property
    def cadip(self) -> CadipClient:
        """Raw downlink sessions at the CADIP stations."""
        from rs_client.cadip import CadipClient

        return CadipClient.connect(self)

    @cached_property
    def auxip(self) -> AuxipClient:
        """Auxiliary files at the AUXIP stations."""
        from rs_client.auxip import AuxipClient

        return AuxipClient.connect(self)

    @cached_property
    def prip(self) -> PripClient:
        """Fresh products at the PRIP stations."""
        from rs_client.prip import PripClient

        return PripClient.connect(self)

    @cached_property
    def lta(self) -> LtaClient:
        """Products in the long-term archives."""
        from rs_client.lta import LtaClient

        return LtaClient.connect(self)

    @cached_property
    def catalog(self) -> CatalogClient:
        """The catalog."""
        from rs_client.catalog import CatalogClient

        return CatalogClient.connect(self)

    @cached_property
    def staging(self) -> StagingClient:
        """From stations into object storage."""
        from rs_client.staging import StagingClient

        return StagingClient(self)

    @cached_property
    def dpr(self) -> DprClient:
        """Processors on Dask."""
        from rs_client.dpr import DprClient

        return DprClient(self)

    @cached_property
    def keys(self) -> KeyClient:
        """Your API keys."""
        from rs_client.keys import KeyClient

        return KeyClient(self)

    @cached_property
    def storage(self) -> Storage:
        """What opens products."""
        from rs_client.storage import Storage

        return Storage(self.http)

    # The names of the client before this one, for scripts that were written for it; its README has the others.

    def get_cadip_client(self) -> CadipClient:
        """The same as ``cadip``."""
        return self.cadip

    def get_auxip_client(self) -> AuxipClient:
        """The same as ``auxip``."""
        return self.auxip

    def get_prip_client(self) -> PripClient:
        """The same as ``prip``."""
        return self.prip

    def get_catalog_client(self) -> CatalogClient:
        """The same as ``catalog``."""
        return self.catalog

    def get_staging_client(self) -> StagingClient:
        """The same as ``staging``."""
        return self.staging

    def get_dpr_client(self) -> DprClient:
        """The same as ``dpr``."""
        return self.dpr

    def stage(self, items: Items, to: str, **options: Unpack[StagingOptions]) -> Job:
        """Bring items of a station into a collection; the same as ``staging.stage``."""
        return self.staging.stage(items, to, **options)

    def process(self, processor: str, items: Items, to: str | None = None, **inputs: Any) -> Job:
        """Run a processor on staged items; the same as ``dpr.run``."""
        return self.dpr.run(processor, items, to, **inputs)

    def job(self, job_id: str) -> Job:
        """A job by its id, for coming back to it; ``NotFound`` if it is not yours."""
        from rs_client.jobs import Job

        return Job(self, self.http.get(f"/jobs/{job_id}"))

    def jobs(self, limit: int = 100) -> JobList:
        """Your jobs, the newest first; at most ``limit`` of them (1 to 1000)."""
        from rs_client.jobs import Job, JobList

        return JobList(Job(self, document) for document in self.http.get("/jobs", limit=limit)["jobs"])

    def cluster(self, workers: int = 2) -> Any:
        """A Dask cluster of your own, of so many ``workers``; close it when done, or use it in a ``with``.

        In the hub it is one of the platform's (``dask_gateway.GatewayCluster``), which closes by itself when it was
        idle for long; elsewhere it is one on this machine (``distributed.LocalCluster``). Raises
        ``EnvironmentMismatch`` before any work when it runs other versions than you.
        """
        from rs_client.cluster import open_cluster

        return open_cluster(self._settings, workers)

    def whoami(self) -> User:
        """Who you are to the server."""
        return User.of(self.http.get("/auth/me"))

    def close(self) -> None:
        """Close the connections; a ``with`` does it by itself, and the end of the program too."""
        self.http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<RsClient {self.server_url}>"

    def _repr_html_(self) -> str:
        who = glance(self.http, lambda http: User.of(http.get("/auth/me")), CARD_S / 2)
        parts = glance(self.http, lambda http: http.run(_parts(http.server)), CARD_S / 2)
        return display.session(self.server_url, who.value, parts.value, note=who.excuse or parts.excuse)


def connect(server_url: str | None = None, *, auth: Auth | None = None) -> RsClient:
    """Open a session; asks nothing in a hub server, with an API key or a service account, else for a login.

    ``server_url`` defaults to ``RS_SERVER_URL``, then to what ``rs login`` remembered. Raises ``NotConfigured`` when
    nothing says where the platform is, or nobody can be asked to log in; ``ServiceUnavailable`` or ``Timeout`` when the
    server must be asked where its users log in, and does not answer. Whether you get in shows when you first ask.
    """
    settings = Settings.here()
    http = Http(address(server_url, settings), auth or without_issuer(settings) or NoLogin())
    if auth is None and isinstance(http.auth, NoLogin):
        http.auth = choose(settings, settings.issuer or http.run(issuer_of(http.server)))
    return RsClient(http, settings)


def address(server_url: str | None, settings: Settings) -> str:
    """Where the platform is; ``NotConfigured`` when nothing says so."""
    url = server_url or settings.server_url
    if not url:
        raise NotConfigured(
            "nothing says where rs-server is",
            hint='run eval "$(rs env --user NAME)", or rs login URL, or connect("http://…")',
        )
    return url.strip()


def _parts(server: Server) -> Flow[dict[str, Any]]:
    """What of the platform is up; the answer is a refusal (503) when something that is needed is not."""
    told = document((yield from server.once("GET", "/ready")))
    return dict(told.get("checks") or {})


def issuer_of(server: Server) -> Flow[str | None]:
    """Where the server's users log in, as its OpenAPI document says; none if it asks for no login."""
    described = yield from server.get("/openapi.json")
    login = described.get("components", {}).get("securitySchemes", {}).get("login")
    if login is None:
        return None
    url: str = login["flows"]["authorizationCode"]["authorizationUrl"]
    return url.partition("/protocol/")[0]
