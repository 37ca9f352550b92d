"""Collections shared, keys and orders: what is sent, what is read, and what is refused before it is sent."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import httpx
import pystac
import pytest

from rs_client.catalog import Reader
from rs_client.errors import Invalid
from rs_client.keys import Key, KeyList
from rs_client.lta import Order
from rs_client.session import RsClient
from tests.unit.client.far import SERVER, session

END = datetime(2027, 1, 1, tzinfo=UTC)
BOB = {"user": "bob", "rights": ["read", "download"], "until": None}
TEAM = {"group": "cal-val", "rights": ["read"], "until": "2027-01-01T00:00:00Z"}
KEY = {"id": "k1", "name": "chain", "owner": "alice", "expires": "2027-01-01T00:00:00Z", "last_used": None}
ORDER = {"id": "o1", "status": "queued", "item": "S1A_1"}
ANSWERS: dict[str, Any] = {
    "GET /catalog/collections/s1-l0/readers": {"readers": [BOB, TEAM]},
    "PUT /catalog/collections/s1-l0/readers": {"readers": [BOB, TEAM]},
    "DELETE /catalog/collections/s1-l0/readers/user/bob": None,
    "POST /auth/api_keys": {**KEY, "api_key": "rsk_new"},
    "GET /auth/api_keys": [KEY],
    "DELETE /auth/api_keys/k1": None,
    "POST /lta/orders": ORDER,
    "GET /lta/orders": {"orders": [ORDER]},
    "DELETE /lta/orders/o1": {**ORDER, "status": "cancelled"},
    "GET /lta/orders/o1": {**ORDER, "status": "completed", "estimated": "2027-01-01T00:00:00Z"},
}


class Server:
    """Knows these routes, and the landing pages."""

    def __init__(self) -> None:
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        if path in ("/catalog/", "/lta/"):
            links = [{"rel": "self", "href": f"{SERVER}{path}"}]
            landing = {"type": "Catalog", "id": "x", "description": "x", "stac_version": "1.0.0"}
            return httpx.Response(200, json={**landing, "conformsTo": [], "links": links})
        self.requests.append(request)
        known = f"{request.method} {path}"
        found = ANSWERS.get(known)
        return (
            httpx.Response(200, json=found) if found is not None else httpx.Response(204 if known in ANSWERS else 404)
        )


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def alice(server: Server) -> RsClient:
    return session(server)


def body(request: httpx.Request) -> Any:
    return json.loads(request.content)


def test_to_share_is_to_put_readers(alice: RsClient, server: Server) -> None:
    readers = alice.catalog.share("s1-l0", users="bob", groups=["cal-val"], rights=["download", "read"], until=END)
    (request,) = server.requests
    stated = {"rights": ["read", "download"], "until": "2027-01-01T00:00:00+00:00"}
    assert body(request) == {"readers": [{"user": "bob", **stated}, {"group": "cal-val", **stated}]}
    assert readers == [Reader("bob", "user", ("read", "download")), Reader("cal-val", "group", ("read",), END)]
    assert "cal-val" in readers._repr_html_()


def test_readers_are_listed_and_revoked(alice: RsClient, server: Server) -> None:
    assert [reader.name for reader in alice.catalog.readers("s1-l0")] == ["bob", "cal-val"]
    alice.catalog.unshare("s1-l0", user="bob")
    assert server.requests[-1].method == "DELETE"


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ({}, "nobody is named"),
        ({"users": "bob", "rights": ["own"]}, "not rights"),
        ({"users": "bob", "rights": []}, "not rights"),
        ({"groups": "g", "until": datetime(2027, 1, 1)}, "time zone"),  # noqa: DTZ001 - that is the point
    ],
)
def test_what_cannot_be_shared_is_not_sent(alice: RsClient, server: Server, wanted: Any, said: str) -> None:
    with pytest.raises(Invalid, match=said):
        alice.catalog.share("s1-l0", **wanted)
    assert server.requests == []


@pytest.mark.parametrize("whom", [{}, {"user": "bob", "group": "g"}])
def test_rights_are_taken_from_one(alice: RsClient, whom: Any) -> None:
    with pytest.raises(Invalid, match="whose rights"):
        alice.catalog.unshare("s1-l0", **whom)


def test_a_key_is_told_once(alice: RsClient, server: Server) -> None:
    made = alice.keys.create("chain", days=7)
    assert body(server.requests[0]) == {"name": "chain", "expires_in_days": 7}
    assert made.secret == "rsk_new"
    assert "rsk_new" not in repr(made)
    assert "rsk_new" not in made._repr_html_()
    assert "told nowhere else" in made._repr_html_()
    assert alice.keys.list() == [Key("k1", "chain", "alice", END)]
    assert "chain" in alice.keys.list()._repr_html_()
    alice.keys.revoke("k1")
    assert server.requests[-1].method == "DELETE"


def test_a_key_of_a_service_account_may_have_no_end() -> None:
    key = Key.of({**KEY, "expires": None})
    assert key.expires is None
    assert "when revoked" in key._repr_html_()
    assert "when revoked" in repr(KeyList([key]))


def test_times_are_told_in_utc() -> None:
    key = Key.of({**KEY, "expires": "2027-01-01T02:00:00+02:00"})
    assert "2027-01-01 00:00:00 UTC" in repr(KeyList([key]))
    assert "2027-01-01 00:00:00 UTC" in key._repr_html_()


def test_an_order_at_an_archive(alice: RsClient, server: Server) -> None:
    item = pystac.Item("S1A_1", None, None, END, {}, collection="s1-lta")
    order = alice.lta.order(item)
    assert body(server.requests[0]) == {"collection": "s1-lta", "item": "S1A_1"}
    assert server.requests[0].headers["Idempotency-Key"]
    assert order == Order("o1", "queued", "S1A_1")
    assert alice.lta.order_status(order.id) == Order("o1", "completed", "S1A_1", END)
    assert alice.lta.orders() == [order]
    assert "queued" in repr(alice.lta.orders())
    assert alice.lta.cancel_order(order.id).status == "cancelled"
    with pytest.raises(Invalid, match="no collection"):
        alice.lta.order(pystac.Item("x", None, None, END, {}))
