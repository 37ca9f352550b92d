"""Both stations over HTTP: tokens, searches, pages, downloads, faults and the admin API."""

from __future__ import annotations

import hashlib
import io
import random
import time
import xml.etree.ElementTree as ET
import zipfile
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest

from rs_server.simulators.app import TOKEN_PATH
from tests.unit.simulators.conftest import ADMIN, FORM, Open

ROOT = "/odata/v1"
SESSION_ID = "S1A_20241114143038056552"
SESSION = "6894eb36-416e-469e-8788-9a0a2b8f3a8d"
LATE = "OData.CSC.DateTimeOffsetAttribute/Value gt 2024-01-01T00:00:00Z"
FILE = "228b97bc-aa04-4036-8450-3106bc7684bb"


async def get(client: httpx.AsyncClient, path: str, **options: Any) -> Any:
    answer = await client.get(f"{ROOT}/{path}", params={f"${name}": value for name, value in options.items()})
    assert answer.status_code == 200, answer.text
    return answer.json()


def assert_odata_error(answer: httpx.Response, status: int) -> str:
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert set(error) == {"code", "message"}
    return str(error["message"])


# --- who may come in --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ["", "/", "/$metadata", "/Sessions", f"/Files({FILE})/$value", "/Nothing"])
@pytest.mark.parametrize("header", [{}, {"Authorization": "Bearer nonsense"}, {"Authorization": "Basic YTpi"}])
async def test_no_token_no_answer(station: Open, path: str, header: dict[str, str]) -> None:
    async with station("cadip", token=False) as client:
        answer = await client.get(ROOT + path, headers=header)
        assert_odata_error(answer, 401)
        assert answer.headers["www-authenticate"].startswith("Bearer")


async def test_token_endpoint(station: Open) -> None:
    async with station("cadip", token=False, username="user", password="word") as client:
        answer = await client.post(TOKEN_PATH, data=FORM)
        assert answer.json()["expires_in"] == 600
        assert answer.headers["cache-control"] == "no-store"
        user = {**FORM, "grant_type": "password", "username": "user", "password": "word", "scope": "openid"}
        assert (await client.post(TOKEN_PATH, data=user)).status_code == 200
        basic = await client.post(
            TOKEN_PATH, data={"grant_type": "client_credentials"}, auth=("client", "client-secret")
        )
        assert basic.status_code == 200
        wrong = await client.post(TOKEN_PATH, data={**FORM, "client_secret": "wrong"})
        assert (wrong.status_code, wrong.json()["error"]) == (401, "invalid_client")
        strange = await client.post(TOKEN_PATH, data={**FORM, "grant_type": "implicit"})
        assert (strange.status_code, strange.json()["error"]) == (400, "unsupported_grant_type")
        garbled = await client.post(TOKEN_PATH, data=FORM, headers={"Authorization": "Basic !"})
        assert garbled.status_code == 401


async def test_health_is_open(station: Open) -> None:
    async with station("cadip", token=False) as client:
        assert (await client.get("/health")).json() == {"status": "ok"}


# --- searching --------------------------------------------------------------------------------------------------------


SETS = {
    "cadip": ["Sessions", "Files"],
    "auxip": ["Products", "Subscriptions", "Deletions"],
    "prip": ["Products", "Subscriptions", "DeletedProducts"],
    "lta": ["Products", "Orders", "Subscriptions", "DeletedProducts"],
}


@pytest.mark.parametrize("kind", SETS)
async def test_service_document_and_metadata(station: Open, kind: str) -> None:
    async with station(kind) as client:
        assert [one["name"] for one in (await get(client, ""))["value"]] == SETS[kind]
        tree = ET.fromstring((await client.get(f"{ROOT}/$metadata")).text)  # our own text
        edm = "{http://docs.oasis-open.org/odata/ns/edm}"
        defined = {
            found.get("Name") for tag in ("EntityType", "ComplexType", "EnumType") for found in tree.iter(f"{edm}{tag}")
        }
        used = {str(found.get("Type") or found.get("EntityType")) for found in tree.iter()}
        ours = {name.removeprefix("Collection(").rstrip(")") for name in used if "OData.CSC." in name}
        assert {name.removeprefix("OData.CSC.") for name in ours} <= defined
        assert [found.get("Name") for found in tree.iter(f"{edm}EntitySet")] == SETS[kind]
        for name in SETS[kind]:
            shown = (await get(client, name, top=1))["value"]
            (of,) = (found for found in tree.iter(f"{edm}EntitySet") if found.get("Name") == name)
            wanted = str(of.get("EntityType")).removeprefix("OData.CSC.")
            (schema,) = (found for found in tree.iter(f"{edm}EntityType") if found.get("Name") == wanted)
            properties = {found.get("Name") for found in schema.iter(f"{edm}Property")}
            for one in shown:
                assert {key for key in one if not key.startswith("@")} <= properties


async def test_sessions(cadip: httpx.AsyncClient) -> None:
    found = await get(cadip, "Sessions", filter="Satellite eq 'S1A' and Retransfer eq false", count="true")
    assert (found["@odata.context"], found["@odata.count"]) == ("$metadata#Sessions", 1)
    (session,) = found["value"]
    assert session["SessionId"] == SESSION_ID
    assert "Files" not in session


async def test_an_empty_search_is_an_empty_list(cadip: httpx.AsyncClient) -> None:
    found = await get(cadip, "Sessions", filter="Satellite eq 'S1B'", count="true")
    assert (found["value"], found["@odata.count"]) == ([], 0)


async def test_expand(cadip: httpx.AsyncClient) -> None:
    found = await get(cadip, "Sessions", expand="Files,QualityInfo")
    assert found["@odata.context"] == "$metadata#Sessions(Files(),QualityInfo())"
    assert len(found["value"][0]["Files"]) == 38
    single = await get(cadip, f"Sessions({SESSION})", expand="QualityInfo")
    assert single["@odata.context"] == "$metadata#Sessions(QualityInfo())/$entity"
    files = (await get(cadip, "Files", filter=f"SessionId eq '{SESSION_ID}'"))["value"]
    for quality in single["QualityInfo"]:
        mine = [file for file in files if file["Channel"] == quality["Channel"]]
        assert quality["TotalVolume"] == sum(file["Size"] for file in mine)
        assert quality["TotalChunks"] == len(mine)
    assert (await get(cadip, f"Sessions({SESSION})/QualityInfo"))["value"] == single["QualityInfo"]


async def test_what_is_expanded_has_options_of_its_own(cadip: httpx.AsyncClient) -> None:
    nested = "$filter=Channel eq 2 and not contains(Name,';)(');$orderby=BlockNumber desc;$skip=1;$top=3;$count=true"
    found = await get(cadip, "Sessions", expand=f"Files({nested};$select=Name,BlockNumber), QualityInfo($top=1)", top=1)
    assert found["@odata.context"] == "$metadata#Sessions(Files(Name,BlockNumber),QualityInfo())"
    (session,) = found["value"]
    assert [file["BlockNumber"] for file in session["Files"]] == [18, 17, 16]
    assert all(set(file) == {"Name", "BlockNumber"} for file in session["Files"])
    assert session["Files@odata.count"] == 19
    assert len(session["QualityInfo"]) == 1
    chosen = await get(cadip, f"Sessions({SESSION})", select="SessionId", expand="Files($count=true;$top=0)")
    kept = {name: value for name, value in chosen.items() if name != "@odata.context"}
    assert kept == {"SessionId": SESSION_ID, "Files@odata.count": 38, "Files": []}
    everything = (await get(cadip, "Sessions", expand="*"))["value"][0]
    assert (len(everything["Files"]), len(everything["QualityInfo"])) == (38, 2)


async def test_what_belongs_to_an_entity_is_asked_like_a_set(cadip: httpx.AsyncClient) -> None:
    path = f"Sessions({SESSION})/Files"
    found = await get(
        cadip, path, filter="Channel eq 1", orderby="BlockNumber desc", top=2, count="true", select="Name"
    )
    assert found["@odata.context"] == f"$metadata#{path}(Name)"
    assert found["@odata.count"] == 19
    assert [file["Name"][-9:-4] for file in found["value"]] == ["00019", "00018"]
    answer = await cadip.get(f"{ROOT}/{path}/$count", params={"$filter": "FinalBlock eq true"})
    assert answer.text == "2"
    assert_odata_error(await cadip.get(f"{ROOT}/{path}", params={"$filter": "Satellite eq 'S1A'"}), 400)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ("$filter=Name eq 'productType'", {"productType"}),
        ("$filter=Name eq 'productType' and OData.CSC.StringAttribute/Value eq 'AUX_CAL'", set()),
        (f"$filter=ValueType eq 'DateTimeOffset' and {LATE}", {"DateTimeOffset"}),
        ("$filter=ValueType eq 'String';$orderby=Name;$top=2;$select=Name,Value", None),
    ],
)
async def test_attributes_are_expanded_as_far_as_wanted(
    auxip: httpx.AsyncClient, options: str, named: set[str] | None
) -> None:
    asked = {"filter": "contains(Name,'RESORB')", "orderby": "Name"}
    whole = (await get(auxip, "Products", expand="Attributes", **asked))["value"]
    found = (await get(auxip, "Products", expand=f"Attributes({options})", **asked))["value"]
    assert [product["Id"] for product in found] == [product["Id"] for product in whole]
    for shown, every in zip(found, whole, strict=True):
        if named is None:
            texts = sorted((a for a in every["Attributes"] if a["ValueType"] == "String"), key=lambda a: str(a["Name"]))
            kept = ("@odata.type", "Name", "Value")
            assert shown["Attributes"] == [{name: one[name] for name in kept} for one in texts[:2]]
            continue
        wanted = [a for a in every["Attributes"] if named & {a["Name"], a["ValueType"]}]
        assert shown["Attributes"] == [a for a in wanted if a["ValueType"] == "String" or a["Value"] > "2024"]


async def test_single_entities(cadip: httpx.AsyncClient) -> None:
    assert (await get(cadip, f"Files({FILE})"))["Channel"] == 2
    assert (await get(cadip, f"Files('{FILE}')"))["@odata.context"] == "$metadata#Files/$entity"


async def test_order_top_skip(cadip: httpx.AsyncClient) -> None:
    def blocks(found: Any) -> list[tuple[int, int]]:
        return [(file["Channel"], file["BlockNumber"]) for file in found["value"]]

    ordered = await get(cadip, "Files", orderby="Channel desc,BlockNumber")
    assert blocks(ordered) == [(2, n) for n in range(1, 20)] + [(1, n) for n in range(1, 20)]
    part = await get(cadip, "Files", orderby="Channel desc, BlockNumber asc", top=3, skip=18, count="true")
    assert blocks(part) == [(2, 19), (1, 1), (1, 2)]
    assert part["@odata.count"] == 38
    assert "@odata.nextLink" not in part
    by_date = [file["PublicationDate"] for file in (await get(cadip, "Files", orderby="PublicationDate"))["value"]]
    assert by_date == sorted(by_date)


async def test_pages_lose_nothing(station: Open) -> None:
    async with station("cadip", page_size=7) as client:
        seen: list[str] = []
        url = f"{ROOT}/Files?$orderby=FinalBlock desc&$top=30&$filter=Channel lt 5&$count=true"
        sizes = []
        while url:
            found = (await client.get(url)).json()
            sizes.append(len(found["value"]))
            seen += [file["Id"] for file in found["value"]]
            url = found.get("@odata.nextLink", "")
            if url:
                assert parse_qs(urlsplit(url).query)["$filter"] == ["Channel lt 5"]
        assert sizes == [7, 7, 7, 7, 2]
        assert len(set(seen)) == 30


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("SessionId", SESSION_ID),
        ("NumChannels", 2),
        ("Retransfer", False),
    ],
)
async def test_properties_by_their_path(cadip: httpx.AsyncClient, path: str, value: Any) -> None:
    found = await get(cadip, f"Sessions({SESSION})/{path}")
    assert found == {"@odata.context": f"$metadata#Sessions({SESSION})/{path}", "value": value}


async def test_properties_of_properties(auxip: httpx.AsyncClient) -> None:
    (product,) = (await get(auxip, "Products", top=1))["value"]
    for path in ("ContentDate", "ContentDate/Start", "Checksum"):
        value: Any = product
        for name in path.split("/"):
            value = value[name]
        assert (await get(auxip, f"Products({product['Id']})/{path}"))["value"] == value
    for path in ("ContentDate/Middle", "@odata.mediaContentType", "Name/$value"):
        assert_odata_error(await auxip.get(f"{ROOT}/Products({product['Id']})/{path}"), 404)


async def test_the_date_of_an_answer_is_the_stations(station: Open) -> None:
    async with station("auxip", scenario={"clock": {"start": "2024-11-14T14:30:00Z", "speed": 0}}) as client:
        assert (await client.get(f"{ROOT}/Products?$top=0")).headers["date"] == "Thu, 14 Nov 2024 14:30:00 GMT"
    async with station("auxip", scenario={"clock": {"skew_s": -3600}}) as client:
        await assert_behind(client, 3600)
        await client.put("/admin/clock", json={"skew_s": 60}, headers=ADMIN)
        await assert_behind(client, -60)
        (await client.post("/admin/publish", json={}, headers=ADMIN)).raise_for_status()
        (newest,) = (await get(client, "Products", orderby="PublicationDate desc", top=1))["value"]
        assert datetime.fromisoformat(newest["PublicationDate"]) > datetime.now(UTC)


async def assert_behind(client: httpx.AsyncClient, seconds: float) -> None:
    """The station's clock is so far behind ours."""
    told = parsedate_to_datetime((await client.get(f"{ROOT}/Products?$top=0")).headers["date"])
    assert abs((datetime.now(UTC) - told).total_seconds() - seconds) < 5


@pytest.mark.parametrize("status", [404, 410])
async def test_what_is_gone_is_answered_as_the_station_does(station: Open, status: int) -> None:
    async with station("auxip", scenario={"gone_status": status}) as client:
        (product,) = (await get(client, "Products", top=1))["value"]
        (await client.post("/admin/evictions", json={"name": product["Name"]}, headers=ADMIN)).raise_for_status()
        assert_odata_error(await client.get(f"{ROOT}/Products({product['Id']})/$value"), status)


async def test_a_token_is_renewed_over_http(station: Open) -> None:
    async with station("auxip", token=False, username="user", password="word") as client:
        form = {**FORM, "grant_type": "password", "username": "user", "password": "word"}
        first = (await client.post(TOKEN_PATH, data=form)).json()
        renewed = {**FORM, "grant_type": "refresh_token", "refresh_token": first["refresh_token"]}
        second = (await client.post(TOKEN_PATH, data=renewed)).raise_for_status().json()
        headers = {"Authorization": f"Bearer {second['access_token']}"}
        assert (await client.get(f"{ROOT}/Products?$top=0", headers=headers)).status_code == 200
        wrong = {"Authorization": f"Bearer {second['refresh_token']}"}
        assert (await client.get(f"{ROOT}/Products?$top=0", headers=wrong)).status_code == 401


async def test_select_and_count(cadip: httpx.AsyncClient) -> None:
    found = await get(cadip, "Files", select="Name,Size", top=1)
    assert set(found["value"][0]) == {"Name", "Size"}
    assert found["@odata.context"] == "$metadata#Files(Name,Size)"
    answer = await cadip.get(f"{ROOT}/Files/$count", params={"$filter": "Channel eq 1"})
    assert answer.text == "19"


async def test_products(auxip: httpx.AsyncClient) -> None:
    found = await get(auxip, "Products", expand="Attributes", filter="contains(Name,'RESORB')", orderby="Name desc")
    assert len(found["value"]) == 3
    product = found["value"][0]
    assert list(product)[:1] == ["@odata.mediaContentType"]
    assert set(product["ContentDate"]) == {"Start", "End"}
    attributes = {one["Name"]: one for one in product["Attributes"]}
    assert attributes["productType"] == {
        "@odata.type": "#OData.CSC.StringAttribute",
        "Name": "productType",
        "ValueType": "String",
        "Value": "AUX_RESORB",
    }
    assert product["Name"].startswith("S1A_OPER_AUX_RESORB_OPOD_20241114T170236_V2024")


async def test_product_types(auxip: httpx.AsyncClient) -> None:
    names = [product["Name"] for product in (await get(auxip, "Products"))["value"]]
    assert {name[4:11] for name in names} == {"AUX_PP1", "AUX_CAL", "AUX_INS", "OPER_AU"}
    assert "S1A_AUX_PP1_V20140616T133500_G20241125T133808.SAFE.zip" in names


@pytest.mark.parametrize(
    ("path", "options", "status", "message"),
    [
        ("Sessions", {"filter": "Sat eq 'x'"}, 400, "no property 'Sat' (at position 0 of $filter)"),
        ("Sessions", {"filter": "contains(SessionId,5)"}, 400, "position 19"),
        ("Sessions", {"expand": "Nothing"}, 400, "'Nothing'"),
        ("Sessions", {"expand": "Files,Files($top=1)"}, 400, "'Files' is there 2 times"),
        ("Sessions", {"expand": "Files($top=1"}, 400, "do not match"),
        ("Sessions", {"expand": "Files($filter=Name eq 'x)"}, 400, "do not match"),
        ("Sessions", {"expand": "Files)"}, 400, "do not match"),
        ("Sessions", {"expand": "Files($top=1)x"}, 400, "has no end"),
        ("Sessions", {"expand": "Files()"}, 400, "is not an option of Files(…)"),
        ("Sessions", {"expand": "Files($levels=2)"}, 400, "'$levels' is not an option of Files(…)"),
        ("Sessions", {"expand": "Files($top=1;$top=2)"}, 400, "Files has $top twice"),
        ("Sessions", {"expand": "Files($top=x)"}, 400, "$expand=Files(…): $top must be a natural number"),
        ("Sessions", {"expand": "Files($select=Satellite)"}, 400, "$expand=Files(…): $select: there is no 'Satellite'"),
        ("Sessions", {"expand": "Files($filter=Satellite eq 'S1A')"}, 400, "File has no property 'Satellite'"),
        ("Sessions", {"expand": "Files($expand=Sessions)"}, 400, "there is no 'Sessions'"),
        ("Sessions", {"expand": "Files(" + " " * 8192 + ")"}, 400, "longer than 8192"),
        ("Sessions", {"orderby": "Satellite sideways"}, 400, "Satellite sideways"),
        ("Sessions", {"orderby": "Nothing"}, 400, "Nothing"),
        ("Sessions", {"top": "-1"}, 400, "$top"),
        ("Sessions", {"top": "٣"}, 400, "$top"),
        ("Sessions", {"skip": "many"}, 400, "$skip"),
        ("Sessions", {"count": "yes"}, 400, "$count"),
        ("Sessions", {"select": "Nothing"}, 400, "Nothing"),
        ("Sessions", {"search": "x"}, 400, "$search"),
        ("Products", {}, 404, "Products"),
        ("Sessions(00000000-0000-0000-0000-000000000000)", {}, 404, "00000000"),
        ("Sessions(nonsense)", {}, 404, "nonsense"),
        (f"Sessions({SESSION})/$value", {}, 404, "$value"),
        (f"Sessions({SESSION})/Nothing", {}, 404, "Nothing"),
        ("Sessions/Nothing", {}, 404, "Nothing"),
        ("a/b/c/d", {}, 404, "a/b/c/d"),
    ],
)
async def test_bad_requests(
    cadip: httpx.AsyncClient, path: str, options: dict[str, str], status: int, message: str
) -> None:
    answer = await cadip.get(f"{ROOT}/{path}", params={f"${name}": value for name, value in options.items()})
    assert message in assert_odata_error(answer, status)


# --- downloads --------------------------------------------------------------------------------------------------------


async def test_whole_file(cadip: httpx.AsyncClient) -> None:
    shown = await get(cadip, f"Files({FILE})")
    answer = await cadip.get(f"{ROOT}/Files({FILE})/$value")
    assert answer.status_code == 200
    assert len(answer.content) == shown["Size"] == int(answer.headers["content-length"])
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["content-disposition"] == f'attachment; filename="{shown["Name"]}"'
    head = await cadip.head(f"{ROOT}/Files({FILE})/$value")
    assert (head.headers["content-length"], head.content) == (str(shown["Size"]), b"")
    assert head.headers["etag"] == answer.headers["etag"]


async def test_ranges_are_slices(cadip: httpx.AsyncClient) -> None:
    url = f"{ROOT}/Files({FILE})/$value"
    whole = (await cadip.get(url)).content
    chance = random.Random(3)
    for _ in range(25):
        first, last = sorted(chance.choices(range(len(whole)), k=2))
        answer = await cadip.get(url, headers={"Range": f"bytes={first}-{last}"})
        assert answer.status_code == 206
        assert answer.headers["content-range"] == f"bytes {first}-{last}/{len(whole)}"
        assert answer.content == whole[first : last + 1]


@pytest.mark.parametrize(
    ("header", "status", "part"),
    [
        ("bytes=2000-", 206, slice(2000, None)),
        ("bytes=-300", 206, slice(-300, None)),
        ("bytes=-99999999999", 206, slice(0, None)),
        ("bytes=10-99999999999", 206, slice(10, None)),
        ("bytes=0-0", 206, slice(0, 1)),
        ("bytes=99999999999-", 416, None),
        ("bytes=-0", 416, None),
        ("bytes=5-3", 200, slice(0, None)),
        ("bytes=0-1,5-6", 200, slice(0, None)),
        ("bytes=-", 200, slice(0, None)),
        ("lines=1-2", 200, slice(0, None)),
    ],
)
async def test_range_forms(cadip: httpx.AsyncClient, header: str, status: int, part: slice | None) -> None:
    url = f"{ROOT}/Files({FILE})/$value"
    whole = (await cadip.get(url)).content
    answer = await cadip.get(url, headers={"Range": header})
    assert answer.status_code == status
    if part is None:
        assert answer.headers["content-range"] == f"bytes */{len(whole)}"
    else:
        assert answer.content == whole[part]


async def test_a_range_of_another_version_gives_the_whole(cadip: httpx.AsyncClient) -> None:
    url = f"{ROOT}/Files({FILE})/$value"
    etag = (await cadip.head(url)).headers["etag"]
    same = await cadip.get(url, headers={"Range": "bytes=0-9", "If-Range": etag})
    other = await cadip.get(url, headers={"Range": "bytes=0-9", "If-Range": '"other"'})
    assert (same.status_code, other.status_code) == (206, 200)


async def test_a_range_deep_in_a_full_size_file_is_cheap(station: Open) -> None:
    async with station("cadip", scale=1.0) as client:
        url = f"{ROOT}/Files({FILE})/$value"
        await client.get(url, headers={"Range": "bytes=0-9"})  # builds what is built once
        started = time.perf_counter()
        answer = await client.get(url, headers={"Range": "bytes=314571590-"})
        assert len(answer.content) == 10
        assert time.perf_counter() - started < 1.0


async def test_products_match_their_checksum(auxip: httpx.AsyncClient) -> None:
    for product in (await get(auxip, "Products"))["value"]:
        data = (await auxip.get(f"{ROOT}/Products({product['Id']})/$value")).content
        assert len(data) == product["ContentLength"]
        (checksum,) = product["Checksum"]
        assert (checksum["Algorithm"], checksum["Value"]) == ("MD5", hashlib.md5(data).hexdigest())
        if product["Name"].endswith(".zip"):
            with zipfile.ZipFile(io.BytesIO(data)) as archive:
                assert archive.testzip() is None
        else:
            vectors = ET.fromstring(data).findall(".//OSV")  # our own text
            assert len(vectors) > 1000


# --- faults and the admin API -----------------------------------------------------------------------------------------


async def test_down(cadip: httpx.AsyncClient) -> None:
    assert (await cadip.put("/admin/faults", json={"down": True}, headers=ADMIN)).status_code == 200
    answer = await cadip.get(f"{ROOT}/Sessions")
    assert_odata_error(answer, 503)
    assert answer.headers["retry-after"] == "5"
    assert (await cadip.post(TOKEN_PATH, data=FORM)).status_code == 503
    assert (await cadip.get("/health")).status_code == 200
    (fault,) = (await cadip.get("/admin/faults", headers=ADMIN)).json()["faults"]
    assert (fault["down"], fault["met"], fault["struck"]) == (True, 2, 2)
    assert (await cadip.delete("/admin/faults", headers=ADMIN)).status_code == 204
    assert (await cadip.get(f"{ROOT}/Sessions")).status_code == 200


async def test_status_and_latency(cadip: httpx.AsyncClient) -> None:
    await cadip.put("/admin/faults", json={"status": 429, "latency_s": 0.05}, headers=ADMIN)
    started = time.perf_counter()
    assert_odata_error(await cadip.get(f"{ROOT}/Sessions"), 429)
    assert time.perf_counter() - started >= 0.05
    assert (await cadip.post(TOKEN_PATH, data=FORM)).status_code == 200


@pytest.mark.parametrize(
    "body", [{"status": 200}, {"latency_s": -1}, {"dwon": True}, {}, {"requests": "token"}, {"requests": []}]
)
async def test_bad_faults(cadip: httpx.AsyncClient, body: Any) -> None:
    assert (await cadip.put("/admin/faults", json=body, headers=ADMIN)).status_code == 400
    assert (await cadip.get("/admin/faults", headers=ADMIN)).json()["faults"] == []


@pytest.mark.parametrize(
    ("method", "path"),
    [("GET", "sessions"), ("POST", "sessions"), ("GET", "faults"), ("PUT", "faults"), ("DELETE", "faults")],
)
async def test_the_admin_api_wants_its_own_token(cadip: httpx.AsyncClient, method: str, path: str) -> None:
    assert (await cadip.request(method, f"/admin/{path}")).status_code == 401


NEW = {"satellite": "S1A", "orbit": 60_000, "start": "2025-07-01T10:20:30Z", "channels": 2, "chunks": 3}


async def test_an_added_session_is_there_and_stays(station: Open) -> None:
    async with station("cadip") as client:
        added = await client.post("/admin/sessions", json=NEW, headers=ADMIN)
        assert added.status_code == 201, added.text
        assert added.json()["SessionId"] == "S1A_20250701102030060000"
        assert (await client.post("/admin/sessions", json=NEW, headers=ADMIN)).status_code == 409
    async with station("cadip") as restarted:
        listed = (await restarted.get("/admin/sessions", headers=ADMIN)).json()
        assert [one["SessionId"] for one in listed] == [SESSION_ID, "S1A_20250701102030060000"]
        assert listed[1]["files"] == 6
        found = await get(restarted, "Sessions", filter="PublicationDate gt 2025-01-01T00:00:00Z", expand="Files")
        (session,) = found["value"]
        assert sum(file["Size"] for file in session["Files"]) == listed[1]["bytes"]
        for file in session["Files"]:
            assert (await restarted.head(f"{ROOT}/Files({file['Id']})/$value")).status_code == 200


async def test_a_session_added_by_default_passes_now(cadip: httpx.AsyncClient) -> None:
    before = datetime.now(UTC) - timedelta(seconds=1)
    added = (await cadip.post("/admin/sessions", json={}, headers=ADMIN)).json()
    assert before < datetime.fromisoformat(added["PlannedDataStart"]) < datetime.now(UTC)
    assert added["DownlinkOrbit"] > 56_552
    assert (added["NumChannels"], added["files"]) == (2, 38)


@pytest.mark.parametrize(
    "change", [{"satellite": "S2A"}, {"orbit": 0}, {"start": "2025-07-01T10:20:30"}, {"channels": 3}, {"chunks": 0}]
)
async def test_bad_sessions(cadip: httpx.AsyncClient, change: dict[str, Any]) -> None:
    answer = await cadip.post("/admin/sessions", json={**NEW, **change}, headers=ADMIN)
    assert next(iter(change)) in assert_odata_error(answer, 400)


async def test_an_auxip_station_has_no_sessions(auxip: httpx.AsyncClient) -> None:
    assert (await auxip.get("/admin/sessions", headers=ADMIN)).json() == []
    assert_odata_error(await auxip.post("/admin/sessions", json=NEW, headers=ADMIN), 404)
