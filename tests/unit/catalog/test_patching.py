"""What a document becomes after a patch."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import TypeAdapter
from stac_fastapi.extensions.transaction.request import PartialItem, PatchOperation

from rs_server.catalog.patching import patched
from rs_server.errors import BadInput, Conflict, RsError

BEFORE = {"id": "i", "properties": {"a": 1, "b": 2}}


def operations(*steps: dict[str, Any]) -> list[PatchOperation]:
    return TypeAdapter(list[PatchOperation]).validate_python(steps)


def test_merge() -> None:
    after = patched(BEFORE, PartialItem.model_validate({"properties": {"a": None, "c": 3}}))
    assert after == {"id": "i", "properties": {"b": 2, "c": 3}}


def test_operations() -> None:
    steps = operations(
        {"op": "test", "path": "/properties/a", "value": 1},
        {"op": "replace", "path": "/properties/a", "value": 5},
        {"op": "move", "from": "/properties/b", "path": "/properties/c"},
    )
    assert patched(BEFORE, steps) == {"id": "i", "properties": {"a": 5, "c": 2}}


REFUSED: list[tuple[dict[str, Any], type[RsError]]] = [
    ({"op": "test", "path": "/properties/a", "value": 2}, Conflict),
    ({"op": "remove", "path": "/properties/z"}, BadInput),
    ({"op": "replace", "path": "nonsense", "value": 2}, BadInput),
    ({"op": "replace", "path": "", "value": [1]}, BadInput),
    ({"op": "move", "from": "/properties", "path": "/properties/a"}, BadInput),
]


@pytest.mark.parametrize(("step", "error"), REFUSED)
def test_refused(step: dict[str, Any], error: type[RsError]) -> None:
    with pytest.raises(error):
        patched(BEFORE, operations(step))
    assert BEFORE == {"id": "i", "properties": {"a": 1, "b": 2}}
