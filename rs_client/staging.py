"""Staging: from a station into object storage and the catalog."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack

from rs_client import display
from rs_client.errors import Invalid
from rs_client.execution import AsyncItems, Items, addresses, execute, gathered
from rs_client.flow import Flow, Server
from rs_client.glance import glance
from rs_client.jobs import AsyncJob, Job
from rs_client.progress import Progress
from rs_client.subscriptions import (
    AsyncLasting,
    Lasting,
    Subscription,
    SubscriptionList,
    listed,
    searched,
    subscribed,
    subscription_at,
    unsubscribed,
)

if TYPE_CHECKING:
    from rs_client.aio import AsyncRsClient
    from rs_client.session import RsClient

PROCESS = "staging"
_USES = (
    ("bring items of a station into a collection", 's.stage(hits, to="s1-cadu")'),
    ("come back to a job", "s.job(id).wait()"),
    ("bring what is published later, too", 's.staging.subscribe(search, to="s1-cadu")'),
    ("your subscriptions", "s.staging.subscriptions()"),
)


class StagingOptions(TypedDict, total=False):
    """How items are staged; what is left out is as the server has it."""

    assets: Sequence[str]
    """Names of the files wanted of each item; else all."""
    existing: Literal["skip", "replace", "fail"]
    """What to do with items that are in the collection; else they are replaced when their files are others."""
    follow: bool
    """Go on with sessions that still grow until they are complete, and publish them then; a subscription does."""
    strict: bool
    """All items or none."""
    priority: int
    """Among your own jobs, from 0 to 100; else 50."""


class StagingClient:
    """Starts staging jobs, now or for all that a search will find."""

    def __init__(self, session: RsClient) -> None:
        self._session = session

    def stage(self, items: Items, to: str, **options: Unpack[StagingOptions]) -> Job:
        """Bring items of a station into a collection; returns at once.

        ``items`` is a search, an item or several; ``to`` a collection of yours (made if it is absent) or one that you
        may write. What is there already is not fetched again. ``options``: ``assets``, ``existing``, ``follow``,
        ``strict`` and ``priority``, see ``StagingOptions``. Raises ``Invalid`` when there is nothing to stage,
        ``Forbidden`` for a collection or a station that you have no right to, ``NotFound`` for an item you cannot see.
        """
        http = self._session.http
        return Job(self._session, http.run(_staged(http.server, addresses(items), to, options)))

    def subscribe(
        self, search: Lasting, to: str, since: datetime | None = None, **options: Unpack[StagingOptions]
    ) -> Subscription:
        """Stage every new item that a search finds, until you ``unsubscribe``: a standing order.

        ``search`` is one of a station or of the catalog, its address, or ``{"service": …, "search": {…}}``; ``to`` and
        ``options`` are as with ``stage``, but sessions are followed unless you say ``follow=False``. Wanted is what is
        published from ``since`` on, which has a time zone; left out, from now on. The same again, while it stands, is
        found. Raises ``Invalid`` for what is no search or is bounded by ``max_items``, ``Forbidden`` for a collection
        that you may not write, ``NotFound`` for a search in nothing that you may download, ``Conflict`` when you have
        too many.
        """
        http = self._session.http
        return http.run(subscribed(http.server, search, to, since, options))

    def subscriptions(self) -> SubscriptionList:
        """Your subscriptions, the newest first, also those that have ended lately; an operator sees everybody's."""
        http = self._session.http
        return http.run(listed(http.server))

    def subscription(self, subscription_id: str) -> Subscription:
        """How far a subscription is now; ``NotFound`` if it is not yours."""
        http = self._session.http
        return http.run(subscription_at(http.server, subscription_id))

    def unsubscribe(self, subscription_id: str) -> None:
        """End a subscription; the jobs that it has started go on. ``NotFound`` if it is not yours."""
        http = self._session.http
        http.run(unsubscribed(http.server, subscription_id))

    def __repr__(self) -> str:
        return f"<StagingClient {self._session.server_url}>"

    def _repr_html_(self) -> str:
        seen = glance(self._session.http, lambda http: http.run(_under_way(http.server)))
        more = display.jobs(seen.value, parts=2) if seen.value else ""
        rows = [("staging", self._session.server_url), *_USES]
        if seen.value is not None:
            rows.append(("your jobs under way", str(len(seen.value) or "none")))
        return display.card(rows, more=more, note=seen.excuse)


class AsyncStagingClient:
    """Starts staging jobs, for asyncio; raises as ``StagingClient``."""

    def __init__(self, session: AsyncRsClient) -> None:
        self._session = session

    async def stage(self, items: AsyncItems, to: str, **options: Unpack[StagingOptions]) -> AsyncJob:
        """Bring items of a station into a collection; see ``StagingClient.stage``. ``Invalid`` when there are none."""
        http = self._session.http
        return AsyncJob(self._session, await http.run(_staged(http.server, await gathered(items), to, options)))

    async def subscribe(
        self, search: AsyncLasting, to: str, since: datetime | None = None, **options: Unpack[StagingOptions]
    ) -> Subscription:
        """Stage every new item that a search finds; see ``StagingClient.subscribe``. ``Invalid`` for what is none."""
        http = self._session.http
        return await http.run(subscribed(http.server, await searched(search), to, since, options))

    async def subscriptions(self) -> SubscriptionList:
        """Your subscriptions, the newest first; see ``StagingClient.subscriptions``."""
        http = self._session.http
        return await http.run(listed(http.server))

    async def subscription(self, subscription_id: str) -> Subscription:
        """How far a subscription is now; ``NotFound`` if it is not yours."""
        http = self._session.http
        return await http.run(subscription_at(http.server, subscription_id))

    async def unsubscribe(self, subscription_id: str) -> None:
        """End a subscription; see ``StagingClient.unsubscribe``."""
        http = self._session.http
        await http.run(unsubscribed(http.server, subscription_id))

    def __repr__(self) -> str:
        return f"<AsyncStagingClient {self._session.server_url}>"

    def _repr_html_(self) -> str:
        uses = [(what, f"await {call}") for what, call in _USES if ".wait()" not in call]
        return display.card([("staging", self._session.server_url), *uses])


def _staged(server: Server, hrefs: Sequence[str], to: str, options: StagingOptions) -> Flow[dict[str, Any]]:
    """The document of a new job."""
    if not hrefs:
        raise Invalid("there is no item to stage", hint="look at what the search finds")
    return (yield from execute(server, PROCESS, hrefs, to, options))


def _under_way(server: Server) -> Flow[list[tuple[str, str, Progress]]]:
    """Your staging jobs that are not over: id, process, and how far they are."""
    asked = {"processID": PROCESS, "status": ["accepted", "running"], "limit": display.MAX_ROWS}
    found = (yield from server.get("/jobs", **asked))["jobs"]
    return [(each["jobID"], each["processID"], Progress.of(each)) for each in found]
