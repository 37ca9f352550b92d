"""The depth of bodies is counted without walking them."""

from __future__ import annotations

import json

import pytest
from fastapi import Depends, FastAPI, Request

from rs_server import errors
from rs_server.bodies import DEEPEST, as_json, bounded_body, depth, no_number, no_text, place_of_no_text
from tests.asgi import client


@pytest.mark.parametrize(
    ("value", "levels"),
    [
        (1, 0),
        ("[[[[", 0),
        ('"[', 0),
        ("\\", 0),
        ({}, 1),
        ([[], [[]]], 3),
        ({"a": [{"b": '}]\\"['}]}, 3),
        ({"NaN": "Infinity"}, 1),
    ],
)
def test_depth(value: object, levels: int) -> None:
    assert depth(json.dumps(value).encode()) == levels


async def test_deep_bodies_are_refused() -> None:
    app = FastAPI(dependencies=[Depends(bounded_body)])
    errors.install(app)

    @app.post("/")
    async def echo(request: Request) -> int:
        return len(await request.body())

    async with client(app) as http:
        for levels, status in ((DEEPEST, 200), (DEEPEST + 1, 400), (50_000, 400)):
            body = "[" * levels + "]" * levels
            assert (await http.post("/", content=body)).status_code == status


@pytest.mark.parametrize(
    ("text", "word"),
    [
        (b"NaN", "NaN"),
        (b'{"a": [1, -Infinity]}', "Infinity"),
        (b'{"NaN": "Infinity"}', None),
        (b'["\\"", NaN]', "NaN"),
        (b'["\\\\", "NaN"]', None),
        (b"{}", None),
    ],
)
def test_what_is_no_number_of_json_is_found(text: bytes, word: str | None) -> None:
    assert no_number(text) == word


@pytest.mark.parametrize("value", [10**30, {"args": [-(2**64)]}, "\ud800"])
def test_what_json_takes_and_nobody_can_keep_is_refused(value: object) -> None:
    with pytest.raises(errors.BadInput, match="cannot be kept"):
        as_json(value)


def test_our_own_mistakes_are_not_the_callers() -> None:
    with pytest.raises(TypeError):
        as_json({"a": {1, 2}})


@pytest.mark.parametrize(
    ("text", "sign"),
    [
        (rb'{"a": "b"}', None),
        (rb'{"a": "\u0001 \u00e9 \ud834\udd1e"}', None),
        (rb'{"a": "\\u0000"}', None),  # a backslash, and then five letters
        (rb'{"a": "b\u0000"}', "\\u0000"),
        (rb'{"a": "\\\u0000"}', "\\u0000"),
        (rb'{"a\u0000": 1}', "\\u0000"),
        (rb'{"a": "\ud834"}', "\\ud834"),
        (rb'{"a": "\uDD1E"}', "\\uDD1E"),
        (rb'{"a": "\ud834x\udd1e"}', "\\ud834"),
        (rb'{"a": "\ud834\udd1e\udd1e"}', "\\udd1e"),
    ],
)
def test_what_is_no_character_is_found(text: bytes, sign: str | None) -> None:
    assert no_text(text) == sign


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (rb'{"inputs": {"items": ["a", {"href": "b\u0000"}]}}', "inputs.items.1.href"),
        (rb'{"assets": {"a\u0000": {}}, "b": "\ud834"}', "assets"),
        (rb'{"fine": "\ud834\udd1e", "b": "\ud834"}', "b"),
        (rb'"\u0000"', "the body"),
        (rb'{"a": "\u0000"', "the body"),
    ],
)
def test_where_it_is_is_told(text: bytes, place: str) -> None:
    assert place_of_no_text(text) == place
