"""The item of a product is valid STAC, whatever little the processor says."""

from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from rs_client.processing.safe import open_safe
from rs_server.dpr.publish import Made, catalog_item, origin
from tests.schemas import item_faults
from tests.unit.dpr.session import PLACE, RUN, SESSION, some_order
from tests.unit.processing import safe_product

NOW = datetime(2026, 11, 24, 10, 0, 0, tzinfo=UTC)

FULL = {
    "type": "Feature",
    "id": "whatever",
    "stac_version": "1.1.0",
    "stac_extensions": ["https://stac-extensions.github.io/sat/v1.1.0/schema.json"],
    "geometry": None,
    "properties": {
        "datetime": "2024-11-14T14:30:45Z",
        "start_datetime": "2024-11-14T14:30:45Z",
        "end_datetime": "2024-11-14T14:33:40Z",
        "platform": "sentinel-1a",
        "instruments": ["c-sar"],
        "sat:absolute_orbit": 56552,
        "processing:software": {"rs-python": "0.1.0"},
        "product:type": "S1_L0",
        "expires": None,
    },
}


async def made(discovery: dict[str, Any], **more: Any) -> dict[str, Any]:
    order = await some_order()
    return catalog_item(order, order.targets[0], Made(1234, discovery, **more), PLACE, NOW)


@pytest.mark.parametrize("discovery", [FULL, {}, {"properties": {}}])
async def test_the_item_is_valid(discovery: dict[str, Any]) -> None:
    reports = {"payload": 10, "report": 11, "provenance": 12, "log": 13}
    assert item_faults(await made(discovery, reports=reports, software={"eopf": "3.0.0"})) == []


async def test_what_the_processor_says_is_kept_and_our_part_is_ours() -> None:
    item = await made(FULL, software={"eopf": "3.0.0", "s1-l0": "1.0.0"})
    properties = item["properties"]
    assert item["id"] == f"{SESSION}_L0"
    assert item["collection"] == "alice_s1-l0"
    assert properties["start_datetime"] == "2024-11-14T14:30:45Z"
    assert properties["processing:software"] == {"eopf": "3.0.0", "s1-l0": "1.0.0", "rs-python": "0.1.0"}
    assert properties["eopf:origin_datetime"] == "2024-11-14T14:31:11.032Z"
    assert properties["created"] == properties["processing:datetime"] == "2026-11-24T10:00:00.000Z"
    assert "expires" not in properties


@pytest.mark.filterwarnings("ignore:Remove 'dimensions' from attributes mapping:DeprecationWarning")  # EOPF's own
async def test_what_eopf_says_of_a_safe_product_is_made_valid(tmp_path: Path) -> None:
    """EOPF names extensions that are not used, providers without a name, and a box with its sides exchanged."""
    with ExitStack() as stack:
        said = open_safe(safe_product.write(tmp_path)[0].as_uri(), None, stack).attrs["stac_discovery"]
    assert said["bbox"] == [30.0, 0.0, 20.0, 10.0]
    item = await made(said)
    assert item_faults(item) == []
    assert item["bbox"] == [20.0, 0.0, 30.0, 10.0]
    assert item["properties"]["product:timeliness"] == "PT3H"
    assert "providers" not in item["properties"]
    assert [each.rsplit("/", 3)[1] for each in item["stac_extensions"] if "eopf" in each] == ["eopf-stac-extension"]


async def test_the_assets_and_where_it_came_from() -> None:
    item = await made(FULL, reports={"provenance": 12})
    place = f"s3://rs-data/alice/s1-l0/{SESSION}_L0/{RUN}"
    assert item["assets"]["product"]["href"] == f"{place}/{SESSION}_L0.zarr"
    assert item["assets"]["product"]["type"] == "application/vnd+zarr"
    assert item["assets"]["product"]["file:size"] == 1234
    assert item["assets"]["provenance"]["href"] == f"{place}/provenance.json"
    assert [name for name, asset in item["assets"].items() if "data" in asset["roles"]] == ["product"]
    (link,) = [link for link in item["links"] if link["rel"] == "derived_from"]
    assert link["href"] == f"{PLACE.public_url}/catalog/collections/alice_s1-cadu/items/{SESSION}"


async def test_the_origin_is_the_latest_of_the_inputs_without_auxiliary_files() -> None:
    order = await some_order()
    (source,) = order.sources
    later = replace(source, origin="2024-11-14T16:31:11+02:00")  # 14:31:11, a moment before
    newest = replace(source, origin="2024-11-14T14:40:00Z")
    auxiliary = replace(source, origin="2025-03-01T00:00:00Z", auxiliary=True)
    sources = (later, source, newest, auxiliary)
    assert origin(replace(order, sources=sources)) == "2024-11-14T14:40:00Z"
    assert origin(replace(order, sources=(later, source))) == "2024-11-14T14:31:11.032Z"
    assert origin(replace(order, sources=(auxiliary,))) is None
