"""The public validators, and random requests, against the services of all kinds of stations over HTTP."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from importlib import resources
from pathlib import Path
from typing import Any

import httpx
import pytest
import schemathesis
import yaml
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings
from pydantic import SecretStr
from schemathesis.core.result import Ok

from rs_server import errors
from rs_server.access.policy import Principal
from rs_server.discovery.app import create_app as create_discovery
from rs_server.settings import Settings
from rs_server.stations.app import create_app
from rs_server.stations.client import open_stations
from rs_server.stations.items import Mapper
from rs_server.stations.kinds import KINDS
from rs_server.stations.model import StationKind
from tests import validators
from tests.serving import running
from tests.unit.stations.archive import Archive
from tests.unit.stations.far import FarSide, station
from tests.unit.stations.stores import Dice

ISSUER = "http://127.0.0.1:1/realms/rs"
AREA = json.dumps({"type": "Polygon", "coordinates": [[[-20, -20], [20, -20], [20, 20], [-20, 20], [-20, -20]]]})
STATIONS = {"sgs": "sessions", "adgs": "files", "s1a": "products", "exprivia": "archived"}
COLLECTIONS = {"cadip": "sessions", "auxip": "files", "prip": "products", "lta": "archived"}

EXAMPLES = 8
EXPECTED = frozenset({200, 206, 400, 404, 405, 409, 416})

# What of stac-check's advice is turned off, in its own configuration file, and what of the standard stands against it:
# - `searchable_identifiers` looks at the ids of items. The STAC best practices say: "When coming up with values for
#   fields that contain searchable identifiers of some sort, like `constellation` or `platform`, it is recommended that
#   the identifiers consist of only lowercase characters, numbers, `_`, and `-`", and of item ids: "The specification
#   is quite flexible on ID's, primarily so that existing providers can easily use their same ID". The stations' names
#   have capitals. The fields that the sentence names are checked below.
# - `max_properties` is 20 where nothing else is set, a number that the standard does not have. Here it is what can be
#   searched, and a few more ("centered on the core fields that users will want to search on"). Not so with auxiliary
#   files: they have no more than 20.
# - `check_geometry`, where the stations of a kind do not know where anything lies (see below).
SEARCHABLE = re.compile(r"[a-z0-9_-]+")
BESIDE_THE_SEARCHED = 5  # externalIds, auth:schemes, order:status, rs:complete and rs:state
FEW_PROPERTIES = frozenset({"auxip"})

# STAC best practices, unlocated items: "The recommendation for data that does not yet have a location is to follow the
# GeoJSON concept that it is an 'unlocated' feature. So if the catalog has data that is not located then it can follow
# GeoJSON and set the geometry to null. Though normally required, in this case the `bbox` field should not be included."
# So it is with sessions and auxiliary files, "downlinked and cataloged" before anything is located, or about no place.
# The validator takes null for missing, asks for a bbox, and for an area in which some of them lie.
UNLOCATED = (
    r"\[Item Search - Fields Ext\] : .* response missing '(geometry|bbox)'",
    r"\[Item Search - Fields Ext\] : response had no items in response for (GET|POST) .*bbox'.*",  # {} is left
    r"\[Item Search\] (GET http://[^ ]+|POST) Search result for intersects=.* returned no results",
    r"\[Item Search\] GET Search within bbox=20,20,21,21 to validate ids does not override .* returned 0 results",
)


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
    found[0]["GeoFootprint"] = {"type": "Point", "coordinates": [20.5, 20.5]}  # there the validators look for one
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
        app.mount("/stations", create_discovery(Settings(public_url=address, secret=SecretStr("s")), None))
        with running(app, listening):
            yield address


@pytest.mark.filterwarnings("ignore")  # the validators' own
@pytest.mark.parametrize("kind", KINDS)
def test_validators_find_nothing(url: str, kind: str, tmp_path: Path) -> None:
    """stac-api-validator, and stac-check within it."""
    located = KINDS[kind].has_footprint
    config = _stac_check(tmp_path, KINDS[kind])
    warnings, faults = validators.complaints(f"{url}/{kind}/", COLLECTIONS[kind], AREA, {}, stac_check=config)
    unlocated = [] if located else UNLOCATED
    assert [each for each in [*faults, *warnings] if not any(re.fullmatch(form, each) for form in unlocated)] == []


@pytest.mark.filterwarnings("ignore")
def test_validators_find_nothing_in_the_search_over_all(url: str) -> None:
    """It has no items of its own: the links of its collections lead to the services that have them."""
    classes = ["core", "filter", "item-search", "item-search#fields", "item-search#sort"]
    warnings, faults = validators.complaints(f"{url}/stations/", COLLECTIONS["prip"], AREA, {}, classes=classes)
    assert [*faults, *warnings] == []


def _stac_check(folder: Path, kind: StationKind) -> Path:
    """The configuration of stac-check, with what is said above."""
    config = yaml.safe_load(resources.files("stac_check").joinpath("stac-check.config.yml").read_text())
    config["linting"] |= {"searchable_identifiers": False, "check_geometry": kind.has_footprint}
    if kind.name not in FEW_PROPERTIES:
        config["settings"]["max_properties"] = sum(each.queryable for each in kind.properties) + BESIDE_THE_SEARCHED
    (folder / "stac-check.yml").write_text(yaml.safe_dump(config))
    return folder / "stac-check.yml"


@pytest.mark.parametrize("kind", KINDS)
def test_items_are_named_and_placed_as_the_standard_says(url: str, kind: str) -> None:
    """What the adaptations above stand for."""
    items = httpx.get(f"{url}/{kind}/search?limit=100", trust_env=False).json()["features"]
    assert items
    for item in items:
        named = [item["properties"][name] for name in ("platform", "constellation") if name in item["properties"]]
        assert all(SEARCHABLE.fullmatch(each) for each in named)
        placed = item["geometry"] is not None
        assert ("bbox" in item) is placed is KINDS[kind].has_footprint
    if not KINDS[kind].has_footprint:
        for area in ({"intersects": AREA}, {"bbox": "-180,-90,180,90"}):
            assert httpx.get(f"{url}/{kind}/search", params=area, trust_env=False).json()["features"] == []


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("kind", [*KINDS, "stations"])
def test_no_request_is_answered_by_an_error_of_ours(url: str, kind: str) -> None:
    """Requests made up from the OpenAPI description: each is answered as documented, none 500."""
    schema = schemathesis.openapi.from_dict(httpx.get(f"{url}/{kind}/api", trust_env=False).json())
    for result in schema.get_all_operations():
        assert isinstance(result, Ok)
        operation = result.ok()
        if operation.path.startswith("/orders"):
            continue  # they are kept in a database: test_orders.py

        @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck), database=None)
        @given(case=operation.as_strategy())
        def answered(case: schemathesis.Case[Any]) -> None:
            answer = case.call(base_url=f"{url}/{kind}")
            assert answer.status_code in EXPECTED, (case.method, case.path, case.query, answer.text)
            if answer.status_code >= 400 and answer.status_code != 405:
                assert answer.headers["content-type"][0] == "application/problem+json"

        answered()
