"""The routes that staging has beside its process: standing orders, and how the carrying goes."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Request, Response
from pydantic import AwareDatetime, BaseModel, Field

from rs_server.access import audit, policy
from rs_server.access.guards import Caller, require, require_visible
from rs_server.access.policy import OTHERS_JOBS, Principal, Right, Service
from rs_server.errors import NotFound
from rs_server.staging.figures import Figures
from rs_server.staging.inputs import Options, ServiceName, checked
from rs_server.staging.process import Staging
from rs_server.staging.subscriptions import Subscription, Subscriptions
from rs_server.stations.client import Stations

_PATH = "/processes/staging/subscriptions"
_EARLIEST, _LATEST = datetime(1970, 1, 1, tzinfo=UTC), datetime(3000, 1, 1, tzinfo=UTC)


class NewSubscription(Options):
    """A standing order: stage every new item that a search finds."""

    service: ServiceName = Field(description="Whose search it is: a kind of station, or the catalog")
    search: dict[str, Any] = Field(default_factory=dict, description="The body of a STAC item search")
    follow: bool = Field(
        default=True,
        title="Follow",
        description="Go on with sessions until they are complete: a new one is seen when it has hardly begun",
    )
    since: AwareDatetime | None = Field(
        None, ge=_EARLIEST, lt=_LATEST, description="Items published from then on; left out: from now on"
    )


class SubscriptionInfo(BaseModel):
    """A standing order, and how far it is."""

    id: UUID
    owner: str
    service: str
    search: dict[str, Any]
    options: dict[str, Any]
    since: datetime
    cursor: datetime = Field(description="All that was published before has been seen")
    jobs: int
    items: int
    looked: datetime | None
    reason: str | None = Field(description="Why the last look failed")
    created: datetime
    ended: datetime | None


class SubscriptionList(BaseModel):
    """Standing orders, the newest first."""

    subscriptions: list[SubscriptionInfo]


def create_router() -> APIRouter:
    """The routes, to be included at the root; the lifespan state holds ``staging`` and ``subscriptions``."""
    router = APIRouter(tags=["Processes"])
    _add_subscriptions(router)
    _add_state(router)
    return router


def _add_subscriptions(router: APIRouter) -> None:
    @router.post(_PATH, status_code=201)
    async def subscribe(request: Request, response: Response, who: Caller, wanted: NewSubscription) -> SubscriptionInfo:
        """Give a standing order; needs the rights of a staging job of the same inputs."""
        require(who, Right.EXECUTE, Service.PROCESSES, "staging")
        target = await _staging(request).target(who, wanted.collection)
        search = checked(wanted.service, wanted.search, "search")
        options = wanted.model_dump(mode="json", exclude={"service", "search", "since"})
        made = await _subscriptions(request).add(
            who, search, options | {"collection": target.full}, wanted.since or datetime.now(UTC).replace(microsecond=0)
        )
        await audit.record(request.state.database, who, "subscription.create", str(made.id), process="staging")
        response.headers["Location"] = f"{request.state.settings.public_url}{_PATH}/{made.id}"
        return _info(made)

    @router.get(_PATH)
    async def subscriptions(request: Request, who: Caller) -> SubscriptionList:
        """The caller's standing orders, or everybody's for who oversees all jobs."""
        found = await _subscriptions(request).of(_seen_by(who))
        return SubscriptionList(subscriptions=[_info(each) for each in found])

    @router.get(f"{_PATH}/{{subscription}}")
    async def subscription(request: Request, who: Caller, subscription: str) -> SubscriptionInfo:
        """One standing order."""
        return _info(await _subscriptions(request).get(_id(subscription), _seen_by(who)))

    @router.delete(f"{_PATH}/{{subscription}}", status_code=204)
    async def unsubscribe(request: Request, who: Caller, subscription: str) -> None:
        """Take a standing order back; the jobs that it made go on."""
        found = await _subscriptions(request).get(_id(subscription), _seen_by(who))
        if found.owner != who.login:
            require(who, Right.DISMISS, Service.PROCESSES, OTHERS_JOBS)
        await _subscriptions(request).end(found.id)
        await audit.record(request.state.database, who, "subscription.end", str(found.id), process="staging")


def _add_state(router: APIRouter) -> None:
    @router.get("/processes/staging/state")
    async def state(
        request: Request, who: Caller, limit: Annotated[int, Query(ge=1, le=1000, description="Jobs told")] = 100
    ) -> dict[str, Any]:
        """How the carrying goes: workers, and the stations and the unfinished jobs that the caller may see."""
        require_visible(who, Service.PROCESSES, "staging", "process staging")
        figures: Figures = request.state.figures
        found = await figures.state(_seen_by(who), limit)
        return found | {"stations": [each for each in found["stations"] if _may_see(request, who, each["name"])]}


def _seen_by(who: Principal) -> str | None:
    """Whose things the caller may see; None: everybody's."""
    return None if policy.allows(who, Right.READ, Service.PROCESSES, OTHERS_JOBS) else who.login


def _may_see(request: Request, who: Principal, station: str) -> bool:
    """Whether a station exists as far as the caller can tell; our own object storage (no name) does for everybody."""
    stations: Stations = request.state.stations
    kind = stations.settings[station].kind if station in stations.settings else ""
    return not station or _seen_by(who) is None or policy.allows(who, Right.READ, kind, station)


def _id(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError as error:
        raise NotFound(f"there is no subscription {text}") from error


def _info(of: Subscription) -> SubscriptionInfo:
    same = ("id", "owner", "since", "cursor", "jobs", "items", "looked", "reason", "created", "ended")
    return SubscriptionInfo(
        **{name: getattr(of, name) for name in same},
        service=of.search.service,
        search=of.search.body,
        options=dict(of.options),
    )


def _staging(request: Request) -> Staging:
    staging: Staging = request.state.staging
    return staging


def _subscriptions(request: Request) -> Subscriptions:
    subscriptions: Subscriptions = request.state.subscriptions
    return subscriptions
