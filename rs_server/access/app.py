"""The routes under /auth: who am I, my API keys, and the way to the login page."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated
from urllib.parse import urlencode
from uuid import UUID

from fastapi import Depends, FastAPI, Query, Request
from fastapi.responses import RedirectResponse
from pydantic import BaseModel, ConfigDict, Field

from rs_server import errors
from rs_server.access import apikeys, audit, history, policy
from rs_server.access.apikeys import ApiKey
from rs_server.access.authentication import Access
from rs_server.access.guards import Caller, require
from rs_server.access.policy import Principal, Right, Service
from rs_server.bodies import bounded_body
from rs_server.database import Database
from rs_server.errors import BadInput, Forbidden, NotFound
from rs_server.settings import Settings

_LONGEST_DAYS = apikeys.LONGEST_LIFE.days
_DEFAULT_DAYS = apikeys.DEFAULT_LIFE.days


class Me(BaseModel):
    """The caller as the server sees them."""

    login: str
    subject: str
    roles: list[str]
    groups: list[str]
    everything: bool = Field(description="No issuer is configured: the one local user may do everything")
    via: str = Field(description="How the caller proved who they are: bearer, api_key or local")


class KeyRequest(BaseModel):
    """The key to make."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(min_length=1, max_length=100, description="What it is for")
    expires_in_days: int = Field(_DEFAULT_DAYS, ge=1, le=_LONGEST_DAYS, description="How long it lives")
    owner: str | None = Field(None, description="Whose key it will be; another than the caller: operators only")


class KeyInfo(BaseModel):
    """What is known about a key."""

    id: UUID
    name: str
    owner: str
    created: datetime
    created_by: str
    expires: datetime
    last_used: datetime | None

    @classmethod
    def of(cls, key: ApiKey) -> KeyInfo:
        """The public part of a key's record."""
        return cls(**{name: getattr(key, name) for name in cls.model_fields})


class NewKey(BaseModel):
    """A key that was just made; ``api_key`` is shown here and never again."""

    api_key: str
    id: UUID
    name: str
    owner: str
    expires: datetime


def create_app(settings: Settings) -> FastAPI:
    """The access service."""
    app = FastAPI(title="Access", docs_url=None, redoc_url=None, openapi_url=None, dependencies=[Depends(bounded_body)])
    errors.install(app)
    app.include_router(history.create_router())
    _add_identity(app)
    _add_keys(app)
    _add_predecessor_names(app)
    _add_login(app, settings)
    return app


def _add_identity(app: FastAPI) -> None:
    @app.get("/me")
    async def me(who: Caller) -> Me:
        """Who the caller is."""
        return Me(
            login=who.login,
            subject=who.subject,
            roles=sorted(who.roles),
            groups=sorted(who.groups),
            everything=who.everything,
            via=who.via,
        )


def _add_keys(app: FastAPI) -> None:
    @app.post("/api_keys", status_code=201)
    async def create_key(request: Request, who: Caller, wanted: KeyRequest) -> NewKey:
        """Make an API key; the answer is the only place that ever shows it."""
        return await _create(request, who, wanted)

    @app.get("/api_keys")
    async def list_keys(request: Request, who: Caller) -> list[KeyInfo]:
        """The caller's keys that still hold."""
        return [KeyInfo.of(key) for key in await _access(request).keys.of(who.login)]

    @app.delete("/api_keys/{key_id}", status_code=204)
    async def revoke_key(request: Request, who: Caller, key_id: UUID) -> None:
        """End one of the caller's keys at once."""
        await _revoke(request, who, key_id)


def _add_predecessor_names(app: FastAPI) -> None:
    """The routes that clients of the RS-Server before this one call."""

    @app.get("/api_key/new", deprecated=True)
    async def new_key(request: Request, who: Caller, name: str = "") -> str:
        """Make an API key; the answer is the key. Use ``POST /auth/api_keys``."""
        return (await _create(request, who, KeyRequest(name=name or "unnamed"))).api_key

    @app.get("/api_key/list", deprecated=True)
    async def list_old(request: Request, who: Caller) -> list[KeyInfo]:
        """The caller's keys. Use ``GET /auth/api_keys``."""
        return [KeyInfo.of(key) for key in await _access(request).keys.of(who.login)]

    @app.get("/api_key/revoke", deprecated=True)
    async def revoke_old(request: Request, who: Caller, key_id: Annotated[UUID, Query(alias="id")]) -> None:
        """End a key. Use ``DELETE /auth/api_keys/{id}``."""
        await _revoke(request, who, key_id)

    @app.get("/check_key", deprecated=True)
    async def check_key(who: Caller) -> Me:
        """Who the caller is. Use ``GET /auth/me``."""
        return Me(
            login=who.login,
            subject=who.subject,
            roles=sorted(who.roles),
            groups=sorted(who.groups),
            everything=who.everything,
            via=who.via,
        )


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


async def _create(request: Request, who: Principal, wanted: KeyRequest) -> NewKey:
    if who.via == "api_key":
        raise Forbidden("an API key cannot make another one", hint="log in to make a key")
    owner, subject = await _owner(request, who, wanted.owner)
    key, made = await _access(request).keys.create(
        name=wanted.name,
        owner=owner,
        subject=subject,
        created_by=who.login,
        life=timedelta(days=wanted.expires_in_days),
    )
    await audit.record(_database(request), who, "api_key.create", str(made.id), owner=owner)
    return NewKey(api_key=key, id=made.id, name=made.name, owner=made.owner, expires=made.expires)


async def _owner(request: Request, who: Principal, wanted: str | None) -> tuple[str, str]:
    """Login and lasting id of the key's owner: the caller, or somebody the caller may make keys for."""
    if wanted is None or wanted == who.login:
        return who.login, who.subject
    require(who, Right.ISSUE, Service.AUTH, policy.API_KEYS)
    directory = _access(request).directory
    if directory is None:
        raise BadInput("no directory is configured to look other users up")
    user = await directory.find(wanted)
    if user is None or not user.enabled:
        raise NotFound(f"there is no user {wanted}")
    return user.login, user.subject


async def _revoke(request: Request, who: Principal, key_id: UUID) -> None:
    await _access(request).keys.revoke(who.login, key_id)
    await audit.record(_database(request), who, "api_key.revoke", str(key_id))


def _access(request: Request) -> Access:
    access: Access = request.state.access
    return access


def _database(request: Request) -> Database:
    database: Database = request.state.database
    return database
