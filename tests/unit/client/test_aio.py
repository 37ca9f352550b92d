"""The session for asyncio: the same verbs, the same answers, the same errors."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

import rs_client
from rs_client.aio import AsyncRsClient
from rs_client.errors import Invalid, NotFound, StationUnavailable
from rs_client.lta import Order
from rs_client.session import User
from rs_client.stac import Item
from tests.unit.client.far import SERVER, async_http, serving

IDS = [f"S1A_{number}" for number in range(5)]
PUBLIC = "https://public.test/rs"
ME = {"login": "alice", "roles": [], "groups": ["rs-users"]}
JOB = {"jobID": "j1", "processID": "staging", "status": "successful"}
COLLECTIONS = [
    {"id": f"s1-{name}", "providers": [{"name": f"Station {name.upper()}", "roles": ["host"]}]}
    for name in ("sgs", "mti", "ins")
]

KEY = {"id": "k1", "name": "chain", "owner": "alice", "expires": "2027-01-01T00:00:00Z", "api_key": "rsk_new"}
BOB = {"user": "bob", "rights": ["read", "download"], "until": None}
ORDER = {"id": "o1", "status": "queued", "item": "S1A_1"}
PLAN = {
    "processor": "s1-l0",
    "version": "1.0.0",
    "steps": [],
    "cluster": {"workers": 2, "cores": 2, "memory_gib": 1.75},
    "bytes_to_read": 2_000_000,
    "bytes_to_stage": 0,
    "notes": [],
    "problems": [],
}
OTHERS: dict[str, Any] = {
    "/dpr/processes": {"processes": [{"id": "s1-l0", "title": "Level 0"}]},
    "/dpr/processes/s1-l0": {"id": "s1-l0", "title": "Level 0", "inputs": {"cadu": {"title": "CADU files"}}},
    "/dpr/processes/s1-l0/plan": PLAN,
    "/auth/api_keys": KEY,
    "/catalog/collections/c/readers": {"readers": [BOB]},
    "/catalog/collections": {"id": "new"},
    "/catalog/collections/c": {"id": "c"},
    "/lta/orders": ORDER,
    "/lta/orders/o1": ORDER,
}


def item(item_id: str) -> dict[str, Any]:
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "id": item_id,
        "collection": "s1-sgs",
        "geometry": None,
        "properties": {"datetime": "2024-11-14T00:00:00Z"},
        "links": [{"rel": "self", "href": f"{SERVER}/cadip/collections/s1-sgs/items/{item_id}"}],
        "assets": {},
    }


class Server:
    """Five items in pages of two, by GET and by POST, under an address of its own."""

    def __init__(self) -> None:
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        path = request.url.path.removeprefix("/rs")
        if path == "/cadip/":
            return httpx.Response(200, json={"links": [{"rel": "self", "href": f"{PUBLIC}/cadip/"}]})
        if path == "/cadip/search":
            return httpx.Response(200, json=self.page(request))
        answers = {
            "/auth/me": ME,
            "/jobs": {"jobs": [JOB]},
            "/jobs/j1": JOB,
            "/jobs/j1/log": [{"at": "", "line": "staged"}],
            "/jobs/j1/results": {"items": [{"href": f"{SERVER}/catalog/collections/c/items/S1A_0"}]},
            "/cadip/collections": self.collections(request),
            "/processes/staging/execution": JOB,
            "/processes/s1-l0/execution": JOB,
            **OTHERS,
        }
        if request.method == "DELETE":
            return (
                httpx.Response(200, json={**ORDER, "status": "cancelled"}) if "orders" in path else httpx.Response(204)
            )
        if "/items/" in path:
            return httpx.Response(200, json=item(path.rpartition("/")[2]))
        found = answers.get(path)
        return httpx.Response(404, json={"detail": "not here"}) if found is None else httpx.Response(200, json=found)

    def collections(self, request: httpx.Request) -> dict[str, Any]:
        number = int(request.url.params.get("token", 0))
        more = [{"rel": "next", "href": f"{PUBLIC}/cadip/collections?token={number + 1}"}]
        return {"collections": [COLLECTIONS[number]], "links": more if number + 1 < len(COLLECTIONS) else []}

    def page(self, request: httpx.Request) -> dict[str, Any]:
        asked = json.loads(request.content) if request.method == "POST" else dict(request.url.params)
        start = int(asked.get("token", 0))
        following: dict[str, Any] = {"rel": "next", "method": request.method, "href": f"{PUBLIC}/cadip/search"}
        if request.method == "POST":
            following |= {"body": {"token": start + 2}, "merge": True}
        else:
            following["href"] += f"?token={start + 2}"
        links = [following] if start + 2 < len(IDS) else []
        return {"features": [item(one) for one in IDS[start : start + 2]], "links": links, "numberMatched": 900}


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def alice(server: Server) -> AsyncRsClient:
    return AsyncRsClient(async_http(server))


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_search_gives_the_items_of_all_pages(alice: AsyncRsClient, server: Server, method: str) -> None:
    found = [one.id async for one in alice.cadip.search(platform="sentinel-1a", method=method)]
    assert found == IDS
    pages = [request for request in server.requests if request.url.path.endswith("/search")]
    assert [request.method for request in pages] == [method] * 3
    assert all(request.headers["x-api-key"] == "rsk_alice" for request in pages)
    if method == "POST":
        assert all("filter" in json.loads(request.content) for request in pages)


async def test_a_search_asks_for_no_more_pages_than_it_needs(alice: AsyncRsClient, server: Server) -> None:
    assert [one.id async for one in alice.cadip.search(max_items=2)] == IDS[:2]
    assert len([request for request in server.requests if request.url.path.endswith("/search")]) == 1


async def test_what_a_search_finds_is_looked_at_and_brought(alice: AsyncRsClient, server: Server) -> None:
    hits = alice.cadip.search(platform="sentinel-1a")
    assert server.requests == []
    assert repr(hits) == '<AsyncSearch {"platform": "sentinel-1a"}>'
    assert [one.id for one in await hits.first(3)] == IDS[:3]
    assert [len(page) async for page in alice.cadip.search(max_items=3).pages()] == [2, 1]
    assert [one.id for one in await hits.item_collection()] == IDS
    assert await hits.matched() == 900
    assert json.loads(server.requests[-1].content)["limit"] == 1
    assert (await hits.stage(to="s1-cadu", priority=0)).id == "j1"
    asked = {"items": [{"href": f"{SERVER}/cadip/collections/s1-sgs/items/{one}"} for one in IDS]}
    assert sent(server) == (
        "POST",
        "/processes/staging/execution",
        {"inputs": {**asked, "collection": "s1-cadu", "priority": 0}},
    )
    await hits.process("s1-l0", to="s1-l0")
    assert sent(server) == ("POST", "/processes/s1-l0/execution", {"inputs": {**asked, "collection": "s1-l0"}})


async def test_a_search_at_one_station(alice: AsyncRsClient, server: Server) -> None:
    assert [one.id async for one in alice.cadip.search(station="MTI", max_items=1)] == IDS[:1]
    assert json.loads(server.requests[-1].content)["collections"] == ["s1-mti"]
    with pytest.raises(Invalid, match=r"no station moon here\n.*sgs, mti, ins"):
        _ = [one async for one in alice.cadip.search(station="moon")]


@pytest.mark.parametrize("parameters", [{"datetime": "yesterday"}, {"fly": True}])
async def test_parameters_that_make_no_sense_are_told(alice: AsyncRsClient, parameters: dict[str, Any]) -> None:
    with pytest.raises(Invalid, match="cannot be searched"):
        _ = [one async for one in alice.cadip.search(**parameters)]


async def test_the_verbs(alice: AsyncRsClient, server: Server) -> None:
    async with alice:
        assert await alice.whoami() == User("alice", (), ("rs-users",))
        assert (await alice.cadip.item("s1-sgs", "S1A_3")).id == "S1A_3"
        assert await alice.cadip.collections() == COLLECTIONS
        job = await alice.stage([f"{SERVER}/x"], to="s1-cadu")
        assert (await job.wait()).id == "j1"
        assert "j1" in job._repr_html_()
        assert [one.id for one in await job.items()] == ["S1A_0"]
        assert await job.log() == ["staged"]
        assert await job.report() == []
        assert [one.id for one in await alice.jobs()] == ["j1"]
        assert (await (await alice.job("j1")).progress()).status == "successful"
        with pytest.raises(NotFound):
            await alice.job("j2")


async def test_errors_are_ours() -> None:
    down = AsyncRsClient(async_http(lambda request: httpx.Response(503, json={"detail": "down", "station": "sgs"})))
    with pytest.raises(StationUnavailable, match="down"):
        await down.whoami()


async def test_it_connects_as_the_other_does(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(lambda method, path, headers: (200, ME) if headers.get("x-api-key") == "k" else (401, {})) as url:
        monkeypatch.setenv("RS_API_KEY", "k")
        monkeypatch.delenv("RS_TOKEN_URL", raising=False)
        async with await rs_client.connect_async(url) as opened:
            assert (await opened.whoami()).login == "alice"
            assert repr(opened) == f"<AsyncRsClient {url}>"


def sent(server: Server) -> tuple[str, str, Any]:
    """The last request: method, path and body."""
    last = server.requests[-1]
    return last.method, last.url.path, json.loads(last.content) if last.content else None


async def test_keys(alice: AsyncRsClient, server: Server) -> None:
    made = await alice.keys.create("chain", days=7)
    assert (made.secret, "rsk_new" in repr(made)) == ("rsk_new", False)
    assert sent(server) == ("POST", "/auth/api_keys", {"name": "chain", "expires_in_days": 7})
    await alice.keys.revoke(made.id)
    assert sent(server) == ("DELETE", "/auth/api_keys/k1", None)


async def test_the_catalog_is_written(alice: AsyncRsClient, server: Server) -> None:
    assert [reader.name for reader in await alice.catalog.share("c", users="bob")] == ["bob"]
    assert sent(server) == ("PUT", "/catalog/collections/c/readers", {"readers": [BOB]})
    assert [reader.rights for reader in await alice.catalog.readers("c")] == [("read", "download")]
    await alice.catalog.unshare("c", user="bob")
    assert sent(server) == ("DELETE", "/catalog/collections/c/readers/user/bob", None)
    with pytest.raises(Invalid, match="nobody is named"):
        await alice.catalog.share("c")
    with pytest.raises(Invalid, match="whose rights"):
        await alice.catalog.unshare("c")
    assert await alice.catalog.ensure("c") == {"id": "c"}
    assert await alice.catalog.ensure("new", title="New") == {"id": "new"}
    method, path, body = sent(server)
    assert (method, path, body["id"], body["title"]) == ("POST", "/catalog/collections", "new", "New")
    await alice.catalog.remove_collection("c", with_items=True)
    assert str(server.requests[-1].url).endswith("/catalog/collections/c?force=true")


async def test_processors(alice: AsyncRsClient, server: Server) -> None:
    assert await alice.dpr.processors() == {"s1-l0": "Level 0"}
    assert "CADU files" in repr(await alice.dpr.describe("s1-l0"))
    plan = await alice.dpr.plan("s1-l0", f"{SERVER}/x", workers=2)
    assert plan.summary == "s1-l0 1.0.0 on 2 workers of 2 cores and 1.75 GiB; 2.0 MB to read"
    asked = {"inputs": {"items": [{"href": f"{SERVER}/x"}], "workers": 2}}
    assert sent(server) == ("POST", "/dpr/processes/s1-l0/plan", asked)
    job = await alice.process("s1-l0", f"{SERVER}/x", to="s1-l0")
    assert await job.status() == "successful"
    asked = {"inputs": {"items": [{"href": f"{SERVER}/x"}], "collection": "s1-l0"}}
    assert sent(server) == ("POST", "/processes/s1-l0/execution", asked)


async def test_orders(alice: AsyncRsClient, server: Server) -> None:
    one = Item.from_dict(item("S1A_1"))
    assert await alice.lta.order(one) == Order("o1", "queued", "S1A_1")
    assert server.requests[-1].headers["Idempotency-Key"]
    assert sent(server) == ("POST", "/lta/orders", {"collection": "s1-sgs", "item": "S1A_1"})
    assert (await alice.lta.order_status("o1")).status == "queued"
    assert (await alice.lta.cancel_order("o1")).status == "cancelled"


async def test_stations(alice: AsyncRsClient) -> None:
    assert await alice.cadip.stations() == {"sgs": ["s1-sgs"], "mti": ["s1-mti"], "ins": ["s1-ins"]}
    assert (await alice.catalog.get_collection("c"))["id"] == "c"
