"""The kinds are data: what stations of each answer over HTTP, and that a fifth one needs a description and no more."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from rs_server.access.policy import Principal
from rs_server.settings import Settings, StationSettings
from rs_server.stations.app import create_app
from rs_server.stations.client import open_stations
from rs_server.stations.kinds import KINDS, extensions
from rs_server.stations.kinds.products import COMMON, FILE
from rs_server.stations.model import StationKind, ValueType, prop
from tests.asgi import client
from tests.schemas import item_faults
from tests.unit.stations.archive import Archive
from tests.unit.stations.far import PUBLIC_URL
from tests.unit.stations.stores import Dice

# The fifth kind: a station of orbit files. This is all there is to it.
ORBITS = StationKind(
    name="podip",
    title="Precise Orbit Delivery Interface Point",
    description="Orbits.",
    entity_set="Products",
    expand="Attributes",
    extensions=(extensions.EXTERNAL_IDS, extensions.FILE, extensions.TIMESTAMPS),
    properties=(*COMMON, prop("orbits:count", "@orbitNumber", ValueType.INTEGER)),
    assets=FILE,
)


class Callers:
    """An authenticator of one caller."""

    def __init__(self, *roles: str) -> None:
        self.roles = frozenset(roles)

    async def authenticate(self, headers: Mapping[str, str], address: str) -> Principal:
        return Principal(login="alice", roles=self.roles)


@asynccontextmanager
async def serving(kind: StationKind, far: Archive, *rights: str, **more: Any) -> AsyncIterator[httpx.AsyncClient]:
    """The service of a kind in front of one station, for a caller with these rights on it."""
    station = StationSettings.model_validate(
        {"kind": kind.name, "url": "http://far/odata/v1", "collections": {"all": {"title": "All"}}, **more}
    )
    settings = Settings(public_url=PUBLIC_URL, secret=SecretStr("0123456789abcdef"))
    kinds = {**KINDS, kind.name: kind}
    async with open_stations({"far": station}, public_url=PUBLIC_URL, transport=far, kinds=kinds) as stations:
        caller = Callers(*(f"rs_{kind.name}_far_{right}" for right in rights))
        async with client(create_app(kind, settings), stations=stations, authenticator=caller) as http:
            yield http


@pytest.fixture
def far() -> Archive:
    dice = Dice(5)
    return Archive(dice.archived(number) for number in range(30))


async def test_a_fifth_kind_is_a_description(far: Archive) -> None:
    async with serving(ORBITS, far, "read", "download") as http:
        assert (await http.get("/")).json()["id"] == "podip"
        assert "orbits:count" in (await http.get("/collections/all/queryables")).json()["properties"]
        answer = (await http.get("/search", params={"filter": '"orbits:count" >= 2', "limit": "100"})).json()
        assert answer["features"]
        assert all(item["properties"]["orbits:count"] >= 2 for item in answer["features"])
        assert item_faults(answer["features"][0]) == []
        href = next(iter(answer["features"][0]["assets"].values()))["href"].removeprefix(f"{PUBLIC_URL}/podip")
        assert (await http.get(href)).status_code in (200, 409)  # a product that is not online
    async with serving(ORBITS, far) as nobody:
        assert (await nobody.get("/collections/all")).status_code == 404


@pytest.mark.parametrize("name", ["prip", "lta"])
async def test_products_have_footprints(far: Archive, name: str) -> None:
    async with serving(KINDS[name], far, "read") as http:
        queryables = (await http.get("/queryables")).json()["properties"]
        assert queryables["geometry"] == {"title": "geometry", "$ref": "https://geojson.org/schema/Geometry.json"}
        assert "processing:software" not in queryables
        for parameters in (
            {"bbox": "0,0,10,10"},
            {"intersects": '{"type":"Polygon","coordinates":[[[0,0],[10,0],[10,10],[0,10],[0,0]]]}'},
            {"filter": "s_intersects(geometry, BBOX(0,0,10,10))"},
        ):
            far.requests.clear()
            found = (await http.get("/search", params={"limit": "100", **parameters})).json()["features"]
            assert found
            assert "OData.CSC.Intersects(area=geography'SRID=4326;POLYGON((" in far.requests[0].url.params["$filter"]
            assert all(item["bbox"][0] <= 10 and item["bbox"][2] >= 0 for item in found)
            assert [fault for item in found[:3] for fault in item_faults(item)] == []
        both = (await http.get("/search", params={"filter": "a_contains(\"sar:polarizations\", ('VH'))"})).json()
        assert both["features"]
        assert all("VH" in item["properties"]["sar:polarizations"] for item in both["features"])


@pytest.mark.parametrize(
    ("parameters", "named"),
    [
        ({"intersects": '{"type":"Point","coordinates":[200,0]}'}, "intersects"),
        ({"bbox": "0,0,200,1"}, "bbox"),
        ({"filter": "s_within(geometry, POLYGON((0 0, 1 1, 1 0, 0 1, 0 0)))"}, "s_within"),
        ({"filter": "s_touches(platform, POINT(0 0))"}, "s_touches"),
        ({"filter": "geometry = 'x'"}, "geometry"),
        ({"filter": "\"sar:polarizations\" = 'VV'"}, "sar:polarizations"),
        ({"filter": "a_overlaps(platform, ('VV'))"}, "a_overlaps"),
        ({"filter": '"processing:software" is null'}, "processing:software"),
        ({"filter": "\"order:status\" = 'orderable'"}, "order:status"),
    ],
)
async def test_what_is_no_place_and_no_list_is_refused(far: Archive, parameters: dict[str, str], named: str) -> None:
    async with serving(KINDS["lta"], far, "read") as http:
        answer = await http.get("/search", params=parameters)
        assert answer.status_code == 400
        assert named in answer.json()["detail"]
