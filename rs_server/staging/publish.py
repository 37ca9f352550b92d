"""The catalog's item of what was staged: its source's own, with its files where they are now."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any

from rs_server.catalog.names import CollectionName
from rs_server.processes.references import Reference
from rs_server.staging.model import Carried
from rs_server.staging.plan import UNCHECKED, unchecked
from rs_server.storage import layout
from rs_server.storage.layout import Location
from rs_server.storage.stac import (
    ALTERNATE,
    AUTHENTICATION,
    EOPF,
    FILE,
    SCHEME,
    STORAGE,
    TIMESTAMPS,
    Place,
    auth_schemes,
    stamp,
    storage_schemes,
)

# Said of the source's copy, and untrue of ours: how to get in there, and until when it is kept.
_SOURCE_ONLY = frozenset(
    {"auth:schemes", "storage:schemes", "expires", "unpublished", "rs:online", "order:status", "order:id", "order:date"}
)
_ASSET_SOURCE_ONLY = frozenset({"auth:refs", "storage:refs", "alternate", "expires", "eviction_datetime"})
_WRITTEN = (STORAGE, TIMESTAMPS, FILE, EOPF, AUTHENTICATION, ALTERNATE)


def catalog_item(
    source: Reference,
    item: Mapping[str, Any],
    files: Sequence[Carried],
    target: CollectionName,
    place: Place,
    now: datetime,
    before: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The item to publish. ``before`` is the one that it replaces: it keeps that one's date of publication."""
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": sorted({*item.get("stac_extensions", ()), *_WRITTEN}),
        "id": source.item,
        "collection": target.full,
        "geometry": item.get("geometry"),
        **({"bbox": item["bbox"]} if item.get("geometry") is not None and "bbox" in item else {}),
        "properties": _properties(item["properties"], place, stamp(now), before),
        "assets": {file.name: _asset(file, place) for file in files},
        "links": [{"rel": "via", "type": "application/geo+json", "href": f"{place.public_url}{source.path}"}],
    }


def superseded(prefix: str, kept: Collection[Location], before: Mapping[str, Any] | None) -> list[Location]:
    """The objects at an item's own place, in whichever bucket, that the edition before named, but for those kept."""
    return [each for each in layout.named(before or {}) if each.key.startswith(prefix) and each not in kept]


def _properties(source: Mapping[str, Any], place: Place, now: str, before: Mapping[str, Any] | None) -> dict[str, Any]:
    kept = {name: value for name, value in source.items() if name not in _SOURCE_ONLY}
    first = ((before or {}).get("properties") or {}).get("published")
    return {
        **kept,
        "created": source.get("created") or source.get("published") or now,
        "published": first or now,
        "updated": now,
        "eopf:origin_datetime": _origin(source) or now,
        "storage:schemes": storage_schemes(place),
        "auth:schemes": auth_schemes(place),
    }


def _origin(source: Mapping[str, Any]) -> str | None:
    """When the data came to be at its origin: as told, else when the station published or received it."""
    told = (source.get(name) for name in ("eopf:origin_datetime", "published", "end_datetime", "datetime"))
    return next((value for value in told if value), None)


def _asset(file: Carried, place: Place) -> dict[str, Any]:
    kept = {name: value for name, value in file.asset.items() if name not in _ASSET_SOURCE_ONLY}
    return {
        "roles": ["data"],
        "type": "application/octet-stream",
        **kept,
        **({UNCHECKED: told} if (told := unchecked(file.asset)) else {}),
        "title": kept.get("title", file.name),
        "href": layout.href(place.bucket, file.key),
        "file:size": file.size,
        "file:checksum": file.digest,
        "file:local_path": file.name,
        "storage:refs": [SCHEME],
        "auth:refs": ["s3"],
        "alternate:name": "S3",
        **_alternate(str(file.asset.get("href", "")), place),
    }


def _alternate(href: str, place: Place) -> dict[str, Any]:
    """Where the source's own copy is served by this server, as long as the source has it."""
    if not href.startswith(f"{place.public_url}/"):
        return {}
    refs = {"auth:refs": ["oidc"]} if place.issuer else {}
    return {"alternate": {"https": {"href": href, "alternate:name": "HTTPS", **refs}}}
