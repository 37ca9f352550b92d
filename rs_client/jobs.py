"""Jobs of the platform: how far they are, waiting for them, and what came out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self

from rs_client import display
from rs_client.errors import Detached, JobDismissed, JobFailed
from rs_client.flow import Flow, Server, document, refusal
from rs_client.glance import glance
from rs_client.progress import ENDED, Progress, Status
from rs_client.watch import Watch, last_lines, problem_of

if TYPE_CHECKING:
    from rs_client.aio import AsyncRsClient
    from rs_client.http import Http
    from rs_client.session import RsClient
    from rs_client.stac import ItemList

__all__ = ["AsyncJob", "AsyncJobList", "Job", "JobList", "Log", "Progress", "Report", "Status"]


class Log(list[str]):
    """What a job has said, shown line by line."""

    def __repr__(self) -> str:
        return "\n".join(self)

    def _repr_html_(self) -> str:
        return display.lines(self, last=True)


class Report(list[dict[str, Any]]):
    """What became of each thing that a job was asked for, shown as a table."""

    @property
    def failed(self) -> list[dict[str, Any]]:
        """Those that came to nothing, each with its ``reason``."""
        return [each for each in self if each.get("outcome") in ("failed", "gone")]

    def _rows(self) -> list[tuple[str, str, str]]:
        return [(str(each.get("item", "")), str(each.get("outcome", "")), str(each.get("reason", ""))) for each in self]

    def __repr__(self) -> str:
        return display.text_table(_REPORTED, self._rows())

    def _repr_html_(self) -> str:
        return display.table(_REPORTED, self._rows())


_REPORTED = ("item", "outcome", "reason")


class _Job:
    """What a job is, however it is talked to."""

    def __init__(self, document: dict[str, Any]) -> None:
        self.id: str = document["jobID"]
        self.process: str = document.get("processID", "")
        self._progress = Progress.of(document)

    @property
    def last_seen(self) -> Progress:
        """How far it was when the server was asked last."""
        return self._progress

    def _watched(self, server: Server, line: display.Line, timeout: float | None) -> Flow[None]:
        """Follow it to its end, saying on a line how far it is; raises unless the end is a good one."""

        def tell(now: Progress) -> None:
            self._progress = now
            line.show(display.progress(self.process, now), now.percent)

        def excuse(reason: str) -> None:
            line.show(f"{self.process} · {reason} · looking again")

        if self._progress.status not in ENDED:
            watch = Watch(server, self.id, tell=tell, excuse=excuse, timeout_s=timeout)
            self._progress = yield from watch.to_end()
        if self._progress.status is Status.FAILED:
            problem = yield from problem_of(server, self.id)
            raise JobFailed(
                f"{self.process} failed: {self._progress.message}",
                job=self.id,
                step=str(problem.get("unit") or self.process),
                log_tail=(yield from last_lines(server, self.id)),
                hint=str(problem.get("hint") or ""),
                request_id=str(problem.get("request_id") or ""),
                problem=problem,
            )
        if self._progress.status is Status.DISMISSED:
            raise JobDismissed(f"{self.process} {self.id} was dismissed")

    def _results(self, server: Server) -> Flow[list[dict[str, Any]]]:
        """The items that it published, as documents."""
        results = yield from server.get(f"/jobs/{self.id}/results")
        documents: list[dict[str, Any]] = []
        for link in results["items"]:
            documents += [(yield from server.get(link["href"]))]
        return documents

    def _reported(self, server: Server) -> Flow[Report]:
        """What became of each thing; of a job that failed its answer is the failure, and tells it beside."""
        answer = yield from server.once("GET", f"/jobs/{self.id}/results")
        told = document(answer)
        if answer.is_error and "report" not in told:
            raise refusal(answer)
        return Report(told.get("report", []))


class Job(_Job):
    """A job that runs on the platform, whether you watch or not."""

    def __init__(self, session: RsClient, document: dict[str, Any]) -> None:
        super().__init__(document)
        self._session = session

    @property
    def progress(self) -> Progress:
        """How far it is now; asks the server while the job is not over."""
        self._progress = self._looked(self._session.http)
        return self._progress

    @property
    def status(self) -> Status:
        """Its state now."""
        return self.progress.status

    def wait(self, timeout: float | None = None) -> Self:
        """Wait until it is over, with one live line; ``timeout`` in seconds.

        Raises ``JobFailed`` or ``JobDismissed`` with the reason, ``Timeout`` when you waited long enough (the job goes
        on). Ctrl-C raises ``Detached``, which stops the waiting, not the job, and says how to come back.
        """
        http = self._session.http
        try:
            with display.live_line() as line:
                http.run(self._watched(http.server, line, timeout))
        except KeyboardInterrupt:
            raise Detached(self.id) from None
        return self

    @property
    def log(self) -> Log:
        """What it has said, the oldest line first."""
        return Log(str(entry["line"]) for entry in self._session.http.get(f"/jobs/{self.id}/log"))

    @property
    def items(self) -> ItemList:
        """The items that it published; waits for nothing. Raises ``NotFound`` while it has no results."""
        from rs_client.stac import Item, ItemList

        documents = self._session.http.run(self._results(self._session.http.server))
        return ItemList(Item.from_dict(document, root=self._session.catalog) for document in documents)

    @property
    def report(self) -> Report:
        """What became of each item that it was asked for. Raises ``NotFound`` while it has no results."""
        return self._session.http.run(self._reported(self._session.http.server))

    def dismiss(self) -> Self:
        """Stop it; what is not published yet never will be. Raises ``Conflict`` for a job that is over."""
        self._progress = Progress.of(self._session.http.delete(f"/jobs/{self.id}"))
        return self

    def __repr__(self) -> str:
        return f"<Job {self.id} {display.progress(self.process, self._progress)}>"

    def _repr_html_(self) -> str:
        seen = glance(self._session.http, self._looked)
        self._progress = seen.value or self._progress
        return display.job(self.id, self.process, self._progress, note=seen.excuse)

    def _looked(self, http: Http) -> Progress:
        if self._progress.status in ENDED:
            return self._progress
        return Progress.of(http.get(f"/jobs/{self.id}"))


class AsyncJob(_Job):
    """A job that runs on the platform, for asyncio."""

    def __init__(self, session: AsyncRsClient, document: dict[str, Any]) -> None:
        super().__init__(document)
        self._session = session

    async def progress(self) -> Progress:
        """How far it is now; asks the server while the job is not over."""
        if self._progress.status not in ENDED:
            self._progress = Progress.of(await self._session.http.get(f"/jobs/{self.id}"))
        return self._progress

    async def status(self) -> Status:
        """Its state now."""
        return (await self.progress()).status

    async def wait(self, timeout: float | None = None) -> Self:  # noqa: ASYNC109 - the same verb as without asyncio
        """Wait until it is over; ``timeout`` in seconds.

        Raises ``JobFailed``, ``JobDismissed`` and ``Timeout`` as ``Job.wait``; to cancel the task is to detach.
        """
        http = self._session.http
        with display.live_line() as line:
            await http.run(self._watched(http.server, line, timeout))
        return self

    async def log(self) -> Log:
        """What it has said, the oldest line first."""
        return Log(str(entry["line"]) for entry in await self._session.http.get(f"/jobs/{self.id}/log"))

    async def items(self) -> ItemList:
        """The items that it published; waits for nothing. Raises ``NotFound`` while it has no results."""
        from rs_client.stac import Item, ItemList

        documents = await self._session.http.run(self._results(self._session.http.server))
        return ItemList(Item.from_dict(document) for document in documents)

    async def report(self) -> Report:
        """What became of each item that it was asked for. Raises ``NotFound`` while it has no results."""
        return await self._session.http.run(self._reported(self._session.http.server))

    async def dismiss(self) -> Self:
        """Stop it; what is not published yet never will be. Raises ``Conflict`` for a job that is over."""
        http = self._session.http
        self._progress = Progress.of(await http.run(http.server.delete(f"/jobs/{self.id}")))
        return self

    def __repr__(self) -> str:
        return f"<AsyncJob {self.id} {display.progress(self.process, self._progress)}>"

    def _repr_html_(self) -> str:
        return display.job(self.id, self.process, self._progress)


class _JobList[J: _Job](list[J]):
    """Jobs, shown as a table."""

    def __repr__(self) -> str:
        return display.jobs_text([(job.id, job.process, job.last_seen) for job in self])

    def _repr_html_(self) -> str:
        return display.jobs([(job.id, job.process, job.last_seen) for job in self])


class JobList(_JobList[Job]):
    """Jobs, shown as a table."""


class AsyncJobList(_JobList[AsyncJob]):
    """Jobs for asyncio, shown as a table."""
