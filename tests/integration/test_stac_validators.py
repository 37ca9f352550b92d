"""The public validators, and random requests, against the services of all kinds of stations over HTTP."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
import schemathesis
import uvicorn
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings
from pydantic import SecretStr
from schemathesis.core.result import Ok

from rs_server import errors
from rs_server.access.policy import Principal
from rs_server.settings import Settings
from rs_server.stations.app import create_app
from rs_server.stations.client import open_stations
from rs_server.stations.items import Mapper
from rs_server.stations.kinds import KINDS
from tests import validators
from tests.unit.stations.archive import Archive
from tests.unit.stations.far import FarSide, station
from tests.unit.stations.stores import Dice

PATIENCE_S = 30.0
ISSUER = "http://127.0.0.1:1/realms/rs"
AREA = json.dumps({"type": "Polygon", "coordinates": [[[-20, -20], [20, -20], [20, 20], [-20, 20], [-20, -20]]]})
STATIONS = {"sgs": "sessions", "adgs": "files", "s1a": "products", "exprivia": "archived"}
COLLECTIONS = {"cadip": "sessions", "auxip": "files", "prip": "products", "lta": "archived"}

EXAMPLES = 8
EXPECTED = frozenset({200, 206, 400, 404, 405, 409, 416})

# What the validators advise and the ground segment does not have: lower-case names, few properties, a place on Earth.
# And what they ask of every answer: a search for an area that something lies in, no member but the one asked for.
ADVICE = ("Searchable identifiers", "response contained extra fields", "ids does not override")
PLACES = ("missing 'geometry'", "missing 'bbox'", "Search result for intersects=")


class Everywhere(httpx.AsyncBaseTransport):
    """A station of each kind with a dozen entities and more; all have what the validators look for."""

    def __init__(self) -> None:
        dice = Dice(3)
        self.simulated = FarSide()
        self.archives = {name: Archive(_products(dice)) for name in ("s1a", "exprivia")}
        self.ready = False

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if not self.ready:
            self.ready = True
            await self._add_sessions()
        return await self.archives.get(request.url.host, self.simulated).handle_async_request(request)

    async def _add_sessions(self) -> None:
        transport = httpx.ASGITransport(self.simulated.apps["sgs"])
        async with httpx.AsyncClient(transport=transport, base_url="http://sgs") as http:
            for hour in range(12):
                body = {"start": f"2024-11-15T{hour:02}:00:00Z", "chunks": 2}
                answer = await http.post("/admin/sessions", json=body, headers={"Authorization": "Bearer admin"})
                answer.raise_for_status()


def _products(dice: Dice) -> list[dict[str, Any]]:
    """Products with a footprint, of a known satellite."""
    found = [{**dice.archived(number), "GeoFootprint": dice.shape()} for number in range(60)]
    mapper = Mapper(KINDS["prip"])
    return [each for each in found if "platform" in mapper.properties(each)]


class Anyone:
    """An authenticator that lets one user do everything."""

    async def authenticate(self, headers: Mapping[str, str], address: str) -> Principal:
        return Principal(login="alice", everything=True)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{listening.getsockname()[1]}"
        known = {name: station(name, {collection: {}}) for name, collection in STATIONS.items()}

        @asynccontextmanager
        async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, Any]]:
            far = Everywhere()
            async with open_stations(known, public_url=address, issuer=ISSUER, transport=far) as stations:
                yield {"stations": stations, "authenticator": Anyone()}

        app = FastAPI(lifespan=lifespan)
        errors.install(app)
        for kind in KINDS.values():
            app.mount(f"/{kind.name}", create_app(kind, Settings(public_url=address, secret=SecretStr("s"))))
        config = uvicorn.Config(app, log_config=None, access_log=False, timeout_keep_alive=120)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        end = time.monotonic() + PATIENCE_S
        while not server.started and time.monotonic() < end:
            time.sleep(0.01)
        try:
            yield address
        finally:
            server.should_exit = True
            thread.join(PATIENCE_S)


@pytest.mark.filterwarnings("ignore")  # the validators' own
@pytest.mark.parametrize("kind", KINDS)
def test_validators_find_nothing(url: str, kind: str) -> None:
    """stac-api-validator, and stac-check within it. Sessions and auxiliary files lie nowhere, and say so."""
    warnings, faults = validators.complaints(f"{url}/{kind}/", COLLECTIONS[kind], AREA, {})
    placeless = not KINDS[kind].has_footprint
    assert [each for each in faults if not (placeless and any(text in each for text in PLACES))] == []
    assert [each for each in warnings if not any(text in each for text in ADVICE)] == []


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", KINDS)
def test_no_request_is_answered_by_an_error_of_ours(url: str, kind: str) -> None:
    """Requests made up from the OpenAPI description: each is answered as documented, none 500."""
    schema = schemathesis.openapi.from_dict(httpx.get(f"{url}/{kind}/api", trust_env=False).json())
    for result in schema.get_all_operations():
        assert isinstance(result, Ok)
        operation = result.ok()
        if operation.path.startswith("/orders"):
            continue  # they are kept in a database

        @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), database=None)
        @given(case=operation.as_strategy())
        def answered(case: schemathesis.Case[Any]) -> None:
            answer = case.call(base_url=f"{url}/{kind}")
            assert answer.status_code in EXPECTED, (case.method, case.path, case.query, answer.text)
            if answer.status_code >= 400 and answer.status_code != 405:
                assert answer.headers["content-type"][0] == "application/problem+json"

        answered()
