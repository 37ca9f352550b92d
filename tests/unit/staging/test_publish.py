"""The published item is valid STAC, and says of our copy what is true of it."""

from datetime import UTC, datetime
from typing import Any

from rs_server.catalog.names import CollectionName
from rs_server.processes.references import Reference
from rs_server.staging.plan import plan
from rs_server.staging.publish import catalog_item
from rs_server.storage.stac import Place
from tests.schemas import item_faults
from tests.unit.staging.station import SESSION, item, name_of

TARGET = CollectionName("alice", "s1-cadu")
PLACE = Place("rs-data", "http://127.0.0.1:9000", "us-east-1", "http://127.0.0.1:8000")
NOW = datetime(2026, 11, 24, 10, 0, 0, 123456, tzinfo=UTC)
STAMP = "2026-11-24T10:00:00.123Z"


def published(before: dict[str, Any] | None = None) -> dict[str, Any]:
    (planned,) = plan([(Reference("cadip", "s1-sgs", SESSION), item())], TARGET).items
    return catalog_item(planned, TARGET, PLACE, NOW, before)


def test_the_item_is_valid() -> None:
    assert item_faults(published()) == []


def test_properties_are_kept_and_stamped() -> None:
    properties = published()["properties"]
    told = item()["properties"]
    assert {name: properties[name] for name in told if name not in ("published", "updated", "expires")} == {
        name: value for name, value in told.items() if name not in ("published", "updated", "expires")
    }
    assert (properties["published"], properties["updated"]) == (STAMP, STAMP)
    assert properties["eopf:origin_datetime"] == told["published"]
    assert "expires" not in properties  # that is when the station drops its copy


def test_a_new_version_keeps_its_first_publication() -> None:
    before = {"properties": {"published": "2025-01-01T00:00:00Z"}}
    properties = published(before)["properties"]
    assert (properties["published"], properties["updated"]) == ("2025-01-01T00:00:00Z", STAMP)


def test_assets_point_at_our_copy() -> None:
    name = name_of(1, 2)
    asset = published()["assets"][name]
    assert asset["href"] == f"s3://rs-data/alice/s1-cadu/{SESSION}/{name}"
    assert asset["storage:refs"] == list(published()["properties"]["storage:schemes"])
    assert (asset["cadip:channel"], asset["cadip:block_number"], asset["cadip:final_block"]) == (1, 2, True)
    assert asset["roles"] == ["cadu"]
    assert not {"auth:refs", "eviction_datetime"} & asset.keys()


def test_no_address_of_the_station_is_left() -> None:
    assert "station/odata" not in str(published())
