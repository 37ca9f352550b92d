"""Owners share their collections themselves: with whom, for what, until when, and everybody's doings on record."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest

from tests.conftest import Platform
from tests.integration.callers import Callers, calling, collection, item

RUN = uuid4().hex[:8]  # an installation may be shared: no run meets what another one left
ALICE, BOB, CAROL = f"alice{RUN}", f"bob{RUN}", f"carol{RUN}"
TEAM = f"team{RUN}"
SHARED, PRIVATE = f"{ALICE}_shared", f"{ALICE}_private"
READERS = f"/catalog/collections/{SHARED}/readers"
AUDITOR = ("rs_auth_audit_read",)


@pytest.fixture(scope="module")
def callers(platform: Platform) -> Iterator[Callers]:
    with calling(platform) as callers:
        for full in (SHARED, PRIVATE):
            assert callers.ask(ALICE, "POST", "/catalog/collections", json=collection(full)).status_code == 201
            made = callers.ask(ALICE, "POST", f"/catalog/collections/{full}/items", json=item("i1", full))
            assert made.status_code == 201, made.text
        yield callers
        for full in (SHARED, PRIVATE):
            callers.ask(ALICE, "DELETE", f"/catalog/collections/{full}?force=true")


@pytest.fixture(autouse=True)
def nobody(callers: Callers) -> None:
    """Each test begins with collections that nobody else may see."""
    for reader in callers.ask(ALICE, "GET", READERS).json()["readers"]:
        kind, name = ("user", reader["user"]) if "user" in reader else ("group", reader["group"])
        assert callers.ask(ALICE, "DELETE", f"{READERS}/{kind}/{name}").status_code == 204


def share(callers: Callers, *readers: dict[str, Any]) -> dict[str, Any]:
    answer = callers.ask(ALICE, "PUT", READERS, json={"readers": list(readers)})
    assert answer.status_code == 200, answer.text
    told: dict[str, Any] = answer.json()
    return told


def sees(callers: Callers, who: str, *, groups: tuple[str, ...] = ()) -> tuple[int, list[str]]:
    """How the shared collection answers, and the collections that a search finds."""
    one = callers.ask(who, "GET", f"/catalog/collections/{SHARED}", groups=groups).status_code
    body = {"filter": {"op": "like", "args": [{"property": "collection"}, f"%{RUN}%"]}}
    found = callers.ask(who, "POST", "/catalog/search", json=body, groups=groups).json()
    assert found["numberMatched"] == len(found["features"])
    return one, sorted(feature["collection"] for feature in found["features"])


def test_shared_is_seen_at_once_and_revoked_is_gone_at_once(callers: Callers) -> None:
    for _ in range(3):
        assert sees(callers, BOB) == (404, [])
        share(callers, {"user": BOB, "rights": ["read"]})
        assert sees(callers, BOB) == (200, [SHARED])
        assert sees(callers, CAROL) == (404, [])
        assert callers.ask(ALICE, "DELETE", f"{READERS}/user/{BOB}").status_code == 204
    assert sees(callers, BOB) == (404, [])


def test_groups(callers: Callers) -> None:
    share(callers, {"group": TEAM, "rights": ["read"]})
    assert sees(callers, BOB, groups=(TEAM,)) == (200, [SHARED])
    assert sees(callers, BOB, groups=(f"{TEAM}x", "other")) == (404, [])
    assert sees(callers, TEAM) == (404, [])  # a user who is called like the group


def test_an_end_date_ends_it(callers: Callers) -> None:
    until = datetime.now(UTC) + timedelta(seconds=1.5)
    share(callers, {"user": BOB, "rights": ["read"], "until": until.isoformat()})
    assert sees(callers, BOB) == (200, [SHARED])
    time.sleep(max(0, (until - datetime.now(UTC)).total_seconds()))
    assert sees(callers, BOB) == (404, [])
    assert callers.ask(ALICE, "GET", READERS).json() == {"readers": []}


def test_what_is_told_is_what_can_be_put(callers: Callers) -> None:
    until = "2999-01-01T00:00:00Z"
    told = share(
        callers,
        {"group": TEAM, "rights": ["write", "read"], "until": None},
        {"user": BOB, "rights": ["download", "read"], "until": until},
    )
    assert told == callers.ask(ALICE, "GET", READERS).json()
    assert told == {
        "readers": [
            {"user": BOB, "rights": ["read", "download"], "until": until},
            {"group": TEAM, "rights": ["read", "write"], "until": None},
        ]
    }
    assert share(callers, *told["readers"]) == told
    kept = share(callers, {"user": BOB, "rights": ["read"]})["readers"]  # who is not named keeps what they have
    assert kept == [{"user": BOB, "rights": ["read"], "until": None}, told["readers"][1]]


def test_each_right_is_its_own(callers: Callers) -> None:
    items = f"/catalog/collections/{SHARED}/items"
    share(callers, {"user": BOB, "rights": ["read"]})
    assert callers.ask(BOB, "POST", items, json=item("i2", SHARED)).status_code == 403
    share(callers, {"user": BOB, "rights": ["read", "write"]})
    assert callers.ask(BOB, "POST", items, json=item("i2", SHARED)).status_code == 201
    assert callers.ask(BOB, "DELETE", f"{items}/i2").status_code == 204
    for method, path, body in (
        ("DELETE", "", None),
        ("PUT", "", collection(SHARED, description="stolen")),
        ("PUT", "/readers", {"readers": [{"user": CAROL, "rights": ["read"]}]}),
        ("GET", "/readers", None),
        ("DELETE", f"/readers/user/{BOB}", None),
    ):
        answer = callers.ask(BOB, method, f"/catalog/collections/{SHARED}{path}", json=body)
        assert (answer.status_code, answer.json()["missing_right"]) == (403, "owner"), answer.text


def test_a_collection_made_again_starts_alone(callers: Callers) -> None:
    full = f"{ALICE}_again"
    path = f"/catalog/collections/{full}"
    for _ in range(2):
        assert callers.ask(ALICE, "POST", "/catalog/collections", json=collection(full)).status_code == 201
        assert callers.ask(BOB, "GET", path).status_code == 404
        readers = {"readers": [{"user": BOB, "rights": ["read"]}]}
        assert callers.ask(ALICE, "PUT", f"{path}/readers", json=readers).status_code == 200
        assert callers.ask(BOB, "GET", path).status_code == 200
        assert callers.ask(ALICE, "DELETE", path).status_code == 200


def test_the_short_names_are_the_same_collection(callers: Callers) -> None:
    for text in ("shared", f"{ALICE}:shared"):
        body = {"readers": [{"user": BOB, "rights": ["read"]}]}
        path = f"/catalog/collections/{text}/readers"
        assert callers.ask(ALICE, "PUT", path, json=body).status_code == 200
        assert callers.ask(ALICE, "DELETE", f"{path}/user/{BOB}").status_code == 204


READ = ["read"]

# the body of a PUT that is refused · what the answer names
WRONG: list[tuple[Any, str]] = [
    ({}, "readers"),
    ({"readers": [{"rights": READ}]}, "either a user or a group"),
    ({"readers": [{"user": BOB, "group": TEAM, "rights": READ}]}, "either a user or a group"),
    ({"readers": [{"user": "", "rights": READ}]}, "user"),
    ({"readers": [{"user": "a\nb", "rights": READ}]}, "user"),
    ({"readers": [{"user": BOB, "rights": []}]}, "rights"),
    ({"readers": [{"user": BOB, "rights": ["own"]}]}, "rights"),
    ({"readers": [{"user": BOB, "rights": ["issue"]}]}, "rights"),
    ({"readers": [{"user": BOB, "rights": "read"}]}, "rights"),
    ({"readers": [{"user": BOB, "rights": READ, "until": "2001-01-01T00:00:00Z"}]}, "has passed"),
    ({"readers": [{"user": BOB, "rights": READ, "until": "2999-01-01T00:00:00"}]}, "until"),
    ({"readers": [{"user": BOB, "rights": READ, "owner": ALICE}]}, "owner"),
    ({"readers": [{"user": BOB, "rights": READ}] * 2}, "once"),
    ({"readers": [{"user": ALICE, "rights": READ}]}, "owns the collection"),
    ({"readers": [{"user": f"u{n}", "rights": READ} for n in range(1001)]}, "1000"),
]


@pytest.mark.parametrize(("body", "named"), WRONG, ids=[named for _, named in WRONG])
def test_refused(callers: Callers, body: Any, named: str) -> None:
    answer = callers.ask(ALICE, "PUT", READERS, json=body)
    assert answer.status_code == 400, answer.text
    assert named in answer.text
    assert callers.ask(ALICE, "GET", READERS).json() == {"readers": []}


# who · method · path below the collection's readers · outcome
DOORS = [
    (BOB, "GET", READERS, 404),
    (BOB, "PUT", READERS, 404),
    (BOB, "DELETE", f"{READERS}/user/{BOB}", 404),
    (ALICE, "DELETE", f"{READERS}/user/{BOB}", 404),
    (ALICE, "DELETE", f"{READERS}/robot/{BOB}", 400),
    (ALICE, "GET", f"/catalog/collections/{ALICE}_nothing/readers", 404),
    (ALICE, "PUT", f"/catalog/collections/{ALICE}_nothing/readers", 404),
]


@pytest.mark.parametrize(("who", "method", "path", "status"), DOORS)
def test_doors(callers: Callers, who: str, method: str, path: str, status: int) -> None:
    body = {"readers": [{"user": CAROL, "rights": READ}]} if method == "PUT" else None
    answer = callers.ask(who, method, path, json=body)
    assert answer.status_code == status, answer.text
    assert callers.http.request(method, path, json=body).status_code == 401


def test_real_names_are_looked_up(platform: Platform) -> None:
    """With a directory, a name that nobody has is refused: a slip would share with whoever gets it one day."""
    keys = {user: {"x-api-key": platform.env(user)["RS_API_KEY"]} for user in ("alice", "bob", "visitor")}
    url, full = f"{platform.url('rs-server')}/catalog/collections", f"alice_{RUN}"
    with httpx.Client(timeout=60, trust_env=False, headers=keys["alice"]) as http:
        assert http.post(url, json=collection(full)).status_code == 201
        try:
            for reader, status in (
                ({"user": f"visitor{RUN}"}, 400),
                ({"group": "rs-user"}, 400),
                ({"group": "rs-users"}, 200),
                ({"user": "visitor"}, 200),
            ):
                assert http.get(f"{url}/{full}", headers=keys["visitor"]).status_code == 404
                answer = http.put(f"{url}/{full}/readers", json={"readers": [{**reader, "rights": ["read"]}]})
                assert answer.status_code == status, (reader, answer.text)
            for user in ("bob", "visitor"):  # the one as a member of the group, the other by name
                assert http.get(f"{url}/{full}", headers=keys[user]).status_code == 200
        finally:
            assert http.delete(f"{url}/{full}").status_code == 200


def test_two_servers_know_at_once(platform: Platform, callers: Callers) -> None:
    """What one process changes, another one has not remembered otherwise."""
    with calling(platform) as other:
        for _ in range(5):
            assert sees(other, BOB) == (404, [])
            share(callers, {"user": BOB, "rights": ["read"]})
            _soon(lambda: sees(other, BOB) == (200, [SHARED]))
            callers.ask(ALICE, "DELETE", f"{READERS}/user/{BOB}")
            _soon(lambda: sees(other, BOB) == (404, []))


def _soon(condition: Any) -> None:
    end = time.monotonic() + 1
    while not condition():
        assert time.monotonic() < end


def events(callers: Callers, who: str, **wanted: Any) -> list[dict[str, Any]]:
    answer = callers.ask(who, "GET", "/auth/audit", params=wanted, roles=AUDITOR if who == "operator" else ())
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["events"]
    return found


def test_owners_read_what_was_done_to_their_collections(callers: Callers) -> None:
    trace = uuid4().hex
    headers = {"traceparent": f"00-{trace}-{'1' * 16}-01", "x-request-id": f"request-{RUN}"}
    body = {"readers": [{"user": BOB, "rights": ["read", "write"]}]}
    assert callers.ask(ALICE, "PUT", READERS, json=body, headers=headers).status_code == 200
    made = callers.ask(BOB, "POST", f"/catalog/collections/{SHARED}/items", json=item("i3", SHARED))
    assert made.status_code == 201
    by_bob, by_alice = events(callers, ALICE, collection=SHARED, limit=2)
    assert (by_bob["login"], by_bob["action"], by_bob["collection"]) == (BOB, "item.create", SHARED)
    assert by_alice | {"id": 0, "at": ""} == {
        "id": 0,
        "at": "",
        "login": ALICE,
        "subject": f"id-of-{ALICE}",
        "action": "grant.give",
        "object": f"{SHARED}/user/{BOB}",
        "collection": SHARED,
        "result": "done",
        "request_id": f"request-{RUN}",
        "trace_id": trace,
        "details": {"via": "bearer", "rights": "read write", "until": "revoked"},
    }
    callers.ask(ALICE, "DELETE", f"/catalog/collections/{SHARED}/items/i3")


def test_nobody_reads_more_than_concerns_them(callers: Callers) -> None:
    for who in (BOB, CAROL):
        for event in events(callers, who, limit=1000):
            assert event["login"] == who or event["collection"].startswith(f"{who}_")
    assert events(callers, BOB, collection=PRIVATE) == []
    assert events(callers, "operator", collection=PRIVATE) != []
    assert callers.http.get("/auth/audit").status_code == 401


def test_pages_hold_every_event_once(callers: Callers) -> None:
    whole = [event["id"] for event in events(callers, "operator", login=ALICE, limit=1000)]
    assert len(whole) > 5
    seen: list[int] = []
    wanted: dict[str, Any] = {"login": ALICE, "limit": 2}
    while True:
        page = callers.ask("operator", "GET", "/auth/audit", params=wanted, roles=AUDITOR).json()
        seen += [event["id"] for event in page["events"]]
        if page["next"] is None:
            break
        wanted["before"] = page["next"]
    assert seen == whole
    assert json.dumps(whole) == json.dumps(sorted(whole, reverse=True))


@pytest.mark.parametrize("wanted", [{"limit": 0}, {"limit": 10_000}, {"since": "yesterday"}, {"owner": "x"}])
def test_wrong_selections(callers: Callers, wanted: dict[str, Any]) -> None:
    assert callers.ask(ALICE, "GET", "/auth/audit", params=wanted).status_code == 400
