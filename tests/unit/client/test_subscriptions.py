"""Subscriptions: what is sent for a search in each of its forms, what is read, and what is never sent."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, cast

import httpx
import pystac
import pytest
from pystac_client import ItemSearch

from rs_client.aio import AsyncRsClient
from rs_client.cadip import CadipClient
from rs_client.errors import Conflict, Forbidden, Invalid, NotFound
from rs_client.session import RsClient
from rs_client.subscriptions import Lasting, Subscription, SubscriptionList
from tests.unit.client.far import SERVER, async_http, session

ROUTE = "/processes/staging/subscriptions"
PUBLIC = "https://public.test/rs"
BEGIN = datetime(2026, 11, 26, 18, tzinfo=UTC)
OPTIONS = {"assets": [], "existing": "replace", "follow": True, "priority": 50, "strict": False}
PLATFORM = {"op": "=", "args": [{"property": "platform"}, "sentinel-1a"]}
SEARCH = {"collections": ["s1-sgs"], "filter": PLATFORM, "filter-lang": "cql2-json"}
RECORD: Mapping[str, Any] = {
    "id": "u1",
    "owner": "alice",
    "service": "cadip",
    "search": SEARCH,
    "options": {"collection": "alice_s1-cadu", **OPTIONS},
    "since": "2026-11-26T18:00:00Z",
    "cursor": "2026-11-26T18:05:00Z",
    "jobs": 1,
    "items": 3,
    "looked": "2026-11-26T18:06:00Z",
    "reason": None,
    "created": "2026-11-26T18:00:01Z",
    "ended": None,
}
FAILING = {**RECORD, "id": "u2", "reason": "alice may not write catalog bob:x"}
ENDED = {**RECORD, "id": "u3", "ended": "2026-11-26T19:00:00Z"}
STATIONS = [{"id": "s1-sgs", "providers": [{"name": "Station SGS", "roles": ["host"]}]}]


class Server:
    """Knows a station, and subscriptions; keeps what it was asked."""

    def __init__(self) -> None:
        self.requests: list[httpx.Request] = []
        self.faults: list[httpx.Response] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        path = request.url.path
        if path == "/cadip/":
            links = [
                {"rel": rel, "href": f"{SERVER}/cadip/{end}", "type": "application/json"}
                for rel, end in (("self", ""), ("search", "search"), ("data", "collections"))
            ]
            landing = {"type": "Catalog", "id": "x", "description": "x", "stac_version": "1.0.0"}
            names = ("item-search", "collections", "item-search#filter", "item-search#sort")
            conforms = [f"https://api.stacspec.org/v1.0.0/{name}" for name in names]
            return httpx.Response(200, json={**landing, "conformsTo": conforms, "links": links})
        if path == "/":
            return httpx.Response(200, json={"links": [{"rel": "self", "href": f"{PUBLIC}/"}]})
        if path == "/cadip/collections":
            return httpx.Response(200, json={"collections": STATIONS, "links": []})
        self.requests.append(request)
        if self.faults:
            return self.faults.pop(0)
        answers = {
            f"POST {ROUTE}": RECORD,
            f"GET {ROUTE}": {"subscriptions": [RECORD, FAILING, ENDED]},
            f"GET {ROUTE}/u2": FAILING,
        }
        known = f"{request.method} {path}"
        if known == f"DELETE {ROUTE}/u1":
            return httpx.Response(204)
        return httpx.Response(200 if known in answers else 404, json=answers.get(known, {"detail": "not here"}))

    @property
    def body(self) -> Any:
        """What the last request has sent."""
        return json.loads(self.requests[-1].content)


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def alice(server: Server) -> RsClient:
    return session(server)


@pytest.fixture
def cadip(alice: RsClient) -> CadipClient:
    return alice.cadip


def test_a_search_is_sent_and_the_record_is_read(alice: RsClient, server: Server) -> None:
    hits = alice.cadip.search(collections=["s1-sgs"], platform="sentinel-1a", limit=5, sortby="-published")
    made = alice.staging.subscribe(hits, "s1-cadu", BEGIN, priority=0, follow=False)
    (request,) = server.requests
    assert (request.method, request.url.path) == ("POST", ROUTE)
    since = "2026-11-26T18:00:00+00:00"
    stated = {"collection": "s1-cadu", "since": since, "priority": 0, "follow": False}
    assert server.body == {"service": "cadip", "search": SEARCH, **stated}
    assert made == Subscription(
        id="u1",
        owner="alice",
        service="cadip",
        search=SEARCH,
        to="alice_s1-cadu",
        options=OPTIONS,
        since=BEGIN,
        cursor=BEGIN.replace(minute=5),
        created=BEGIN.replace(second=1),
        items=3,
        jobs=1,
        looked=BEGIN.replace(minute=6),
    )
    assert hash(made) == hash(Subscription.of(RECORD))


TEXT = "platform = 'sentinel-1a'"
FORMS: list[tuple[Any, dict[str, Any]]] = [
    (lambda cadip: cadip.search(), {}),
    (lambda cadip: cadip.search(station="sgs"), {"collections": ["s1-sgs"]}),
    (lambda cadip: cadip.search(ids=["a", "b"], method="GET"), {"ids": ["a", "b"]}),
    (lambda cadip: cadip.search(filter=TEXT), {"filter": TEXT, "filter-lang": "cql2-text"}),
    (lambda cadip: cadip.search(bbox=[1, 2, 3, 4]), {"bbox": [1, 2, 3, 4]}),
    ("/cadip/search", {}),
    (f"{SERVER}/cadip/search?ids=a,b&limit=7&sortby=id&fields=id&token=x", {"ids": ["a", "b"]}),
    (
        {"href": "/cadip/search?bbox=1,2,3,4&filter=platform%3D%27x%27"},
        {"bbox": [1, 2, 3, 4], "filter": "platform='x'", "filter-lang": "cql2-text"},
    ),
    ("/cadip/search?filter=%7B%7D&filter-lang=cql2-json", {"filter": "{}", "filter-lang": "cql2-json"}),
    ("/cadip/search?query=%7B%22a%22%3A%7B%22eq%22%3A1%7D%7D", {"query": {"a": {"eq": 1}}}),
    ("/cadip/search?ids=", {"ids": [""]}),
    (f"{PUBLIC}/cadip/search?ids=a", {"ids": ["a"]}),
    (lambda _: ItemSearch(f"{PUBLIC}/cadip/search", ids=["a"]), {"ids": ["a"]}),
    ("/cadip/collections/s1%20sgs/items?datetime=2024-11-14", {"datetime": "2024-11-14", "collections": ["s1 sgs"]}),
    ({"service": "cadip", "search": {"ids": ["a"]}}, {"ids": ["a"]}),
]


@pytest.mark.parametrize(("search", "body"), FORMS)
def test_a_search_may_be_given_in_several_forms(
    alice: RsClient, cadip: CadipClient, server: Server, search: Any, body: dict[str, Any]
) -> None:
    alice.staging.subscribe(search(cadip) if callable(search) else search, "s1-cadu")
    assert server.body == {"service": "cadip", "search": body, "collection": "s1-cadu"}


NO_SEARCHES: list[tuple[Any, str]] = [
    ([], "a list cannot be subscribed to"),
    (None, "a NoneType cannot"),
    (pystac.Item("a", None, None, BEGIN, {}), "a Item cannot"),
    ({"search": {}}, "a dict cannot"),
    ({"service": "cadip", "search": {}, "limit": 3}, "a dict cannot"),
    ({"href": "/cadip/search", "search": {}}, "a dict cannot"),
    ("/cadip/collections/s1-sgs", "not the address of a search"),
    ("/cadip/collections/s1-sgs/items/S1A_1", "not the address of a search"),
    ("http://elsewhere.test/cadip/search", f"not an address of {SERVER}"),
    (ItemSearch("http://elsewhere.test/cadip/search"), f"not an address of {SERVER}"),
    ("/cadip/search?ids=a&ids=b", "a parameter twice"),
    ("/cadip/search?bbox=1,x", "bbox is 1,x"),
    ("/cadip/search?intersects=here", "intersects is here"),
    (ItemSearch(f"{SERVER}/cadip/search", max_items=3), "max_items"),
]


@pytest.mark.parametrize(("search", "said"), NO_SEARCHES)
def test_what_is_no_search_is_not_sent(alice: RsClient, server: Server, search: Lasting, said: str) -> None:
    with pytest.raises(Invalid, match=said):
        alice.staging.subscribe(search, "s1-cadu")
    assert server.requests == []


def test_a_search_of_asyncio_cannot_be_read_without(alice: RsClient, server: Server) -> None:
    other = AsyncRsClient(async_http(server)).cadip.search()
    with pytest.raises(Invalid, match="AsyncSearch cannot"):
        alice.staging.subscribe(cast("Any", other), "s1-cadu")


@pytest.mark.parametrize(
    ("status", "kind"), [(400, Invalid), (403, Forbidden), (404, NotFound), (409, Conflict)], ids=str
)
def test_a_refusal_is_ours(alice: RsClient, server: Server, status: int, kind: type[Exception]) -> None:
    server.faults = [httpx.Response(status, json={"detail": "it is so"})]
    with pytest.raises(kind, match="it is so"):
        alice.staging.subscribe("/cadip/search", "s1-cadu")
    assert len(server.requests) == 1


def test_to_subscribe_is_tried_again(alice: RsClient, server: Server) -> None:
    """The server finds the same again, so a lost answer makes no second one."""
    server.faults = [httpx.Response(502), httpx.Response(503)]
    assert alice.staging.subscribe("/cadip/search", "s1-cadu").id == "u1"
    assert len({request.content for request in server.requests}) == 1


def test_they_are_listed_looked_at_and_ended(alice: RsClient, server: Server) -> None:
    found = alice.staging.subscriptions()
    assert [(one.id, one.state) for one in found] == [
        ("u1", "standing"),
        ("u2", "standing, last look failed"),
        ("u3", "ended"),
    ]
    assert alice.staging.subscription("u2") == found[1]
    alice.staging.unsubscribe("u1")
    assert [(each.method, each.url.path) for each in server.requests[1:]] == [
        ("GET", f"{ROUTE}/u2"),
        ("DELETE", f"{ROUTE}/u1"),
    ]
    with pytest.raises(NotFound, match="not here"):
        alice.staging.unsubscribe("u4")
    with pytest.raises(NotFound, match="not here"):
        alice.staging.subscription("u4")


async def test_the_same_with_asyncio(server: Server) -> None:
    async with AsyncRsClient(async_http(server)) as alice:
        hits = alice.cadip.search(station="sgs", platform="sentinel-1a")
        made = await alice.staging.subscribe(hits, "s1-cadu", BEGIN, strict=True)
        assert made == Subscription.of(RECORD)
        since = "2026-11-26T18:00:00+00:00"
        stated = {"collection": "s1-cadu", "since": since, "strict": True}
        assert server.body == {"service": "cadip", "search": SEARCH, **stated}
        await alice.staging.subscribe("/cadip/search", "s1-cadu")
        assert server.body["search"] == {}
        assert [one.id for one in await alice.staging.subscriptions()] == ["u1", "u2", "u3"]
        assert (await alice.staging.subscription("u2")).reason == FAILING["reason"]
        await alice.staging.unsubscribe("u1")
        assert server.requests[-1].method == "DELETE"
        with pytest.raises(Invalid, match="max_items"):
            await alice.staging.subscribe(alice.cadip.search(max_items=1), "s1-cadu")
        with pytest.raises(NotFound):
            await alice.staging.unsubscribe("u4")


FINDS = "cadip, collections s1-sgs, filter \"platform\" = 'sentinel-1a'"


def test_one_shows_what_it_finds_and_how_far_it_is() -> None:
    line = f"{FINDS} → alice_s1-cadu · standing · since 2026-11-26 18:00:00 UTC · seen up to 2026-11-26 18:05:00 UTC"
    assert repr(Subscription.of(RECORD)) == f"<Subscription u1 {line} · 3 items in 1 job>"
    assert repr(Subscription.of(FAILING)).endswith(" · 3 items in 1 job · alice may not write catalog bob:x>")
    html = Subscription.of(RECORD)._repr_html_()
    for told in ("u1", "alice_s1-cadu", "s1-sgs", "18:00:00", "18:05:00", "18:06:00", "3 items in 1 job", "follow yes"):
        assert told in html
    assert "bob:x" in Subscription.of(FAILING)._repr_html_()
    assert "ended 2026-11-26 19:00:00 UTC" in Subscription.of(ENDED)._repr_html_()
    assert "not yet" in Subscription.of({**RECORD, "looked": None})._repr_html_()


def test_several_are_a_table() -> None:
    found = SubscriptionList(Subscription.of(each) for each in (RECORD, FAILING, ENDED))
    lines = repr(found).splitlines()
    assert len(lines) == 4
    assert FINDS in lines[1]
    assert lines[2].endswith("bob:x")
    html = found._repr_html_()
    assert html.count("<tr>") == 4
    assert "bob:x" in html


@pytest.mark.parametrize(
    ("search", "said"),
    [
        ({}, "cadip"),
        ({"ids": ["a", "b"], "filter-lang": "cql2-json"}, "cadip, ids a b"),
        ({"datetime": "2024-11-14/..", "bbox": [1, 2, 3, 4]}, "cadip, datetime 2024-11-14/.., bbox [1, 2, 3, 4]"),
        ({"filter": "a = 1", "filter-lang": "cql2-text"}, "cadip, filter a = 1"),
    ],
)
def test_a_search_is_told_in_one_line(search: dict[str, Any], said: str) -> None:
    assert Subscription.of({**RECORD, "search": search}).finds == said
