"""The published item is valid STAC, and says of our copy what is true of it."""

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from rs_server.catalog.names import CollectionName
from rs_server.processes.references import Reference
from rs_server.staging.model import Carried
from rs_server.staging.publish import catalog_item, superseded
from rs_server.storage import layout
from rs_server.storage.layout import Location
from rs_server.storage.stac import Place
from tests.schemas import item_faults
from tests.unit.staging.station import SESSION, item, name_of

TARGET = CollectionName("alice", "s1-cadu")
PLACE = Place("rs-data", "http://127.0.0.1:9000", "us-east-1", "http://127.0.0.1:8000", "http://127.0.0.1:8080/realm")
NOW = datetime(2026, 11, 24, 10, 0, 0, 123456, tzinfo=UTC)
STAMP = "2026-11-24T10:00:00.123Z"
SOURCE = Reference("cadip", "s1-sgs", SESSION)
SERVED = f"{PLACE.public_url}{SOURCE.path}/download"


def files() -> list[Carried]:
    assets = {name: {**asset, "href": f"{SERVED}/{name}"} for name, asset in item()["assets"].items()}
    return [
        Carried(name, asset, f"alice/s1-cadu/{SESSION}/job/{name}", asset["file:size"], f"1e20{'ab' * 32}")
        for name, asset in assets.items()
    ]


def published(before: dict[str, Any] | None = None) -> dict[str, Any]:
    return catalog_item(SOURCE, item(), files(), TARGET, PLACE, NOW, before)


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
    assert asset["href"] == f"s3://rs-data/alice/s1-cadu/{SESSION}/job/{name}"
    assert asset["storage:refs"] == list(published()["properties"]["storage:schemes"])
    assert (asset["cadip:channel"], asset["cadip:block_number"], asset["cadip:final_block"]) == (1, 2, True)
    assert asset["roles"] == ["cadu"]
    assert asset["auth:refs"] == ["s3"]
    assert (asset["file:checksum"], asset["file:local_path"]) == (f"1e20{'ab' * 32}", name)
    assert "eviction_datetime" not in asset
    assert asset["alternate"] == {
        "https": {"href": f"{SERVED}/{name}", "alternate:name": "HTTPS", "auth:refs": ["oidc"]}
    }


def test_a_checksum_that_could_not_be_checked_stays_beside_our_own() -> None:
    told = [replace(file, asset={**file.asset, "file:checksum": "99aa"}) for file in files()[:1]]
    document = catalog_item(SOURCE, item(), told, TARGET, PLACE, NOW)
    (asset,) = document["assets"].values()
    assert (asset["file:checksum"], asset["rs:checksum_unchecked"]) == (told[0].digest, "99aa")
    assert item_faults(document) == []


def test_no_address_of_the_station_is_left() -> None:
    assert "station/odata" not in str(published())


def test_what_an_edition_takes_the_place_of() -> None:
    kept, moved = files()[:2]
    before = {
        "assets": {
            "kept": {"href": layout.href("rs-data", kept.key)},
            "moved": {"href": layout.href("older", moved.key)},
            "old": {"href": f"s3://rs-data/alice/s1-cadu/{SESSION}/old/a.raw"},
            "another item's": {"href": "s3://rs-data/alice/s1-cadu/x/old/a.raw"},
            "elsewhere": {"href": "https://example.org/a.raw"},
        }
    }
    prefix, now = layout.item_prefix(TARGET, SESSION), {Location("rs-data", file.key) for file in files()}
    assert superseded(prefix, now, before) == [
        Location("older", moved.key),
        Location("rs-data", f"alice/s1-cadu/{SESSION}/old/a.raw"),
    ]
    assert superseded(prefix, now, None) == []
