"""Placeholders, comparison and overlay of realm files."""

from typing import Any

import pytest

from rs_hub.realm_file import differs, fill, merged, placeholders


@pytest.mark.parametrize(
    ("have", "want", "expected"),
    [
        ({"a": 1, "b": 2}, {"a": 1}, False),  # what only Keycloak states is no difference
        ({"a": 1}, {"a": 2}, True),
        ({}, {"a": 1}, True),
        ({}, {"a": None}, False),
        (None, {"a": 1}, True),
        ({"a": {"x": "1", "y": "2"}}, {"a": {"x": "1"}}, False),
        ({"a": {"x": "1"}}, {"a": {"x": "2"}}, True),
        ({"a": {}}, {"a": {"x": "1"}}, True),
        ({"a": ["p", "q"]}, {"a": ["q", "p"]}, False),  # no order
        ({"a": ["p", "q"]}, {"a": ["p"]}, True),  # but exact
        ({"a": ["p"]}, {"a": []}, True),
        ({}, {"a": []}, True),
        ({"a": ["p", "p"]}, {"a": ["p"]}, True),
        ({"a": True}, {"a": True}, False),
        ({"a": "true"}, {"a": True}, True),
        ({"a": [{"x": 1, "y": 2}]}, {"a": [{"y": 2, "x": 1}]}, False),
    ],
)
def test_differs(have: Any, want: Any, expected: bool) -> None:
    assert differs(have, want) is expected


def test_placeholders_are_found_and_filled_at_any_depth() -> None:
    realm = {"a": "${ONE}/x", "b": [{"c": "${TWO_2}"}], "d": 5, "e": "${client_account}"}
    assert placeholders(realm) == {"ONE", "TWO_2"}
    assert fill(realm, {"ONE": "1", "TWO_2": "2"}) == {"a": "1/x", "b": [{"c": "2"}], "d": 5, "e": "${client_account}"}


def test_a_placeholder_without_value_is_an_error() -> None:
    with pytest.raises(KeyError, match="ONE"):
        fill({"a": "${ONE}"}, {})


def test_a_value_is_not_read_for_placeholders_again() -> None:
    assert fill({"a": "${ONE}"}, {"ONE": "${TWO}"}) == {"a": "${TWO}"}


def test_overlay_keeps_what_is_not_named() -> None:
    have = {"a": 1, "attributes": {"x": "1", "y": "2"}, "l": [1, 2]}
    assert merged(have, {"attributes": {"y": "3"}, "l": [3]}) == {
        "a": 1,
        "attributes": {"x": "1", "y": "3"},
        "l": [3],
    }
