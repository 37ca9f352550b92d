"""``$value`` over HTTP: the whole or one range of an entity's bytes (RFC 9110 §14)."""

from __future__ import annotations

import re
from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from rs_server.simulators.model import Content

_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


class Unsatisfiable(Exception):
    """The range lies outside of the content."""


def requested(header: str | None, size: int) -> tuple[int, int] | None:
    """Start and exclusive stop of a single byte range; None: the whole. Raises Unsatisfiable.

    What is not understood (other units, several ranges) is ignored, as the standard allows.
    """
    match = _RANGE.fullmatch(header.strip()) if header else None
    if match is None or match.group() == "bytes=-":
        return None
    first, last = match.groups()
    if not first:
        start, stop = max(0, size - int(last)), size
    else:
        start, stop = int(first), min(size, int(last) + 1) if last else size
        if last and int(last) < int(first):
            return None
    if start >= stop:
        raise Unsatisfiable
    return start, stop


def respond(request: Request, content: Content, *, ranges: bool = True) -> Response:
    """Answer GET or HEAD; without ``ranges`` with the whole, whatever was asked for."""
    headers = {
        "Accept-Ranges": "bytes",
        "ETag": content.etag,
        "Content-Disposition": f'attachment; filename="{content.name}"',
    }
    conditional = ranges and request.headers.get("if-range", content.etag) == content.etag
    try:
        part = requested(request.headers.get("range") if conditional else None, content.size)
    except Unsatisfiable:
        headers["Content-Range"] = f"bytes */{content.size}"
        return Response(status_code=HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE, headers=headers)
    start, stop = part or (0, content.size)
    headers["Content-Length"] = str(stop - start)
    if part:
        headers["Content-Range"] = f"bytes {start}-{stop - 1}/{content.size}"
    status = HTTPStatus.PARTIAL_CONTENT if part else HTTPStatus.OK
    if request.method == "HEAD":
        return Response(status_code=status, headers=headers, media_type=content.media_type)
    return StreamingResponse(content.read(start, stop), status, headers, content.media_type)
