"""What form a request's body may have: not nested so deep that libraries which walk it recursively would end the
whole process, and JSON as the standard has it (RFC 8259), without NaN and Infinity, which Python would read.
"""

from __future__ import annotations

import re

from fastapi import Request

from rs_server.errors import BadInput

DEEPEST = 32  # a feature collection of multi-polygons has 9 levels

_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})
_STEP = re.compile(rb'"(?:[^"\\]|\\.)*"|[\[{]|[\]}]|NaN|Infinity', re.DOTALL)


async def bounded_body(request: Request) -> None:
    """A dependency: refuse a JSON body that is nested too deeply, or holds what is no number."""
    if request.method in _WITH_BODY and depth(await request.body()) > DEEPEST:
        raise BadInput(f"the body is nested more than {DEEPEST} levels deep")


def depth(body: bytes) -> int:
    """Levels of arrays and objects in a JSON text; ``BadInput`` if it holds NaN or Infinity."""
    deepest = level = 0
    for step in _STEP.finditer(body):
        match body[step.start()]:
            case 0x5B | 0x7B:  # [ {
                level += 1
                deepest = max(deepest, level)
            case 0x5D | 0x7D:  # ] }
                level -= 1
            case 0x4E | 0x49:  # N I
                raise BadInput(f"{step[0].decode()} is not a number of JSON")
    return deepest
