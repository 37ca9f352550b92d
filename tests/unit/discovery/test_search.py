"""One search over stations of every kind and a catalog: one order, nothing lost or doubled, failures by name."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import product
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from rs_server.discovery.app import create_app
from rs_server.settings import Settings
from rs_server.stations import instants
from rs_server.stations.client import open_stations
from tests.asgi import client
from tests.schemas import faults
from tests.unit.discovery.standin import StandIn
from tests.unit.stations.archive import Archive
from tests.unit.stations.far import CALLERS, PUBLIC_URL, FarSide, KnownCallers, station
from tests.unit.stations.stores import Dice

CATALOG_SCHEMA = "https://schemas.stacspec.org/v1.1.0/catalog-spec/json-schema/catalog.json"
CALLERS_HERE = KnownCallers(
    {
        **CALLERS.roles,
        "carol": frozenset({"rs_cadip_*_read", "rs_auxip_*_read", "rs_prip_*_read", "rs_lta_*_read"}),
    }
)


def _product(number: int, moment: str) -> dict[str, Any]:
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "id": f"product-{number}",
        "collection": "alice_products",
        "geometry": None,
        "properties": {"datetime": moment, "platform": "sentinel-1a"},
        "links": [],
        "assets": {},
    }


class Everywhere(httpx.AsyncBaseTransport):
    """The simulated stations, and archives beside them."""

    def __init__(self) -> None:
        dice = Dice(3)
        self.simulated = FarSide()
        self.archives = {name: Archive(dice.archived(number) for number in range(15)) for name in ("s1a", "exprivia")}
        self.down: set[str] = set()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.host in self.down:
            return httpx.Response(503, headers={"Retry-After": "60"})
        archive = self.archives.get(request.url.host)
        return await (archive or self.simulated).handle_async_request(request)


SETTINGS = {
    "sgs": station("sgs", {"s1-sgs": {}}),
    "adgs": station("adgs", {"s1-aux": {}, "orbits": {"product:type": ["AUX_RESORB"]}}),
    "s1a": station("s1a", {"s1-prip": {}}),
    "exprivia": station("exprivia", {"s1-lta": {}}),
}


@dataclass
class World:
    far: Everywhere
    catalog: StandIn
    http: httpx.AsyncClient


@asynccontextmanager
async def served(login: str = "carol") -> AsyncIterator[World]:
    far = Everywhere()
    moments = ["2024-11-14T05:00:00Z", "2024-11-14T14:30:44.018Z", "2024-11-14T05:00:00Z", "2020-01-01T00:00:00Z"]
    catalog = StandIn([_product(number, moment) for number, moment in enumerate(moments)])
    settings = Settings(public_url=PUBLIC_URL, secret=SecretStr("0123456789abcdef"))
    async with open_stations(SETTINGS, public_url=PUBLIC_URL, transport=far) as stations:
        headers = {"x-login": login, "authorization": "Bearer x"} if login else None
        app = create_app(settings, catalog.app)
        async with client(app, headers=headers, stations=stations, authenticator=CALLERS_HERE) as http:
            yield World(far, catalog, http)


async def _pages(http: httpx.AsyncClient, how: str, **body: Any) -> list[list[dict[str, Any]]]:
    """All pages of a search."""
    answer = await (http.post("/search", json=body) if how == "POST" else http.get("/search", params=body))
    return [page["features"] for page in await _walk(http, answer, "next")]


async def _walk(http: httpx.AsyncClient, answer: httpx.Response, rel: str) -> list[dict[str, Any]]:
    """A page, and all that its links of a relation lead to."""
    pages = []
    while True:
        assert answer.status_code == 200, answer.text
        pages.append(answer.json())
        link = next((link for link in pages[-1]["links"] if link["rel"] == rel), None)
        if link is None:
            return pages
        path = link["href"].removeprefix(f"{PUBLIC_URL}/stations")
        answer = await http.request(link["method"], path, json=link.get("body"))


def _key(item: dict[str, Any]) -> tuple[str, str]:
    return item["collection"], item["id"]


@pytest.mark.parametrize("how", ["GET", "POST"])
@pytest.mark.parametrize("direction", ["desc", "asc"])
async def test_everything_comes_once_and_in_order(how: str, direction: str) -> None:
    sortby: Any = (
        [{"field": "datetime", "direction": direction}] if how == "POST" else f"{'-' * (direction == 'desc')}datetime"
    )
    async with served() as world:
        whole = [item for page in await _pages(world.http, how, limit=1000, sortby=sortby) for item in page]
        pages = await _pages(world.http, how, limit=7, sortby=sortby)
        searches = len(world.catalog.searches)
    assert len({_key(item) for item in whole}) == len(whole) == 1 + 7 + 3 + 15 + 15 + 4
    assert [_key(item) for page in pages for item in page] == [_key(item) for item in whole]
    assert [len(page) for page in pages] == [7] * 6 + [3]
    assert searches == 1 + len(pages)
    moments = [instants.micros(item["properties"]["datetime"]) for item in whole]
    assert moments == sorted(moments, reverse=direction == "desc")


@pytest.mark.parametrize(
    ("limit", "direction", "how"),
    # Pages of one are many requests: each way and each order once.
    [*product((7, 15), ("desc", "asc"), ("GET", "POST")), (1, "desc", "GET"), (1, "asc", "POST")],
)
async def test_the_way_back_shows_the_same_pages(how: str, direction: str, limit: int) -> None:
    """From the last page to the first, and from each of those forward again."""
    sortby: Any = (
        [{"field": "datetime", "direction": direction}] if how == "POST" else f"{'-' * (direction == 'desc')}datetime"
    )
    body = {"limit": limit, "sortby": sortby}
    async with served() as world:
        http = world.http
        answer = await (http.post("/search", json=body) if how == "POST" else http.get("/search", params=body))
        forward = await _walk(http, answer, "next")
        back = await _walk(http, await _follow(http, forward[-1], "prev"), "prev")
        again = [(await _follow(http, page, "next")).json() for page in back]
    shown = [[_key(item) for item in page["features"]] for page in forward]
    assert [[_key(item) for item in page["features"]] for page in reversed(back)] == shown[:-1]
    assert [[_key(item) for item in page["features"]] for page in reversed(again)] == shown[1:]


async def _follow(http: httpx.AsyncClient, page: dict[str, Any], rel: str) -> httpx.Response:
    (link,) = [link for link in page["links"] if link["rel"] == rel]
    path = link["href"].removeprefix(f"{PUBLIC_URL}/stations")
    return await http.request(link["method"], path, json=link.get("body"))


@pytest.mark.parametrize(
    ("parameters", "collections"),
    [
        ({"filter": '"cadip:num_channels" = 2'}, {"s1-sgs"}),
        ({"filter": '"cadip:num_channels" is null and "order:status" is null'}, None),
        ({"filter": "\"product:type\" = 'AUX_CAL'"}, {"s1-aux"}),
        ({"filter": '"rs:online" = true'}, {"s1-lta"}),
        ({"filter": 'not ("rs:online" = true)'}, {"s1-lta"}),
        (
            {"filter": "datetime < TIMESTAMP('2021-01-01T00:00:00Z')", "collections": "alice_products"},
            {"alice_products"},
        ),
        ({"collections": "orbits,s1-sgs"}, {"orbits", "s1-sgs"}),
        ({"bbox": "-180,-90,180,90", "collections": "s1-prip"}, {"s1-prip"}),
        ({"filter": "platform = 'sentinel-1a'"}, {"s1-sgs", "s1-aux", "orbits", "s1-prip", "s1-lta", "alice_products"}),
    ],
)
async def test_filters_reach_what_they_are_about(parameters: dict[str, str], collections: set[str] | None) -> None:
    async with served() as world:
        answer = await world.http.get("/search", params={"limit": 1000, **parameters})
    if collections is None:
        assert answer.status_code == 400  # order:status is shown, and not searched
        return
    assert answer.status_code == 200, answer.text
    assert {item["collection"] for item in answer.json()["features"]} == collections


@pytest.mark.parametrize(
    ("parameters", "named"),
    [
        ({"filter": "colour = 'red'"}, "colour"),
        ({"sortby": "-datetime,colour"}, "station sgs cannot sort by 'colour'"),
        ({"sortby": "updated"}, "station sgs cannot sort by 'updated'"),
        ({"sortby": "updated", "collections": "s1-lta,s1-aux"}, "station adgs cannot sort by 'updated'"),
        ({"sortby": "eo:cloud_cover", "collections": "alice_products"}, "the catalog cannot sort by 'eo:cloud_cover'"),
        ({"token": "x"}, "token"),
        ({"bbox": "1"}, "bbox"),
    ],
)
async def test_what_cannot_be_honoured_is_400(parameters: dict[str, str], named: str) -> None:
    async with served() as world:
        answer = await world.http.get("/search", params=parameters)
        assert answer.status_code == 400
        assert named in answer.json()["detail"]


async def test_a_station_that_is_down_is_named_or_left_out() -> None:
    async with served() as world:
        first = (await world.http.get("/search", params={"limit": 5})).json()
        link = next(link for link in first["links"] if link["rel"] == "next")
        world.far.down = {"exprivia"}
        strict = await world.http.get("/search")
        assert strict.status_code == 503
        assert "station exprivia" in strict.json()["detail"]
        assert strict.json()["failed"][0]["source"] == "lta:exprivia"
        lenient = {"Prefer": "handling=lenient"}
        answer = await world.http.get(link["href"].removeprefix(f"{PUBLIC_URL}/stations"), headers=lenient)
        assert (answer.status_code, answer.headers["preference-applied"]) == (200, "handling=lenient")
        page = answer.json()
        (warning,) = page["warnings"]
        assert (warning["source"], warning["status"]) == ("lta:exprivia", 503)
        assert page["features"]
        assert "s1-lta" not in {item["collection"] for item in page["features"]}
        world.far.down = set()  # and what was left out does not come in between later
        link = next(link for link in page["links"] if link["rel"] == "next")
        page = (await world.http.get(link["href"].removeprefix(f"{PUBLIC_URL}/stations"), headers=lenient)).json()
        assert page["warnings"][0]["source"] == "lta:exprivia"
        assert "s1-lta" not in {item["collection"] for item in page["features"]}


async def test_a_catalog_that_fails_is_named_as_well() -> None:
    async with served() as world:
        world.catalog.fails = 500
        answer = await world.http.get("/search")
        assert answer.status_code == 503
        assert "catalog" in answer.json()["detail"]
        world.catalog.fails = 400
        assert (await world.http.get("/search")).status_code == 400


@pytest.mark.parametrize(
    ("login", "collections"),
    [("eve", {"alice_products"}), ("bob", {"s1-sgs", "s1-aux", "orbits", "alice_products"}), ("", None)],
)
async def test_each_sees_what_they_may_read(login: str, collections: set[str] | None) -> None:
    async with served(login) as world:
        answer = await world.http.get("/search", params={"limit": 1000})
        if collections is None:
            assert answer.status_code == 401
            return
        assert {item["collection"] for item in answer.json()["features"]} == collections
        listed = (await world.http.get("/collections")).json()["collections"]
        assert {each["id"] for each in listed} == collections


async def test_documents() -> None:
    async with served() as world:
        page = (await world.http.get("/")).json()
        assert faults(page, CATALOG_SCHEMA) == []
        for rel in ("conformance", "data", "service-desc", "http://www.opengis.net/def/rel/ogc/1.0/queryables"):
            link = next(link for link in page["links"] if link["rel"] == rel)
            answer = await world.http.get(link["href"].removeprefix(f"{PUBLIC_URL}/stations"))
            assert (answer.status_code, answer.headers["content-type"]) == (200, link["type"])
        queryables = (await world.http.get("/queryables")).json()["properties"]
        assert {"cadip:num_channels", "product:type", "rs:online", "geometry"} <= set(queryables)
        narrow = (await world.http.get("/search", params={"fields": "id", "limit": 1})).json()["features"][0]
        assert "properties" not in narrow
