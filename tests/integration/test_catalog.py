"""Who may see and change what in the catalog, on a real database: tables of callers, requests and outcomes.

The server under test runs in this process with the installation's database and an identity provider of the test, so
that each caller holds exactly the roles that a case says.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest
import yaml
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from tests.identity import Issuer
from tests.integration.callers import SHOW
from tests.schemas import item_faults
from tests.serving import Wire, issuing, serving

RUN = uuid4().hex[:8]  # an installation may be shared: no run meets what another one left
ALICE, BOB, CAROL = f"alice{RUN}", f"bob{RUN}", f"carol{RUN}"
OWN, PRIVATE, SHARED = f"{ALICE}_s1", f"{BOB}_s1", f"{BOB}_shared"
READER = f"rs_catalog_{BOB}:shared_read"
WRITER = f"rs_catalog_{BOB}:shared_write"
JSON_PATCH = {"content-type": "application/json-patch+json"}


def collection(full: str, **changes: Any) -> dict[str, Any]:
    return {
        "id": full,
        "type": "Collection",
        "stac_version": "1.1.0",
        "description": full,
        "license": "other",
        "links": [],
        "extent": {"spatial": {"bbox": [[-180, -90, 180, 90]]}, "temporal": {"interval": [[None, None]]}},
        **changes,
    }


def item(item_id: str, full: str | None, **changes: Any) -> dict[str, Any]:
    document = {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": [],
        "id": item_id,
        "collection": full,
        "geometry": {"type": "Point", "coordinates": [1, 2]},
        "bbox": [1, 2, 1, 2],
        "properties": {"datetime": "2024-01-01T00:00:00Z", "sat:absolute_orbit": int(item_id[1:])},
        "assets": {},
        "links": [],
        **changes,
    }
    return {name: value for name, value in document.items() if name != "collection" or value is not None}


class Catalog:
    """The catalog as different callers reach it."""

    def __init__(self, url: str, issuer: Issuer) -> None:
        self.url = url
        self._issuer = issuer
        self.http = httpx.Client(base_url=f"{url}/catalog", timeout=30, trust_env=False)

    def ask(self, who: str, method: str, path: str, *, roles: tuple[str, ...] = (), **content: Any) -> httpx.Response:
        """Send one request as ``who``, who holds ``roles``."""
        headers = {"Authorization": f"Bearer {self._issuer.token(who, roles)}"} | content.pop("headers", {})
        return self.http.request(method, path, headers=headers, **content)

    def anybody(self, method: str, path: str) -> httpx.Response:
        """Send one request without credentials."""
        return self.http.request(method, path)

    def found(self, who: str, *roles: str, body: dict[str, Any] | None = None) -> list[str]:
        """The collections that the items of a search are in; GET without a body, else POST."""
        method = "GET" if body is None else "POST"
        answer = self.ask(who, method, "/search?limit=100" if body is None else "/search", roles=roles, json=body)
        assert answer.status_code == 200, answer.text
        return sorted({str(feature["collection"]) for feature in answer.json()["features"]})


@pytest.fixture(scope="module")
def catalog(platform: Any) -> Iterator[Catalog]:
    issuer = Issuer()
    values = yaml.safe_load((platform.home / "config" / "server.yaml").read_text())
    with issuing(issuer) as access, serving({**values, "access": access, "stations": {}}) as url:
        catalog = Catalog(url, issuer)
        _fill(catalog)
        yield catalog
        for full in (OWN, PRIVATE, SHARED):
            catalog.ask(full.partition("_")[0], "DELETE", f"/collections/{full}?force=true")
        catalog.http.close()


def _fill(catalog: Catalog) -> None:
    for full in (OWN, PRIVATE, SHARED):
        owner = full.partition("_")[0]
        assert catalog.ask(owner, "POST", "/collections", json=collection(full)).status_code == 201
        for number in range(3):
            answer = catalog.ask(owner, "POST", f"/collections/{full}/items", json=item(f"i{number}", full))
            assert answer.status_code == 201, answer.text


# who · roles · the collections they find
READERS: list[tuple[str, tuple[str, ...], list[str]]] = [
    (ALICE, (), [OWN]),
    (ALICE, (READER,), [OWN, SHARED]),
    (BOB, (), [PRIVATE, SHARED]),
    (CAROL, (), []),
    (CAROL, (READER,), [SHARED]),
    (CAROL, (WRITER,), []),  # to write is not to read
    (CAROL, (f"rs_catalog_{BOB}:*_read",), [PRIVATE, SHARED]),
    (CAROL, ("rs_catalog_*:s1_read",), [OWN, PRIVATE]),
]


def _ids(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 200, answer.text
    return sorted(str(each["id"]) for each in answer.json()["collections"] if RUN in each["id"])


@pytest.mark.parametrize(("who", "roles", "seen"), READERS)
def test_everybody_sees_what_they_may_read(catalog: Catalog, who: str, roles: tuple[str, ...], seen: list[str]) -> None:
    listing = catalog.ask(who, "GET", "/collections?limit=1000", roles=roles)
    assert _ids(listing) == seen
    assert catalog.found(who, *roles, body={"filter": _ours(), "limit": 100}) == seen
    assert catalog.found(who, *roles, body={"collections": [OWN, PRIVATE, SHARED], "limit": 100}) == seen
    landing = catalog.ask(who, "GET", "/", roles=roles).json()
    for full in (OWN, PRIVATE, SHARED):
        assert full not in json.dumps(landing) or full in seen
        for path in ("", "/items", "/items/i1", "/queryables"):
            answer = catalog.ask(who, "GET", f"/collections/{full}{path}", roles=roles)
            assert answer.status_code == (200 if full in seen else 404), (path, answer.text)


def _ours() -> dict[str, Any]:
    """Items of this run: an installation may be shared with others."""
    return {"op": "like", "args": [{"property": "collection"}, f"%{RUN}%"]}


# what a caller with the role READER asks · where what they find is
CUNNING: list[tuple[dict[str, Any], list[str] | None]] = [
    ({"collections": []}, [OWN, SHARED]),
    ({"collections": [PRIVATE]}, []),
    ({"collections": [PRIVATE, SHARED]}, [SHARED]),
    ({"collections": ["nonsense:x:y", "*", ""]}, []),
    ({"collections": [f"{BOB}:s1"]}, []),
    ({"ids": ["i1"]}, [OWN, SHARED]),
    ({"ids": ["i1"], "collections": [PRIVATE]}, []),
    ({"bbox": [0, 0, 3, 3]}, [OWN, SHARED]),
    ({"intersects": {"type": "Point", "coordinates": [1, 2]}}, [OWN, SHARED]),
    ({"query": {"sat:absolute_orbit": {"eq": 1}}}, [OWN, SHARED]),
    ({"query": {"collection": {"eq": PRIVATE}}}, []),
    ({"filter": {"op": "=", "args": [{"property": "collection"}, PRIVATE]}}, []),
    (
        {
            "filter": {
                "op": "or",
                "args": [
                    {"op": "=", "args": [{"property": "collection"}, PRIVATE]},
                    {"op": "=", "args": [{"property": "sat:absolute_orbit"}, 1]},
                ],
            }
        },
        [OWN, SHARED],
    ),
    ({"filter": {"op": "not", "args": [{"op": "=", "args": [{"property": "id"}, "x"]}]}}, [OWN, SHARED]),
    ({"filter": {"op": "or", "args": [True, True]}}, [OWN, SHARED]),
    ({"conf": {"nohydrate": True, "context": "off"}}, [OWN, SHARED]),
    ({"fields": {"include": ["id", "collection"], "exclude": []}}, [OWN, SHARED]),
    ({"token": f"next:{PRIVATE}:i0"}, [OWN, SHARED]),
    ({"token": f"prev:{PRIVATE}:i2"}, None),  # any page of their own
]


@pytest.mark.parametrize(("body", "where"), CUNNING, ids=[json.dumps(body)[:60] for body, _ in CUNNING])
def test_no_search_reaches_further(catalog: Catalog, body: dict[str, Any], where: list[str] | None) -> None:
    answer = catalog.ask(ALICE, "POST", "/search", roles=(READER,), json={"limit": 100, **body})
    assert answer.status_code in (200, 400), answer.text
    if answer.status_code == 200:
        found = answer.json()
        seen = sorted({feature["collection"] for feature in found["features"]})
        assert set(seen) <= {OWN, SHARED}
        assert where is None or seen == where
        if "token" not in body:
            assert found["numberMatched"] == len(found["features"])
        assert PRIVATE not in json.dumps(found) or PRIVATE in json.dumps(body)
    else:
        assert "token" in body or "or" in str(body), answer.text
        assert PRIVATE not in answer.text


def test_collection_search_is_narrowed_too(catalog: Catalog) -> None:
    for given in (f"id = '{PRIVATE}'", f"id = '{PRIVATE}' OR description = '{PRIVATE}'"):
        params = {"filter": given, "filter-lang": "cql2-text"}
        assert _ids(catalog.ask(ALICE, "GET", "/collections", params=params)) == []
        assert _ids(catalog.ask(BOB, "GET", "/collections", params=params)) == [PRIVATE]
    assert _ids(catalog.ask(ALICE, "GET", "/collections", params={"q": BOB})) == []
    assert _ids(catalog.ask(ALICE, "GET", "/collections", params={"ids": PRIVATE})) in ([], [OWN])
    answer = catalog.ask(ALICE, "GET", "/collections", params={"query": json.dumps({"id": {"eq": PRIVATE}})})
    assert answer.status_code == 400 or _ids(answer) == [OWN]


def test_every_page_is_found_and_no_link_tells_the_narrowing(catalog: Catalog) -> None:
    seen: list[tuple[str, str]] = []
    body = {"limit": 2, "sortby": [{"field": "id", "direction": "asc"}]}
    answer = catalog.ask(ALICE, "POST", "/search", roles=(READER,), json=body)
    while True:
        page = answer.json()
        assert page["numberMatched"] == 6
        seen += [(each["collection"], each["id"]) for each in page["features"]]
        following = [link for link in page["links"] if link["rel"] == "next"]
        if not following:
            break
        (link,) = following
        assert "collections" not in link["body"]
        assert link["href"] == f"{catalog.url}/catalog/search"
        answer = catalog.ask(ALICE, "POST", link["href"], roles=(READER,), json=link["body"])
    assert len(seen) == len(set(seen)) == 6


def test_pages_by_get(catalog: Catalog) -> None:
    answer = catalog.ask(ALICE, "GET", f"/collections/{OWN}/items?limit=2")
    (link,) = [link for link in answer.json()["links"] if link["rel"] == "next"]
    rest = catalog.ask(ALICE, "GET", link["href"]).json()
    assert len(answer.json()["features"]) + len(rest["features"]) == 3
    assert catalog.ask(CAROL, "GET", link["href"]).status_code == 404


@pytest.mark.parametrize("text", ["s1", f"{ALICE}:s1", OWN])
def test_short_names_and_full_answers(catalog: Catalog, text: str) -> None:
    for path in ("", "/items/i1", "/items", "/queryables"):
        answer = catalog.ask(ALICE, "GET", f"/collections/{text}{path}")
        assert answer.status_code == 200, answer.text
        links = [link["href"] for link in answer.json().get("links", [])]
        assert all(f"/collections/{text}/" not in href for href in links if text != OWN)
    assert catalog.ask(ALICE, "GET", f"/collections/{text}").json()["id"] == OWN
    assert catalog.ask(ALICE, "GET", f"/collections/{text}/items/i1").json()["collection"] == OWN
    assert catalog.found(ALICE, body={"collections": [text]}) == [OWN]


def test_links_start_at_the_public_address(catalog: Catalog) -> None:
    lies = {"Host": "evil.test", "X-Forwarded-Host": "evil.test", "X-Forwarded-Prefix": "//evil.test"}
    lies |= {"Forwarded": "host=evil.test;proto=https"}
    for path in ("/", "/collections", f"/collections/{OWN}", f"/collections/{OWN}/items", "/search", "/queryables"):
        answer = catalog.ask(ALICE, "GET", path, headers=lies)
        assert answer.status_code == 200, answer.text
        assert "evil" not in answer.text
        for link in answer.json().get("links", []):
            assert link["href"].startswith((f"{catalog.url}/catalog/", f"{catalog.url}/docs")), link
    for link in catalog.ask(ALICE, "GET", "/").json()["links"]:
        if link.get("method", "GET") == "GET":
            assert catalog.ask(ALICE, "GET", link["href"]).status_code in (200, 307), link


# caller · roles · method · path · body · outcome
Write = tuple[str, tuple[str, ...], str, str, Any, int]
REFUSED_WRITES: list[Write] = [
    # collections: their owner alone
    (CAROL, (), "POST", "/collections", collection(f"{BOB}_new"), 403),
    (CAROL, (), "POST", "/collections", collection(f"{BOB}:new"), 403),
    (CAROL, (WRITER, READER), "PUT", f"/collections/{SHARED}", collection(SHARED, description="stolen"), 403),
    (CAROL, (WRITER, READER), "PATCH", f"/collections/{SHARED}", {"description": "stolen"}, 403),
    (CAROL, (WRITER, READER), "DELETE", f"/collections/{SHARED}", None, 403),
    # the body names another collection than the path
    (ALICE, (), "PUT", f"/collections/{OWN}", collection(PRIVATE, description="stolen"), 400),
    (ALICE, (), "PATCH", f"/collections/{OWN}", {"id": PRIVATE, "description": "stolen"}, 400),
    (ALICE, (), "PATCH", f"/collections/{OWN}", {"id": None}, 400),
    (ALICE, (), "PATCH", f"/collections/{OWN}", [{"op": "replace", "path": "/id", "value": PRIVATE}], 400),
    (ALICE, (), "PATCH", f"/collections/{OWN}", [{"op": "replace", "path": "", "value": collection(PRIVATE)}], 400),
    (
        ALICE,
        (),
        "PATCH",
        f"/collections/{OWN}",
        [{"op": "add", "path": "/title", "value": PRIVATE}, {"op": "move", "from": "/title", "path": "/id"}],
        400,
    ),
    # items: the right to write
    (CAROL, (READER,), "POST", f"/collections/{SHARED}/items", item("i9", SHARED), 403),
    (CAROL, (READER,), "PUT", f"/collections/{SHARED}/items/i1", item("i1", SHARED), 403),
    (CAROL, (READER,), "PATCH", f"/collections/{SHARED}/items/i1", {"properties": {"n": 9}}, 403),
    (CAROL, (READER,), "DELETE", f"/collections/{SHARED}/items/i1", None, 403),
    (CAROL, (READER,), "POST", f"/collections/{SHARED}/bulk_items", {"items": {"i9": item("i9", SHARED)}}, 403),
    (CAROL, (WRITER,), "POST", f"/collections/{PRIVATE}/items", item("i9", PRIVATE), 403),
    # an item that is to end elsewhere
    (ALICE, (), "POST", f"/collections/{OWN}/items", item("i9", PRIVATE), 400),
    (ALICE, (), "PUT", f"/collections/{OWN}/items/i1", item("i1", PRIVATE), 400),
    (ALICE, (), "PUT", f"/collections/{OWN}/items/i1", item("i2", OWN), 400),
    (ALICE, (), "PATCH", f"/collections/{OWN}/items/i1", {"collection": PRIVATE}, 400),
    (ALICE, (), "PATCH", f"/collections/{OWN}/items/i1", [{"op": "replace", "path": "/id", "value": "i2"}], 400),
    (
        ALICE,
        (),
        "POST",
        f"/collections/{OWN}/items",
        {"type": "FeatureCollection", "features": [item("i8", OWN), item("i9", PRIVATE)]},
        400,
    ),
    (
        ALICE,
        (),
        "POST",
        f"/collections/{OWN}/bulk_items",
        {"items": {"i8": item("i8", OWN), "i9": item("i9", PRIVATE)}},
        400,
    ),
    (ALICE, (), "POST", f"/collections/{OWN}/bulk_items", {"items": {"i8": item("i8", OWN), "i9": {"id": "i9"}}}, 400),
    (ALICE, (), "POST", f"/collections/{OWN}/bulk_items", {"items": {"i8": item("i7", OWN)}}, 400),
    # ids
    (ALICE, (), "POST", "/collections", collection("a b"), 400),
    (ALICE, (), "POST", "/collections", collection(f"{ALICE}_../x"), 400),
    (ALICE, (), "POST", "/collections", collection(f"{ALICE.replace('a', 'а')}_x"), 400),  # Cyrillic
    (ALICE, (), "POST", f"/collections/{OWN}/items", item("i9", OWN, id="i1/../x"), 400),
    # what is there already, what is not
    (ALICE, (), "POST", "/collections", collection("s1"), 409),
    (ALICE, (), "POST", f"/collections/{OWN}/items", item("i1", OWN), 409),
    (ALICE, (), "PUT", f"/collections/{OWN}/items/i77", item("i77", OWN), 404),
    (ALICE, (), "DELETE", f"/collections/{OWN}/items/i77", None, 404),
    (ALICE, (), "DELETE", "/collections/nothing", None, 404),
    (ALICE, (), "POST", "/collections/nothing/items", item("i1", None), 404),
    (ALICE, (), "PATCH", f"/collections/{OWN}/items/i1", [{"op": "test", "path": "/id", "value": "x"}], 409),
    (ALICE, (), "POST", f"/collections/{OWN}/items", {"type": "Feature"}, 400),
]


def _everything(catalog: Catalog) -> Any:
    """All that is there, as the owners see it."""
    return [
        (catalog.ask(owner, "GET", path).json())
        for owner, full in ((ALICE, OWN), (BOB, PRIVATE), (BOB, SHARED))
        for path in (f"/collections/{full}", f"/collections/{full}/items?limit=100")
    ]


@pytest.mark.parametrize(
    ("who", "roles", "method", "path", "body", "status"),
    REFUSED_WRITES,
    ids=[f"{number}-{case[2]}-{case[5]}" for number, case in enumerate(REFUSED_WRITES)],
)
def test_refused_writes_change_nothing(
    catalog: Catalog, who: str, roles: tuple[str, ...], method: str, path: str, body: Any, status: int
) -> None:
    before = _everything(catalog)
    headers = JSON_PATCH if method == "PATCH" and isinstance(body, list) else {}
    answer = catalog.ask(who, method, path, roles=roles, json=body, headers=headers)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["request_id"] == answer.headers["x-request-id"]
    assert _everything(catalog) == before


def test_the_life_of_a_collection(catalog: Catalog) -> None:
    full = f"{CAROL}_life"
    made = catalog.ask(CAROL, "POST", "/collections", json=collection("life"))
    assert (made.status_code, made.json()["id"]) == (201, full), made.text
    try:
        _live(catalog, full)
    finally:
        assert catalog.ask(CAROL, "DELETE", "/collections/life").status_code == 409  # it holds items
        assert catalog.ask(CAROL, "DELETE", "/collections/life?force=true").status_code == 200
    assert catalog.ask(CAROL, "GET", f"/collections/{full}").status_code == 404


def _live(catalog: Catalog, full: str) -> None:
    def done(method: str, path: str, body: Any = None, **content: Any) -> Any:
        answer = catalog.ask(CAROL, method, path, json=body, **content)
        assert answer.status_code in (200, 201, 204), answer.text
        return answer.json() if answer.content else None

    assert done("PUT", "/collections/life", collection("life", title="T"))["id"] == full
    assert done("PATCH", "/collections/life", {"description": "D"})["description"] == "D"
    steps = [{"op": "replace", "path": "/title", "value": "U"}]
    assert done("PATCH", f"/collections/{full}", steps, headers=JSON_PATCH)["title"] == "U"
    assert done("GET", "/collections/life")["title"] == "U"
    placeless = item("i0", "life", geometry=None)
    del placeless["bbox"]
    made = done("POST", "/collections/life/items", placeless)
    assert (made["collection"], made["geometry"]) == (full, None)
    done("POST", "/collections/life/items", {"type": "FeatureCollection", "features": [item("i1", full)]})
    numbers = (2, 7, 63, 70)
    bulk = {"items": {f"i{n}": item(f"i{n}", None) for n in numbers}}
    assert done("POST", "/collections/life/bulk_items", bulk)["success"] == len(numbers)
    assert done("PUT", "/collections/life/items/i7", item("i7", "life"), headers=SHOW)["collection"] == full
    changed = done("PATCH", "/collections/life/items/i7", {"properties": {"platform": "sentinel-1a"}}, headers=SHOW)
    assert changed["properties"]["platform"] == "sentinel-1a"
    done("DELETE", "/collections/life/items/i2")
    listed = done("GET", "/collections/life/items?sortby=-sat:absolute_orbit&limit=100")
    assert [each["id"] for each in listed["features"]] == ["i70", "i63", "i7", "i1", "i0"]  # as numbers, not as texts
    for each in listed["features"]:
        assert item_faults(each) == []


def test_writers_write_without_owning(catalog: Catalog) -> None:
    roles = (WRITER, READER)
    path = f"/collections/{SHARED}/items"
    assert catalog.ask(CAROL, "POST", path, roles=roles, json=item("i5", SHARED)).status_code == 201
    assert catalog.ask(CAROL, "DELETE", f"{path}/i5", roles=roles).status_code == 204


# a request that is wrong · its status · what the answer must name
WRONG: list[tuple[str, str, Any, int, str]] = [
    ("GET", "/search?filter=nonsense+%3D%3D%3D+1&filter-lang=cql2-text", None, 400, "filter"),
    ("GET", "/search?datetime=yesterday", None, 400, ""),
    ("GET", "/search?bbox=1,2", None, 400, "BBox"),
    ("GET", "/search?bbox=a,b,c,d", None, 400, "bbox"),
    ("GET", "/search?limit=-1", None, 400, "limit"),
    ("POST", "/search", {"limit": "many"}, 400, "limit"),
    ("POST", "/search", {"intersects": {"type": "Blob"}}, 400, "intersects"),
    ("POST", "/search", {"filter": {"op": "=", "args": [{"property": "sat:absolute_orbit"}, "abc"]}}, 400, ""),
    ("POST", "/search", {"filter": {"op": "frobnicate", "args": [1, 2]}}, 400, ""),
    ("POST", "/search", {"token": "'; DROP TABLE items; --"}, 400, ""),
    ("POST", "/search", {"datetime": "2024-13-45T00:00:00Z"}, 400, ""),
    ("GET", f"/collections/{OWN}/items/nothing", None, 404, "nothing"),
    ("GET", "/collections/nothing", None, 404, "nothing"),
    ("GET", "/nothing", None, 404, ""),
    ("DELETE", "/search", None, 405, ""),
]


@pytest.mark.parametrize(("method", "path", "body", "status", "named"), WRONG)
def test_wrong_requests_are_told(catalog: Catalog, method: str, path: str, body: Any, status: int, named: str) -> None:
    answer = catalog.ask(ALICE, method, path, json=body)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert named in problem["detail"]
    assert problem["status"] == status
    assert problem["request_id"] == answer.headers["x-request-id"]
    assert "pgstac" not in answer.text.lower()


HARMLESS: list[Callable[[str], dict[str, Any]]] = [
    lambda text: {"ids": [text]},
    lambda text: {"collections": [text]},
    lambda text: {"filter": {"op": "=", "args": [{"property": "id"}, text]}},
    lambda text: {"filter": {"op": "like", "args": [{"property": "platform"}, text]}},
    lambda text: {"filter": {"op": "=", "args": [{"property": text}, "x"]}},
    lambda text: {"query": {text: {"eq": "x"}}},
    lambda text: {"sortby": [{"field": text, "direction": "asc"}]},
    lambda text: {"fields": {"include": [text]}},
]


@pytest.mark.parametrize("text", ["'", "''; DROP TABLE items; --", '"', "$$", "%_%", "\\", "\x00", "a.b.c", "é" * 500])
@pytest.mark.parametrize("place", range(len(HARMLESS)))
def test_texts_stay_texts(catalog: Catalog, place: int, text: str) -> None:
    answer = catalog.ask(CAROL, "POST", "/search", json=HARMLESS[place](text))
    assert answer.status_code in (200, 400), answer.text
    assert answer.status_code == 400 or answer.json()["features"] == []


def test_nobody_without_a_login(catalog: Catalog) -> None:
    for method, path in [
        ("GET", "/"),
        ("GET", "/conformance"),
        ("GET", "/collections"),
        ("GET", "/queryables"),
        ("GET", "/_mgmt/health"),
        ("GET", "/_mgmt/ping"),
        ("POST", "/search"),
        ("POST", "/collections"),
        ("DELETE", f"/collections/{OWN}"),
    ]:
        answer = catalog.anybody(method, path)
        assert answer.status_code == 401, (path, answer.text)
        assert answer.headers["www-authenticate"].startswith("Bearer")
        assert answer.headers["content-type"] == "application/problem+json"


# a request · what it answers while the database is away
AWAY = [
    ("GET", "/catalog/collections", None),
    ("GET", f"/catalog/collections/{OWN}/items/i1", None),
    ("POST", "/catalog/search", {}),
    ("POST", "/catalog/collections", collection(f"{ALICE}_other")),
    ("GET", "/auth/api_keys", None),
    ("POST", "/auth/api_keys", {"name": "x"}),
    ("GET", "/jobs", None),
    ("GET", "/ready", None),
]


def test_a_database_that_is_away_is_told_and_comes_back(platform: Any) -> None:
    issuer = Issuer()
    values = yaml.safe_load((platform.home / "config" / "server.yaml").read_text())
    place = conninfo_to_dict(values["database"]["dsn"])
    wire = Wire(str(place["host"]), int(str(place["port"])))
    database = {"dsn": make_conninfo(values["database"]["dsn"], port=str(wire.port))}
    with (
        closing(wire),
        issuing(issuer) as access,
        serving({**values, "database": database, "access": access, "stations": {}}) as url,
        httpx.Client(
            base_url=url, headers={"Authorization": f"Bearer {issuer.token(ALICE)}"}, timeout=60, trust_env=False
        ) as http,
    ):
        assert http.get("/catalog/collections").status_code == 200
        wire.cut()
        with ThreadPoolExecutor(len(AWAY)) as pool:
            answers = list(pool.map(lambda case: http.request(case[0], case[1], json=case[2]), AWAY))
        for (_, path, _), answer in zip(AWAY, answers, strict=True):
            assert answer.status_code == 503, (path, answer.text)
            assert path == "/ready" or answer.headers["retry-after"]
            assert path == "/ready" or answer.headers["content-type"] == "application/problem+json"
        assert http.get("/health").status_code == 200
        wire.mend()
        for path in ("/catalog/collections", "/auth/api_keys", "/jobs"):
            assert _soon(http, path).status_code == 200
        assert f"{ALICE}_other" not in http.get("/catalog/collections").text


def _soon(http: httpx.Client, path: str) -> httpx.Response:
    end = time.monotonic() + 30
    while (answer := http.get(path)).status_code == 503 and time.monotonic() < end:
        time.sleep(0.5)
    return answer


def test_migrating_again_changes_nothing(platform: Any) -> None:
    """Also by several at once, as when many servers start."""
    dsn = yaml.safe_load((platform.home / "config" / "server.yaml").read_text())["database"]["dsn"]
    before = _form(dsn)
    with ThreadPoolExecutor(3) as pool:
        runs = list(pool.map(lambda _: _migrate(dsn), range(3)))
    assert [run.returncode for run in runs] == [0, 0, 0], runs[0].stderr
    assert _form(dsn) == before


def test_a_migration_that_is_not_permitted_says_what_to_do(platform: Any) -> None:
    dsn = yaml.safe_load((platform.home / "config" / "server.yaml").read_text())["database"]["dsn"]
    run = _migrate(make_conninfo(dsn, dbname="nowhere"))
    assert run.returncode == 1
    assert "does not answer" in run.stderr
    assert "Traceback" not in run.stderr


def _migrate(dsn: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RSPY_")}
    return subprocess.run(
        [sys.executable, "-m", "rs_server.migrate"],
        env={**environment, "RSPY_DATABASE__DSN": dsn},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def _form(dsn: str) -> list[Any]:
    """The tables and their columns, what has been applied, and what may be filtered on."""
    with psycopg.connect(dsn) as conn:
        columns = conn.execute(
            "SELECT table_schema, table_name, column_name, data_type FROM information_schema.columns "
            "WHERE table_schema IN ('rs', 'procrastinate', 'pgstac') AND table_name NOT LIKE '\\_items\\_%%' "
            "ORDER BY 1, 2, 3"
        ).fetchall()
        applied = conn.execute("SELECT name, at FROM rs.migrations ORDER BY 1").fetchall()
        queryables = conn.execute("SELECT name, definition FROM pgstac.queryables ORDER BY 1, 2").fetchall()
    return [columns, applied, queryables]
