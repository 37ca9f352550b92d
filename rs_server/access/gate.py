"""The outermost door: a caller who goes on asking too often is refused before anything is done for them."""

from __future__ import annotations

from http import HTTPStatus

import orjson
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from rs_server import telemetry
from rs_server.errors import PROBLEM_JSON, TooManyRequests, document, type_of

STATUS = HTTPStatus.TOO_MANY_REQUESTS


class Gate:
    """ASGI middleware that answers 429 at once: the first time is in the log, and all are in the metrics.

    Refusing has to be cheap, else one caller takes the time of all others by being refused: the same answer as
    everywhere, but without the framework.
    """

    def __init__(self, app: ASGIApp, metrics: telemetry.Metrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        authenticator = scope.get("state", {}).get("authenticator")
        if scope["type"] != "http" or authenticator is None:
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        refusal = authenticator.refusal(headers)
        if refusal is None:
            await self.app(scope, receive, send)
            return
        self.metrics.answered(telemetry.NO_ROUTE, scope["method"], STATUS, 0)
        await _refuse(refusal, scope["path"], telemetry.request_id(headers), send)


async def _refuse(refusal: TooManyRequests, path: str, request_id: str, send: Send) -> None:
    members = {"instance": path, "request_id": request_id, **refusal.members}
    body = orjson.dumps(document(STATUS, refusal.detail, type_=type_of(refusal), **members))
    headers = [
        (b"content-type", PROBLEM_JSON.encode()),
        (b"content-length", str(len(body)).encode()),
        (b"retry-after", str(refusal.members["retry_after_s"]).encode()),
        (telemetry.REQUEST_ID_HEADER.encode(), request_id.encode()),
    ]
    await send({"type": "http.response.start", "status": int(STATUS), "headers": headers})
    await send({"type": "http.response.body", "body": body})
