"""The order of the search over all: random items and random sort keys against a list that was sorted as a whole."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from rs_server.catalog.queryables import queryables
from rs_server.discovery.app import create_app
from rs_server.discovery.ordering import Order
from rs_server.errors import BadInput
from rs_server.settings import Settings
from rs_server.simulators.model import to_json
from rs_server.stations import instants
from rs_server.stations.client import open_stations
from rs_server.stations.items import Mapper, value_at
from rs_server.stations.kinds import KINDS
from rs_server.stations.requests import SortBy
from tests.asgi import client
from tests.unit.discovery.standin import StandIn, columns, comparable
from tests.unit.stations.archive import Archive
from tests.unit.stations.far import PUBLIC_URL, FarSide, KnownCallers, station
from tests.unit.stations.stores import Dice

SEARCHES = int(os.environ.get("RSPY_TEST_ROUNDS", "12"))  # the integration tests make more
CALLERS = KnownCallers({"carol": frozenset(f"rs_{kind}_*_read" for kind in KINDS)})
KNOWN = {
    "sgs": station("sgs", {"sessions": {}}),
    "adgs": station("adgs", {"files": {}, "orbits": {"product:type": ["AUX_RESORB"]}}),
    "s1a": station("s1a", {"products": {}}),
    "exprivia": station("exprivia", {"archived": {}}),
}
EVERYWHERE = ("id", "datetime", "start_datetime", "end_datetime", "created", "published", "eopf:origin_datetime")
OF_ARCHIVES = (*EVERYWHERE, "expires", "updated")
MOMENTS = [f"2024-11-14T{hour:02}:00:00{rest}" for hour in (0, 5, 11) for rest in ("Z", ".500Z", "+00:00")]
_OWN = {"id", "collection"}

Found = tuple[str, str]  # a collection, and an item of it
Row = tuple[Found, tuple[str, str, str], Mapping[str, Any]]  # item, tie among equals, what it is sorted by


class World(httpx.AsyncBaseTransport):
    """Stations of all kinds and a catalog, and all that they hold."""

    def __init__(self, seed: int) -> None:
        self.dice = Dice(seed)
        self.simulated = FarSide()
        sessions = [each for number in range(9) for each in self.dice.session(number)]
        files = [each for number in range(9) for each in self.dice.product(number)]
        self.simulated.fill("sgs", "Sessions", sessions)
        self.simulated.fill("adgs", "Products", files)
        archived = {name: [self.dice.archived(number) for number in range(9)] for name in ("s1a", "exprivia")}
        self.archives = {name: Archive(products) for name, products in archived.items()}
        self.catalog = StandIn([self._item(number) for number in range(25)])
        raw = {"cadip": [to_json(each) for each in sessions], "prip": archived["s1a"], "lta": archived["exprivia"]}
        raw["auxip"] = [to_json(each, expand=("Attributes",)) for each in files]
        self.rows = [row for kind, entities in raw.items() for row in _rows(kind, entities)]
        self.rows += [_row_of_catalog(item) for item in self.catalog.items]

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return await self.archives.get(request.url.host, self.simulated).handle_async_request(request)

    def _item(self, number: int) -> dict[str, Any]:
        moment = self.dice.random.choice
        properties = {name: moment(MOMENTS) for name in OF_ARCHIVES if name != "id" and self.dice.random.random() < 0.6}
        begin, end = properties.get("start_datetime", ""), properties.get("end_datetime", "")
        if begin and end and instants.micros(begin) > instants.micros(end):
            properties |= {"start_datetime": end, "end_datetime": begin}
        return {
            "type": "Feature",
            "id": f"S{self.dice.random.choice('123')}_{number % 12:04d}",
            "collection": f"alice_{'ab'[number // 12 % 2]}{number // 24}",
            "geometry": None,
            "properties": {"datetime": moment(MOMENTS), "platform": "sentinel-1a", **properties},
            "links": [],
            "assets": {},
        }

    def expected(self, terms: list[tuple[str, bool]], collections: list[str] | None) -> list[Found]:
        """Items in the order of the sort keys: no value before all others, and last where the key goes down."""
        found = [row for row in self.rows if collections is None or row[0][0] in collections]
        found.sort(key=lambda row: row[1])
        for name, falls in reversed(terms):
            values = {id(row): _nulls_first(row[2].get(name)) for row in found}
            found.sort(key=lambda row: values[id(row)], reverse=falls)
        return [item for item, _, _ in found]


def _rows(kind: str, entities: list[dict[str, Any]]) -> list[Row]:
    """What a station is expected to show: of what was published again, the last; in each collection that it is in."""
    mapper, newest = Mapper(KINDS[kind]), dict[str, tuple[dict[str, Any], dict[str, Any]]]()
    for raw in entities:
        item = mapper.properties(raw)
        if item["id"] not in newest or newest[item["id"]][0]["PublicationDate"] < raw["PublicationDate"]:
            newest[item["id"]] = (raw, item)
    paths = {each.stac: each.sources[0] for each in KINDS[kind].properties if each.sortable}
    rows: list[Row] = []
    for name, each in KNOWN.items():
        for collection, constrained in each.collections.items() if each.kind == kind else ():
            for raw, item in newest.values():
                if all(item.get(key) in values for key, values in constrained.constraints.items()):
                    tie = (f"{kind}:{name}", collection, raw["Id"])
                    rows.append(((collection, item["id"]), tie, {k: value_at(raw, path) for k, path in paths.items()}))
    return rows


def _row_of_catalog(item: dict[str, Any]) -> Row:
    return (item["collection"], item["id"]), ("catalog", item["collection"], item["id"]), columns(item)


def _nulls_first(value: Any) -> tuple[bool, Any]:
    return value is not None, comparable(value)


async def _walk(http: httpx.AsyncClient, body: dict[str, Any]) -> tuple[list[list[Found]], list[list[Found]]]:
    """The pages to the end, and those on the way back to the first."""
    page = (await http.post("/search", json=body)).raise_for_status().json()
    forth, back = [_found(page)], list[list[Found]]()
    while following := [link["body"] for link in page["links"] if link["rel"] == "next"]:
        page = (await http.post("/search", json=following[0])).raise_for_status().json()
        forth.append(_found(page))
    while before := [link["body"] for link in page["links"] if link["rel"] == "prev"]:
        page = (await http.post("/search", json=before[0])).raise_for_status().json()
        back.append(_found(page))
    return forth, back


def _found(page: dict[str, Any]) -> list[Found]:
    return [(item["collection"], item["id"]) for item in page["features"]]


@st.composite
def searches(draw: st.DrawFn) -> tuple[list[tuple[str, bool]], int, list[str] | None]:
    """Sort keys, items of a page, and collections."""
    archives = draw(st.booleans())
    names = draw(st.lists(st.sampled_from(OF_ARCHIVES if archives else EVERYWHERE), max_size=4, unique=True))
    terms = [(name, draw(st.booleans())) for name in names]
    return terms, draw(st.sampled_from([5, 13, 30, 1000])), ["archived", "products", "alice_a0"] if archives else None


@pytest.mark.parametrize("seed", range(3))
def test_all_sources_come_in_one_order_forth_and_back(seed: int) -> None:
    all_agree(seed, SEARCHES)


def all_agree(seed: int, searches_: int) -> None:
    """So many searches of a world find what they are expected to find, in order, page by page."""
    made = World(seed)
    app = create_app(Settings(public_url=PUBLIC_URL, secret=SecretStr("0123456789abcdef")), made.catalog.app)

    @asynccontextmanager
    async def served() -> AsyncIterator[httpx.AsyncClient]:
        async with open_stations(KNOWN, public_url=PUBLIC_URL, transport=made) as stations:
            headers = {"x-login": "carol", "authorization": "Bearer x"}
            async with client(app, headers=headers, stations=stations, authenticator=CALLERS) as http:
                yield http

    with asyncio.Runner() as runner:
        serving = served()
        http = runner.run(serving.__aenter__())

        @settings(max_examples=searches_, deadline=None, suppress_health_check=list(HealthCheck), database=None)
        @given(asked=searches())
        def agrees(asked: tuple[list[tuple[str, bool]], int, list[str] | None]) -> None:
            terms, limit, collections = asked
            sortby = [{"field": name, "direction": "desc" if falls else "asc"} for name, falls in terms]
            body = {"limit": limit, **({"sortby": sortby} if sortby else {}), **_only(collections)}
            forth, back = runner.run(_walk(http, body))
            assert [item for page in forth for item in page] == made.expected(
                terms or [("datetime", True)], collections
            )
            assert [len(page) for page in forth[:-1]] == [limit] * (len(forth) - 1)
            assert back == forth[-2::-1]

        try:
            agrees()
        finally:
            runner.run(serving.__aexit__(None, None, None))


def _only(collections: list[str] | None) -> dict[str, list[str]]:
    return {} if collections is None else {"collections": collections}


def test_what_comes_twice_counts_once() -> None:
    asked = [SortBy(field="created"), SortBy(field="properties.id", direction="desc"), SortBy(field="created")]
    assert Order.of(asked).terms == (("created", False), ("id", True))
    assert Order.of([]).terms == (("datetime", True),)


@pytest.mark.parametrize("kind", KINDS)
def test_the_catalog_knows_the_types_of_what_stations_sort_by(kind: str) -> None:
    """What it does not know, it sorts as text."""
    declared = {*queryables()["properties"], "id", "datetime"}
    assert {each.stac for each in KINDS[kind].properties if each.sortable} <= declared


def test_the_hint_names_what_can_be_sorted_by() -> None:
    with pytest.raises(BadInput) as refused:
        Order.of([SortBy(field="expires")]).at_station(KINDS["cadip"], "sgs")
    assert "station sgs cannot sort by 'expires'" in refused.value.detail
    assert "sat:absolute_orbit" in str(refused.value.hint)
