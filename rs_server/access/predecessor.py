"""The routes that clients of the RS-Server before this one call, with the answers that they read."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import BaseModel, Field

from rs_server.access import apikeys, policy
from rs_server.access.apikeys import ApiKey
from rs_server.access.guards import Caller
from rs_server.access.key_routes import KeyRequest, access_of, create, listed, revoke
from rs_server.access.policy import Principal
from rs_server.errors import BadInput, NotFound

_DIGEST = re.compile(r"[0-9a-f]{64}")


class CheckedKey(BaseModel):
    """Who a key speaks for."""

    name: str = Field(description="Of the key; empty for a token")
    user_login: str
    is_active: bool = True
    never_expire: bool
    expiration_date: datetime | None
    latest_sync_date: datetime | None = Field(description="When the key was last used")
    iam_roles: list[str]
    config: dict[str, str] = {}
    allowed_referers: list[str] = []


class ListedKey(BaseModel):
    """One of the caller's keys."""

    api_key: str = Field(description="SHA-256 of the key, in hexadecimal: what `api_key/revoke` takes")
    name: str
    user_login: str
    is_active: bool = True
    never_expire: bool
    expiration_date: datetime | None
    latest_sync_date: datetime | None


def create_router() -> APIRouter:
    """The routes, to be included in the access service."""
    router = APIRouter(tags=["API keys, as before"], deprecated=True)

    @router.get("/api_key/new")
    async def new_key(request: Request, who: Caller, name: str = "", never_expires: bool = False) -> str:  # noqa: FBT001, FBT002
        """Make an API key; the answer is the key. Use ``POST /auth/api_keys``."""
        life = apikeys.LONGEST_LIFE if never_expires else apikeys.DEFAULT_LIFE
        wanted = KeyRequest(name=name or "unnamed", expires_in_days=life.days)
        return (await create(access_of(request), who, wanted)).api_key

    @router.get("/api_key/list")
    async def list_keys(request: Request, who: Caller) -> list[ListedKey]:
        """The caller's keys. Use ``GET /auth/api_keys``."""
        return [
            ListedKey(
                api_key=key.digest.hex(),
                name=key.name,
                user_login=key.owner,
                never_expire=key.expires is None,
                expiration_date=key.expires,
                latest_sync_date=key.last_used,
            )
            for key in await listed(access_of(request), who)
        ]

    @router.get("/api_key/revoke")
    async def revoke_key(request: Request, who: Caller, api_key: Annotated[str, Query(alias="api-key")]) -> None:
        """End a key, named by its SHA-256. Use ``DELETE /auth/api_keys/{id}``."""
        key = await _by_digest(request, who, api_key)
        await revoke(access_of(request), who, key.id)

    @router.get("/check_key")
    async def check_key(request: Request, who: Caller) -> CheckedKey:
        """Who the caller is. Use ``GET /auth/me``."""
        text = request.headers.get(apikeys.HEADER)
        key = await access_of(request).keys.valid(text) if text is not None and who.via == "api_key" else None
        return CheckedKey(
            name=key.name if key else "",
            user_login=who.login,
            never_expire=key is not None and key.expires is None,
            expiration_date=key.expires if key else None,
            latest_sync_date=key.last_used if key else None,
            iam_roles=sorted(policy.held(who)),
        )

    return router


async def _by_digest(request: Request, who: Principal, text: str) -> ApiKey:
    if not _DIGEST.fullmatch(text):
        raise BadInput(
            "a key is named by its SHA-256 in hexadecimal, as api_key/list tells it",
            hint="never put a key into an address: addresses are kept in logs",
        )
    for key in await listed(access_of(request), who):
        if key.digest.hex() == text:
            return key
    raise NotFound("the caller has no such API key")
