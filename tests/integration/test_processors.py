"""The processors of the package beside ``s1-l0``, run by the service one after the other, and the choice of auxiliary
files on the real catalog and stations.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import xarray as xr
from pydantic import SecretStr

from rs_client.processing import stores
from rs_client.processing.stores import StorageKeys
from rs_server.access.policy import Principal
from rs_server.catalog.names import CollectionName
from rs_server.dpr.plan import Plan
from rs_server.dpr.preparation import Preparation
from rs_server.dpr.request import ProcessorRequest
from rs_server.resources import open_resources
from tests.integration.jobs import accepted, caller, ended, s3, settings, some_collection, staged
from tests.schemas import item_faults
from tests.unit.dpr.session import WITH_ORBIT
from tests.unit.processing import safe_product

ORBITS, PARAMETERS = "S1A_OPER_AUX_RESORB_OPOD_", "S1A_AUX_PP1_"


@pytest.fixture(scope="module")
def alice(platform: Any) -> Iterator[httpx.Client]:
    with caller(platform, "alice") as client:
        yield client


def processed(client: httpx.Client, processor: str, source: dict[str, Any], **inputs: Any) -> dict[str, Any]:
    """Run a processor on an item of the catalog; the item of the product."""
    (href,) = [link["href"] for link in source["links"] if link["rel"] == "self"]
    body = {"inputs": {"items": [{"href": href}], "collection": some_collection(), **inputs}}
    job = ended(client, accepted(client.post(f"/dpr/processes/{processor}/execution", json=body)), within_s=240)
    assert job["status"] == "successful", job["message"]
    (link,) = client.get(f"/jobs/{job['jobID']}/results").json()["items"]
    item: dict[str, Any] = client.get(link["href"]).json()
    assert item_faults(item) == [], item["properties"]
    assert [each["href"] for each in item["links"] if each["rel"] == "derived_from"] == [href]
    return item


def opened(platform: Any, item: dict[str, Any]) -> xr.DataTree:
    """A product, as the administrator of the storage reads it."""
    place = settings(platform).storage
    keys = StorageKeys(
        endpoint=place.endpoint,
        region=place.region,
        access_key_id=place.access_key,
        secret_access_key=SecretStr(place.secret_key.get_secret_value()),
    )
    return stores.open_product(item["assets"]["product"]["href"], keys)


def test_from_a_session_to_echoes_and_their_quicklook(platform: Any, alice: httpx.Client) -> None:
    level_0 = processed(alice, "s1-l0", staged(alice, some_collection()))
    echo = processed(alice, "s1-echo", level_0)
    take = level_0["properties"]["eopf:datatake_id"].split(",")[0]
    assert echo["properties"]["product:type"] == "S1_ECHO"
    assert echo["properties"]["eopf:datatake_id"] == level_0["properties"]["eopf:datatake_id"]
    groups = [node.to_dataset() for node in opened(platform, echo).subtree if "echo" in node.data_vars]
    assert {node.attrs["data_take_id"] for node in groups} >= {take}
    samples = groups[0]["echo"][:3].values
    assert samples.dtype == np.complex64
    assert np.isfinite(samples[0, : int(groups[0]["samples"][0])]).all()

    picture = processed(alice, "quicklook", echo, parameters={"size": 64})
    assert picture["properties"]["product:type"] == "QUICKLOOK"
    images = [array for node in opened(platform, picture).subtree for array in node.data_vars.values()]
    assert images
    assert all(max(image.shape) <= 64 and np.isfinite(image.values).any() for image in images)


def test_a_safe_product_becomes_an_eopf_product(platform: Any, alice: httpx.Client, tmp_path: Path) -> None:
    folder, packets = safe_product.write(tmp_path)
    made = processed(alice, "safe-to-zarr", uploaded(platform, alice, folder))
    assert made["properties"]["product:type"] == "S03OLCL0_"
    lengths = opened(platform, made)["conditions"].to_dataset()["packet_data_length"].values
    assert lengths.tolist() == [len(one) - 7 for one in packets]


def uploaded(platform: Any, client: httpx.Client, folder: Path) -> dict[str, Any]:
    """A folder as a product of the catalog."""
    collection, bucket = some_collection(), settings(platform).storage.bucket
    place = f"alice/{collection}/{folder.stem}/{folder.name}"
    for file in folder.iterdir():
        s3(platform).put_object(Bucket=bucket, Key=f"{place}/{file.name}", Body=file.read_bytes())
    size = sum(file.stat().st_size for file in folder.iterdir())
    moment = "2023-10-11T12:38:58Z"
    extent = {"spatial": {"bbox": [[-180, -90, 180, 90]]}, "temporal": {"interval": [[moment, None]]}}
    about = {"type": "Collection", "stac_version": "1.1.0", "id": collection, "license": "other", "links": []}
    answer = client.post("/catalog/collections", json={**about, "description": "SAFE products", "extent": extent})
    assert answer.is_success, answer.text
    item: dict[str, Any] = {
        "type": "Feature",
        "stac_version": "1.1.0",
        "id": folder.stem,
        "collection": f"alice_{collection}",
        "geometry": None,
        "properties": {"datetime": moment},
        "links": [],
        "assets": {"product": {"href": f"s3://{bucket}/{place}", "roles": ["data"], "file:size": size}},
    }
    path = f"/catalog/collections/alice_{collection}/items"
    answer = client.post(path, json=item)
    assert answer.is_success, answer.text
    found: dict[str, Any] = client.get(f"{path}/{folder.stem}").json()
    return found


def planned(platform: Any, session: dict[str, Any]) -> Plan:
    """What a processor would read that needs an orbit, and takes parameters when there are some."""
    place = settings(platform)
    who = Principal("alice", roles=frozenset({"rs_auxip_adgs_read", "rs_auxip_adgs_download"}))
    path = f"/catalog/collections/{session['collection']}/items/{session['id']}"
    target = CollectionName("alice", "orbits-test").full

    async def plan() -> Plan:
        async with open_resources(place) as opened:
            preparation = Preparation(
                WITH_ORBIT, opened.catalog, opened.stations, place.dask.limits, place.public_url, place.storage.bucket
            )
            request = ProcessorRequest(inputs={"cadu": (path,)}, collections={"grd": target})
            return await preparation.plan(who, request)

    return asyncio.run(plan())


def test_auxiliary_files_come_from_the_stations_and_then_from_the_catalog(platform: Any, alice: httpx.Client) -> None:
    session = staged(alice, some_collection())
    plan = planned(platform, session)
    orbit, parameters = plan.steps[0].adfs
    assert orbit.source.service == "auxip"
    assert orbit.source.item.startswith(ORBITS)
    assert "V20241114T131541_20241114T163311" in orbit.source.item  # the one of three that covers the pass
    assert parameters.source.item.startswith(PARAMETERS)
    assert "V20190228T092500" in parameters.source.item  # the last validity that began before the pass

    collection = some_collection()
    href = f"{alice.base_url}/auxip/collections/{orbit.source.collection}/items/{orbit.source.item}"
    body = {"inputs": {"items": [{"href": href.replace("//auxip", "/auxip")}], "collection": collection}}
    job = ended(alice, accepted(alice.post("/processes/staging/execution", json=body)))
    assert job["status"] == "successful", job["message"]
    plan = planned(platform, session)
    orbit = plan.steps[0].adfs[0]
    assert (orbit.source.service, orbit.source.collection) == ("catalog", f"alice_{collection}")
