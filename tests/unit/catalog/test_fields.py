"""Which fields a search answers with."""

from __future__ import annotations

from typing import Any

import pytest
from stac_fastapi.extensions.fields.request import PostFieldsExtension

from rs_server.catalog.fields import chosen

ITEM: dict[str, Any] = {
    "type": "Feature",
    "stac_version": "1.1.0",
    "stac_extensions": ["x"],
    "id": "i",
    "collection": "c",
    "geometry": {"type": "Point", "coordinates": [1, 2]},
    "bbox": [1, 2, 1, 2],
    "properties": {"datetime": "2024-01-01T00:00:00Z", "platform": "p", "n": {"a": 1, "b": 2}},
    "assets": {"a": {"href": "h"}},
    "links": [],
}
BASIC = {"type", "stac_version", "id", "collection", "geometry", "bbox", "properties", "assets", "links"}


@pytest.mark.parametrize(
    ("fields", "names", "properties"),
    [
        ({}, BASIC, {"datetime"}),
        ({"include": None, "exclude": None}, BASIC, {"datetime"}),
        ({"include": [], "exclude": []}, BASIC, {"datetime"}),
        ({"include": ["id"]}, {"id"}, None),
        ({"include": ["id", "properties.platform"]}, {"id", "properties"}, {"platform"}),
        ({"include": ["none", "properties.none"]}, {"properties"}, set()),
        ({"exclude": ["geometry"]}, set(ITEM) - {"geometry"}, {"datetime", "platform", "n"}),
        ({"exclude": ["properties.n.a"]}, set(ITEM), {"datetime", "platform", "n"}),
        ({"exclude": ["geometry"], "include": []}, BASIC - {"geometry"}, {"datetime"}),
        ({"exclude": ["geometry"], "include": None}, BASIC - {"geometry"}, {"datetime"}),
        ({"include": ["properties"], "exclude": ["properties.n"]}, {"properties"}, {"datetime", "platform"}),
    ],
)
def test_fields(fields: dict[str, Any], names: set[str], properties: set[str] | None) -> None:
    (found,) = chosen([ITEM], PostFieldsExtension(**fields))
    assert set(found) == names
    assert (set(found["properties"]) if "properties" in found else None) == properties


def test_all_of_them_unless_some_are_asked_for() -> None:
    assert chosen([ITEM], None) == [ITEM]
