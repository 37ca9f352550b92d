"""The far side of the station tests: simulated stations in this process, reached through an httpx transport."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal
from urllib.parse import unquote

import httpx
from pydantic import SecretStr

from rs_server.access.policy import Principal
from rs_server.errors import NotAuthenticated
from rs_server.settings import Settings, StationCollectionSettings, StationSettings
from rs_server.simulators.app import create_app
from rs_server.simulators.model import Entity
from rs_server.simulators.settings import SimulatorSettings
from rs_server.stations.app import create_app as create_service
from rs_server.stations.client import Stations, open_stations
from rs_server.stations.kinds import KINDS
from tests.asgi import client

PUBLIC_URL = "http://server.test"
ISSUER = "http://keycloak.test/realms/rs"
SESSION = "S1A_20241114143038056552"
PARAMETERS = "S1A_AUX_PP1_V20140616T133500_G20241125T133808"
SIMULATED = {"sgs": "cadip", "adgs": "auxip"}
KIND_OF = {**SIMULATED, "s1a": "prip", "exprivia": "lta"}


class FarSide(httpx.AsyncBaseTransport):
    """Stations by host name. It notes each request, and can be told to answer something else."""

    def __init__(self, page_size: int = 1000, token_ttl_s: int = 600) -> None:
        self.apps = {name: simulator(KIND_OF[name], page_size, token_ttl_s) for name in SIMULATED}
        self.requests: list[httpx.Request] = []
        self.answer: Callable[[httpx.Request], httpx.Response | None] = lambda _: None
        self._transports = {name: httpx.ASGITransport(app) for name, app in self.apps.items()}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        scripted = self.answer(request)
        return scripted or await self._transports[request.url.host].handle_async_request(request)

    def fill(self, station: str, name: str, entities: Iterable[Entity]) -> None:
        """Replace what a station holds."""
        store = self.apps[station].state.station.store
        store.sets[name].clear()
        store.put(name, entities)

    @property
    def queries(self) -> list[str]:
        """The OData queries so far, readable."""
        return [unquote(str(request.url)).partition("/odata/v1/")[2] for request in self.requests if _is_query(request)]


def _is_query(request: httpx.Request) -> bool:
    return "/odata/v1/" in request.url.path


def simulator(kind: str, page_size: int = 1000, token_ttl_s: int = 600) -> Any:
    which: Literal["cadip", "auxip"] = "cadip" if kind == "cadip" else "auxip"
    settings = SimulatorSettings(
        kind=which,
        port=1,
        client_id="rs",
        client_secret=SecretStr("secret"),
        admin_token=SecretStr("admin"),
        scale=0.0001,
        page_size=page_size,
        token_ttl_s=token_ttl_s,
    )
    return create_app(settings)


def station(name: str, collections: Mapping[str, dict[str, list[str]]], **more: Any) -> StationSettings:
    """Settings of a simulated station; each collection with its constraints."""
    return StationSettings.model_validate(
        {
            "kind": KIND_OF[name],
            "url": f"http://{name}/odata/v1",
            **(_login(name) if name in SIMULATED else {}),
            "collections": {
                key: StationCollectionSettings(title=key.upper(), constraints=constraints)
                for key, constraints in collections.items()
            },
            **more,
        }
    )


def _login(name: str) -> dict[str, Any]:
    return {
        "token_url": f"http://{name}/auth/realms/station/protocol/openid-connect/token",
        "grant": {"grant_type": "client_credentials", "client_id": "rs", "client_secret": "secret"},
    }


def demo(**more: Any) -> dict[str, StationSettings]:
    """The two stations of the demonstration."""
    return {
        "sgs": station("sgs", {"s1-sgs": {"platform": ["sentinel-1a"]}}, **more),
        "adgs": station("adgs", {"s1-aux": {}}, **more),
    }


@asynccontextmanager
async def opened(far: FarSide, settings: Mapping[str, StationSettings] | None = None) -> AsyncIterator[Stations]:
    """The demo stations, open."""
    async with open_stations(settings or demo(), public_url=PUBLIC_URL, issuer=ISSUER, transport=far) as stations:
        yield stations


@dataclass
class KnownCallers:
    """An authenticator that takes the login from a header; what each may do is said beforehand."""

    roles: dict[str, frozenset[str]] = field(default_factory=dict)

    async def authenticate(self, headers: Mapping[str, str], address: str) -> Principal:
        login = headers.get("x-login")
        if login is None:
            raise NotAuthenticated("this needs a login")
        return Principal(login=login, subject=f"id-of-{login}", roles=self.roles.get(login, frozenset()))


CALLERS = KnownCallers(
    {
        "alice": frozenset({"rs_cadip_*_read", "rs_cadip_*_download", "rs_auxip_*_read", "rs_auxip_*_download"}),
        "bob": frozenset({"rs_cadip_*_read", "rs_auxip_*_read"}),
        "loader": frozenset({"rs_cadip_*_download", "rs_auxip_*_download"}),
        "eve": frozenset(),
    }
)


def service(kind: str, stations: Stations, login: str | None = "alice", **more: Any) -> httpx.AsyncClient:
    """A client of one kind's service, as that caller."""
    settings = Settings(public_url=PUBLIC_URL, secret=SecretStr("0123456789abcdef"), **more)
    headers = {"x-login": login} if login else None
    state = {"stations": stations, "authenticator": CALLERS}
    return client(create_service(KINDS[kind], settings), headers=headers, **state)
