"""The item of a product is valid STAC, whatever little the processor says."""

from datetime import UTC, datetime
from typing import Any

import pytest

from rs_server.dpr.publish import Made, catalog_item
from tests.schemas import item_faults
from tests.unit.dpr.session import PLACE, SESSION, some_work

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


@pytest.mark.parametrize("discovery", [FULL, {}, {"properties": {}}])
def test_the_item_is_valid(discovery: dict[str, Any]) -> None:
    assert item_faults(catalog_item(some_work(), Made(1234, discovery), PLACE, NOW)) == []


def test_what_the_processor_says_is_kept_and_our_part_is_ours() -> None:
    made = catalog_item(some_work(), Made(1234, FULL), PLACE, NOW)
    properties = made["properties"]
    assert made["id"] == f"{SESSION}_L0"
    assert made["collection"] == "alice_s1-l0"
    assert properties["start_datetime"] == "2024-11-14T14:30:45Z"
    assert properties["processing:software"] == {"rs-python": "0.1.0"}
    assert properties["eopf:origin_datetime"] == "2024-11-14T14:31:11.032Z"
    assert properties["created"] == properties["published"] == properties["updated"] == "2026-11-24T10:00:00.000Z"
    assert "expires" not in properties


def test_a_new_version_keeps_its_first_publication() -> None:
    made = catalog_item(some_work(), Made(1, {}, "2025-01-01T00:00:00Z"), PLACE, NOW)
    assert made["properties"]["published"] == "2025-01-01T00:00:00Z"


def test_the_asset_and_where_it_came_from() -> None:
    made = catalog_item(some_work(), Made(1234, FULL), PLACE, NOW)
    assert made["assets"]["product"]["href"] == f"s3://rs-data/alice/s1-l0/{SESSION}_L0/{SESSION}_L0.zarr"
    assert made["assets"]["product"]["type"] == "application/vnd+zarr"
    assert made["assets"]["product"]["file:size"] == 1234
    (origin,) = [link for link in made["links"] if link["rel"] == "derived_from"]
    assert origin["href"] == f"{PLACE.public_url}/catalog/collections/alice_s1-cadu/items/{SESSION}"
