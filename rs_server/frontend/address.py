"""Makes the server believe its own settings, not a request's headers, about where it is reached."""

from __future__ import annotations

from urllib.parse import urlsplit

from starlette.types import ASGIApp, Receive, Scope, Send

_CLAIMS = frozenset({b"host", b"forwarded", b"x-forwarded-host", b"x-forwarded-proto", b"x-forwarded-port",
                     b"x-forwarded-prefix"})  # fmt: skip


class PublicAddress:
    """ASGI middleware: every link an answer carries starts with the public URL, whatever `Host` the caller sent."""

    def __init__(self, app: ASGIApp, public_url: str) -> None:
        parts = urlsplit(public_url)
        self.app = app
        self.scheme = parts.scheme
        self.host = parts.netloc.encode()
        self.root = parts.path.rstrip("/")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] == "http":
            headers = [(name, value) for name, value in scope["headers"] if name not in _CLAIMS]
            scope = {
                **scope,
                "scheme": self.scheme,
                "headers": [*headers, (b"host", self.host)],
                "root_path": self.root,
                "path": self.root + scope["path"],
            }
        await self.app(scope, receive, send)
