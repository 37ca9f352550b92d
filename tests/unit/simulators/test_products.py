"""Production services and archives: products that agree with their bytes, their footprints and what they are asked."""

from __future__ import annotations

import hashlib
import io
import re
import zipfile
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
import shapely
from shapely.geometry import shape

from rs_server.simulators import archive, kinds, odata
from rs_server.simulators.model import to_json
from tests.unit.simulators.conftest import ADMIN, Open

ROOT = "/odata/v1"
FIRST = datetime(2024, 11, 14, tzinfo=UTC)
NAMES = {
    "IW_RAW__0S": r"S1A_IW_RAW__0SDV_\d{8}T\d{6}_\d{8}T\d{6}_\d{6}_[0-9A-F]{6}_[0-9A-F]{4}\.SAFE\.zip",
    "IW_SLC__1S": r"S1A_IW_SLC__1SDV_\d{8}T\d{6}_\d{8}T\d{6}_\d{6}_[0-9A-F]{6}_[0-9A-F]{4}\.SAFE\.zip",
    "IW_GRDH_1S": r"S1A_IW_GRDH_1SDV_\d{8}T\d{6}_\d{8}T\d{6}_\d{6}_[0-9A-F]{6}_[0-9A-F]{4}\.SAFE\.zip",
    "S2MSI1C": r"S2A_MSIL1C_\d{8}T\d{6}_N0511_R\d{3}_T\d{2}[C-HJ-NP-X][A-HJ-NP-Z][A-HJ-NP-V]_\d{8}T\d{6}\.SAFE\.zip",
    "S2MSI2A": r"S2A_MSIL2A_\d{8}T\d{6}_N0511_R\d{3}_T\d{2}[C-HJ-NP-X][A-HJ-NP-Z][A-HJ-NP-V]_\d{8}T\d{6}\.SAFE\.zip",
    "OL_1_EFR___": r"S3A_OL_1_EFR____(\d{8}T\d{6}_){3}\d{4}_\d{3}_\d{3}_\d{4}_PS1_O_NR_004\.SEN3\.zip",
}


@pytest.fixture(params=["prip", "lta"])
async def station_of(request: pytest.FixtureRequest, station: Open) -> AsyncIterator[httpx.AsyncClient]:
    async with station(request.param) as client:
        yield client


async def ask(client: httpx.AsyncClient, path: str = "Products", **options: str) -> Any:
    answer = await client.get(f"{ROOT}/{path}", params={f"${name}": value for name, value in options.items()})
    return answer.raise_for_status().json()


def attributes(product: Any) -> dict[str, Any]:
    return {one["Name"]: one["Value"] for one in product["Attributes"]}


async def test_products_are_as_their_types_say(station_of: httpx.AsyncClient) -> None:
    found = (await ask(station_of, expand="Attributes"))["value"]
    assert len(found) == 60
    for product in found:
        told = attributes(product)
        assert re.fullmatch(NAMES[told["productType"]], product["Name"])
        assert told["beginningDateTime"] == product["ContentDate"]["Start"] < product["ContentDate"]["End"]
        assert product["OriginDate"] < product["PublicationDate"] == product["ModificationDate"]
        assert told["orbitNumber"] > 0 < told["relativeOrbitNumber"] <= 385
    assert {attributes(product)["productType"] for product in found} == NAMES.keys()


async def test_footprints_are_valid_and_told_twice(station_of: httpx.AsyncClient) -> None:
    for product in (await ask(station_of))["value"]:
        area = shape(product["GeoFootprint"])
        assert area.is_valid
        assert 0 < area.area < 2000
        west, south, east, north = area.bounds
        assert -180 <= west < east <= 180
        assert -90 < south < north < 90
        text = product["Footprint"].removeprefix("geography'SRID=4326;").removesuffix("'")
        assert shapely.from_wkt(text).equals(area)


async def test_areas_are_searched_exactly(station_of: httpx.AsyncClient) -> None:
    shapes = {one["Id"]: shape(one["GeoFootprint"]) for one in (await ask(station_of))["value"]}
    for wkt in ("POLYGON((-30 -60,60 -60,60 60,-30 60,-30 -60))", "POINT(47.9 -19.1)", "LINESTRING(-180 0,180 1)"):
        found = await ask(station_of, filter=f"OData.CSC.Intersects(area=geography'SRID=4326;{wkt}')")
        expected = {key for key, area in shapes.items() if area.intersects(shapely.from_wkt(wkt))}
        assert {one["Id"] for one in found["value"]} == expected
    opposite = await ask(
        station_of, filter="not OData.CSC.Intersects(area=geography'SRID=4326;POINT(0 0)')", count="true"
    )
    assert opposite["@odata.count"] >= 55


@pytest.mark.parametrize(
    ("area", "message"),
    [
        ("geography'SRID=4326;MULTIPOLYGON(((0 0,1 0,1 1,0 0)))'", "an area is a POINT"),
        ("geography'SRID=3857;POINT(0 0)'", "SRID=4326"),
        ("geography'SRID=4326;POLYGON((0 0,1 1,1 0,0 1,0 0))'", "not valid"),
        ("geography'SRID=4326;POLYGON EMPTY'", "an area is"),
        ("geography'SRID=4326;PONT(0 0)'", "not a shape"),
        ("'POINT(0 0)'", "expected 'geography'"),
    ],
)
def test_areas_that_are_refused(area: str, message: str) -> None:
    with pytest.raises(odata.FilterError, match=message):
        odata.parse(f"OData.CSC.Intersects(area={area})", archive.PRIP_PRODUCT)


async def test_contents_agree_with_what_is_said_of_them(station: Open) -> None:
    async with station("prip", scale=1e-5) as client:
        for product in (await ask(client, top="8"))["value"]:
            url = f"{ROOT}/Products({product['Id']})/$value"
            data = (await client.get(url)).content
            assert len(data) == product["ContentLength"] == int((await client.head(url)).headers["content-length"])
            assert hashlib.md5(data).hexdigest() == product["Checksum"][0]["Value"]
            assert (await client.get(url, headers={"Range": "bytes=100-199"})).content == data[100:200]
            with zipfile.ZipFile(io.BytesIO(data)) as files:
                assert files.testzip() is None
                assert {name.split("/")[0] for name in files.namelist()} == {product["Name"].removesuffix(".zip")}


async def test_quicklooks(station: Open) -> None:
    async with station("prip") as client:
        found = (await ask(client, expand="Quicklooks", top="6", orderby="ContentDate/Start"))["value"]
        images = [product["Quicklooks"] for product in found]
        assert [] in images  # level 0 has none
        product = next(one for one in found if one["Quicklooks"])
        (image,) = (await ask(client, f"Products({product['Id']})/Quicklooks"))["value"]
        url = f"{ROOT}/Products({product['Id']})/Quicklooks('{image['Image']}')/$value"
        answer = await client.get(url)
        shown = (await client.get(url.removesuffix("/$value"))).raise_for_status().json()
        assert (shown["Image"], shown["@odata.context"][-7:]) == (image["Image"], "$entity")
        assert (await client.get(url.removesuffix("/$value").replace(".png", ".jpg"))).status_code == 404
        assert answer.headers["content-type"] == "image/png"
        assert answer.content.startswith(b"\x89PNG\r\n\x1a\n")
        assert (await client.get(url.replace(".png", ".jpg"))).status_code == 404
    async with station("lta") as client:
        (product,) = (await ask(client, top="1"))["value"]
        url = f"{ROOT}/Products({product['Id']})/Quicklooks('{image['Image']}')/$value"
        assert (await client.get(url)).status_code == 404


async def test_lists_of_names(station_of: httpx.AsyncClient) -> None:
    products = (await ask(station_of, top="3"))["value"]
    body = {"FilterProducts": [{"Name": one["Name"]} for one in products] + [{"Name": "nothing"}]}
    url = f"{ROOT}/Products/OData.CSC.FilterList"
    answer = await station_of.post(url, json=body, params={"$count": "true", "$expand": "Attributes"})
    found = answer.raise_for_status().json()
    assert found["@odata.count"] == 3
    assert {one["Name"] for one in found["value"]} == {one["Name"] for one in products}
    assert all(one["Attributes"] for one in found["value"])
    only = await station_of.post(url, json=body, params={"$filter": f"Name eq '{products[0]['Name']}'"})
    assert [one["Name"] for one in only.json()["value"]] == [products[0]["Name"]]
    assert (await station_of.post(url, json={"FilterProducts": []})).status_code == 400


async def test_a_list_of_names_is_answered_whole(station: Open) -> None:
    async with station("prip", page_size=2) as client:
        names = [one["Name"] for one in (await ask(client, top="2"))["value"]]
        names += [one["Name"] for one in (await ask(client, top="2", skip="2"))["value"]]
        body = {"FilterProducts": [{"Name": name} for name in names]}
        found = (await client.post(f"{ROOT}/Products/OData.CSC.FilterList", json=body)).raise_for_status().json()
        assert {one["Name"] for one in found["value"]} == set(names)
        assert "@odata.nextLink" not in found


async def test_deleted_products_are_told(station_of: httpx.AsyncClient) -> None:
    (product,) = (await ask(station_of, top="1"))["value"]
    body = {"name": product["Name"], "cause": "Corrupted product"}
    assert (await station_of.post("/admin/deletions", json=body, headers=ADMIN)).json() == {"deleted": 1}
    assert (await ask(station_of, filter=f"Name eq '{product['Name']}'"))["value"] == []
    (told,) = (await ask(station_of, "DeletedProducts", orderby="DeletionDate desc"))["value"]
    assert (told["Id"], told["DeletionCause"]) == (product["Id"], "Corrupted product")
    assert (await station_of.get(f"{ROOT}/Products({product['Id']})/$value")).status_code == 410


@pytest.mark.parametrize(
    ("path", "method"),
    [
        ("Products", "POST"),
        ("Products({})", "DELETE"),
        ("Products({})", "PATCH"),
        ("DeletedProducts", "POST"),
        ("Products({})/OData.CSC.Nothing", "POST"),
        ("Subscriptions", "PATCH"),
    ],
)
async def test_what_cannot_be_done(station_of: httpx.AsyncClient, path: str, method: str) -> None:
    (product,) = (await ask(station_of, top="1"))["value"]
    answer = await station_of.request(method, f"{ROOT}/{path.format(product['Id'])}", json={})
    assert answer.status_code == 405


def test_the_same_number_is_the_same_product_and_tracks_repeat() -> None:
    def made(number: int) -> dict[str, Any]:
        return to_json(archive.product("prip", number, first=FIRST, every=timedelta(seconds=25), scale=1e-6))

    assert made(7) == made(7)
    assert made(7)["GeoFootprint"] == made(1807)["GeoFootprint"]
    assert made(7)["Name"] != made(1807)["Name"]
    assert len({made(number)["Id"] for number in range(60)}) == 60


def test_every_track_gives_a_valid_footprint() -> None:
    crossing = 0
    for number in range(0, 1800, 3):
        product = archive.product("prip", number, first=FIRST, every=timedelta(seconds=331), scale=1e-9)
        area = product.footprint
        assert area is not None
        assert area.is_valid
        assert area.area < 3000
        assert -180 <= area.bounds[0] <= area.bounds[2] <= 180
        crossing += area.geom_type == "MultiPolygon"
    assert 5 < crossing < 60


def test_each_kind_knows_its_own() -> None:
    for name, kind in kinds.KINDS.items():
        assert kind.name == name
        assert kind.files in kind.types
        assert kind.deleted is None or kind.deleted in kind.types
