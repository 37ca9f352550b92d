"""Shapes on the Earth: the footprints of entities, and the shapes that searches ask for, as GeoJSON (RFC 7946).

A footprint that crosses the antimeridian comes as one shape for each side of it; one that holds a pole reaches up to
it. Stations write neither so, and give no heed to the winding of rings.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import antimeridian
import shapely
from shapely.geometry import mapping, shape

Geometry = dict[str, Any]

_EWKT = re.compile(
    r"\s*(?:geography)?\s*'?\s*(?:SRID=4326;)?\s*([A-Z][A-Z ]*\(.*\))\s*'?\s*", re.DOTALL | re.IGNORECASE
)
_MOST_POINTS = 60  # of a shape that a station is asked about; beyond, it is asked about its envelope
_TURN = 360.0


def footprint(value: Any) -> Geometry | None:
    """A footprint as stations write it, GeoJSON or EWKT, brought to RFC 7946; ``ValueError`` if it is neither."""
    geometry = _from_ewkt(value) if isinstance(value, str) else value
    if not isinstance(geometry, dict) or geometry.get("type") not in ("Point", "Polygon", "MultiPolygon"):
        raise ValueError(f"{str(value)[:80]!r} is no footprint")
    found = {"type": geometry["type"], "coordinates": geometry["coordinates"]}
    match found:
        case {"type": "Polygon", "coordinates": rings}:
            return _polygon(rings)
        case {"type": "MultiPolygon", "coordinates": parts}:
            return _joined([_polygon(rings) for rings in parts])
        case {"coordinates": [float() | int(), float() | int(), *_]}:
            return found
    raise ValueError(f"{str(value)[:80]!r} is no footprint")


def box_of(geometry: Geometry) -> list[float]:
    """The bounding box: west, south, east, north; west is greater than east across the antimeridian."""
    if geometry["type"] == "Point":
        lon, lat = geometry["coordinates"][:2]
        return [lon, lat, lon, lat]
    return antimeridian.bbox(geometry)


def area(box: Sequence[float]) -> Geometry:
    """The area of a bounding box of four or six numbers; heights say nothing about footprints."""
    half = len(box) // 2
    west, south, east, north = box[0], box[1], box[half], box[half + 1]
    spans = [(west, east)] if west <= east else [(west, 180.0), (-180.0, east)]
    parts = [mapping(shapely.box(first, south, last, north)) for first, last in spans]
    return _joined([_plain(part) for part in parts])


def checked(geometry: Any) -> Geometry:
    """The shape of a search; ``ValueError`` says what is wrong with it."""
    try:
        found = shape(geometry)
    except (ValueError, TypeError, KeyError, AttributeError, IndexError, shapely.errors.ShapelyError) as error:
        raise ValueError("it is not a GeoJSON geometry") from error
    if found.is_empty or not found.is_valid:
        raise ValueError(f"it is not valid: {shapely.is_valid_reason(found)}")
    west, south, east, north = found.bounds
    if west < -180 or east > 180 or south < -90 or north > 90:
        raise ValueError("it leaves longitudes -180 to 180 or latitudes -90 to 90")
    return _plain(mapping(shapely.force_2d(found)))


def asked_about(geometry: Geometry) -> list[str]:
    """The shape, or one around it, as texts of points and polygons, which is all that stations understand."""
    found = shape(geometry)
    if shapely.get_num_coordinates(found) > _MOST_POINTS:
        found = found.envelope
    parts = getattr(found, "geoms", [found])
    return [_wkt(part if part.geom_type in ("Point", "Polygon") else part.envelope.buffer(1e-6)) for part in parts]


def _wkt(of: Any) -> str:
    """WKT without holes: an area without its holes lets more through."""
    if of.geom_type == "Point":
        return f"POINT({of.x!r} {of.y!r})"
    points = ",".join(f"{x!r} {y!r}" for x, y in of.exterior.coords)
    return f"POLYGON(({points}))"


def _from_ewkt(text: str) -> Any:
    found = _EWKT.fullmatch(text)
    if not found:
        raise ValueError(f"{text[:80]!r} is no footprint")
    try:
        return _plain(mapping(shapely.from_wkt(found[1])))
    except shapely.errors.ShapelyError as error:
        raise ValueError(f"{text[:80]!r} is no footprint") from error


def _polygon(rings: Any) -> Geometry:
    outer = [(float(point[0]), float(point[1])) for point in rings[0]]
    if outer[0] != outer[-1]:
        outer.append(outer[0])
    if len(outer) < 4:
        raise ValueError("a footprint of less than three points")
    steps = [_shortest(b[0] - a[0]) for a, b in pairwise(outer)]
    around = round(sum(steps) / _TURN)
    if around:
        return _polar(outer, eastwards=around > 0)
    if all(abs(step) < _TURN / 2 and -180 <= lon <= 180 for step, (lon, _) in zip(steps, outer[1:], strict=True)) and (
        max(lon for lon, _ in outer) - min(lon for lon, _ in outer) <= _TURN / 2
    ):
        return {"type": "Polygon", "coordinates": rings if rings[0][0] == rings[0][-1] else [outer]}
    return dict(antimeridian.fix_shape({"type": "Polygon", "coordinates": [outer]}, fix_winding=True))


def _polar(ring: list[tuple[float, float]], *, eastwards: bool) -> Geometry:
    """A ring that goes once around the Earth holds the pole that is nearer; which way it goes is no sign of that."""
    north = sum(lat for _, lat in ring) > 0
    turned = ring if eastwards is north else ring[::-1]
    return dict(antimeridian.fix_shape({"type": "Polygon", "coordinates": [turned]}, fix_winding=False))


def _shortest(step: float) -> float:
    return (step + _TURN / 2) % _TURN - _TURN / 2


def _joined(parts: list[Geometry]) -> Geometry:
    """Polygons as one geometry."""
    if len(parts) == 1:
        return parts[0]
    each = [[part["coordinates"]] if part["type"] == "Polygon" else part["coordinates"] for part in parts]
    return {"type": "MultiPolygon", "coordinates": [polygon for polygons in each for polygon in polygons]}


def _plain(geometry: Any) -> Geometry:
    """Lists for tuples, as JSON has them."""
    if geometry["type"] == "GeometryCollection":
        return {"type": "GeometryCollection", "geometries": [_plain(each) for each in geometry["geometries"]]}
    return {"type": geometry["type"], "coordinates": _lists(geometry["coordinates"])}


def _lists(values: Any) -> Any:
    return [_lists(value) for value in values] if isinstance(values, (list, tuple)) else float(values)
