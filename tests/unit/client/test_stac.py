"""STAC services by pystac-client: our items, our errors, and an identity that leaves the server's addresses never."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pystac
import pytest
from IPython.core.formatters import DisplayFormatter
from pystac_client.exceptions import APIError

from rs_client.errors import Invalid, NotAuthenticated, NotFound, RsError, ServiceUnavailable, StationUnavailable
from rs_client.stac import Item, Search, StacClient, StationList
from tests.unit.client.far import real_session, serving

CONFORMS = ["https://api.stacspec.org/v1.0.0/core", "https://api.stacspec.org/v1.0.0/item-search"]
IDS = [f"S1A_{number}" for number in range(5)]


class Service:
    """A STAC service below `/cadip`: five items in pages of two, and faults on demand."""

    def __init__(self) -> None:
        self.url = ""
        self.keys: list[tuple[str, str | None]] = []
        self.fault: tuple[int, Any] | None = None

    def __call__(self, method: str, target: str, headers: dict[str, str]) -> tuple[int, Any]:
        parts = urlsplit(target)
        self.keys.append((parts.path, headers.get("x-api-key")))
        if headers.get("x-api-key") != "rsk_alice":
            return 401, {"detail": "this needs a login"}
        if self.fault is not None and parts.path != "/cadip/":
            return self.fault
        return self.document(method, parts.path, parse_qs(parts.query))

    def document(self, method: str, path: str, query: dict[str, list[str]]) -> tuple[int, Any]:
        if path == "/cadip/":
            return 200, self.landing()
        if path == "/cadip/search":
            return 200, self.page(int(query.get("from", ["0"])[0]))
        item_id = path.removeprefix("/cadip/collections/s1-sgs/items/")
        found = item_id in IDS and method == "GET"
        return (200, self.item(item_id)) if found else (404, {"detail": f"{item_id} does not exist"})

    def landing(self) -> dict[str, Any]:
        links = [(rel, "/cadip/") for rel in ("self", "root")] + [("search", "/cadip/search")]
        return {
            "type": "Catalog",
            "stac_version": "1.0.0",
            "id": "cadip",
            "description": "stations",
            "conformsTo": CONFORMS,
            "links": [{"rel": rel, "type": "application/json", "href": f"{self.url}{path}"} for rel, path in links],
        }

    def page(self, start: int) -> dict[str, Any]:
        more = [{"rel": "next", "href": f"{self.url}/cadip/search?from={start + 2}"}] if start + 2 < len(IDS) else []
        features = [self.item(item_id) for item_id in IDS[start : start + 2]]
        return {"type": "FeatureCollection", "features": features, "links": more, "numberMatched": len(IDS)}

    def item(self, item_id: str) -> dict[str, Any]:
        return {
            "type": "Feature",
            "stac_version": "1.0.0",
            "id": item_id,
            "collection": "s1-sgs",
            "geometry": None,
            "properties": {"datetime": "2024-11-14T00:00:00Z"},
            "links": [{"rel": "self", "href": f"{self.url}/cadip/collections/s1-sgs/items/{item_id}"}],
            "assets": {},
        }


@pytest.fixture
def service() -> Iterator[Service]:
    service = Service()
    with serving(service) as url:
        service.url = url
        yield service


@contextmanager
def opened(url: str, key: str = "rsk_alice") -> Iterator[StacClient]:
    with real_session(url, key) as session:
        yield session.cadip


@pytest.fixture
def stac(service: Service) -> Iterator[StacClient]:
    with opened(service.url) as stac:
        yield stac


def search(stac: StacClient) -> Search:
    return stac.search(method="GET")


def test_a_search_gives_our_items_from_all_pages(stac: StacClient) -> None:
    found = list(search(stac).items())
    assert [item.id for item in found] == IDS
    assert all(isinstance(item, Item) for item in found)
    assert found[0].open().name == "S1A_0"
    assert found[0].href.endswith("/cadip/collections/s1-sgs/items/S1A_0")


def test_a_search_asks_nothing_before_you_look(stac: StacClient, service: Service) -> None:
    service.keys.clear()
    found = search(stac)
    assert repr(found) == "<Search {}>"
    assert service.keys == []
    assert "5 of 5" in found._repr_html_()


def test_who_looks_at_a_search_asks_once_for_text_and_picture(stac: StacClient, service: Service) -> None:
    service.keys.clear()
    shown, _ = DisplayFormatter().format(search(stac))  # type: ignore[no-untyped-call]
    assert "5 of 5" in shown["text/plain"]
    assert "5 of 5" in shown["text/html"]
    assert len(service.keys) == 4  # three pages, and how many there are


def test_a_search_that_finds_nothing_in_time_shows_itself(stac: StacClient, service: Service) -> None:
    service.fault = 503, {"detail": "sgs is down", "station": "sgs"}
    shown, _ = DisplayFormatter().format(search(stac))  # type: ignore[no-untyped-call]
    assert shown["text/plain"] == "<Search {}>\nsgs is down"
    assert "sgs is down" in shown["text/html"]


def test_stations_of_several_kinds_are_a_table_still() -> None:
    both = StationList({"sgs": ["s1-sgs"]}) | StationList({"adgs": ["s1-aux", "s2-aux"]})
    assert "s1-aux, s2-aux" in both._repr_html_()
    assert "sgs      s1-sgs" in repr(both)


def test_a_single_item(stac: StacClient) -> None:
    assert stac.item("s1-sgs", "S1A_3").open().name == "S1A_3"
    with pytest.raises(NotFound, match="S1A_9 does not exist"):
        stac.item("s1-sgs", "S1A_9")


def test_every_request_to_the_server_has_the_identity(stac: StacClient, service: Service) -> None:
    list(search(stac).items())
    assert len(service.keys) == 4  # the landing page, and three pages of items
    assert {key for _, key in service.keys} == {"rsk_alice"}
    assert stac.get_root() is stac


def test_no_other_server_gets_it(stac: StacClient) -> None:
    seen: list[str | None] = []

    def evil(method: str, target: str, headers: dict[str, str]) -> tuple[int, Any]:
        seen.append(headers.get("x-api-key"))
        return 200, {"type": "Feature"}

    item = stac.item("s1-sgs", "S1A_0")
    with serving(evil) as elsewhere:
        item.add_link(pystac.Link("derived_from", f"{elsewhere}/item"))
        assert stac._stac_io is not None
        stac._stac_io.read_text(item.links[-1])
    assert seen == [None]


def test_an_address_that_the_server_gives_itself_is_the_servers(service: Service) -> None:
    with opened(service.url.replace("127.0.0.1", "localhost")) as stac:
        assert [item.id for item in search(stac).items()] == IDS


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        ((404, {"detail": "no such thing", "request_id": "r1"}), NotFound),
        ((502, {"detail": "sgs is down", "station": "sgs"}), StationUnavailable),
        ((503, []), ServiceUnavailable),
        ((418, {}), RsError),
    ],
)
def test_an_error_is_ours_and_the_librarys(
    stac: StacClient, service: Service, fault: tuple[int, Any], expected: type[RsError]
) -> None:
    service.fault = fault
    with pytest.raises(expected) as ours:
        list(search(stac).items())
    assert isinstance(ours.value, APIError)
    assert ours.value.status_code == fault[0]
    assert str(ours.value).startswith((fault[1] or {}).get("detail", "the server answered"))


def test_a_login_that_is_over_says_so(service: Service) -> None:
    with pytest.raises(NotAuthenticated, match="needs a login"), opened(service.url, key="rsk_revoked"):
        pass


def test_a_server_that_went_away_is_named() -> None:
    service = Service()
    with serving(service) as url:
        service.url = url
        session = real_session(url)
        stac = session.cadip
    with session, pytest.raises(ServiceUnavailable, match="does not answer") as ours:
        stac.item("s1-sgs", "S1A_0")
    assert isinstance(ours.value, APIError)


def test_an_item_without_an_address_says_so() -> None:
    item = Item.from_dict(json.loads(json.dumps({**Service().item("S1A_0"), "links": []})))
    with pytest.raises(ValueError, match="no address"):
        _ = item.href
    with pytest.raises(ValueError, match="belongs to no session"):
        item.open()


def test_pages_are_asked_for_one_by_one(stac: StacClient, service: Service) -> None:
    service.keys.clear()
    items = search(stac).items()
    counts = []
    for _ in range(3):
        next(items)
        counts.append(len(service.keys))
    assert [after - before for before, after in pairwise(counts)] == [0, 1]


@pytest.mark.parametrize("parameters", [{"datetime": "notadate"}, {"datetime": "2024/2025/2026"}, {"bbox": "1,x"}])
def test_parameters_that_make_no_sense_are_told_before_anything_is_asked(
    service: Service, parameters: dict[str, Any]
) -> None:
    with opened(service.url) as client:
        asked = len(service.keys)
        with pytest.raises(Invalid, match="cannot be searched"):
            client.search(**parameters)
        assert len(service.keys) == asked
