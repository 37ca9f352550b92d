"""Calls an application in this process, with the lifespan state that a server would have given it."""

from __future__ import annotations

from typing import Any

import httpx
from starlette.types import ASGIApp, Receive, Scope, Send


def client(app: ASGIApp, *, headers: dict[str, str] | None = None, **state: Any) -> httpx.AsyncClient:
    """An HTTP client of the application; ``state`` is what its lifespan would have yielded."""

    async def with_state(scope: Scope, receive: Receive, send: Send) -> None:
        await app({**scope, "state": dict(state)}, receive, send)

    transport = httpx.ASGITransport(app=with_state, raise_app_exceptions=False)
    return httpx.AsyncClient(transport=transport, base_url="http://server.test", headers=headers)
