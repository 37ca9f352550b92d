"""The session for asyncio: the same verbs, the same answers, the same errors."""

from __future__ import annotations

import inspect
import json
from typing import Any

import httpx
import pytest

import rs_client
from rs_client.aio import AsyncRsClient, AsyncStac
from rs_client.cadip import CadipClient
from rs_client.errors import Invalid, NotFound, StationUnavailable
from rs_client.jobs import AsyncJob, Job
from rs_client.session import RsClient, User
from tests.unit.client.far import SERVER, async_http, serving

IDS = [f"S1A_{number}" for number in range(5)]
PUBLIC = "https://public.test/rs"
ME = {"login": "alice", "roles": [], "groups": ["rs-users"]}
JOB = {"jobID": "j1", "processID": "staging", "status": "successful"}
COLLECTIONS = [
    {"id": f"s1-{name}", "providers": [{"name": f"Station {name.upper()}", "roles": ["host"]}]}
    for name in ("sgs", "mti", "ins")
]


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
        }
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
        return {"features": [item(one) for one in IDS[start : start + 2]], "links": links}


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


def public(kind: type) -> set[str]:
    return {name for name in dir(kind) if not name.startswith("_")}


def test_what_one_can_do_with_asyncio_one_can_do_without() -> None:
    assert public(AsyncJob) - {"progress"} <= public(Job)
    assert public(AsyncRsClient) - {"open"} <= public(RsClient)
    for name in ("wait", "dismiss"):
        assert list(inspect.signature(getattr(AsyncJob, name)).parameters) == list(
            inspect.signature(getattr(Job, name)).parameters
        )
    assert public(AsyncStac) == {"search", "item", "collections"}
    assert all(hasattr(CadipClient, name) for name in public(AsyncStac))
