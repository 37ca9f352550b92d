"""A search of the catalog that is staged means what it means to the catalog's own routes."""

from typing import Any

import pytest

from rs_server.errors import BadInput
from rs_server.staging.found import as_stored
from rs_server.staging.inputs import Search

OF_A = {"op": "=", "args": [{"property": "platform"}, "sentinel-1a"]}
ORBIT = {"op": ">", "args": [{"property": "sat:absolute_orbit"}, 7]}
NEVER = {"op": "=", "args": [{"property": "id"}, ""]}
POINT = {"type": "Point", "coordinates": [1, 2]}


@pytest.mark.parametrize(
    ("body", "stored"),
    [
        ({}, {}),
        ({"ids": ["a"], "filter-lang": "cql2-text"}, {"ids": ["a"]}),
        ({"bbox": [1, 2, 0, 3, 4, 9]}, {"bbox": [1, 2, 3, 4]}),
        ({"filter": "platform = 'sentinel-1a'", "filter-lang": "cql2-text"}, {"filter": OF_A}),
        ({"filter": OF_A, "filter-lang": "cql2-json"}, {"filter": OF_A}),
        ({"query": {"platform": {"eq": "sentinel-1a"}}}, {"filter": OF_A}),
        (
            {"query": {"platform": {"eq": "sentinel-1a"}}, "filter": ORBIT},
            {"filter": {"op": "and", "args": [OF_A, ORBIT]}},
        ),
        ({"filter": {"op": "or", "args": [OF_A, True]}}, {}),
        (
            {"filter": {"op": "in", "args": [{"property": "id"}, []]}},
            {"filter": NEVER},
        ),
        (
            {"filter": {"op": "s_within", "args": [POINT, {"property": "geometry"}]}},
            {"filter": {"op": "s_contains", "args": [{"property": "geometry"}, POINT]}},
        ),
    ],
)
def test_it_is_said_in_the_words_of_the_database(body: dict[str, Any], stored: dict[str, Any]) -> None:
    language = {"filter-lang": "cql2-json"} if "filter" in stored else {}
    assert as_stored(Search(service="catalog", body=body)) == {**stored, **language}


@pytest.mark.parametrize("filter_", [{"op": "nonsense", "args": [1]}, {"property": "x"}, "platform = 'x'"])
def test_what_the_catalog_does_not_take_is_refused(filter_: Any) -> None:
    with pytest.raises(BadInput):
        as_stored(Search(service="catalog", body={"filter": filter_, "filter-lang": "cql2-json"}))
