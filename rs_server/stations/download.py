"""An asset's bytes, passed on from the station to the caller as they come, without anything of the station's login."""

from __future__ import annotations

import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

from fastapi import Request
from fastapi.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from rs_server import errors
from rs_server.stations.client import Download, Stations

_ONE_RANGE = re.compile(r"bytes=(\d{1,18}-\d{0,18}|-\d{1,18})", re.ASCII)
_PASSED_ON = ("content-length", "content-range", "etag", "last-modified", "accept-ranges")


class DownloadResponse(Response):
    """Opens the station's stream when it is sent: a failure before the first byte is still an answer of ours."""

    def __init__(self, request: Request, stations: Stations, service: str, collection: str, asset: Mapping[str, Any]):
        super().__init__()
        self._request = request
        self._opened = stations.download(service, collection, asset, range_=requested_range(request.headers))
        self._asset = asset

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Stream the bytes, and close the station's stream however it ends."""
        async with self._opened as download:
            await self._answer(download)(scope, receive, send)

    def _answer(self, download: Download) -> Response:
        headers = {name: download.headers[name] for name in _PASSED_ON if name in download.headers}
        if download.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            headers.pop("content-length", None)
            status = HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE
            return errors.problem(self._request, status, "the file ends before the range begins", headers=headers)
        headers["content-disposition"] = f"attachment; filename*=UTF-8''{quote(self._asset['title'], safe='')}"
        return StreamingResponse(
            download.chunks, status_code=download.status, media_type=self._asset["type"], headers=headers
        )


def requested_range(headers: Mapping[str, str]) -> str | None:
    """The one range that is asked for. Several, or one under a condition, are ignored as RFC 9110 §14.2 allows."""
    found = _ONE_RANGE.fullmatch(headers.get("range", "").replace(" ", ""))
    return found[0] if found and "if-range" not in headers else None
