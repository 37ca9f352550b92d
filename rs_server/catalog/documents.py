"""Whether an item or a collection may be stored; each refusal names the field.

Written out rather than modelled: 10 000 items come in one call, and are looked at in a fraction of a second.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import shapely

from rs_server.bodies import as_json
from rs_server.errors import BadInput

Document = Mapping[str, Any]

_ITEM_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.~-]{0,254}")
_ASSET_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:+=@~-]{0,254}")
_INSTANT = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)")
_VERSIONS = re.compile(r"1\.\d+\.\d+(-[a-z0-9.]+)?")
# How deep the positions of each kind of geometry lie.
_DEPTHS = {"Point": 0, "MultiPoint": 1, "LineString": 1, "MultiLineString": 2, "Polygon": 2, "MultiPolygon": 3}
_LEAST = {"LineString": 2, "MultiLineString": 2, "Polygon": 4, "MultiPolygon": 4}
_RINGS = frozenset({"Polygon", "MultiPolygon"})


def check_items(items: Iterable[Document]) -> None:
    """Raise ``BadInput`` for the first item that is none, naming it and the field."""
    shapes: dict[str, bytes] = {}
    for item in items:
        name = _item(item)
        if item.get("geometry") is not None:
            shapes[name] = as_json(item["geometry"])
    _shapes(shapes)


def check_collection(collection: Document) -> None:
    """Raise ``BadInput`` for what is no collection, naming the field."""
    _expect(collection.get("type") == "Collection", "type", "must be Collection")
    _text(collection, "description", "")
    _text(collection, "license", "")
    extent = _object(collection, "extent", "")
    boxes = _object(extent, "spatial", "extent.").get("bbox")
    intervals = _object(extent, "temporal", "extent.").get("interval")
    _expect(isinstance(boxes, list) and bool(boxes), "extent.spatial.bbox", "must be a list of boxes")
    for number, box in enumerate(boxes or ()):
        _bbox(box, f"extent.spatial.bbox.{number}")
    _expect(isinstance(intervals, list) and bool(intervals), "extent.temporal.interval", "must be a list of intervals")
    for number, interval in enumerate(intervals or ()):
        _interval(interval, f"extent.temporal.interval.{number}")
    _common(collection, "")


def instant(text: Any) -> datetime | None:
    """A date-time of RFC 3339 with its zone, or None for what is none."""
    if not isinstance(text, str) or not _INSTANT.fullmatch(text):
        return None
    try:
        return datetime.fromisoformat(text.upper())
    except ValueError:
        return None


def _item(item: Document) -> str:
    """Check all but the shape; the item's id."""
    name = item.get("id")
    if not isinstance(name, str) or not _ITEM_ID.fullmatch(name):
        raise BadInput(
            f"id: {str(name)[:100]!r} cannot be the id of an item",
            hint="an id is made of A-Z, a-z, 0-9, '.', '_', '-' and '~', and no longer than 255 characters",
        )
    at = f"item {name}: "
    _expect(item.get("type") == "Feature", f"{at}type", "must be Feature")
    _geometry(item, at)
    _times(_object(item, "properties", at), f"{at}properties.")
    for key, asset in _object(item, "assets", at).items():
        _asset(key, asset, f"{at}assets.{str(key)[:100]}")
    _common(item, at)
    return name


def _common(document: Document, at: str) -> None:
    version = document.get("stac_version")
    _expect(isinstance(version, str) and bool(_VERSIONS.fullmatch(version)), f"{at}stac_version", "must be 1.x.y")
    extensions = document.get("stac_extensions", [])
    _expect(isinstance(extensions, list) and _texts(extensions), f"{at}stac_extensions", "must be a list of addresses")
    links = document.get("links", [])
    _expect(isinstance(links, list), f"{at}links", "must be a list")
    for number, link in enumerate(links):
        whole = isinstance(link, dict) and _texts([link.get("rel"), link.get("href")])
        _expect(whole and bool(link["href"]), f"{at}links.{number}", "must have a rel and an href")


def _geometry(item: Document, at: str) -> None:
    _expect("geometry" in item, f"{at}geometry", "is missing; null says that the item covers no place")
    geometry, bbox = item["geometry"], item.get("bbox")
    if bbox is not None:
        _bbox(bbox, f"{at}bbox")
    if geometry is None:
        _expect(bbox is None, f"{at}bbox", "an item without a geometry has none")
        return
    _expect(bbox is not None, f"{at}bbox", "is missing; an item with a geometry has one")
    _shape(geometry, f"{at}geometry")


def _shape(geometry: Any, at: str) -> None:
    kind = geometry.get("type") if isinstance(geometry, dict) else None
    if kind == "GeometryCollection":
        members = geometry.get("geometries")
        _expect(isinstance(members, list) and bool(members), f"{at}.geometries", "must be a list of geometries")
        for number, member in enumerate(members):
            _expect(isinstance(member, dict) and member.get("type") in _DEPTHS, f"{at}.geometries.{number}", "is none")
            _shape(member, f"{at}.geometries.{number}")
        return
    if kind not in _DEPTHS:
        raise BadInput(f"{at}.type: must be one of {', '.join(_DEPTHS)} and GeometryCollection", field="geometry.type")
    _positions(geometry.get("coordinates"), _DEPTHS[kind], kind, f"{at}.coordinates")


def _positions(value: Any, depth: int, kind: str, at: str) -> None:
    if depth == 0:
        _position(value, at)
        return
    _expect(isinstance(value, list) and bool(value), at, "must be a list of positions")
    if depth == 1:
        _expect(len(value) >= _LEAST.get(kind, 1), at, f"needs {_LEAST.get(kind, 1)} positions at least")
        _expect(kind not in _RINGS or value[0] == value[-1], at, "the ring is not closed")
    for number, inner in enumerate(value):
        _positions(inner, depth - 1, kind, f"{at}.{number}")


def _position(value: Any, at: str) -> None:
    _expect(isinstance(value, list | tuple) and len(value) in (2, 3) and _numbers(value), at, "must be two numbers")
    _expect(-180 <= value[0] <= 180 and -90 <= value[1] <= 90, at, "is no longitude and latitude")


def _bbox(value: Any, at: str) -> None:
    _expect(isinstance(value, list | tuple) and len(value) in (4, 6) and _numbers(value), at, "must be 4 or 6 numbers")
    west, south, east, north = (value[0], value[1], value[len(value) // 2], value[len(value) // 2 + 1])
    _expect(-180 <= west <= 180 and -180 <= east <= 180, at, "longitudes lie between -180 and 180")
    _expect(-90 <= south <= north <= 90, at, "must be west, south, east, north")


def _times(properties: Document, at: str) -> None:
    span = [properties.get("start_datetime"), properties.get("end_datetime")]
    if properties.get("datetime") is not None:
        _expect(instant(properties["datetime"]) is not None, f"{at}datetime", "must be a date-time of RFC 3339")
    else:
        _expect("datetime" in properties and None not in span, f"{at}datetime", "or start and end must be given")
    moments = [instant(moment) for moment in span]
    for name, given, moment in zip(("start_datetime", "end_datetime"), span, moments, strict=True):
        _expect(given is None or moment is not None, f"{at}{name}", "must be a date-time of RFC 3339")
    start, end = moments
    _expect(start is None or end is None or start <= end, f"{at}end_datetime", "lies before the start")


def _interval(value: Any, at: str) -> None:
    _expect(isinstance(value, list) and len(value) == 2, at, "must be a start and an end")
    for moment in value:
        _expect(moment is None or instant(moment) is not None, at, "holds date-times of RFC 3339 or null")


def _asset(key: Any, asset: Any, at: str) -> None:
    _expect(isinstance(key, str) and bool(_ASSET_NAME.fullmatch(key)), at, "cannot be the name of an asset")
    href = asset.get("href") if isinstance(asset, dict) else None
    _expect(isinstance(href, str) and bool(href), f"{at}.href", "must be an address")


def _shapes(shapes: Mapping[str, bytes]) -> None:
    """All shapes at once: a polygon that crosses itself covers nobody knows what."""
    names = list(shapes)
    found = shapely.from_geojson(list(shapes.values()))
    for name, valid, shape in zip(names, shapely.is_valid(found), found, strict=True):
        _expect(bool(valid), f"item {name}: geometry", shapely.is_valid_reason(shape))


def _object(document: Document, name: str, at: str) -> dict[str, Any]:
    value = document.get(name)
    _expect(isinstance(value, dict), f"{at}{name}", "must be an object")
    assert isinstance(value, dict)
    return value


def _text(document: Document, name: str, at: str) -> None:
    _expect(isinstance(document.get(name), str) and bool(document[name]), f"{at}{name}", "must be a text")


def _texts(values: Sequence[Any]) -> bool:
    return all(isinstance(value, str) for value in values)


def _numbers(values: Sequence[Any]) -> bool:
    return all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


def _expect(holds: bool, field: str, otherwise: str) -> None:  # noqa: FBT001
    if not holds:
        raise BadInput(f"{field}: {otherwise}", field=field.rpartition(": ")[2])
