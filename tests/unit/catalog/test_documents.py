"""What may be stored: items that are whole are taken, every other one is refused by the field that is wrong."""

from __future__ import annotations

from contextlib import suppress
from copy import deepcopy
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rs_server.catalog.documents import check_collection, check_items, instant
from rs_server.errors import BadInput

RING = [[0, 0], [2, 0], [2, 2], [0, 2], [0, 0]]
ITEM: dict[str, Any] = {
    "type": "Feature",
    "stac_version": "1.1.0",
    "stac_extensions": [],
    "id": "i1",
    "geometry": {"type": "Polygon", "coordinates": [RING]},
    "bbox": [0, 0, 2, 2],
    "properties": {"datetime": "2024-01-01T00:00:00Z"},
    "assets": {"a.b": {"href": "s3://b/k"}},
    "links": [{"rel": "via", "href": "x"}],
}
COLLECTION: dict[str, Any] = {
    "type": "Collection",
    "stac_version": "1.1.0",
    "id": "a_b",
    "description": "d",
    "license": "other",
    "extent": {"spatial": {"bbox": [[-180, -90, 180, 90]]}, "temporal": {"interval": [[None, None]]}},
    "links": [],
}

GOOD: list[dict[str, Any]] = [
    {},
    {"geometry": None, "bbox": None},
    {"geometry": {"type": "Point", "coordinates": [1, 2, 3]}, "bbox": [1, 2, 3, 1, 2, 3]},
    {"geometry": {"type": "MultiPoint", "coordinates": [[1, 2], [3, 4]]}},
    {"geometry": {"type": "LineString", "coordinates": [[1, 2], [3, 4]]}},
    {"geometry": {"type": "MultiLineString", "coordinates": [[[1, 2], [3, 4]]]}},
    {"geometry": {"type": "MultiPolygon", "coordinates": [[RING]]}},
    {"geometry": {"type": "GeometryCollection", "geometries": [{"type": "Point", "coordinates": [1, 2]}]}},
    {"bbox": [170, -10, -170, 10]},  # over the antimeridian
    {
        "properties": {
            "datetime": None,
            "start_datetime": "2024-01-01T00:00:00Z",
            "end_datetime": "2024-01-01T00:00:00Z",
        }
    },
    {"properties": {"datetime": "2024-01-01T01:02:03.123456+02:00"}},
    {"links": []},
]


@pytest.mark.parametrize("changes", GOOD)
def test_good_items(changes: dict[str, Any]) -> None:
    check_items([{**ITEM, **changes}])


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"id": None}, "id: "),
    ({"id": "a:b"}, "id: "),
    ({"type": "Item"}, "type: "),
    ({"stac_version": "2.0.0"}, "stac_version: "),
    ({"stac_extensions": "x"}, "stac_extensions: "),
    ({"stac_extensions": [1]}, "stac_extensions: "),
    ({"geometry": {"type": "Polygon", "coordinates": [RING[:4]]}}, "geometry.coordinates.0: the ring is not closed"),
    ({"geometry": {"type": "Polygon", "coordinates": [RING[:2]]}}, "geometry.coordinates.0: needs 4"),
    ({"geometry": {"type": "LineString", "coordinates": [[1, 2]]}}, "geometry.coordinates: needs 2"),
    ({"geometry": {"type": "Point", "coordinates": ["1", 2]}}, "geometry.coordinates: "),
    ({"geometry": {"type": "Point", "coordinates": [True, 2]}}, "geometry.coordinates: "),
    ({"geometry": {"type": "MultiPoint", "coordinates": [[1, 2], [1, 91]]}}, "geometry.coordinates.1: "),
    ({"geometry": {"type": "GeometryCollection", "geometries": []}}, "geometry.geometries: "),
    ({"geometry": {"type": "GeometryCollection", "geometries": [{"type": "GeometryCollection"}]}}, "geometries.0: "),
    ({"geometry": []}, "geometry.type: "),
    ({"geometry": None}, "bbox: "),
    ({"bbox": None}, "bbox: "),
    ({"bbox": [float("nan"), 0, 1, 1]}, "bbox: "),
    ({"properties": None}, "properties: "),
    ({"properties": {}}, "properties.datetime: "),
    ({"properties": {"datetime": "2024-01-01"}}, "properties.datetime: "),
    ({"properties": {"datetime": "2024-02-30T00:00:00Z"}}, "properties.datetime: "),
    ({"properties": {"datetime": "2024-01-01T00:00:00Z", "start_datetime": 5}}, "properties.start_datetime: "),
    ({"assets": []}, "assets: "),
    ({"assets": {"a/b": {"href": "x"}}}, "assets.a/b: "),
    ({"assets": {"a": {"href": ""}}}, "assets.a.href: "),
    ({"links": {}}, "links: "),
    ({"links": [{"rel": "x", "href": ""}]}, "links.0: "),
]


@pytest.mark.parametrize(("changes", "message"), WRONG)
def test_wrong_items(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(BadInput) as refusal:
        check_items([ITEM, {**ITEM, "id": "other", **changes}])
    assert message in refusal.value.detail


def test_a_missing_geometry_is_told_from_none() -> None:
    with pytest.raises(BadInput, match=r"geometry: is missing"):
        check_items([{name: value for name, value in ITEM.items() if name != "geometry"}])


def test_a_polygon_that_crosses_itself_is_named() -> None:
    bowtie = [[0, 0], [2, 2], [2, 0], [0, 2], [0, 0]]
    with pytest.raises(BadInput, match=r"item bow: geometry: Self-intersection"):
        check_items([ITEM, {**ITEM, "id": "bow", "geometry": {"type": "Polygon", "coordinates": [bowtie]}}])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"type": "Feature"}, "type: "),
        ({"description": ""}, "description: "),
        ({"license": None}, "license: "),
        ({"extent": {}}, "extent.spatial: "),
        ({"extent": {**COLLECTION["extent"], "spatial": {"bbox": [[1, 2]]}}}, "extent.spatial.bbox.0: "),
        ({"extent": {**COLLECTION["extent"], "temporal": {"interval": [["x", None]]}}}, "extent.temporal.interval.0: "),
        ({"links": [1]}, "links.0: "),
    ],
)
def test_wrong_collections(changes: dict[str, Any], message: str) -> None:
    check_collection(COLLECTION)
    with pytest.raises(BadInput) as refusal:
        check_collection({**COLLECTION, **changes})
    assert refusal.value.detail.startswith(message)


ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted(ITEM)), ANYTHING)
def test_whatever_comes_is_taken_or_refused(name: str, value: Any) -> None:
    """Never another error than ours."""
    document = deepcopy(ITEM) | {name: value}
    with suppress(BadInput):
        check_items([document])


@pytest.mark.parametrize(
    ("text", "there"),
    [
        ("2024-01-01T00:00:00Z", True),
        ("2024-01-01t00:00:00z", True),
        ("2024-01-01T00:00:00.1234567Z", True),
        ("2024-01-01T00:00:00", False),
        ("2024-13-01T00:00:00Z", False),
        ("", False),
        (5, False),
    ],
)
def test_instants(text: Any, there: bool) -> None:
    assert (instant(text) is not None) == there
