"""Code that brings back what is shown: run, it gives an equal object, whatever was searched for."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import rs_client
from rs_client.errors import Invalid
from rs_client.jobs import Job
from rs_client.session import RsClient
from rs_client.stac import Item, ItemList, Search
from tests.unit.client.far import SERVER, session

JOB = {"jobID": "j1", "processID": "s1-l0", "status": "running"}
CONFORMS = [
    "https://api.stacspec.org/v1.0.0/core",
    "https://api.stacspec.org/v1.0.0/item-search",
    "https://api.stacspec.org/v1.0.0/item-search#sort",
    "https://api.stacspec.org/v1.0.0/item-search#fields",
    "https://api.stacspec.org/v1.0.0/item-search#query",
    "https://api.stacspec.org/v1.0.0/item-search#filter",
]


def answer(request: httpx.Request) -> httpx.Response:
    path = request.url.path
    if path == "/jobs/j1":
        return httpx.Response(200, json=JOB)
    if "/items/" in path:
        return httpx.Response(200, json=item_document(path.rpartition("/")[2]))
    if "/collections/" in path:
        return httpx.Response(200, json=collection_document(path.rpartition("/")[2]))
    links = [{"rel": rel, "href": f"{SERVER}{path}", "type": "application/json"} for rel in ("self", "root")]
    links += [{"rel": name, "href": f"{SERVER}{path}{name}", "type": "application/geo+json"} for name in ("search",)]
    links += [{"rel": "data", "href": f"{SERVER}{path}collections", "type": "application/json"}]
    landing = {"type": "Catalog", "stac_version": "1.0.0", "id": path.strip("/"), "description": "x"}
    return httpx.Response(200, json={**landing, "conformsTo": CONFORMS, "links": links})


def item_document(item_id: str) -> dict[str, Any]:
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "id": item_id,
        "collection": "alice_s1-l0",
        "geometry": None,
        "properties": {"datetime": "2024-11-14T00:00:00Z"},
        "links": [],
        "assets": {},
    }


def collection_document(collection_id: str) -> dict[str, Any]:
    return {
        "type": "Collection",
        "stac_version": "1.1.0",
        "id": collection_id,
        "description": "x",
        "license": "other",
        "extent": {"spatial": {"bbox": [[-180, -90, 180, 90]]}, "temporal": {"interval": [[None, None]]}},
        "links": [],
    }


@pytest.fixture(scope="module")
def alice() -> Iterator[RsClient]:
    with session(answer) as opened:
        yield opened


def run(snippet: str, opened: RsClient, name: str) -> Any:
    """What a snippet gives under a name, where `connect()` finds this session."""
    compiled = compile(snippet.replace("rs_client.connect()", "_session"), "<snippet>", "exec")
    names: dict[str, Any] = {"_session": opened}
    exec(compiled, names)
    return names[name]


TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
DAYS = st.datetimes(datetime(1990, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - bounds have none
SEARCHES = st.fixed_dictionaries(
    {},
    optional={
        "collections": st.lists(TEXT, min_size=1, max_size=3),
        "ids": st.lists(TEXT, min_size=1, max_size=3),
        "datetime": st.one_of(DAYS, st.sampled_from(["2024", "2024-11", "2024-11-14/2024-11-16", "../2024-01-01"])),
        "bbox": st.tuples(st.floats(-180, 0), st.floats(-90, 0), st.floats(0, 180), st.floats(0, 90)).map(list),
        "filter": st.one_of(
            TEXT.map(lambda text: {"op": "=", "args": [{"property": "platform"}, text]}),
            st.just("platform = 'sentinel-1a' AND \"sat:absolute_orbit\" > 5"),
        ),
        "platform": st.one_of(TEXT, st.lists(TEXT, min_size=1, max_size=2)),
        "orbit": st.integers(0, 10**6),
        "sortby": st.lists(st.sampled_from(["+id", "-datetime", "platform"]), min_size=1, max_size=2, unique=True),
        "limit": st.integers(1, 200),
        "max_items": st.integers(1, 1000),
        "intersects": st.tuples(st.floats(-180, 180), st.floats(-90, 90)).map(
            lambda point: {"type": "Point", "coordinates": list(point)}
        ),
        "query": st.sampled_from([["eo:cloud_cover<10", "platform=a"], {"sat:absolute_orbit": {"lt": 3}}]),
        "fields": st.sampled_from([["+id", "-assets"], "id,-links", {"include": ["id"], "exclude": []}]),
    },
)


@settings(deadline=None, max_examples=60)
@given(SEARCHES)
def test_a_search_comes_back_equal(alice: RsClient, parameters: dict[str, Any]) -> None:
    hits = alice.cadip.search(**parameters)
    again = run(rs_client.code(hits), alice, "hits")
    assert isinstance(again, Search)
    assert again._parameters == hits._parameters
    assert (again.url, again.method, again._max_items) == (hits.url, hits.method, hits._max_items)
    assert rs_client.code(again) == rs_client.code(hits)


def test_it_is_short_where_little_was_said(alice: RsClient) -> None:
    assert rs_client.code(alice.cadip.search(ids=["a"])) == (
        "import rs_client\n\ns = rs_client.connect()\nhits = s.cadip.search(ids=['a'])\n"
    )


def test_what_else_is_shown(alice: RsClient) -> None:
    one = alice.catalog.item("alice_s1-l0", "it's")
    collection = alice.catalog.get_collection("alice_s1-l0")
    shown: list[tuple[Any, str, str]] = [
        (one, "item", "it's"),
        (collection, "collection", "alice_s1-l0"),
        (Job(alice, JOB), "job", "j1"),
        (alice.catalog, "catalog", "catalog"),
    ]
    for thing, name, identity in shown:
        again = run(rs_client.code(thing), alice, name)
        assert (type(again), again.id) == (type(thing), identity)
    both = run(rs_client.code(ItemList([one, one])), alice, "items")
    assert [item.id for item in both] == ["it's", "it's"]
    assert run(rs_client.code(alice), alice, "s") is alice


@pytest.mark.parametrize("thing", [7, ItemList(), Item.from_dict(item_document("x"))])
def test_what_cannot_be_told_is_said(thing: Any) -> None:
    with pytest.raises(Invalid):
        rs_client.code(thing)


def test_a_hostile_id_stays_a_text(alice: RsClient) -> None:
    hostile = "x')\nimport os  # "
    snippet = rs_client.code(alice.cadip.search(ids=[hostile]))
    (imported,) = [node for node in ast.walk(ast.parse(snippet)) if isinstance(node, ast.Import)]
    assert imported.names[0].name == "rs_client"
    assert run(snippet, alice, "hits").get_parameters()["ids"] == (hostile,)
