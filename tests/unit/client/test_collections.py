"""Collections and pages of items: never stale, never without a way to open a product, never leaking a login."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import httpx
import pystac
import pytest
from pystac_client.exceptions import APIError

from rs_client.errors import NotFound, RsError, ServiceUnavailable, Timeout
from rs_client.stac import Collection, Item, StacClient, StacIO
from tests.unit.client.far import SERVER, Answer, Far, http, real_session, serving

CONFORMS = ("core", "item-search", "collections", "ogcapi-features")


class Catalog:
    """A catalog with one collection, which can be taken away."""

    def __init__(self) -> None:
        self.url = ""
        self.there = True

    def __call__(self, method: str, target: str, headers: dict[str, str]) -> tuple[int, Any]:
        path = target.partition("?")[0]
        if path == "/catalog/":
            return 200, self.landing()
        if path == "/catalog/search":
            features = [self.item("a"), self.item("b")]
            return 200, {"type": "FeatureCollection", "features": features, "links": [], "numberReturned": 2}
        if path == "/catalog/collections":
            return 200, {"collections": [self.collection()] if self.there else [], "links": []}
        if path == "/catalog/collections/alice_s1-l0" and self.there:
            return 200, self.collection()
        if path == "/catalog/collections/alice_s1-l0/items/a" and self.there:
            return 200, self.item("a")
        return 404, {"detail": "it does not exist"}

    def landing(self) -> dict[str, Any]:
        links = {"self": "/", "root": "/", "data": "/collections", "search": "/search"}
        return {
            "type": "Catalog",
            "stac_version": "1.0.0",
            "id": "catalog",
            "description": "products",
            "conformsTo": [f"https://api.stacspec.org/v1.0.0/{name}" for name in CONFORMS],
            "links": [
                {"rel": rel, "type": "application/json", "href": f"{self.url}/catalog{path}"}
                for rel, path in links.items()
            ],
        }

    def collection(self) -> dict[str, Any]:
        here = f"{self.url}/catalog/collections/alice_s1-l0"
        return {
            "type": "Collection",
            "stac_version": "1.0.0",
            "id": "alice_s1-l0",
            "description": "Level-0 products",
            "license": "other",
            "extent": {"spatial": {"bbox": [[-180, -90, 180, 90]]}, "temporal": {"interval": [[None, None]]}},
            "links": [{"rel": "self", "href": here}, {"rel": "items", "href": f"{here}/items"}],
        }

    def item(self, item_id: str) -> dict[str, Any]:
        return {
            "type": "Feature",
            "stac_version": "1.0.0",
            "id": item_id,
            "collection": "alice_s1-l0",
            "geometry": None,
            "properties": {"datetime": "2024-11-14T00:00:00Z"},
            "links": [],
            "assets": {},
        }


@pytest.fixture
def catalog() -> Iterator[Catalog]:
    catalog = Catalog()
    with serving(catalog) as url:
        catalog.url = url
        yield catalog


@pytest.fixture
def client(catalog: Catalog) -> Iterator[StacClient]:
    with real_session(catalog.url) as session:
        yield session.catalog


def opened(items: Iterator[pystac.Item] | pystac.ItemCollection) -> list[str]:
    """The names of the products of these items, each opened."""
    return [str(cast("Item", item).open().name) for item in items]


def test_a_collection_is_asked_for_each_time(client: StacClient, catalog: Catalog) -> None:
    assert client.get_collection("alice_s1-l0").id == "alice_s1-l0"
    assert [one.id for one in client.get_collections()] == ["alice_s1-l0"]
    catalog.there = False
    assert list(client.get_collections()) == []
    with pytest.raises(NotFound) as caught:
        client.get_collection("alice_s1-l0")
    assert isinstance(caught.value, APIError)
    assert caught.value.status == 404


def test_items_can_be_opened_whichever_way_they_came(client: StacClient) -> None:
    search = client.search(method="GET")
    collection = client.get_collection("alice_s1-l0")
    assert isinstance(collection, Collection)
    assert opened(search.items()) == ["a", "b"]
    assert opened(search.item_collection()) == ["a", "b"]
    assert [opened(page) for page in search.pages()] == [["a", "b"]]
    assert opened(collection.get_items()) == ["a", "b"]
    assert opened(item for item in [collection.get_item("a")] if item) == ["a"]


def test_a_server_that_does_not_count_gives_no_count(client: StacClient) -> None:
    assert client.search(method="GET").matched() is None


def test_an_error_travels_between_processes(client: StacClient, catalog: Catalog) -> None:
    catalog.there = False
    with pytest.raises(NotFound) as caught:
        client.get_collection("alice_s1-l0")
    there = pickle.loads(pickle.dumps(caught.value))
    assert type(there) is NotFound
    assert (str(there), there.status) == (str(caught.value), 404)


def over(answer: Answer) -> StacIO:
    return StacIO(http(answer))


def test_a_redirect_to_another_server_takes_no_login_along() -> None:
    seen: dict[str, set[str]] = {}
    ways = {"/catalog": f"{SERVER}/catalog/", "/catalog/": "http://evil.test/"}

    def answer(request: httpx.Request) -> httpx.Response:
        seen[str(request.url)] = {name.lower() for name in request.headers}
        if request.url.host == "server.test":
            return httpx.Response(307, headers={"location": ways[request.url.path]})
        return httpx.Response(200, text="{}")

    over(answer).request(f"{SERVER}/catalog")
    assert "x-api-key" in seen[f"{SERVER}/catalog"]
    assert "x-api-key" in seen[f"{SERVER}/catalog/"]
    assert not {"x-api-key", "authorization"} & seen["http://evil.test/"]


def test_a_redirect_in_a_circle_ends() -> None:
    around = Far(httpx.Response(307, headers={"location": f"{SERVER}/catalog/"}))
    with pytest.raises(RsError, match="from one address to the next"):
        over(around).request(f"{SERVER}/catalog/")


def test_a_netrc_file_does_not_take_the_place_of_the_login(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    netrc = tmp_path / "netrc"
    netrc.write_text("machine server.test login somebody password else\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    far = Far(httpx.Response(200, text="{}"))
    over(far).request(f"{SERVER}/catalog/")
    assert "x-api-key" in far.requests[0].headers
    assert "authorization" not in far.requests[0].headers


def test_a_slow_server_is_a_timeout() -> None:
    with pytest.raises(Timeout) as caught:
        over(Far(httpx.ReadTimeout("slow"))).request(f"{SERVER}/catalog/")
    assert isinstance(caught.value, TimeoutError)
    assert isinstance(caught.value, APIError)


@pytest.mark.parametrize(
    ("method", "path", "tries"),
    [
        ("GET", "/catalog/collections", 4),
        ("POST", "/catalog/search", 4),
        ("PUT", "/catalog/collections/c/items/i", 4),
        ("POST", "/catalog/collections/c/items", 1),
        ("PATCH", "/catalog/collections/c/items/i", 1),
        ("DELETE", "/catalog/collections/c/items/i", 1),
    ],
)
def test_what_changes_something_is_sent_once(method: str, path: str, tries: int) -> None:
    far = Far(httpx.Response(503, json={"detail": "back soon"}))
    with pytest.raises(ServiceUnavailable, match="back soon"):
        over(far).request(f"{SERVER}{path}", method=method, parameters={})
    assert len(far.requests) == tries


def test_parameters_join_those_that_an_address_has() -> None:
    far = Far(httpx.Response(200, text="{}"))
    over(far).request(f"{SERVER}/catalog/search?token=next", parameters={"limit": 2})
    assert dict(far.requests[0].url.params) == {"token": "next", "limit": "2"}
