"""Footprints as stations write them, and the shapes of searches."""

from __future__ import annotations

from typing import Any

import pytest
import shapely
from shapely.geometry import shape

from rs_server.stations import geometry

SQUARE = [[0.0, 0.0], [10.0, 0.0], [10.0, 10.0], [0.0, 10.0], [0.0, 0.0]]
NORTH = [[0, 80], [90, 80], [180, 80], [-90, 80], [0, 80]]
SOUTH = [[0, -80], [90, -80], [180, -80], [-90, -80], [0, -80]]
ACROSS = [[170, 10], [-170, 10], [-170, 20], [170, 20], [170, 10]]


@pytest.mark.parametrize(
    ("value", "box", "inside", "outside"),
    [
        ({"type": "Polygon", "coordinates": [SQUARE]}, [0, 0, 10, 10], (5, 5), (15, 5)),
        ({"type": "Polygon", "coordinates": [SQUARE[:-1]]}, [0, 0, 10, 10], (5, 5), (15, 5)),
        ({"type": "Polygon", "coordinates": [SQUARE[::-1]]}, [0, 0, 10, 10], (5, 5), (15, 5)),
        ("geography'SRID=4326;POLYGON((0 0,10 0,10 10,0 10,0 0))'", [0, 0, 10, 10], (5, 5), (15, 5)),
        ("SRID=4326;MULTIPOLYGON(((0 0,10 0,10 10,0 10,0 0)))", [0, 0, 10, 10], (5, 5), (15, 5)),
        ({"type": "Point", "coordinates": [3, 4]}, [3, 4, 3, 4], (3, 4), (0, 0)),
        ({"type": "Polygon", "coordinates": [ACROSS]}, [170, 10, -170, 20.2835595], (179, 15), (0, 15)),
        ({"type": "Polygon", "coordinates": [ACROSS[::-1]]}, [170, 10, -170, 20.2835595], (-179, 15), (0, 15)),
        ({"type": "Polygon", "coordinates": [NORTH]}, [-180, 80, 180, 90], (30, 89), (30, 70)),
        ({"type": "Polygon", "coordinates": [NORTH[::-1]]}, [-180, 80, 180, 90], (-120, 89), (30, -89)),
        ({"type": "Polygon", "coordinates": [SOUTH]}, [-180, -90, 180, -80], (30, -89), (30, 89)),
        ({"type": "Polygon", "coordinates": [SOUTH[::-1]]}, [-180, -90, 180, -80], (30, -89), (30, -70)),
    ],
)
def test_footprints(value: Any, box: list[float], inside: tuple[float, float], outside: tuple[float, float]) -> None:
    found = geometry.footprint(value)
    assert found is not None
    assert geometry.box_of(found) == box
    assert shape(found).is_valid
    assert shape(found).intersects(shapely.Point(inside))
    assert not shape(found).intersects(shapely.Point(outside))


@pytest.mark.parametrize(
    "value",
    [
        5,
        "here",
        "POLYGON((0 0,1 1",
        "geography'SRID=32632;POINT(1 1)'",
        {"type": "LineString", "coordinates": [[0, 0], [1, 1]]},
        {"type": "Polygon", "coordinates": [[[0, 0], [1, 1]]]},
        {"type": "Point", "coordinates": []},
        {},
    ],
)
def test_nonsense_is_no_footprint(value: Any) -> None:
    with pytest.raises((ValueError, IndexError)):
        geometry.footprint(value)


def test_boxes_across_the_antimeridian_are_two() -> None:
    found = shape(geometry.area([170, -10, -170, 10]))
    assert found.geom_type == "MultiPolygon"
    assert found.bounds == (-180, -10, 180, 10)
    assert not found.intersects(shapely.Point(0, 0))
    assert geometry.area([0, 0, -5, 1, 1, 5]) == geometry.area([0, 0, 1, 1])


def test_what_a_station_is_asked_holds_the_whole_shape() -> None:
    wide = shapely.Point(0, 0).buffer(5, quad_segs=64)
    shapes: list[Any] = [
        wide,
        shapely.LineString([(0, 0), (5, 5)]),
        shapely.MultiPoint([(0, 0), (5, 5)]),
        shapely.box(0, 0, 9, 9) - shapely.box(3, 3, 4, 4),
        shapely.MultiPolygon([shapely.box(0, 0, 1, 1), shapely.box(2, 2, 3, 3)]),
        shapely.LineString([(0, 0), (0, 5)]),
    ]
    for each in shapes:
        texts = geometry.asked_about(geometry.checked(shapely.geometry.mapping(each)))
        assert all(text.startswith(("POINT(", "POLYGON((")) for text in texts)
        assert shapely.union_all([shapely.from_wkt(text) for text in texts]).covers(each)


@pytest.mark.parametrize(
    ("value", "named"),
    [
        ({"type": "Polygon", "coordinates": [[[0, 0], [1, 1], [1, 0], [0, 1], [0, 0]]]}, "not valid"),
        ({"type": "Point", "coordinates": [200, 0]}, "longitudes"),
        ({"type": "Polygon", "coordinates": "x"}, "GeoJSON"),
        ({"type": "Nothing"}, "GeoJSON"),
        ({"type": "Point", "coordinates": []}, "not valid"),
    ],
)
def test_shapes_that_cannot_be_used(value: Any, named: str) -> None:
    with pytest.raises(ValueError, match=named):
        geometry.checked(value)
