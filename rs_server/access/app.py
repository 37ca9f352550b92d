"""The routes under /auth: who am I, my API keys, what was done, and the way to the login page."""

from __future__ import annotations

from urllib.parse import urlencode

from fastapi import Depends, FastAPI
from fastapi.responses import RedirectResponse
from pydantic import BaseModel, Field

from rs_server import errors
from rs_server.access import history, key_routes, policy, predecessor
from rs_server.access.guards import Caller
from rs_server.bodies import bounded_body
from rs_server.settings import Settings


class Me(BaseModel):
    """The caller as the server sees them."""

    login: str
    subject: str
    roles: list[str]
    groups: list[str]
    granted: list[str] | None = Field(
        description="Roles that owners of collections gave; null: they cannot be read just now"
    )
    scopes: list[str] | None = Field(description="Roles to which an API key is narrowed; null: it is not")
    everything: bool = Field(description="No issuer is configured: the one local user may do everything")
    via: str = Field(description="How the caller proved who they are: bearer, api_key or local")
    user_login: str = Field(description="The login, as clients of the server before this one read it", deprecated=True)
    iam_roles: list[str] = Field(
        description="The rights, as clients of the server before this one read them", deprecated=True
    )


def create_app(settings: Settings) -> FastAPI:
    """The access service."""
    app = FastAPI(title="Access", docs_url=None, redoc_url=None, openapi_url=None, dependencies=[Depends(bounded_body)])
    errors.install(app)
    _add_identity(app)
    app.include_router(key_routes.create_router())
    app.include_router(history.create_router())
    app.include_router(predecessor.create_router())
    _add_login(app, settings)
    return app


def _add_identity(app: FastAPI) -> None:
    @app.get("/me")
    async def me(who: Caller) -> Me:
        """Who the caller is."""
        return Me(**who.as_json(), user_login=who.login, iam_roles=sorted(policy.held(who)))


def _add_login(app: FastAPI, settings: Settings) -> None:
    docs = f"{settings.public_url}/docs"
    issuer = settings.access.issuer

    @app.get("/login")
    async def login() -> RedirectResponse:
        """Go to the documentation page, whose Authorize button logs in at the identity provider."""
        return RedirectResponse(docs)

    @app.get("/logout")
    async def logout() -> RedirectResponse:
        """End the browser's session at the identity provider, which asks before it does so."""
        if issuer is None:
            return RedirectResponse(docs)
        client = urlencode({"client_id": settings.access.docs_client_id})
        return RedirectResponse(f"{issuer.rstrip('/')}/protocol/openid-connect/logout?{client}")
