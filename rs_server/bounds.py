"""How large a request may be: what is too large is refused before it is in memory."""

from __future__ import annotations

from http import HTTPStatus

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rs_server.errors import problem

MOST_HEADERS = 200
MOST_HEADER_BYTES = 65_536


class Bounds:
    """ASGI middleware: 431 for too many headers, 413 for a body of more than ``most_bytes``, told or not."""

    def __init__(self, app: ASGIApp, most_bytes: int) -> None:
        self.app = app
        self.most_bytes = most_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
        elif (refusal := self._refusal(scope)) is not None:
            status, detail = refusal
            answer = problem(Request(scope), status, detail, headers={"Connection": "close"})
            await answer(scope, receive, send)
        else:
            await self.app(scope, _Counting(receive, self.most_bytes), send)

    def _refusal(self, scope: Scope) -> tuple[HTTPStatus, str] | None:
        headers = scope["headers"]
        size = sum(len(name) + len(value) for name, value in headers)
        if len(headers) > MOST_HEADERS or size > MOST_HEADER_BYTES:
            return HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "the request has too many headers, or too long ones"
        told = Headers(scope=scope).get("content-length", "0")
        if told.isdecimal() and int(told) > self.most_bytes:
            return HTTPStatus.CONTENT_TOO_LARGE, _too_large(self.most_bytes)
        return None


class _Counting:
    """Hands a body on as long as it is within the bound."""

    def __init__(self, receive: Receive, left: int) -> None:
        self._receive = receive
        self._most = self._left = left

    async def __call__(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            self._left -= len(message.get("body", b""))
            if self._left < 0:  # the one exception that FastAPI lets through while it reads a body
                raise HTTPException(HTTPStatus.CONTENT_TOO_LARGE, _too_large(self._most), {"Connection": "close"})
        return message


def _too_large(most: int) -> str:
    return f"the body is larger than {most} bytes: send it in several requests"
