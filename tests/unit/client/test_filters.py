"""Words and filters joined: the same meaning in both forms, as another implementation of CQL2 understands them."""

from __future__ import annotations

import json
from typing import Any

import cql2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rs_client.filters import joined, said
from rs_client.stac import understood

OWN_JSON = {
    "op": "or",
    "args": [{"op": "=", "args": [{"property": "a"}, 1]}, {"op": "=", "args": [{"property": "b"}, 2]}],
}
OWN_TEXT = "a = 1 OR b = 2"
TEXTS = st.text(st.characters(codec="ascii", exclude_categories=["C"]), min_size=1, max_size=10)
SOME_TEXT = st.one_of(TEXTS, st.lists(TEXTS, min_size=1, max_size=3, unique=True))
WORDS = st.fixed_dictionaries(
    {}, optional={"platform": SOME_TEXT, "sat:absolute_orbit": st.integers(-5, 10**6), "product:type": SOME_TEXT}
)
PLACES: list[dict[str, Any]] = [
    {"a": 1, "b": 0, "platform": "x", "sat:absolute_orbit": 5, "product:type": "y"},
    {"a": 0, "b": 0, "platform": "x", "sat:absolute_orbit": 5, "product:type": "y"},
    {"a": 0, "b": 2, "platform": "it's", "sat:absolute_orbit": -5, "product:type": "y"},
]


def holds(parameters: dict[str, Any], properties: dict[str, Any]) -> bool:
    own = parameters["filter"]
    expression = cql2.Expr(own) if isinstance(own, str) else cql2.parse_json(json.dumps(own))
    return bool(expression.matches({"type": "Feature", "geometry": None, "properties": properties}))


@settings(deadline=None, max_examples=100)
@given(WORDS, st.data())
def test_both_forms_mean_the_same(words: dict[str, Any], data: st.DataObject) -> None:
    properties = dict(data.draw(st.sampled_from(PLACES)))
    for name, value in words.items():  # so that they hold now and then
        if data.draw(st.booleans()):
            properties[name] = value[0] if isinstance(value, list) else value
    expected = holds({"filter": OWN_JSON}, properties) and all(
        properties[name] in value if isinstance(value, list) else properties[name] == value
        for name, value in words.items()
    )
    assert holds(joined(OWN_JSON, words), properties) == expected
    assert holds(joined(OWN_TEXT, words), properties) == expected


def test_the_form_stays() -> None:
    assert joined(OWN_TEXT, {}) == {"filter": OWN_TEXT, "filter_lang": "cql2-text", "method": "GET"}
    assert joined(OWN_JSON, {}) == {"filter": OWN_JSON}
    assert joined(None, {}) == {}
    assert joined(None, {"platform": "x"}) == {"filter": {"op": "=", "args": [{"property": "platform"}, "x"]}}


@pytest.mark.parametrize("value", ["it's", 'a" OR 1=1 --', "'; drop"])
def test_a_value_stays_a_value(value: str) -> None:
    assert holds(joined("a = 0", {"platform": value}), {"a": 0, "platform": value})
    assert not holds(joined("a = 0", {"platform": value}), {"a": 0, "platform": "x"})


def test_words_become_properties_and_the_rest_stays() -> None:
    given = {"orbit": 5, "platform": None, "datetime": "2024", "method": "POST"}
    assert understood({"orbit": "sat:absolute_orbit", "platform": "platform"}, given) == {
        "filter": {"op": "=", "args": [{"property": "sat:absolute_orbit"}, 5]},
        "datetime": "2024",
        "method": "POST",
    }


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("a = 1 or b", "a = 1 or b"),
        (joined(None, {"platform": "it's"})["filter"], "\"platform\" = 'it''s'"),
        (joined(None, {"a": [2, 1], "b": "x"})["filter"], '"a" IN (1, 2) AND "b" = \'x\''),
        ({"op": ">=", "args": [{"property": "a"}, 1.5]}, '"a" >= 1.5'),
        ({"op": ">", "args": [{"property": "a"}, {"timestamp": "t"}]}, '"a" > {"timestamp": "t"}'),
        (OWN_JSON, json.dumps(OWN_JSON)),
        (joined(OWN_JSON, {"b": True})["filter"], f'{json.dumps(OWN_JSON)} AND "b" = TRUE'),
        ({}, "{}"),
    ],
    ids=str,
)
def test_a_filter_is_told_for_people(given: Any, told: str) -> None:
    assert said(given) == told


@settings(deadline=None, max_examples=100)
@given(WORDS.filter(bool), st.sampled_from(PLACES))
def test_what_is_told_of_words_means_the_same(words: dict[str, Any], properties: dict[str, Any]) -> None:
    stated = joined(None, words)
    assert holds({"filter": said(stated["filter"])}, properties) == holds(stated, properties)
