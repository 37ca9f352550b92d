"""Random filters over random stations: the engine finds what an oracle finds that looks at everything, in its order."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from rs_server.simulators.model import to_json
from rs_server.stations import filters
from rs_server.stations.client import Stations, open_stations
from rs_server.stations.items import Mapper, value_at
from rs_server.stations.kinds import KINDS
from rs_server.stations.model import StationKind
from rs_server.stations.odata import SortKey
from rs_server.stations.search import SearchRequest, sort_order
from tests.unit.stations import oracle
from tests.unit.stations.archive import Archive
from tests.unit.stations.far import PUBLIC_URL, FarSide, station
from tests.unit.stations.stores import Dice

ROUNDS = int(os.environ.get("RSPY_TEST_ROUNDS", "40"))
ENTITIES = 40
STATIONS = {"cadip": "sgs", "auxip": "adgs", "prip": "s1a", "lta": "exprivia"}

Known = list[tuple[dict[str, Any], dict[str, Any]]]  # raw entity, properties of its item


class World:
    """A random station, what an honest look at all of it shows, and the engine in front of it."""

    def __init__(self, service: str, seed: int) -> None:
        self.kind = KINDS[service]
        self.dice = Dice(seed)
        raw, self.far = self._archive() if service in ("prip", "lta") else self._simulated(service)
        self.known = _newest(self.kind, raw)
        page_size = self.dice.random.choice([7, 1000])
        self.settings = {STATIONS[service]: station(STATIONS[service], {"all": {}}, page_size=page_size)}

    def _simulated(self, service: str) -> tuple[list[dict[str, Any]], httpx.AsyncBaseTransport]:
        far = FarSide()
        make = self.dice.session if service == "cadip" else self.dice.product
        entities = [entity for number in range(ENTITIES) for entity in make(number)]
        far.fill(STATIONS[service], self.kind.entity_set, entities)
        return [to_json(entity, expand=(self.kind.expand,)) for entity in entities], far

    def _archive(self) -> tuple[list[dict[str, Any]], httpx.AsyncBaseTransport]:
        products = [self.dice.archived(number) for number in range(ENTITIES)]
        return products, Archive(products)

    def expected(self, expression: Any, order: tuple[SortKey, ...]) -> list[str]:
        """The ids that match, in order."""
        found = [(raw, item) for raw, item in self.known if oracle.holds(expression, item) is True]
        found.sort(key=lambda each: each[0]["Id"])
        for key in reversed(order):
            path = key.path
            found.sort(key=lambda each: _sortable(value_at(each[0], path)), reverse=key.descending)
        return [item["id"] for _, item in found]


def _newest(kind: StationKind, entities: list[dict[str, Any]]) -> Known:
    mapper = Mapper(kind)
    found: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {}
    for raw in entities:
        item = {**mapper.properties(raw), "collection": "all"}
        if item["id"] not in found or found[item["id"]][0]["PublicationDate"] < raw["PublicationDate"]:
            found[item["id"]] = (raw, item)
    return list(found.values())


def _sortable(value: Any) -> tuple[bool, Any]:
    return value is not None, value


@pytest.fixture(params=[(kind, lists) for kind in KINDS for lists in (False, True)], ids=str)
async def world(request: pytest.FixtureRequest) -> AsyncIterator[tuple[World, Stations]]:
    kind, lists = request.param
    made = World(kind, seed=int(os.environ.get("RSPY_TEST_SEED", "1")))
    known = {name: each.model_copy(update={"lists": lists}) for name, each in made.settings.items()}
    async with open_stations(known, public_url=PUBLIC_URL, transport=made.far) as stations:
        yield made, stations


async def _all_pages(stations: Stations, service: str, request: SearchRequest) -> list[str]:
    found: list[str] = []
    while True:
        page = await stations.search(service, request, ["all"])
        found += [item["id"] for item in page.items]
        if page.next is None:
            return found
        request = SearchRequest(request.filter, request.collections, request.order, request.limit, page.next)


async def test_engine_and_oracle_agree(world: tuple[World, Stations]) -> None:
    made, stations = world
    kind, dice = made.kind, made.dice
    sortable = [f"{sign}{each.stac}" for each in kind.properties if each.sortable for sign in "+-"]
    items = [item for _, item in made.known]
    for _ in range(ROUNDS):
        expression = dice.filter(kind, items)
        order = sort_order(kind, dice.random.sample(sortable, dice.random.randrange(3)))
        request = SearchRequest(filters.read(kind, expression), None, order, dice.random.choice([3, 100]))
        found = await _all_pages(stations, kind.name, request)
        expected = made.expected(expression, order)
        assert found == expected, expression
        matched = (await stations.search(kind.name, request, ["all"])).matched
        assert matched in (None, len(expected)), expression


async def test_paging_back_gives_the_same_pages(world: tuple[World, Stations]) -> None:
    made, stations = world
    for terms in ([], ["-datetime"], ["+end_datetime", "-id"]):
        order = sort_order(made.kind, terms)
        pages, cursor = [], None
        while True:
            page = await stations.search(made.kind.name, SearchRequest(True, None, order, 7, cursor), ["all"])
            pages.append([item["id"] for item in page.items])
            if page.next is None:
                break
            cursor = page.next
        for ids in reversed(pages[:-1]):
            assert page.prev is not None
            page = await stations.search(made.kind.name, SearchRequest(True, None, order, 7, page.prev), ["all"])
            assert [item["id"] for item in page.items] == ids
        assert page.prev is None
        assert sum(map(len, pages)) == len(made.known)
