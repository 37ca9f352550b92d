"""What a request's body may hold, and how deep it may be nested: libraries that walk it would end the whole process."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from typing import Any

import orjson
from fastapi import Request

from rs_server.errors import BadInput

DEEPEST = 40  # a feature collection of multi-polygons has 9 levels, the deepest filter of a search 36

_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})
_NO_NUMBERS = (b"NaN", b"Infinity")
_TEXT = re.compile(rb'"(?:[^"\\]|\\.)*"', re.DOTALL)
_HIGH, _LOW = rb"\\u[dD][89abAB][0-9a-fA-F]{2}", rb"\\u[dD][c-fC-F][0-9a-fA-F]{2}"
_NO_TEXT = re.compile(rb"\\u0000|%b(?!%b)|(?<!%b)%b" % (_HIGH, _LOW, _HIGH, _LOW))
_NOT_KEPT_SIGNS = re.compile("[\x00\ud800-\udfff]")
_STRING = re.compile(rb'"[^"]*"')
_ALL_BUT_BRACKETS = bytes(set(range(256)) - set(b'"[]{}'))
_NOT_KEPT = ("Integer exceeds", "str is not valid UTF-8")  # as orjson says it
_ONE_KIND = bytes.maketrans(b"{}", b"[]")


async def bounded_body(request: Request) -> None:
    """A dependency: refuse a JSON body that is nested too deeply, or holds what is no number or cannot be kept."""
    if request.method not in _WITH_BODY:
        return
    body = await request.body()
    if depth(body) > DEEPEST:
        raise BadInput(f"the body is nested more than {DEEPEST} levels deep")
    if (word := no_number(body)) is not None:
        raise BadInput(f"{word} is not a number of JSON")
    if (sign := no_text(body)) is not None:
        raise BadInput(f"{place_of_no_text(body)}: {sign} is no character of a text that can be kept")


def no_number(body: bytes) -> str | None:
    """NaN or Infinity outside of all texts, which Python would read though JSON (RFC 8259) has no such numbers."""
    if not any(word in body for word in _NO_NUMBERS):
        return None
    bare = _TEXT.sub(b"", body)
    return next((word.decode() for word in _NO_NUMBERS if word in bare), None)


def no_text(body: bytes) -> str | None:
    """An escape that stands for no character which the database keeps: NUL, or half of a surrogate pair."""
    if b"\\u" not in body:
        return None
    found = _NO_TEXT.search(body.replace(b"\\\\", b""))
    return None if found is None else found[0].decode()


def place_of_no_text(body: bytes) -> str:
    """Where the first such text of a body is, by names and numbers; of a name, where it stands."""
    try:
        return ".".join(_place(json.loads(body), ()) or ()) or "the body"
    except ValueError:  # it is no JSON either
        return "the body"


def _place(value: Any, path: tuple[str, ...]) -> tuple[str, ...] | None:
    if isinstance(value, str):
        return path if _NOT_KEPT_SIGNS.search(value) else None
    if isinstance(value, dict):
        if any(_NOT_KEPT_SIGNS.search(name) for name in value):
            return path
        parts: Iterable[tuple[str, Any]] = value.items()
    else:
        parts = ((str(number), each) for number, each in enumerate(value if isinstance(value, list) else ()))
    return next((found for name, each in parts if (found := _place(each, (*path, name))) is not None), None)


def depth(body: bytes) -> int:
    """Levels of arrays and objects in a JSON text; beyond ``DEEPEST`` any larger number.

    Works on the text as a whole, as many megabytes of items come in one body: what is no bracket goes, then pairs of
    brackets with nothing in them go, level by level.
    """
    plain = body.replace(b"\\\\", b"").replace(b'\\"', b"") if b"\\" in body else body
    brackets = plain.translate(_ONE_KIND, _ALL_BUT_BRACKETS).replace(b'""', b"")
    left = _STRING.sub(b"", brackets) if b'"' in brackets else brackets
    for level in range(DEEPEST + 1):
        if b"[" not in left:
            return level
        left = left.replace(b"[]", b"")
    return DEEPEST + 1


def as_json(value: Any) -> bytes:
    """JSON of what a caller sent; ``BadInput`` for what a reader of JSON takes and nobody can pass on.

    That is a whole number of more than 64 bits, or half of a surrogate pair.
    """
    try:
        return orjson.dumps(value)
    except TypeError as error:
        if not str(error).startswith(_NOT_KEPT):
            raise
        raise BadInput(f"the request holds a value that cannot be kept: {error}") from error
