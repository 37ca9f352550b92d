"""The outermost door: a caller who goes on asking too often is refused before anything is done for them."""

from __future__ import annotations

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from rs_server import telemetry
from rs_server.errors import answer, status_of


class Gate:
    """ASGI middleware that answers 429 at once: the first time is in the log, and all are in the metrics.

    Refusing has to be cheap, else one caller takes the time of all others by being refused.
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
        request_id = scope["state"]["request_id"] = telemetry.request_id(headers)
        refused = answer(Request(scope), refusal)
        refused.headers[telemetry.REQUEST_ID_HEADER] = request_id
        self.metrics.answered(telemetry.service(scope["path"]), scope["method"], status_of(refusal), 0)
        await refused(scope, receive, send)
