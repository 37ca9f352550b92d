"""The catalog's item of what was staged: the station's own, with its files where they are now."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from rs_server.catalog.names import CollectionName
from rs_server.staging.plan import PlannedItem, Transfer
from rs_server.storage import layout
from rs_server.storage.stac import EOPF, FILE, SCHEME, STORAGE, TIMESTAMPS, Place, stamp, storage_schemes

# Said of the station's copy, and untrue of ours: how to get in there, and until when it is kept.
_STATION_ONLY = frozenset({"auth:schemes", "storage:schemes", "expires", "unpublished"})
_ASSET_STATION_ONLY = frozenset({"auth:refs", "storage:refs", "alternate", "expires", "eviction_datetime"})


def catalog_item(
    planned: PlannedItem, target: CollectionName, place: Place, now: datetime, before: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The item to publish. ``before`` is the one that it replaces: it keeps that one's date of publication."""
    item = planned.item
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": sorted({*item.get("stac_extensions", ()), STORAGE, TIMESTAMPS, FILE, EOPF}),
        "id": planned.source.item,
        "collection": target.full,
        "geometry": item.get("geometry"),
        **({"bbox": item["bbox"]} if item.get("geometry") is not None and "bbox" in item else {}),
        "properties": _properties(item["properties"], place, stamp(now), before),
        "assets": {transfer.name: _asset(transfer, place.bucket) for transfer in planned.transfers},
        "links": [{"rel": "via", "type": "application/geo+json", "href": f"{place.public_url}{planned.source.path}"}],
    }


def _properties(station: Mapping[str, Any], place: Place, now: str, before: Mapping[str, Any] | None) -> dict[str, Any]:
    kept = {name: value for name, value in station.items() if name not in _STATION_ONLY}
    first = ((before or {}).get("properties") or {}).get("published")
    return {
        **kept,
        "created": station.get("created") or station.get("published") or now,
        "published": first or now,
        "updated": now,
        "eopf:origin_datetime": _origin(station) or now,
        "storage:schemes": storage_schemes(place),
    }


def _origin(station: Mapping[str, Any]) -> str | None:
    """When the data came to be at its origin: as told, else when the station published or received it."""
    told = (station.get(name) for name in ("eopf:origin_datetime", "published", "end_datetime", "datetime"))
    return next((value for value in told if value), None)


def _asset(transfer: Transfer, bucket: str) -> dict[str, Any]:
    kept = {name: value for name, value in transfer.asset.items() if name not in _ASSET_STATION_ONLY}
    return {
        "roles": ["data"],
        "type": "application/octet-stream",
        **kept,
        "title": kept.get("title", transfer.name),
        "href": layout.href(bucket, transfer.key),
        "file:size": transfer.size,
        "storage:refs": [SCHEME],
    }
