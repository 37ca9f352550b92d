"""Which filters the catalog takes; what is wrong with the others."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from rs_server.catalog.filters import checked, parsed
from rs_server.errors import UnsupportedFilter

TAKEN = [
    "id = 'x'",
    "NOT (a = 1 AND (b LIKE 'x%' OR c IS NULL))",
    "a BETWEEN 1 AND 2",
    "a IN ('x', 'y')",
    "S_INTERSECTS(geometry, POINT(1 2))",
    "T_AFTER(datetime, TIMESTAMP('2024-01-01T00:00:00Z'))",
    "CASEI(a) = CASEI('x')",
    "a = '((((((((((((((((((((((((('",
    "TRUE",
    " AND ".join(["id = 'x'"] * 300),
]


@pytest.mark.parametrize("text", TAKEN)
def test_taken(text: str) -> None:
    found = parsed(text, "cql2-text")
    assert parsed(json.dumps(found), "cql2-json") == found


REFUSED = {
    "nothing": "",
    "nonsense": "a ==== 1",
    "a name": "id",
    "a number": "1",
    "a function": "frobnicate(id)",
    "a name in logic": "id AND a = 1",
    "parentheses": "(" * 500 + "id = 'x'" + ")" * 500,
    "functions": "a = " + "f(" * 100 + "1" + ")" * 100,
    "nots": "NOT " * 4000 + "id = 'x'",
    "signs": "a = " + "-" * 16_000 + "1",
    "spaced signs": "a = " + "- " * 8_000 + "1",
    "length": " OR ".join(["id = 'x'"] * 3000),
    "half a quote": "id = '" + "(" * 5000,
}


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str) -> None:
    begun = time.perf_counter()
    with pytest.raises(UnsupportedFilter):
        parsed(REFUSED[case], "cql2-text")
    assert time.perf_counter() - begun < 0.5


REFUSED_JSON = [
    "",
    "nonsense",
    "1",
    "null",
    "{}",
    '{"op": "and", "args": []}',
    '{"op": 1}',
    "[" * 20_000,
    '{"a":' * 2000,
]


@pytest.mark.parametrize("text", REFUSED_JSON)
def test_refused_json(text: str) -> None:
    with pytest.raises(UnsupportedFilter):
        parsed(text, "cql2-json")


def test_deep_operations() -> None:
    def nested(levels: int) -> Any:
        value: Any = {"op": "=", "args": [{"property": "id"}, "x"]}
        for _ in range(levels):
            value = {"op": "not", "args": [value]}
        return value

    assert checked(nested(10)) == nested(10)
    for levels in (40, 500, 100_000):
        with pytest.raises(UnsupportedFilter, match="nested"):
            checked(nested(levels))


X, Y = {"op": "=", "args": [{"property": "a"}, 1]}, {"op": "isNull", "args": [{"property": "b"}]}


@pytest.mark.parametrize(
    ("given", "taken"),
    [
        ({"op": "or", "args": [X, True]}, True),
        ({"op": "or", "args": [X, False]}, X),
        ({"op": "and", "args": [X, True, Y]}, {"op": "and", "args": [X, Y]}),
        ({"op": "and", "args": [False, X]}, False),
        ({"op": "or", "args": [False, False]}, False),
        ({"op": "not", "args": [True]}, False),
        ({"op": "not", "args": [{"op": "and", "args": [True, True]}]}, False),
        ({"op": "and", "args": [X, {"op": "or", "args": [Y, {"op": "not", "args": [False]}]}]}, X),
        ({"op": "not", "args": [X]}, {"op": "not", "args": [X]}),
    ],
)
def test_true_and_false_are_worked_out_here(given: Any, taken: Any) -> None:
    """The database takes them alone, not within others."""
    assert checked(given) == taken


def test_large_filters_are_refused() -> None:
    with pytest.raises(UnsupportedFilter, match="larger"):
        checked({"op": "in", "args": [{"property": "id"}, ["x" * 100] * 10_000]})


@pytest.mark.parametrize(
    ("given", "spelt"),
    [
        ("A_CONTAINEDBY(tags, ('a'))", ["a_contained_by"]),
        ("A_EQUALS(tags, ('a'))", ["and", "a_contains", "a_contained_by"]),
        ("S_CONTAINS(POLYGON((0 0,1 0,1 1,0 0)), geometry)", ["s_within"]),
        ("S_INTERSECTS(POLYGON((0 0,1 0,1 1,0 0)), geometry)", ["s_intersects"]),
        ("NOT (S_WITHIN(geometry, POLYGON((0 0,1 0,1 1,0 0))))", ["not", "s_within"]),
    ],
)
def test_what_pgstac_has_other_words_for(given: str, spelt: list[str]) -> None:
    condition = parsed(given, "cql2-text")
    inner = [each["op"] for each in condition["args"] if isinstance(each, dict) and "op" in each]
    assert [condition["op"], *inner] == spelt
    if condition["op"].startswith("s_"):
        assert condition["args"][0] == {"property": "geometry"}


def test_nothing_is_in_an_empty_list() -> None:
    assert checked({"op": "in", "args": [{"property": "a"}, []]}) is False
