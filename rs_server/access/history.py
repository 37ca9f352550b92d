"""The route that tells what was done: all of it to operators, to everybody else what concerns them."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from rs_server.access import audit, policy
from rs_server.access.audit import Event, Selection
from rs_server.access.guards import Caller, require_unscoped
from rs_server.access.policy import Principal, Right, Service

_MOST = 1000


class Wanted(BaseModel):
    """Which events."""

    model_config = ConfigDict(extra="forbid")

    collection: str | None = Field(None, description="Full id of a collection", max_length=255)
    login: str | None = Field(None, description="Who did it", max_length=255)
    action: str | None = Field(None, description="e.g. `item.create`", max_length=100)
    since: AwareDatetime | None = None
    until: AwareDatetime | None = Field(None, description="Events before this time")
    before: int | None = Field(None, ge=1, description="Where the page before this one ended: its `next`")
    limit: int = Field(100, ge=1, le=_MOST)


class History(BaseModel):
    """Events, the newest first; ``next`` is what ``before`` must say to get the page after this one."""

    events: list[Event]
    next: int | None = None


def create_router() -> APIRouter:
    """The route, to be included in the access service; the lifespan state holds the ``database``."""
    router = APIRouter()

    @router.get("/audit")
    async def history(request: Request, who: Caller, wanted: Annotated[Wanted, Query()]) -> History:
        """What was done: operators see all, others what was done to their collections and by themselves."""
        events = await audit.select(request.state.database, _narrowed(wanted, who))
        return History(events=events, next=events[-1].id if len(events) == wanted.limit else None)

    return router


def _narrowed(wanted: Wanted, who: Principal) -> Selection:
    if policy.allows(who, Right.READ, Service.AUTH, policy.AUDIT):
        return Selection(**wanted.model_dump())
    require_unscoped(who, "read what its owner did")
    return Selection(concerning=who.login, **wanted.model_dump())
