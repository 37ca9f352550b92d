"""The STAC API of the stations over HTTP: documents, searches, paging, downloads, access and errors."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any
from urllib.parse import quote

import httpx
import pytest

from rs_server.stations.client import Stations
from tests.schemas import faults, item_faults
from tests.unit.stations.far import PARAMETERS, PUBLIC_URL, SESSION, FarSide, demo, opened, service

COLLECTION = "https://schemas.stacspec.org/v1.1.0/collection-spec/json-schema/collection.json"
CATALOG = "https://schemas.stacspec.org/v1.1.0/catalog-spec/json-schema/catalog.json"
ITEM_URL = f"/collections/s1-sgs/items/{SESSION}"
FIRST_FILE = f"DCS_04_{SESSION}_ch1_DSDB_00001.raw"


@pytest.fixture
def far() -> FarSide:
    return FarSide()


@pytest.fixture
async def stations(far: FarSide) -> AsyncIterator[Stations]:
    async with opened(far) as found:
        yield found


@pytest.fixture
async def cadip(stations: Stations) -> AsyncIterator[httpx.AsyncClient]:
    async with service("cadip", stations) as client:
        yield client


@pytest.fixture
async def auxip(stations: Stations) -> AsyncIterator[httpx.AsyncClient]:
    async with service("auxip", stations) as client:
        yield client


async def _search(client: httpx.AsyncClient, **parameters: Any) -> list[str]:
    answer = await client.get("/search", params=parameters)
    assert answer.status_code == 200, answer.text
    return [item["id"] for item in answer.json()["features"]]


def _link(document: dict[str, Any], rel: str) -> dict[str, Any]:
    return next(link for link in document["links"] if link["rel"] == rel)


# --- documents --------------------------------------------------------------------------------------------------------


async def test_landing_page_leads_to_everything(cadip: httpx.AsyncClient) -> None:
    page = (await cadip.get("/")).json()
    assert faults(page, CATALOG) == []
    for rel in ("data", "conformance", "service-desc", "child", "http://www.opengis.net/def/rel/ogc/1.0/queryables"):
        link = _link(page, rel)
        answer = await cadip.get(link["href"].removeprefix(f"{PUBLIC_URL}/cadip"))
        assert answer.status_code == 200, rel
        assert answer.headers["content-type"] == link["type"]
    assert [link["method"] for link in page["links"] if link["rel"] == "search"] == ["GET", "POST"]
    assert (await cadip.get("/conformance")).json()["conformsTo"] == page["conformsTo"]


async def test_collections_are_valid(cadip: httpx.AsyncClient, auxip: httpx.AsyncClient) -> None:
    for client, name in ((cadip, "s1-sgs"), (auxip, "s1-aux")):
        listed = (await client.get("/collections")).json()["collections"]
        assert [each["id"] for each in listed] == [name]
        assert faults(listed[0], COLLECTION) == []
        assert (await client.get(f"/collections/{name}")).json() == listed[0]


async def test_queryables_leave_out_what_is_fixed(cadip: httpx.AsyncClient) -> None:
    everywhere = (await cadip.get("/queryables")).json()["properties"]
    here = (await cadip.get("/collections/s1-sgs/queryables")).json()["properties"]
    assert set(everywhere) - set(here) == {"platform"}
    assert here["datetime"] == {"title": "datetime", "type": "string", "format": "date-time"}
    assert here["cadip:num_channels"]["type"] == "integer"
    assert "sentinel-1a" in everywhere["platform"]["enum"]


# --- items ------------------------------------------------------------------------------------------------------------


async def test_session_item(cadip: httpx.AsyncClient) -> None:
    answer = await cadip.get(ITEM_URL)
    item = answer.json()
    assert answer.headers["content-type"] == "application/geo+json"
    some = dict(list(item["assets"].items())[:3])  # the schemas take their time
    assert item_faults({**item, "assets": some}) == []
    assert len(item["assets"]) == 38
    assert item["properties"]["rs:complete"] is True
    assert item["properties"]["datetime"] == "2024-11-14T14:30:44.018Z"
    assert item["assets"][FIRST_FILE]["href"] == f"{PUBLIC_URL}/cadip{ITEM_URL}/download/{FIRST_FILE}"


async def test_auxiliary_item(auxip: httpx.AsyncClient) -> None:
    item = (await auxip.get(f"/collections/s1-aux/items/{PARAMETERS}")).json()
    assert item_faults(item) == []
    assert list(item["assets"]) == [f"{PARAMETERS}.SAFE.zip"]
    assert item["assets"][f"{PARAMETERS}.SAFE.zip"]["file:checksum"].startswith("d50110")
    assert item["properties"]["product:type"] == "AUX_PP1"


@pytest.mark.parametrize("path", ["/collections/s1-sgs/items/S1A_0", "/collections/none", "/collections/none/items/x"])
async def test_unknown_is_404(cadip: httpx.AsyncClient, path: str) -> None:
    answer = await cadip.get(path)
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("name", ["x'", "x' or 'a' eq 'a", "')", "a/b", "é\n", "%27", "'"])
async def test_an_odd_id_is_only_an_id(cadip: httpx.AsyncClient, far: FarSide, name: str) -> None:
    answer = await cadip.get(f"/collections/s1-sgs/items/{quote(name, safe='')}")
    assert answer.status_code == 404
    assert (await cadip.post("/search", json={"ids": [name]})).json()["features"] == []
    asked = [query for query in far.queries if "Retransfer eq true" not in query]
    assert asked
    assert all(f"SessionId eq '{name.replace("'", "''")}'" in query for query in asked)


# --- searches ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("parameters", "found"),
    [
        ({}, 7),
        ({"ids": f"{PARAMETERS},nothing"}, 1),
        ({"collections": "s1-aux"}, 7),
        ({"collections": "other"}, 0),
        ({"limit": 2}, 2),
        ({"limit": 5000}, 7),
        ({"datetime": "2024-11-14T12:00:00Z"}, 2),
        ({"datetime": "2024-11-14T00:00:00Z/2024-11-14T23:59:59.999Z"}, 3),
        ({"filter": "mission = 'x'"}, 0),
        ({"filter": '"eo:cloud_cover" is null'}, 7),
        ({"datetime": "../2020-01-01T00:00:00Z"}, 4),
        ({"datetime": "2024-01-01T00:00:00Z/"}, 3),
        ({"bbox": "-180,-90,180,90"}, 0),
        ({"intersects": '{"type":"Point","coordinates":[0,0]}'}, 0),
        ({"filter": "\"product:type\" = 'AUX_RESORB'"}, 3),
        ({"filter": "\"product:type\" in ('AUX_CAL','AUX_INS')"}, 2),
        ({"filter": "platform <> 'sentinel-1a'"}, 0),
        ({"filter": "casei(id) like 's1a_aux%'"}, 4),
        ({"filter": "updated >= DATE('2024-11-14') and collection = 's1-aux'"}, 4),
        ({"filter": "collection = 'other'"}, 0),
        ({"filter": '{"op":"=","args":[{"property":"id"},"x"]}', "filter-lang": "cql2-json"}, 0),
        ({"filter": "s_intersects(geometry, POINT(0 0))"}, 0),
        ({"filter": "not s_intersects(geometry, POINT(0 0))"}, 0),
        ({"filter": "geometry is null"}, 7),
    ],
)
async def test_search_finds(auxip: httpx.AsyncClient, parameters: dict[str, Any], found: int) -> None:
    assert len(await _search(auxip, **parameters)) == found


@pytest.mark.parametrize(
    ("parameters", "named"),
    [
        ({"filter": "colour = 'red'"}, "colour"),
        ({"filter": "platform ="}, "filter"),
        ({"filter": "published > 'yesterday'"}, "yesterday"),
        ({"filter": "platform > 3"}, "platform"),
        ({"filter": "a_contains(platform, ('x'))"}, "a_contains"),
        ({"filter": "magic(platform) = 'x'"}, "magic"),
        ({"filter": "(" * 3000 + "id = 'x'" + ")" * 3000}, "nested"),
        ({"filter": "id = '" + "x" * 9000 + "'"}, "longer"),
        ({"filter": "id = 'x'", "filter-lang": "sql"}, "filter-lang"),
        ({"datetime": "yesterday"}, "datetime"),
        ({"datetime": "2024-11-14"}, "datetime"),
        ({"datetime": "2024-11-14T00:00:00"}, "datetime"),
        ({"datetime": "2025-01-01T00:00:00Z/2024-01-01T00:00:00Z"}, "datetime"),
        ({"datetime": "../.."}, "datetime"),
        ({"bbox": "1,2,3"}, "bbox"),
        ({"bbox": "a,b,c,d"}, "bbox"),
        ({"bbox": "0,10,10,0"}, "bbox"),
        ({"bbox": "0,0,1,1", "intersects": '{"type":"Point","coordinates":[0,0]}'}, "intersects"),
        ({"intersects": "here"}, "intersects"),
        ({"sortby": "platform"}, "platform"),
        ({"sortby": "-colour"}, "colour"),
        ({"limit": 0}, "limit"),
        ({"limit": "many"}, "limit"),
        ({"platform": "sentinel-1a"}, "platform"),
        ({"token": "x"}, "token"),
        ({"token": "é.é"}, "token"),
        ({"ids": ",".join(map(str, range(200)))}, "ids"),
    ],
)
async def test_a_search_that_cannot_be_honoured_is_400_and_names_why(
    auxip: httpx.AsyncClient, parameters: dict[str, Any], named: str
) -> None:
    answer = await auxip.get("/search", params=parameters)
    assert answer.status_code == 400, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert named in answer.json()["detail"]


async def test_post_search_says_the_same_as_get(auxip: httpx.AsyncClient) -> None:
    body = {
        "collections": ["s1-aux"],
        "filter": {"op": "=", "args": [{"property": "product:type"}, "AUX_PP1"]},
        "sortby": [{"field": "properties.published", "direction": "asc"}],
        "datetime": "2014-01-01T00:00:00Z/..",
        "limit": 10,
    }
    answer = (await auxip.post("/search", json=body)).json()
    found = await _search(
        auxip, filter="\"product:type\"='AUX_PP1'", sortby="+published", datetime="2014-01-01T00:00:00Z/.."
    )
    assert [item["id"] for item in answer["features"]] == found
    assert len(found) == 2
    assert (await auxip.post("/search", content=b'{"filter":' + b"[" * 5000)).status_code == 400


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"product:type": {"eq": "AUX_RESORB"}}, 3),
        ({"product:type": {"neq": "AUX_RESORB"}, "platform": {"eq": "sentinel-1a"}}, 4),
        ({"published": {"gte": "2024-11-14T00:00:00Z", "lt": "2030-01-01T00:00:00Z"}}, 4),
        ({"id": {"startsWith": "S1A_AUX"}}, 4),
        ({"id": {"contains": "_"}}, 7),
        ({"id": {"endsWith": "%"}}, 0),
        ({"product:type": {"in": ["AUX_CAL", "AUX_INS"]}}, 2),
    ],
)
async def test_the_query_of_old_clients(auxip: httpx.AsyncClient, query: dict[str, Any], found: int) -> None:
    assert len((await auxip.post("/search", json={"query": query})).json()["features"]) == found
    assert len(await _search(auxip, query=json.dumps(query))) == found


@pytest.mark.parametrize(
    "query", ['{"colour": {"eq": 1}}', '{"platform": {"like": "x"}}', '{"platform": "x"}', "{}", "[]", "x"]
)
async def test_a_query_that_cannot_be_honoured_is_400(auxip: httpx.AsyncClient, query: str) -> None:
    assert (await auxip.get("/search", params={"query": query})).status_code == 400


async def test_fields(auxip: httpx.AsyncClient) -> None:
    async def first(fields: str) -> dict[str, Any]:
        features = (await auxip.get("/search", params={"fields": fields, "limit": 1})).json()["features"]
        found: dict[str, Any] = features[0]
        return found

    some = await first("id,properties.published,platform")
    assert set(some["properties"]) == {"published", "platform"}
    assert set(some) == {"id", "properties"}
    assert set(await first("geometry")) == {"geometry"}
    less = await first("-assets,-properties.platform,-geometry")
    assert not {"assets", "geometry"} & set(less)
    assert (await first("-properties,properties.platform"))["properties"] == {"platform": "sentinel-1a"}
    body = {"fields": {"include": [], "exclude": ["geometry"]}, "limit": 1}
    default = (await auxip.post("/search", json=body)).json()["features"][0]
    assert set(default["properties"]) == {"datetime"}
    assert "geometry" not in default
    assert "platform" not in less["properties"]
    assert "published" in less["properties"]


@pytest.mark.parametrize(
    ("filter_", "matched"),
    [
        ("published >= DATE('2024-11-14')", 4),  # the station counts
        ("platform = 'sentinel-1a'", 7),
        ("casei(id) like 's1a_aux%'", None),  # evaluated here
        ("\"product:type\" = 'AUX_RESORB'", None),  # found in the name as well, so the station's count is too high
        ("id like 'no such%'", 0),
    ],
)
async def test_matches_are_counted_where_that_is_exact(
    auxip: httpx.AsyncClient, filter_: str, matched: int | None
) -> None:
    first = (await auxip.get("/search", params={"filter": filter_, "limit": 1})).json()
    assert first.get("numberMatched") == matched
    whole = (await auxip.get("/search", params={"filter": filter_, "limit": 100})).json()
    assert whole["numberMatched"] == whole["numberReturned"]


# --- paging -----------------------------------------------------------------------------------------------------------


async def _follow(client: httpx.AsyncClient, document: dict[str, Any], rel: str) -> dict[str, Any] | None:
    link = next((link for link in document["links"] if link["rel"] == rel), None)
    if link is None:
        return None
    path = link["href"].removeprefix(f"{PUBLIC_URL}/auxip")
    answer = await client.request(link.get("method", "GET"), path, json=link.get("body"))
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


@pytest.mark.parametrize("how", ["GET", "POST", "items"])
async def test_pages_go_on_and_back(auxip: httpx.AsyncClient, how: str) -> None:
    whole = await _search(auxip, sortby="-datetime,id")
    parameters = {"sortby": "-datetime,id", "limit": "3"}
    body = {"sortby": [{"field": "datetime", "direction": "desc"}, {"field": "id"}], "limit": 3}
    page: dict[str, Any] | None = (
        (await auxip.post("/search", json=body)).json()
        if how == "POST"
        else (await auxip.get("/search" if how == "GET" else "/collections/s1-aux/items", params=parameters)).json()
    )
    seen, pages = [], []
    while page is not None:
        pages.append([item["id"] for item in page["features"]])
        seen += pages[-1]
        last, page = page, await _follow(auxip, page, "next")
    assert seen == whole
    assert [len(ids) for ids in pages] == [3, 3, 1]
    back = await _follow(auxip, last, "prev")
    assert back is not None
    assert [item["id"] for item in back["features"]] == pages[1]
    back = await _follow(auxip, back, "prev")
    assert back is not None
    assert [item["id"] for item in back["features"]] == pages[0]
    assert await _follow(auxip, back, "prev") is None
    forth = await _follow(auxip, back, "next")
    assert forth is not None
    assert [item["id"] for item in forth["features"]] == pages[1]


async def test_a_token_holds_for_its_search_and_caller_alone(auxip: httpx.AsyncClient, stations: Stations) -> None:
    page = (await auxip.get("/search", params={"limit": 2})).json()
    token = httpx.URL(_link(page, "next")["href"]).params["token"]
    assert (await auxip.get("/search", params={"limit": 3, "token": token})).status_code == 200
    payload, _, signature = token.partition(".")
    for wrong in (f"{payload}A.{signature}", f"{payload}.{signature[:-2]}AA", payload, f".{signature}"):
        assert (await auxip.get("/search", params={"limit": 2, "token": wrong})).status_code == 400
    other: dict[str, Any] = {"limit": 2, "token": token, "filter": "platform='sentinel-1a'"}
    assert (await auxip.get("/search", params=other)).status_code == 400
    assert (await auxip.get("/collections/s1-aux/items", params={"token": token})).status_code == 400
    async with service("auxip", stations, "bob") as bob:
        assert (await bob.get("/search", params={"limit": 2, "token": token})).status_code == 400


# --- access -----------------------------------------------------------------------------------------------------------

ROUTES = [
    "/",
    "/conformance",
    "/queryables",
    "/api",
    "/collections",
    "/search",
    "/collections/s1-sgs",
    "/collections/s1-sgs/queryables",
    "/collections/s1-sgs/items",
    ITEM_URL,
    f"{ITEM_URL}/download/{FIRST_FILE}",
]
OPEN_TO_ALL_WHO_ARE_KNOWN = 6
STATUS = {
    None: [401] * len(ROUTES),
    "eve": [200] * OPEN_TO_ALL_WHO_ARE_KNOWN + [404] * 5,
    "loader": [200] * OPEN_TO_ALL_WHO_ARE_KNOWN + [404] * 5,
    "bob": [200] * (len(ROUTES) - 1) + [403],
    "alice": [200] * len(ROUTES),
}


@pytest.mark.parametrize("login", STATUS)
async def test_role_by_route(stations: Stations, login: str | None) -> None:
    async with service("cadip", stations, login) as client:
        assert [(await client.get(route)).status_code for route in ROUTES] == STATUS[login]
        assert (await client.post("/search", json={})).status_code == STATUS[login][0]


async def test_what_may_not_be_read_is_not_there(stations: Stations, far: FarSide) -> None:
    async with service("cadip", stations, "eve") as eve:
        landing = (await eve.get("/")).json()
        assert not [link for link in landing["links"] if link["rel"] == "child"]
        assert (await eve.get("/collections")).json()["collections"] == []
        assert (await eve.get("/search")).json()["features"] == []
        assert (await eve.get("/search", params={"collections": "s1-sgs"})).json()["features"] == []
        unknown, forbidden = await eve.get("/collections/none"), await eve.get("/collections/s1-sgs")
        assert unknown.json()["detail"].replace("none", "s1-sgs") == forbidden.json()["detail"]
    assert far.queries == []


# --- downloads --------------------------------------------------------------------------------------------------------


async def test_download_whole_and_in_part(cadip: httpx.AsyncClient) -> None:
    url = f"{ITEM_URL}/download/{FIRST_FILE}"
    size = (await cadip.get(ITEM_URL)).json()["assets"][FIRST_FILE]["file:size"]
    whole = await cadip.get(url)
    assert (whole.status_code, len(whole.content)) == (200, size)
    assert whole.content.startswith(bytes.fromhex("1acffc1d"))
    assert whole.headers["content-disposition"] == f"attachment; filename*=UTF-8''{FIRST_FILE}"
    part = await cadip.get(url, headers={"Range": "bytes=100-199"})
    assert (part.status_code, part.content) == (206, whole.content[100:200])
    assert part.headers["content-range"] == f"bytes 100-199/{size}"
    end = await cadip.get(url, headers={"Range": "bytes=-10"})
    assert (end.status_code, end.content) == (206, whole.content[-10:])
    beyond = await cadip.get(url, headers={"Range": f"bytes={size}-"})
    assert (beyond.status_code, beyond.headers["content-range"]) == (416, f"bytes */{size}")
    several = await cadip.get(url, headers={"Range": "bytes=0-1,4-5"})
    assert (several.status_code, len(several.content)) == (200, size)
    assert (await cadip.get(f"{ITEM_URL}/download/none.raw")).status_code == 404


async def test_nothing_of_the_stations_login_reaches_the_caller(cadip: httpx.AsyncClient, far: FarSide) -> None:
    answer = await cadip.get(f"{ITEM_URL}/download/{FIRST_FILE}")
    tokens = {request.headers["authorization"] for request in far.requests if "authorization" in request.headers}
    assert len(tokens) == 1
    assert not any(token.removeprefix("Bearer ") in str(answer.headers) for token in tokens)
    assert not any("x-login" in request.headers for request in far.requests)


# --- faults -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("far_status", "status"), [(500, 503), (503, 503), (429, 503), (403, 502), (401, 502), (400, 502), (404, 502)]
)
async def test_a_failing_station_is_named(cadip: httpx.AsyncClient, far: FarSide, far_status: int, status: int) -> None:
    def fail(request: httpx.Request) -> httpx.Response | None:
        return httpx.Response(far_status) if "odata" in request.url.path else None

    far.answer = fail
    for path in ("/search", "/collections/s1-sgs/items", ITEM_URL, f"{ITEM_URL}/download/{FIRST_FILE}"):
        answer = await cadip.get(path)
        assert answer.status_code == status
        assert answer.json()["station"] == "sgs"
        assert "sgs" in answer.json()["detail"]


@pytest.mark.parametrize(
    "body", [b"<html>maintenance</html>", b"[]", b"{}", b'{"value": 3}', b'{"value": [3]}', b'{"value":[{"Id":"x"}]}']
)
async def test_nonsense_is_502(cadip: httpx.AsyncClient, far: FarSide, body: bytes) -> None:
    far.answer = lambda request: httpx.Response(200, content=body) if "odata" in request.url.path else None
    answer = await cadip.get("/search")
    assert answer.status_code == 502
    assert answer.json()["station"] == "sgs"


async def test_a_scan_that_never_ends_is_refused_and_names_the_term(far: FarSide) -> None:
    async with opened(far, demo(scan_rows=5, page_size=2)) as stations, service("auxip", stations) as client:
        answer = await client.get("/search", params={"filter": "casei(id) = 'nothing' and published > '2020-01-01'"})
        assert answer.status_code == 400
        assert "casei(id)" in answer.json()["detail"]
        assert "published" not in answer.json()["detail"]


async def test_a_session_is_held_against_what_its_station_says_of_it() -> None:
    far = FarSide()
    told = [{"Channel": channel, "TotalChunks": 19 + channel // 2, "TotalVolume": None} for channel in (1, 2)]

    def answer(request: httpx.Request) -> httpx.Response | None:
        asked = str(request.url)
        if "Files%2CQualityInfo" in asked or "Files,QualityInfo" in asked:
            return httpx.Response(501)  # it does not tell that of many sessions at once
        return httpx.Response(200, json={"QualityInfo": told}) if "QualityInfo" in asked else None

    far.answer = answer
    async with opened(far) as stations, service("cadip", stations) as http:
        listed = (await http.get("/search")).json()["features"][0]["properties"]
        item = (await http.get(f"/collections/s1-sgs/items/{SESSION}")).json()
        before = len(far.queries)
        again = (await http.get("/search")).json()["features"][0]["properties"]
    assert len(far.queries) - before == 2  # what was learnt stays so
    assert (listed["rs:complete"], listed["rs:state"]) == (True, "complete")  # a page asks no station once an item
    assert again == listed
    assert item["properties"]["rs:state"] == "incomplete"
    assert item["properties"]["rs:missing"] == ["channel 2: 19 of 20 files"]
    assert item["properties"]["rs:complete"] is False


async def test_a_page_is_held_against_what_comes_along_with_its_sessions() -> None:
    far = FarSide()
    store = far.apps["sgs"].state.station.store
    (session,) = store.sets["Sessions"].values()
    for chunks, complete in ((19, True), (20, False)):
        quality = tuple(
            replace(each, values={**each.values, "TotalChunks": chunks}) for each in session.related["QualityInfo"]
        )
        far.fill("sgs", "Sessions", [replace(session, related={**session.related, "QualityInfo": quality})])
        async with opened(far) as stations, service("cadip", stations) as http:
            before = len(far.queries)
            found = (await http.get("/search")).json()["features"][0]["properties"]
            assert len(far.queries) - before == 2  # the page, and what was published again
        assert found["rs:complete"] is complete
        lacking = [f"channel {n}: 19 of 20 files" for n in (1, 2)]
        assert found.get("rs:missing") == (None if complete else lacking)
