"""Attacks on the catalog, as tables: each with the outcome it must have, on a real database.

The rows of test_catalog.py and test_catalog_writes.py are not told again: owners in bodies, items that are moved,
look-alike ids, hrefs, keys and presigned addresses are there.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest
import yaml

from rs_server.access.policy import Principal, Right, Service, allows
from tests.conftest import Platform, new_platform
from tests.integration.callers import Callers, calling, collection, item

RUN = uuid4().hex[:6]
SEED = 5
CASES = 1_000
OWNERS = [f"o{number}{RUN}" for number in range(4)]
NAMES = ["a", "b", "c"]
EACH = 5  # items of a collection
PLATFORMS = ["sentinel-1a", "sentinel-1b", "sentinel-2a"]


@pytest.fixture(scope="module")
def callers(platform: Platform) -> Iterator[Callers]:
    with calling(platform) as callers:
        yield callers


@pytest.fixture(scope="module")
def world(callers: Callers) -> Iterator[dict[str, list[dict[str, Any]]]]:
    """Collections of several owners with items to tell apart, by full id."""
    chosen = random.Random(SEED)
    world: dict[str, list[dict[str, Any]]] = {}
    for owner in OWNERS:
        for name in NAMES:
            full = f"{owner}_{name}"
            answer = callers.ask(owner, "POST", "/catalog/collections", json=collection(full))
            assert answer.status_code == 201, answer.text
            world[full] = [_item(full, number, chosen) for number in range(EACH)]
            body = {"items": {each["id"]: each for each in world[full]}}
            answer = callers.ask(owner, "POST", f"/catalog/collections/{full}/bulk_items", json=body)
            assert answer.status_code == 200, answer.text
    yield world
    for full in world:
        callers.ask(full.partition("_")[0], "DELETE", f"/catalog/collections/{full}?force=true")


def _item(full: str, number: int, chosen: random.Random) -> dict[str, Any]:
    west, south = chosen.randrange(-170, 170), chosen.randrange(-80, 80)
    properties = {
        "datetime": f"2024-{chosen.randrange(1, 13):02}-{chosen.randrange(1, 28):02}T00:00:00Z",
        "platform": chosen.choice(PLATFORMS),
        "sat:absolute_orbit": chosen.randrange(100),
        "eo:cloud_cover": chosen.choice([None, chosen.uniform(0, 100)]),
        "externalIds": [{"scheme": "prip", "value": f"{RUN}-{chosen.randrange(20)}"}],
    }
    kept = {name: value for name, value in properties.items() if value is not None}
    place = {"geometry": {"type": "Point", "coordinates": [west, south]}, "bbox": [west, south, west, south]}
    return item(f"i{number}", full, properties=kept, **place)


# --- what is seen on random data is what an oracle says -------------------------------------------------------------


Query = tuple[dict[str, Any], Any]  # a part of a search, and whether an item matches it


def _queries(chosen: random.Random) -> Query:
    orbit, name, month = chosen.randrange(100), chosen.choice(PLATFORMS), chosen.randrange(1, 12)
    west, south = chosen.randrange(-170, 100), chosen.randrange(-80, 20)
    external = f"{RUN}-{chosen.randrange(20)}"
    ids = [f"i{number}" for number in chosen.sample(range(EACH + 2), 3)]
    is_orbit = {"op": "<", "args": [{"property": "sat:absolute_orbit"}, orbit]}
    is_platform = {"op": "=", "args": [{"property": "platform"}, name]}
    span = [f"2024-{month:02}-01T00:00:00Z", f"2024-{month + 1:02}-28T00:00:00Z"]

    def props(each: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = each["properties"]
        return found

    table: list[Query] = [
        ({}, lambda _: True),
        ({"collections": []}, lambda _: True),
        ({"ids": ids}, lambda each: each["id"] in ids),
        ({"ids": [external]}, lambda each: _external(each) == external),
        ({"ids": [f"prip:{external}", "i0"]}, lambda each: _external(each) == external or each["id"] == "i0"),
        ({"ids": [f"other:{external}"]}, lambda _: False),
        (
            {"bbox": [west, south, west + 70, south + 60]},
            lambda each: west <= each["bbox"][0] <= west + 70 and south <= each["bbox"][1] <= south + 60,
        ),
        ({"datetime": "/".join(span)}, lambda each: span[0] <= props(each)["datetime"] <= span[1]),
        ({"filter": is_orbit}, lambda each: props(each)["sat:absolute_orbit"] < orbit),
        ({"filter": {"op": "or", "args": [is_orbit, True]}}, lambda _: True),
        ({"filter": {"op": "not", "args": [is_platform]}}, lambda each: props(each)["platform"] != name),
        (
            {"filter": {"op": "or", "args": [is_platform, is_orbit]}},
            lambda each: props(each)["platform"] == name or props(each)["sat:absolute_orbit"] < orbit,
        ),
        (
            {"filter": {"op": "isNull", "args": [{"property": "eo:cloud_cover"}]}},
            lambda each: "eo:cloud_cover" not in props(each),
        ),
        ({"query": {"platform": {"eq": name}}}, lambda each: props(each)["platform"] == name),
        (
            {"filter": {"op": "in", "args": [{"property": "collection"}, [f"{OWNERS[0]}_a", f"{OWNERS[1]}_b"]]}},
            lambda each: each["collection"] in (f"{OWNERS[0]}_a", f"{OWNERS[1]}_b"),
        ),
    ]
    return chosen.choice(table)


def _external(each: dict[str, Any]) -> str:
    return str(each["properties"]["externalIds"][0]["value"])


def _roles(chosen: random.Random) -> tuple[str, ...]:
    def role() -> str:
        owner, name = chosen.choice([*OWNERS, "*"]), chosen.choice([*NAMES, "*"])
        return f"rs_catalog_{owner}:{name}_{chosen.choice(['read', 'read', 'read', 'write', 'download'])}"

    return tuple(role() for _ in range(chosen.randrange(4)))


def test_a_thousand_random_searches_answer_what_an_oracle_says(
    callers: Callers, world: dict[str, list[dict[str, Any]]]
) -> None:
    chosen = random.Random(SEED)
    cases = [
        (chosen.choice([*OWNERS, f"stranger{RUN}"]), _roles(chosen), _queries(chosen), chosen.randrange(3))
        for _ in range(CASES)
    ]

    def check(case: tuple[str, tuple[str, ...], Query, int]) -> None:
        who, roles, (query, matches), form = case
        principal = Principal(login=who, roles=frozenset(roles))
        may = {full for full in world if allows(principal, Right.READ, Service.CATALOG, full.replace("_", ":", 1))}
        expected = sorted((full, each["id"]) for full in may for each in world[full] if matches(each))
        wild = any("_*:" in role for role in roles)  # an installation may hold more than this test made
        asked = _with_collections(query, world, max(form, 1) if wild else form)
        named = asked.get("collections") or list(world)
        expected = [each for each in expected if each[0] in named]
        answer = callers.ask(who, "POST", "/catalog/search", roles=roles, json={"limit": 500, **asked})
        assert answer.status_code == 200, (case, answer.text)
        found = answer.json()
        seen = sorted((each["collection"], each["id"]) for each in found["features"] if RUN in each["collection"])
        assert seen == expected, case
        assert found["numberMatched"] == found["numberReturned"] == len(found["features"]), case
        if form == 1:
            _counted(callers, case, asked, expected)

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(check, cases))


def _with_collections(query: dict[str, Any], world: dict[str, Any], form: int) -> dict[str, Any]:
    """Some cases name collections: all of them, in one of the ways to write them."""
    if form == 0:
        return query
    full = sorted(world)
    return {**query, "collections": full if form == 1 else full[::2]}


def _counted(callers: Callers, case: Any, query: dict[str, Any], expected: list[tuple[str, str]]) -> None:
    """Counts are narrowed like pages."""
    wanted = {"aggregations": ["total_count", "collection_frequency"], **query}
    answer = callers.ask(case[0], "POST", "/catalog/aggregate", roles=case[1], json=wanted)
    assert answer.status_code == 200, (case, answer.text)
    total, by_collection = answer.json()["aggregations"]
    told = {bucket["key"]: bucket["frequency"] for bucket in by_collection["buckets"] if RUN in bucket["key"]}
    assert told == {full: sum(each[0] == full for each in expected) for full in {each[0] for each in expected}}, case
    assert total["value"] == sum(bucket["frequency"] for bucket in by_collection["buckets"]), case


# --- requests made to hurt ------------------------------------------------------------------------------------------


def _deep(levels: int) -> dict[str, Any]:
    inner: dict[str, Any] = {"op": "=", "args": [{"property": "id"}, "x"]}
    for _ in range(levels):
        inner = {"op": "not", "args": [inner]}
    return inner


def _text(depth: int) -> str:
    return '{"filter": ' + '{"op": "not", "args": [' * depth + "true" + "]}" * depth + "}"


HURTING: list[tuple[str, str]] = [
    ("nested 30", json.dumps({"filter": _deep(30)})),
    ("nested 10 000", _text(10_000)),
    ("brackets 100 000", "[" * 100_000),
    ("a filter of 10 MB", json.dumps({"filter": {"op": "in", "args": [{"property": "id"}, ["x" * 100] * 100_000]}})),
    ("a name of 10 MB", json.dumps({"filter": {"op": "=", "args": [{"property": "x" * 10_000_000}, 1]}})),
    ("10 000 ors", json.dumps({"filter": {"op": "or", "args": [_deep(0)] * 10_000}})),
    ("NaN", '{"filter": {"op": "=", "args": [{"property": "gsd"}, NaN]}}'),
    ("a pattern", json.dumps({"filter": {"op": "like", "args": [{"property": "id"}, "%_" * 2000]}})),
    ("an unknown crs", json.dumps({"filter": True, "filter-crs": "urn:evil'; DROP TABLE items; --"})),
    ("an unknown function", json.dumps({"filter": {"op": "pg_sleep", "args": [5]}})),
    ("not JSON", "{"),
    ("no object", "[]"),
]


@pytest.mark.parametrize(("name", "body"), HURTING, ids=[name for name, _ in HURTING])
def test_what_is_made_to_hurt_is_refused_or_answered_soon(callers: Callers, name: str, body: str) -> None:
    begin = time.monotonic()
    answer = callers.ask("x", "POST", "/catalog/search", content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code in (200, 400, 413), answer.text[:300]
    assert answer.status_code == 200 or answer.headers["content-type"] == "application/problem+json"
    assert not any(word in answer.text.lower() for word in ("pgstac", "syntax error", "traceback", "asyncpg"))
    assert len(answer.text) < 20_000
    assert time.monotonic() - begin < 5  # 0.2 s on a machine with nothing else to do


def test_a_token_of_another_users_page_opens_nothing(callers: Callers, world: dict[str, list[dict[str, Any]]]) -> None:
    """It is a place in an order: what is found from there on is the caller's own, and whether it was ever one
    that exists is not told."""
    rich, poor = OWNERS[0], f"poor{RUN}"
    role = f"rs_catalog_{OWNERS[1]}:a_read"
    body = {"limit": 2, "sortby": [{"field": "id", "direction": "asc"}]}
    page = callers.ask(rich, "POST", "/catalog/search", json=body).json()
    (token,) = [link["body"]["token"] for link in page["links"] if link["rel"] == "next"]
    for turned in (token, token.replace("next", "prev")):
        answer = callers.ask(poor, "POST", "/catalog/search", roles=(role,), json={**body, "token": turned})
        assert answer.status_code == 200, answer.text
        assert {each["collection"] for each in answer.json()["features"]} <= {f"{OWNERS[1]}_a"}
        assert OWNERS[0] not in answer.text.replace(turned, "")
    for bad in ("next:", "next:e30", "next:WyJhIl0", "else:WyJhIl0", "x" * 5000, "next:" + "A" * 4000, "'"):
        answer = callers.ask(poor, "POST", "/catalog/search", roles=(role,), json={**body, "token": bad})
        assert answer.status_code == 400, (bad[:20], answer.text)


def test_every_page_forth_and_back(callers: Callers, world: dict[str, list[dict[str, Any]]]) -> None:
    """By every order, over keys that some items lack, while items are deleted between the pages."""
    owner = OWNERS[2]
    mine = [each for full in world if full.startswith(f"{owner}_") for each in world[full]]
    for field, direction in (("properties.eo:cloud_cover", "asc"), ("eo:cloud_cover", "desc"), ("datetime", "asc")):
        body = {"limit": 4, "sortby": [{"field": field, "direction": direction}]}
        forth: list[list[str]] = []
        answer = callers.ask(owner, "POST", "/catalog/search", json=body).json()
        while True:
            forth.append([f"{each['collection']}/{each['id']}" for each in answer["features"]])
            links = {link["rel"]: link for link in answer["links"]}
            if "next" not in links:
                break
            answer = callers.ask(owner, "POST", "/catalog/search", json=links["next"]["body"]).json()
        back = [forth[-1]]
        while "prev" in links:
            answer = callers.ask(owner, "POST", "/catalog/search", json=links["prev"]["body"]).json()
            links = {link["rel"]: link for link in answer["links"]}
            back.append([f"{each['collection']}/{each['id']}" for each in answer["features"]])
        flat = [each for page in forth for each in page]
        assert sorted(flat) == sorted(f"{each['collection']}/{each['id']}" for each in mine), field
        assert [each for page in reversed(back) for each in page] == flat, field


def test_a_page_goes_on_after_its_last_item_is_deleted(callers: Callers) -> None:
    owner = f"paging{RUN}"
    full = f"{owner}_p"
    assert callers.ask(owner, "POST", "/catalog/collections", json=collection(full)).status_code == 201
    items = {f"p{number}": item(f"p{number}", full) for number in range(4)}
    path = f"/catalog/collections/{full}"
    assert callers.ask(owner, "POST", f"{path}/bulk_items", json={"items": items}).status_code == 200
    page = callers.ask(owner, "GET", f"{path}/items?limit=2&sortby=id").json()
    (following,) = [link["href"] for link in page["links"] if link["rel"] == "next"]
    assert callers.ask(owner, "DELETE", f"{path}/items/p1").status_code == 204
    rest = callers.ask(owner, "GET", following).json()
    assert [each["id"] for each in rest["features"]] == ["p2", "p3"]
    assert callers.ask(owner, "DELETE", f"{path}?force=true").status_code == 200


# --- many at once, and a database in trouble --------------------------------------------------------------------------


def test_fifty_writers_and_fifty_readers(callers: Callers) -> None:
    owner, writers, each = f"busy{RUN}", 50, 200
    full = f"{owner}_many"
    assert callers.ask(owner, "POST", "/catalog/collections", json=collection(full)).status_code == 201
    path = f"/catalog/collections/{full}"

    def months(number: int, serial: int) -> dict[str, Any]:
        return {"datetime": f"2024-{serial % 12 + 1:02}-{number % 28 + 1:02}T00:00:00Z", "n": number}

    def write(number: int) -> list[int]:
        items = {
            f"w{number}-{serial}": item(f"w{number}-{serial}", full, properties=months(number, serial))
            for serial in range(each)
        }
        return [_patiently(callers, owner, "POST", f"{path}/bulk_items", json={"items": items}).status_code]

    def read(number: int) -> list[int]:
        paths = (f"{path}/items?limit=10", f"{path}/items/w{number}-0", "/catalog/search?limit=5")
        return [_patiently(callers, owner, "GET", each).status_code for each in paths]

    with ThreadPoolExecutor(100) as pool:
        written = [pool.submit(write, number) for number in range(writers)]
        was_read = [pool.submit(read, number) for number in range(50)]
        assert {status for future in written for status in future.result()} == {200}
        assert {status for future in was_read for status in future.result()} <= {200, 404}
    found = callers.ask(owner, "GET", f"{path}/items?limit=1").json()
    assert found["numberMatched"] == writers * each
    assert callers.ask(owner, "DELETE", f"{path}?force=true").status_code == 200


def _patiently(callers: Callers, who: str, method: str, path: str, **content: Any) -> httpx.Response:
    """Ask as a good client does: again, when the server says that it is busy."""
    for _ in range(60):
        answer = callers.ask(who, method, path, **content)
        if answer.status_code != 503:
            break
        assert answer.headers["retry-after"]
        time.sleep(0.5)
    return answer


def test_no_connection_left_or_no_time_is_told(platform: Platform) -> None:
    values = yaml.safe_load((platform.home / "config" / "server.yaml").read_text())["database"]
    owner = f"slow{RUN}"
    full = f"{owner}_s"
    with (
        calling(platform, database={**values, "pool_max": 1, "statement_timeout_ms": 1500}) as callers,
        psycopg.connect(values["dsn"]) as other,
        ThreadPoolExecutor(4) as pool,
    ):
        assert callers.ask(owner, "POST", "/catalog/collections", json=collection(full)).status_code == 201
        path = f"/catalog/collections/{full}/items"
        assert callers.ask(owner, "POST", path, json=item("i1", full)).status_code == 201
        other.execute("SELECT rs.lock_items(%s)", [full])  # somebody works on the whole collection

        def write(number: int) -> httpx.Response:
            return callers.ask(owner, "POST", path, json=item(f"n{number}", full))

        answers = list(pool.map(write, range(4)))
        assert {answer.status_code for answer in answers} == {503}, [answer.text for answer in answers]
        for answer in answers:
            assert answer.headers["retry-after"]
            assert answer.headers["content-type"] == "application/problem+json"
        assert callers.ask(owner, "GET", f"{path}/i1").status_code == 200  # readers have connections of their own
        other.rollback()
        assert write(9).status_code == 201
        found = callers.ask(owner, "GET", f"{path}?limit=100").json()
        assert [each["id"] for each in found["features"]] == ["n9", "i1"]  # nothing that was refused was written
        assert callers.ask(owner, "DELETE", f"/catalog/collections/{full}?force=true").status_code == 200


@pytest.fixture(scope="module")
def own_database(request: pytest.FixtureRequest) -> Iterator[Platform]:
    """A database that nobody else works on, as it is stopped and started."""
    for installation in new_platform(request, "postgres", "s3"):
        settings = {"RSPY_SETTINGS": str(installation.home / "config" / "server.yaml")}
        command = [sys.executable, "-m", "rs_server.migrate"]
        subprocess.run(command, env={**os.environ, **settings}, check=True, capture_output=True)
        yield installation


def test_nothing_acknowledged_is_lost_when_the_database_restarts(own_database: Platform) -> None:
    owner, halt = f"restart{RUN}", Event()
    full = f"{owner}_r"
    path = f"/catalog/collections/{full}/items"
    with calling(own_database) as callers, ThreadPoolExecutor(6) as pool:
        assert callers.ask(owner, "POST", "/catalog/collections", json=collection(full)).status_code == 201

        def write(writer: int) -> list[tuple[str, httpx.Response]]:
            answers: list[tuple[str, httpx.Response]] = []
            while not halt.is_set():
                name = f"w{writer}-{len(answers)}"
                answers.append((name, callers.ask(owner, "POST", path, json=item(name, full))))
            return answers

        writing = [pool.submit(write, number) for number in range(6)]
        try:
            for _ in range(2):
                time.sleep(1)
                own_database.rs("restart", "postgres")
        finally:
            time.sleep(1)
            halt.set()
        answers = [answer for each in writing for answer in each.result()]
        assert {answer.status_code for _, answer in answers} <= {201, 503}
        for _, answer in answers:
            assert answer.status_code == 201 or answer.headers["retry-after"]
        acknowledged = {name for name, answer in answers if answer.status_code == 201}
        there = {name for (name,) in callers.rows("SELECT id FROM pgstac.items WHERE collection = %s", full)}
        assert acknowledged <= there
        assert callers.ask(owner, "POST", path, json=item("after", full)).status_code == 201
