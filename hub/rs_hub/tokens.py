"""The hub service that hands a user's server a fresh Keycloak access token, and never the refresh token."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Annotated, Any
from urllib.parse import urlsplit

import httpx
import uvicorn
from fastapi import FastAPI, Header, HTTPException, Request, Response, status
from pydantic import BaseModel

from rs_hub.claims import life_left
from rs_hub.settings import TokenServiceEnvironment

_LOG_IN_AGAIN = "your login is over: log in to the hub again, then repeat this"
_ORPHAN_CHECK_S = 1.0


class AccessToken(BaseModel):
    """The answer: a bearer token for rs-server."""

    access_token: str
    token_type: str = "Bearer"  # noqa: S105 - a kind, not a token
    expires_in: int  # seconds


def create_app(service: TokenServiceEnvironment, transport: httpx.AsyncBaseTransport | None = None) -> FastAPI:
    """The application; ``transport`` stands in for the network towards the hub."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, Any]]:
        async with httpx.AsyncClient(base_url=service.api_url, transport=transport, timeout=20) as hub:
            yield {"hub": hub}

    app = FastAPI(lifespan=lifespan, docs_url=None, redoc_url=None, openapi_url=None)

    @app.get(f"{service.service_prefix}/health")
    async def health() -> dict[str, bool]:
        return {"ok": True}

    @app.get(f"{service.service_prefix}/token")
    async def token(
        request: Request, response: Response, authorization: Annotated[str | None, Header()] = None
    ) -> AccessToken:
        response.headers["Cache-Control"] = "no-store"
        hub: httpx.AsyncClient = request.state.hub
        name = await _caller(hub, authorization, service.service_name)
        return await _access_token(hub, name, service.api_token.get_secret_value())

    return app


async def _caller(hub: httpx.AsyncClient, authorization: str | None, service_name: str) -> str:
    """The user whose hub token this is.

    Asking the hub with the caller's own token is also what makes it renew that user's login in time.
    """
    if not authorization:
        raise HTTPException(status.HTTP_401_UNAUTHORIZED, "send your hub token: Authorization: token …")
    answer = await _ask(hub, "/user", authorization)
    if answer.status_code in (status.HTTP_401_UNAUTHORIZED, status.HTTP_403_FORBIDDEN):
        raise HTTPException(status.HTTP_401_UNAUTHORIZED, _LOG_IN_AGAIN)
    user = _body(answer)
    if user.get("kind") != "user" or not grants_access(user.get("scopes", ()), service_name):
        raise HTTPException(status.HTTP_403_FORBIDDEN, f"this hub token may not use the service {service_name}")
    return str(user["name"])


async def _access_token(hub: httpx.AsyncClient, name: str, own_token: str) -> AccessToken:
    """What the hub holds for a user now; refused rather than handed out expired."""
    answer = await _ask(hub, f"/users/{name}", f"token {own_token}")
    state = _body(answer).get("auth_state")
    if not state:
        raise HTTPException(status.HTTP_401_UNAUTHORIZED, _LOG_IN_AGAIN)
    left = life_left(state["access_token"], time.time())
    if left <= 0:
        raise HTTPException(status.HTTP_503_SERVICE_UNAVAILABLE, "Keycloak is not answering: try again in a moment")
    return AccessToken(access_token=state["access_token"], expires_in=int(left))


def grants_access(scopes: Sequence[str], service_name: str) -> bool:
    """Whether hub scopes let their holder use a service."""
    return "access:services" in scopes or f"access:services!service={service_name}" in scopes


async def _ask(hub: httpx.AsyncClient, path: str, authorization: str) -> httpx.Response:
    try:
        return await hub.get(path, headers={"Authorization": authorization})
    except httpx.TransportError as error:
        raise HTTPException(status.HTTP_503_SERVICE_UNAVAILABLE, "the hub is not answering") from error


def _body(answer: httpx.Response) -> dict[str, Any]:
    if answer.status_code != status.HTTP_200_OK:
        raise HTTPException(status.HTTP_503_SERVICE_UNAVAILABLE, f"the hub answered with status {answer.status_code}")
    body: dict[str, Any] = answer.json()
    return body


async def _serve(service: TokenServiceEnvironment) -> None:
    """Serve until asked to stop, or until the hub that started us is gone: the next hub starts its own."""
    address = urlsplit(service.service_url)
    server = uvicorn.Server(
        uvicorn.Config(
            create_app(service),
            host=address.hostname or "127.0.0.1",
            port=address.port or 80,
            access_log=False,
            log_level="warning",
        )
    )
    watch = asyncio.create_task(_stop_when_orphaned(server, os.getppid()))
    await server.serve()
    watch.cancel()
    with suppress(asyncio.CancelledError):
        await watch


async def _stop_when_orphaned(server: uvicorn.Server, parent: int) -> None:
    while os.getppid() == parent:  # noqa: ASYNC110 - the kernel tells nobody that a parent has died
        await asyncio.sleep(_ORPHAN_CHECK_S)
    server.should_exit = True


def main() -> None:
    """Run as a service that the hub starts."""
    asyncio.run(_serve(TokenServiceEnvironment()))


if __name__ == "__main__":
    main()
