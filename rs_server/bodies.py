"""How deep a request's body may be nested: libraries that walk it recursively would end the whole process."""

from __future__ import annotations

import re

from fastapi import Request

from rs_server.errors import BadInput

DEEPEST = 32  # a feature collection of multi-polygons has 9 levels

_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})
_STRING = re.compile(rb'"[^"]*"')
_ALL_BUT_BRACKETS = bytes(set(range(256)) - set(b'"[]{}'))
_ONE_KIND = bytes.maketrans(b"{}", b"[]")


async def bounded_body(request: Request) -> None:
    """A dependency: refuse a JSON body that is nested too deeply."""
    if request.method in _WITH_BODY and depth(await request.body()) > DEEPEST:
        raise BadInput(f"the body is nested more than {DEEPEST} levels deep")


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
