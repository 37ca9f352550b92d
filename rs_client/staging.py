"""Staging: from a station into object storage and the catalog."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack

from rs_client import display
from rs_client.errors import Invalid
from rs_client.execution import AsyncItems, Items, addresses, execute, gathered
from rs_client.flow import Flow, Server
from rs_client.glance import glance
from rs_client.jobs import AsyncJob, Job
from rs_client.progress import Progress

if TYPE_CHECKING:
    from rs_client.aio import AsyncRsClient
    from rs_client.session import RsClient

PROCESS = "staging"
_USES = (
    ("bring items of a station into a collection", 's.stage(hits, to="s1-cadu")'),
    ("come back to a job", "s.job(id).wait()"),
)


class StagingOptions(TypedDict, total=False):
    """How items are staged; what is left out is as the server has it."""

    assets: Sequence[str]
    """Names of the files wanted of each item; else all."""
    existing: Literal["skip", "replace", "fail"]
    """What to do with items that are in the collection; else they are replaced when their files are others."""
    follow: bool
    """Go on with sessions that still grow until they are complete, and publish them then."""
    strict: bool
    """All items or none."""
    priority: int
    """Among your own jobs, from 0 to 100; else 50."""


class StagingClient:
    """Starts staging jobs."""

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

    def __repr__(self) -> str:
        return f"<AsyncStagingClient {self._session.server_url}>"

    def _repr_html_(self) -> str:
        uses = [(what, f"await {call}") for what, call in _USES[:1]]
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
