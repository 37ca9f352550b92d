"""How deep a request's body may be nested: libraries that walk it recursively would end the whole process."""

from __future__ import annotations

import re

from fastapi import Request

from rs_server.errors import BadInput

DEEPEST = 32  # a feature collection of multi-polygons has 9 levels

_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})
_STEP = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[{]|[\]}]', re.DOTALL)


async def bounded_body(request: Request) -> None:
    """A dependency: refuse a JSON body that is nested too deeply."""
    if request.method in _WITH_BODY and depth(await request.body()) > DEEPEST:
        raise BadInput(f"the body is nested more than {DEEPEST} levels deep")


def depth(body: bytes) -> int:
    """Levels of arrays and objects in a JSON text."""
    deepest = level = 0
    for step in _STEP.finditer(body):
        match body[step.start()]:
            case 0x5B | 0x7B:  # [ {
                level += 1
                deepest = max(deepest, level)
            case 0x5D | 0x7D:  # ] }
                level -= 1
    return deepest
