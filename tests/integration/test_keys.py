"""API keys whole: narrowed by scopes, under their old names, ended at once, guessed in vain."""

from __future__ import annotations

import asyncio
import gc
import time
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager
from typing import Any
from uuid import uuid4

import httpx
import psutil  # type: ignore[import-untyped]  # its types are a package of their own
import psycopg
import pytest
from psycopg import AsyncConnection

from rs_server.access.apikeys import MOST_KEYS, ApiKeys, digest, new_key
from rs_server.access.changes import Changes, open_changes
from rs_server.access.limits import Guesses
from rs_server.access.policy import Principal
from rs_server.database import Database, Row, open_database
from rs_server.errors import Conflict, NotAuthenticated, TooManyRequests
from rs_server.settings import Settings
from tests.conftest import Platform
from tests.integration.callers import collection, item
from tests.integration.keycloak import bearer, log_in
from tests.serving import serving

RUN = uuid4().hex[:8]
OPEN, CLOSED = f"alice_open{RUN}", f"alice_closed{RUN}"


@pytest.fixture(scope="module")
def alice(platform: Platform, server: httpx.Client) -> dict[str, str]:
    return bearer(log_in(server, "alice", platform.password("alice")))


@pytest.fixture(scope="module")
def operator(platform: Platform, server: httpx.Client) -> dict[str, str]:
    return bearer(log_in(server, "operator", platform.password("operator")))


@pytest.fixture(scope="module")
def collections(server: httpx.Client, alice: dict[str, str]) -> Iterator[None]:
    for full in (OPEN, CLOSED):
        assert server.post("/catalog/collections", headers=alice, json=collection(full)).status_code == 201
    yield
    for full in (OPEN, CLOSED):
        server.delete(f"/catalog/collections/{full}", headers=alice)


def made(server: httpx.Client, who: dict[str, str], **wanted: Any) -> dict[str, Any]:
    answer = server.post("/auth/api_keys", headers=who, json={"name": f"test {RUN}", "expires_in_days": 1, **wanted})
    assert answer.status_code == 201, answer.text
    told: dict[str, Any] = answer.json()
    return told


READ, WRITE, OWN = (f"rs_catalog_alice:open{RUN}_{right}" for right in ("read", "write", "own"))
ITEMS = f"/catalog/collections/{OPEN}/items"
EXECUTE = "/processes/staging/execution"

# scopes of a key of alice · method · path · body · outcome
SCOPED: list[tuple[list[str] | None, str, str, Any, int]] = [
    (None, "GET", f"/catalog/collections/{CLOSED}", None, 200),
    (None, "GET", "/auth/api_keys", None, 200),
    (None, "GET", "/auth/audit", None, 200),
    ([], "GET", "/auth/me", None, 200),
    ([], "GET", f"/catalog/collections/{OPEN}", None, 404),
    ([], "GET", "/processes/staging", None, 404),
    ([READ], "GET", f"/catalog/collections/{OPEN}", None, 200),
    ([READ], "GET", f"/catalog/collections/{CLOSED}", None, 404),
    ([READ], "POST", ITEMS, item("i1", OPEN), 403),
    ([READ], "DELETE", f"/catalog/collections/{OPEN}", None, 403),
    ([READ], "PUT", f"/catalog/collections/{OPEN}/readers", {"readers": [{"user": "bob", "rights": ["read"]}]}, 403),
    ([READ, WRITE], "DELETE", f"/catalog/collections/{OPEN}", None, 403),
    ([READ, WRITE], "POST", ITEMS, item("i1", OPEN), 201),
    ([READ, WRITE], "DELETE", f"{ITEMS}/i1", None, 204),
    ([READ, OWN], "GET", f"/catalog/collections/{OPEN}/readers", None, 200),
    ([READ, OWN], "POST", "/catalog/collections", collection(f"alice_other{RUN}"), 403),
    ([READ], "POST", EXECUTE, {"inputs": {}}, 403),
    ([READ], "GET", "/auth/api_keys", None, 403),
    ([READ], "GET", "/auth/audit", None, 403),
    ([READ], "GET", "/auth/api_key/list", None, 403),
    ([READ], "POST", "/auth/api_keys", {"name": "x"}, 403),
    (None, "POST", "/auth/api_keys", {"name": "x"}, 403),
    ([READ], "GET", "/cadip/search", None, 200),  # what is found is looked at below
]


@pytest.fixture(scope="module")
def scoped(server: httpx.Client, alice: dict[str, str]) -> Iterator[dict[str, str]]:
    """A key of alice for each set of scopes in the table."""
    sets = {str(scopes): scopes for scopes, *_ in SCOPED}
    keys = {name: made(server, alice, scopes=scopes) for name, scopes in sets.items()}
    yield {name: key["api_key"] for name, key in keys.items()}
    for key in keys.values():
        server.delete(f"/auth/api_keys/{key['id']}", headers=alice)


@pytest.mark.parametrize(
    ("scopes", "method", "path", "body", "status"), SCOPED, ids=[f"{n}-{case[1]}" for n, case in enumerate(SCOPED)]
)
def test_scopes(
    server: httpx.Client,
    collections: None,
    scoped: dict[str, str],
    scopes: list[str] | None,
    method: str,
    path: str,
    body: Any,
    status: int,
) -> None:
    headers = {"x-api-key": scoped[str(scopes)]}
    answer = server.request(method, path, headers=headers, json=body)
    assert answer.status_code == status, answer.text
    if status == 403:
        assert {"missing_role", "missing_right"} & set(answer.json())


def test_a_narrowed_key_finds_less(server: httpx.Client, collections: None, scoped: dict[str, str]) -> None:
    narrow, wide = ({"x-api-key": scoped[str(scopes)]} for scopes in ([READ], None))
    seen = server.get("/catalog/collections?limit=1000", headers=narrow).json()["collections"]
    assert [each["id"] for each in seen] == [OPEN]
    assert server.get("/cadip/search", headers=narrow).json()["features"] == []
    assert server.get("/cadip/search", headers=wide).json()["features"] != []
    me = server.get("/auth/me", headers=narrow).json()
    assert (me["scopes"], me["iam_roles"]) == ([READ], [READ])


# scopes that a key of alice cannot have
TOO_MUCH = ["rs_catalog_*:*_read", "rs_catalog_bob:s1_read", "rs_auth_keys_issue", "rs_catalog_bob:s1_own", "all", ""]


@pytest.mark.parametrize("scope", TOO_MUCH)
def test_no_key_gets_more_than_its_owner(server: httpx.Client, alice: dict[str, str], scope: str) -> None:
    answer = server.post("/auth/api_keys", headers=alice, json={"name": "x", "scopes": [scope]})
    assert answer.status_code == 400, answer.text


def test_operators_narrow_to_what_the_owner_may(server: httpx.Client, operator: dict[str, str]) -> None:
    """Not to what the operator may."""
    wanted = {"name": "x", "owner": "bob", "scopes": ["rs_auth_keys_issue"]}
    assert server.post("/auth/api_keys", headers=operator, json=wanted).status_code == 400
    key = made(server, operator, owner="bob", scopes=["rs_catalog_bob:*_read"])
    me = server.get("/auth/me", headers={"x-api-key": key["api_key"]}).json()
    assert (me["login"], me["iam_roles"]) == ("bob", ["rs_catalog_bob:*_read"])


SERVICE = "service-account-rs-chains"

# who asks · for whom · days · outcome
LIVES: list[tuple[str, str | None, int | None, int]] = [
    ("alice", None, 90, 201),
    ("alice", None, 91, 400),
    ("alice", None, None, 403),
    ("operator", "bob", 91, 400),
    ("operator", "bob", None, 403),
    ("operator", None, None, 403),
    ("operator", SERVICE, None, 201),
    ("operator", SERVICE, 1, 201),
]


@pytest.mark.parametrize(("asks", "owner", "days", "status"), LIVES)
def test_how_long_keys_live(
    server: httpx.Client,
    alice: dict[str, str],
    operator: dict[str, str],
    asks: str,
    owner: str | None,
    days: int | None,
    status: int,
) -> None:
    who = {"alice": alice, "operator": operator}[asks]
    answer = server.post("/auth/api_keys", headers=who, json={"name": "x", "owner": owner, "expires_in_days": days})
    assert answer.status_code == status, answer.text
    if status == 201:
        key = answer.json()
        assert (key["expires"] is None) is (days is None)
        headers = {"x-api-key": key["api_key"]}
        assert server.get("/auth/me", headers=headers).json()["login"] == (owner or asks)
        assert server.delete(f"/auth/api_keys/{key['id']}", headers=headers).status_code == 204
        assert server.get("/auth/me", headers=headers).status_code == 401


def test_the_names_of_before(server: httpx.Client, alice: dict[str, str]) -> None:
    key = server.get("/auth/api_key/new", headers=alice, params={"name": "old", "never_expires": "true"}).json()
    headers, known_as = {"x-api-key": key}, digest(key).hex()
    checked = server.get("/auth/check_key", headers=headers).json()
    me = server.get("/auth/me", headers=headers).json()
    assert checked["user_login"] == me["user_login"] == "alice"
    assert checked["iam_roles"] == me["iam_roles"]
    assert "rs_processes_staging_execute" in checked["iam_roles"]
    assert (checked["name"], checked["is_active"], checked["config"]) == ("old", True, {})
    (listed,) = [each for each in server.get("/auth/api_key/list", headers=alice).json() if each["api_key"] == known_as]
    assert (listed["name"], listed["user_login"], listed["is_active"]) == ("old", "alice", True)
    assert listed["latest_sync_date"] is not None
    revoke = "/auth/api_key/revoke"
    raw = server.get(revoke, headers=alice, params={"api-key": key})
    assert raw.status_code == 400
    assert key not in raw.text
    assert server.get(revoke, headers=alice, params={"api-key": "0" * 64}).status_code == 404
    assert server.get(revoke, headers=alice, params={"api-key": known_as}).status_code == 200
    assert server.get("/auth/check_key", headers=headers).status_code == 401


def test_another_server_knows_new_and_revoked_keys_at_once(
    server: httpx.Client, values: dict[str, Any], alice: dict[str, str]
) -> None:
    with serving({**values, "stations": {}}) as url, httpx.Client(base_url=url, timeout=60, trust_env=False) as other:
        for _ in range(5):
            key = made(server, alice)
            headers = {"x-api-key": key["api_key"]}
            assert other.get("/auth/me", headers=headers).status_code == 200
            assert server.delete(f"/auth/api_keys/{key['id']}", headers=alice).status_code == 204
            end = time.monotonic() + 1
            while other.get("/auth/me", headers=headers).status_code != 401:
                assert time.monotonic() < end


def test_guessing_is_slowed_down_and_others_are_not_locked_out(
    platform: Platform, values: dict[str, Any], server: httpx.Client, alice: dict[str, str]
) -> None:
    strict = {**values, "stations": {}, "access": {**values["access"], "key_guesses": 5}}
    mine, unused = made(server, alice), made(server, alice)
    with serving(strict) as url, httpx.Client(base_url=url, timeout=60, trust_env=False) as http:

        def answer(key: str, **headers: str) -> httpx.Response:
            return http.get("/auth/me", headers={"x-api-key": key, **headers})

        assert answer(mine["api_key"]).status_code == 200
        assert [answer(new_key()).status_code for _ in range(7)] == [401] * 5 + [429] * 2
        for forwarded in ("X-Forwarded-For", "Forwarded", "X-Real-IP"):  # nobody gets a fresh start by saying so
            assert answer(new_key(), **{forwarded: "for=192.0.2.1"}).status_code == 429
            assert answer(new_key(), **{forwarded: "192.0.2.1"}).status_code == 429
        waiting = answer(new_key())
        assert 1 <= int(waiting.headers["retry-after"]) <= 60
        assert waiting.headers["content-type"] == "application/problem+json"
        assert answer(unused["api_key"]).status_code == 429  # else one could go on guessing
        assert answer(mine["api_key"]).status_code == 200
        assert http.get("/auth/me", headers=alice).status_code == 200
    for key in (mine, unused):
        server.delete(f"/auth/api_keys/{key['id']}", headers=alice)


class Counted(Database):
    """A database that counts how often it is asked."""

    def __init__(self, inner: Database) -> None:
        self._inner = inner
        self.asked = 0

    def connection(self) -> AbstractAsyncContextManager[AsyncConnection[Row]]:  # type: ignore[override]
        self.asked += 1
        return self._inner.connection()


async def _heard(changes: Changes, version: int = 0) -> None:
    """Wait until that many changes were noticed."""
    async with asyncio.timeout(10):
        while (changes.version or 0) < max(version, 1):  # noqa: ASYNC110 - there is nothing to wait on
            await asyncio.sleep(0.01)


async def test_neither_warm_keys_nor_wrong_ones_cost_a_look_into_the_database(values: dict[str, Any]) -> None:
    settings = Settings(**values).database
    who = Principal(f"user-{RUN}", f"id-{RUN}")
    async with open_database(settings) as inner, open_changes(settings) as changes:
        database = Counted(inner)
        keys = ApiKeys(database, changes)
        await _heard(changes)
        key, _ = await keys.create(who, name="x", owner=who.login, subject=who.subject)
        await _heard(changes, 3)  # the first, that of the new key, and what the database tells of it
        await keys.valid(key)
        asked = database.asked
        for _ in range(1000):
            assert (await keys.valid(key)).owner == who.login
        guesses = await asyncio.gather(*(keys.valid(new_key()) for _ in range(2000)), return_exceptions=True)
        assert {type(guess) for guess in guesses} == {NotAuthenticated}
        assert database.asked == asked
        for _ in range(MOST_KEYS - 1):
            await keys.create(who, name="x", owner=who.login, subject=who.subject)
        with pytest.raises(Conflict):
            await keys.create(who, name="x", owner=who.login, subject=who.subject)
        for held in await keys.of(who.login):
            await keys.revoke(who, held.id)
        with pytest.raises(NotAuthenticated):
            await keys.valid(key)


async def test_memory_is_flat_under_random_keys(values: dict[str, Any]) -> None:
    settings = Settings(**values).database
    guesses = Guesses(30)
    async with open_database(settings) as database, open_changes(settings) as changes:
        keys = ApiKeys(database, changes)
        await _heard(changes)

        async def guess(number: int) -> None:
            text, address = new_key(), f"10.0.{number % 250}.1"
            try:
                guesses.admit(address, digest(text))
            except TooManyRequests:
                return
            with pytest.raises(NotAuthenticated):
                await keys.valid(text)
            guesses.wrong(address)

        async def many(count: int) -> int:
            for begin in range(0, count, 5000):
                await asyncio.gather(*(guess(number) for number in range(begin, begin + 5000)))
            gc.collect()
            return int(psutil.Process().memory_info().rss)

        warm = await many(20_000)
        assert await many(50_000) - warm < 10_000_000


def _rows(values: dict[str, Any], query: str, *arguments: Any) -> list[tuple[Any, ...]]:
    with psycopg.connect(Settings(**values).database.dsn.get_secret_value()) as conn:
        return conn.execute(query, arguments).fetchall()


def test_logins_are_on_record_once_and_refusals_are_counted(
    platform: Platform, values: dict[str, Any], server: httpx.Client
) -> None:
    logins = "SELECT count(*) FROM rs.audit WHERE action = 'login' AND login = 'bob'"
    ((before,),) = _rows(values, logins)
    token = bearer(log_in(server, "bob", platform.password("bob")))
    with serving({**values, "stations": {}}) as url, httpx.Client(base_url=url, timeout=60, trust_env=False) as other:
        for http in (server, server, other, other):
            assert http.get("/auth/me", headers=token).status_code == 200
        for _ in range(3):
            assert other.get("/auth/me", headers={"Authorization": f"Bearer x{RUN}"}).status_code == 401
    ((after,),) = _rows(values, logins)
    assert after == before + 1
    refused = "SELECT object, details->>'reason', details->>'times' FROM rs.audit WHERE action = 'login.refused'"
    assert _rows(values, f"{refused} ORDER BY id DESC LIMIT 1") == [("127.0.0.1", "this is not a token", "3")]
