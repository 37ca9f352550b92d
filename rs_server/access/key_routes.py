"""The routes by which people look after their API keys."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Annotated
from uuid import UUID

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field

from rs_server.access import apikeys, policy
from rs_server.access.apikeys import ApiKey
from rs_server.access.authentication import Access
from rs_server.access.guards import Caller, require, require_unscoped
from rs_server.access.policy import Principal, Right, Service
from rs_server.errors import BadInput, Forbidden, NotFound

_LONGEST_DAYS = apikeys.LONGEST_LIFE.days
_DEFAULT_DAYS = apikeys.DEFAULT_LIFE.days

Scope = Annotated[str, Field(min_length=1, max_length=255)]


class KeyRequest(BaseModel):
    """The key to make."""

    model_config = ConfigDict(extra="forbid")

    name: str = Field(min_length=1, max_length=100, description="What it is for")
    expires_in_days: int | None = Field(
        _DEFAULT_DAYS,
        ge=1,
        le=_LONGEST_DAYS,
        description="How long it lives; null: until it is revoked, which operators may ask for service accounts",
    )
    owner: str | None = Field(None, description="Whose key it will be; another than the caller: operators only")
    scopes: list[Scope] | None = Field(
        None, max_length=100, description="Roles to which the key is narrowed; default: all that its owner may do"
    )


class KeyInfo(BaseModel):
    """What is known about a key."""

    id: UUID
    name: str
    owner: str
    created: datetime
    created_by: str
    expires: datetime | None
    last_used: datetime | None
    scopes: list[str] | None

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
    expires: datetime | None
    scopes: list[str] | None


def create_router() -> APIRouter:
    """The routes, to be included in the access service; the lifespan state holds ``access``."""
    router = APIRouter(tags=["API keys"])

    @router.post("/api_keys", status_code=201)
    async def create_key(request: Request, who: Caller, wanted: KeyRequest) -> NewKey:
        """Make an API key; the answer is the only place that ever shows it."""
        return await create(access_of(request), who, wanted)

    @router.get("/api_keys")
    async def list_keys(request: Request, who: Caller) -> list[KeyInfo]:
        """The caller's keys that still hold."""
        return [KeyInfo.of(key) for key in await listed(access_of(request), who)]

    @router.delete("/api_keys/{key_id}", status_code=204)
    async def revoke_key(request: Request, who: Caller, key_id: UUID) -> None:
        """End one of the caller's keys at once."""
        await revoke(access_of(request), who, key_id)

    return router


async def create(access: Access, who: Principal, wanted: KeyRequest) -> NewKey:
    """Make a key as the caller wants it, if they may."""
    if who.via == "api_key":
        raise Forbidden(
            "an API key cannot make another one", hint="log in to make a key", denied="login", missing_right="login"
        )
    owner = await _owner(access, who, wanted)
    for scope in wanted.scopes or ():
        if not policy.may_scope(owner, scope):
            raise BadInput(
                f"{scope} is not a scope that a key of {owner.login} may have",
                hint="a scope is a role text within what the owner of the key may do: GET /auth/me",
            )
    life = None if wanted.expires_in_days is None else timedelta(days=wanted.expires_in_days)
    key, made = await access.keys.create(
        who, name=wanted.name, owner=owner.login, subject=owner.subject, life=life, scopes=wanted.scopes
    )
    scopes = None if made.scopes is None else [*made.scopes]
    return NewKey(api_key=key, id=made.id, name=made.name, owner=made.owner, expires=made.expires, scopes=scopes)


async def listed(access: Access, who: Principal) -> list[ApiKey]:
    """The caller's keys that still hold."""
    require_unscoped(who, "look at the keys of its owner")
    return await access.keys.of(who.login)


async def revoke(access: Access, who: Principal, key_id: UUID) -> None:
    """End one of the caller's keys."""
    require_unscoped(who, "revoke the keys of its owner")
    await access.keys.revoke(who, key_id)


def access_of(request: Request) -> Access:
    """What the access service works with."""
    access: Access = request.state.access
    return access


async def _owner(access: Access, who: Principal, wanted: KeyRequest) -> Principal:
    """The key's owner: the caller, or somebody the caller may make keys for."""
    if wanted.owner in (None, who.login):
        if wanted.expires_in_days is None:
            raise Forbidden(
                "keys without an end are for service accounts", hint="an operator makes them", denied="role"
            )
        return who
    require(who, Right.ISSUE, Service.AUTH, policy.API_KEYS)
    if access.directory is None:
        raise BadInput("no directory is configured to look other users up")
    user = await access.directory.find(wanted.owner or "")
    if user is None or not user.enabled:
        raise NotFound(f"there is no user {wanted.owner}")
    if wanted.expires_in_days is None and not user.is_service:
        raise Forbidden(
            "keys without an end are for service accounts", hint=f"say at most {_LONGEST_DAYS} days", denied="limit"
        )
    return await access.grants.added(user.principal("api_key"))
