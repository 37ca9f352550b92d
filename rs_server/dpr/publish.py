"""The catalog's item of a product: what the processor says of it, and what we know of its making."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from rs_server.dpr.payload import Work
from rs_server.storage.stac import EOPF, FILE, SCHEME, STORAGE, TIMESTAMPS, Place, stamp, storage_schemes

PROCESSING = "https://stac-extensions.github.io/processing/v1.2.0/schema.json"
PRODUCT = "https://stac-extensions.github.io/product/v1.0.0/schema.json"
ZARR = "application/vnd+zarr"


@dataclass(frozen=True, slots=True)
class Made:
    """What a processor made: its size in bytes, what it says of it, and when it was first published if it was."""

    size: int
    discovery: Mapping[str, Any]
    first_published: str | None = None


def catalog_item(work: Work, made: Made, place: Place, now: datetime) -> dict[str, Any]:
    """The item to publish."""
    geometry, bbox = made.discovery.get("geometry"), made.discovery.get("bbox")
    extensions = {STORAGE, TIMESTAMPS, FILE, EOPF, PROCESSING, PRODUCT}
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": sorted({*made.discovery.get("stac_extensions", ()), *extensions}),
        "id": work.product,
        "collection": work.target.full,
        "geometry": geometry,
        **({"bbox": bbox} if geometry is not None and bbox else {}),
        "properties": _properties(work, made, place, stamp(now)),
        "assets": {"product": _asset(work, made)},
        "links": [
            {
                "rel": "derived_from",
                "type": "application/geo+json",
                "href": f"{place.public_url}{work.source.path}",
                "title": work.source.item,
            }
        ],
    }


def _properties(work: Work, made: Made, place: Place, now: str) -> dict[str, Any]:
    said = {name: value for name, value in (made.discovery.get("properties") or {}).items() if value is not None}
    return {
        **_of_session(work.session),
        "product:type": work.processor.task.product_type,
        "processing:level": work.processor.task.level,
        "processing:datetime": now,
        **said,
        "created": now,
        "published": made.first_published or now,
        "updated": now,
        "eopf:origin_datetime": work.session.get("origin") or now,
        "storage:schemes": storage_schemes(place),
    }


def _of_session(session: Mapping[str, Any]) -> dict[str, Any]:
    """What a product has of its input, where the processor does not say otherwise."""
    told = {
        "datetime": session.get("start"),
        "start_datetime": session.get("start"),
        "end_datetime": session.get("end"),
        "platform": session.get("platform"),
        "constellation": session.get("constellation"),
    }
    return {name: value for name, value in told.items() if value is not None}


def _asset(work: Work, made: Made) -> dict[str, Any]:
    return {
        "href": work.output,
        "type": ZARR,
        "title": work.asset,
        "roles": ["data", "metadata"],
        "file:size": made.size,
        "storage:refs": [SCHEME],
    }
