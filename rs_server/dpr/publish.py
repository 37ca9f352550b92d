"""The catalog's item of a product: what the processor says of it, and what we know of its making."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from rs_server.dpr.payload import Order, Target
from rs_server.stations.geometry import box_of
from rs_server.storage import layout
from rs_server.storage.stac import EOPF, FILE, SCHEME, STORAGE, TIMESTAMPS, Place, stamp, storage_schemes

PROCESSING = "https://stac-extensions.github.io/processing/v1.2.0/schema.json"
PRODUCT = "https://stac-extensions.github.io/product/v1.0.0/schema.json"
ZARR = "application/vnd+zarr"
ACQUISITIONS = ("nominal", "calibration", "other")  # of the product extension
PREFIXES: Mapping[str, str] = {
    "scientific": "sci",
    "projection": "proj",
    "altimetry": "altm",
    "eopf-stac-extension": "eopf",
}

# The reports that are kept beside a product: asset → file name, media type and title.
REPORTS: Mapping[str, tuple[str, str, str]] = {
    "payload": ("payload.yaml", "application/yaml", "eopf triggering payload"),
    "report": ("report.json", "application/json", "Timings, memory and quality of the run"),
    "provenance": ("provenance.json", "application/json", "What the product was made of, with what, and how"),
    "log": ("log.txt", "text/plain", "Log of the run"),
}


@dataclass(frozen=True, slots=True)
class Made:
    """What a processor made: its size in bytes, what it says of it, and the sizes of the reports kept beside it."""

    size: int
    discovery: Mapping[str, Any]
    facility: str = "rs-python"
    reports: Mapping[str, int] = field(default_factory=dict)
    software: Mapping[str, str] = field(default_factory=dict)


def catalog_item(order: Order, target: Target, made: Made, place: Place, now: datetime) -> dict[str, Any]:
    """The item to publish."""
    geometry = made.discovery.get("geometry")
    properties = _properties(order, target, made, place, stamp(now))
    named = {each for each in made.discovery.get("stac_extensions", ()) if _used(each, properties)}
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": sorted({*named, STORAGE, TIMESTAMPS, FILE, EOPF, PROCESSING, PRODUCT}),
        "id": target.id,
        "collection": target.collection,
        "geometry": geometry,
        **({"bbox": box_of(geometry)} if geometry is not None else {}),
        "properties": properties,
        "assets": {"product": _product(target, made), **_reports(target, made)},
        "links": [
            {
                "rel": "derived_from",
                "type": "application/geo+json",
                "href": f"{place.public_url}{source.path}",
                "title": source.path.rpartition("/")[2],
            }
            for source in order.sources
        ],
    }


def origin(order: Order) -> str | None:
    """When the newest of the inputs came down; auxiliary files do not count (they may be made any time later)."""
    found = [source.origin for source in order.sources if source.origin and not source.auxiliary]
    return max(found, key=datetime.fromisoformat) if found else None


def _properties(order: Order, target: Target, made: Made, place: Place, now: str) -> dict[str, Any]:
    said = _said(made.discovery.get("properties") or {})
    unit = order.payload["workflow"][0]
    return {
        **_of_session(order.session),
        "product:type": target.product_type,
        "processing:level": target.level,
        "processing:datetime": now,
        "processing:facility": made.facility,
        "processing:lineage": f"{unit['name']} ({unit['module']}.{unit['processing_unit']})",
        **said,
        "processing:software": {**made.software, **said.get("processing:software", {})},
        "created": now,
        "eopf:origin_datetime": origin(order) or now,
        "storage:schemes": storage_schemes(place.at(target.bucket)),
    }


def _said(told: Mapping[str, Any]) -> dict[str, Any]:
    """What a processor says of its product, less what STAC has no place for: EOPF's readers name providers without a
    name, and take the mode of an instrument for the kind of acquisition."""
    said = {name: value for name, value in told.items() if value is not None}
    providers = [each for each in said.pop("providers", None) or () if isinstance(each.get("name"), str)]
    if said.get("product:acquisition_type") not in ACQUISITIONS:
        said.pop("product:acquisition_type", None)
    return {**said, **({"providers": providers} if providers else {})}


def _used(extension: str, properties: Mapping[str, Any]) -> bool:
    """Whether a property is of an extension; one that is named and not used makes the item invalid.

    EOPF's own is named by us, at its true address.
    """
    name = extension.rsplit("/", 3)[1] if extension.count("/") > 3 else extension
    prefix = PREFIXES.get(name, name)
    return prefix != "eopf" and any(each.startswith(f"{prefix}:") for each in properties)


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


def _product(target: Target, made: Made) -> dict[str, Any]:
    return {
        "href": target.href,
        "type": ZARR,
        "title": target.asset,
        "roles": ["data", "metadata"],
        "file:size": made.size,
        "storage:refs": [SCHEME],
    }


def report_key(target: Target, report: str) -> str:
    """Where a report of a product lies."""
    return f"{target.prefix}{REPORTS[report][0]}"


def _reports(target: Target, made: Made) -> dict[str, Any]:
    return {
        report: {
            "href": layout.href(target.bucket, report_key(target, report)),
            "type": REPORTS[report][1],
            "title": REPORTS[report][2],
            "roles": ["metadata"],
            "file:size": size,
            "storage:refs": [SCHEME],
        }
        for report, size in made.reports.items()
    }
