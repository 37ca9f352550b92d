"""The routes of OGC API – Processes (OGC 18-062r2): what may be run, and the jobs that run it."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Annotated, Any, Literal
from urllib.parse import urlencode
from uuid import UUID

from fastapi import APIRouter, Header, Query, Request, Response
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field
from sse_starlette import EventSourceResponse, ServerSentEvent

from rs_server import errors
from rs_server.access.guards import Caller
from rs_server.errors import BadInput
from rs_server.processes import description
from rs_server.processes.events import Changes, versions
from rs_server.processes.jobs import Jobs
from rs_server.processes.model import Job, NoSuchJob, ResultNotReady, Status
from rs_server.processes.reading import ReadRoute
from rs_server.processes.rows import Selection

_SPEC = "http://www.opengis.net/spec/ogcapi-processes-1/1.0/conf"
CONFORMANCE = tuple(
    f"{_SPEC}/{name}" for name in ("core", "ogc-process-description", "json", "job-list", "dismiss")
)  # not oas30: the API is told in OpenAPI 3.1
_RELATION = "http://www.opengis.net/def/rel/ogc/1.0"
_JSON = "application/json"
_ITEM = "application/geo+json"
PING_S = 10
_EVENT_ID = re.compile(r"[0-9]{1,18}")
_Text = Annotated[str, Field(pattern=r"^[^\x00]*$")]  # the database compares no other


class Link(BaseModel):
    """A link of the standard's form."""

    href: str
    rel: str
    type: str = _JSON
    title: str | None = None


class ProcessList(BaseModel):
    """The processes that the caller may know about."""

    processes: list[dict[str, Any]]
    links: list[Link]


class Execution(BaseModel):
    """A request to run a process."""

    model_config = ConfigDict(
        extra="ignore"
    )  # outputs, response and subscriber of the standard: there is one form here

    inputs: dict[str, Any] = Field(default_factory=dict, description="As the process describes them")


class StatusInfo(BaseModel):
    """Where a job stands: the standard's members, and ours. ``waiting`` says what it waits for, if for anything."""

    jobID: UUID  # noqa: N815 - the standard's spelling
    processID: str  # noqa: N815
    type: Literal["process"] = "process"
    status: Status
    message: str
    progress: int
    created: datetime
    updated: datetime
    started: datetime | None = None
    finished: datetime | None = None
    owner: str
    bytes_done: int
    bytes_total: int
    files_done: int
    files_total: int
    files_failed: int = 0
    files_running: int = 0
    rate_bytes_per_s: float | None = None
    estimated_end: datetime | None = None
    waiting: str | None = None
    links: list[Link]


class JobList(BaseModel):
    """Jobs, the newest first."""

    jobs: list[StatusInfo]
    links: list[Link]


class LogLine(BaseModel):
    """One thing that a job said; ``id`` grows."""

    id: int
    at: datetime
    line: str


class Wanted(BaseModel):
    """Which jobs."""

    model_config = ConfigDict(extra="forbid")

    type: Literal["process"] | None = None
    processID: list[_Text] = Field(default_factory=list)  # noqa: N815
    status: list[Status] = Field(default_factory=list)
    datetime: str | None = Field(None, description="When they were made: a moment, or an interval with '..' for open")
    minDuration: float | None = Field(  # noqa: N815
        None, ge=0, allow_inf_nan=False, description="Seconds from start to end, or to now"
    )
    maxDuration: float | None = Field(None, ge=0, allow_inf_nan=False)  # noqa: N815
    owner: _Text | None = Field(None, description="Somebody else's: for those who oversee all jobs")
    after: UUID | None = Field(None, description="The last job of the page before")
    limit: int = Field(100, ge=1, le=1000)

    def selection(self) -> Selection:
        """The same, for the engine; one job more than a page holds, to know whether there is another page."""
        since, until = _interval(self.datetime)
        return Selection(
            processes=tuple(self.processID),
            statuses=tuple(self.status),
            owner=self.owner,
            since=since,
            until=until,
            min_duration_s=self.minDuration,
            max_duration_s=self.maxDuration,
            after=self.after,
            limit=self.limit + 1,
        )


def _interval(text: str | None) -> tuple[datetime | None, datetime | None]:
    """Begin and end of a moment or an interval (OGC 18-062r2, 7.12: as RFC 3339 writes them); None where it is open."""
    if text is None:
        return None, None
    first, _, last = text.partition("/") if "/" in text else (text, "", text)
    try:
        since, until = (None if end in ("", "..") else datetime.fromisoformat(end) for end in (first, last))
    except ValueError as error:
        raise BadInput(f"datetime: {text} is neither a moment nor an interval") from error
    if any(end is not None and end.tzinfo is None for end in (since, until)):
        raise BadInput("datetime: a moment needs its zone, as in 2024-11-14T00:00:00Z")
    return since, until


def landing_page(public_url: str) -> dict[str, Any]:
    """Where everything of this service begins."""
    links = [
        {"rel": "self", "href": f"{public_url}/", "type": _JSON},
        {
            "rel": "service-desc",
            "href": f"{public_url}/openapi.json",
            "type": "application/vnd.oai.openapi+json;version=3.1",
        },
        {"rel": "service-doc", "href": f"{public_url}/docs", "type": "text/html"},
        {"rel": f"{_RELATION}/conformance", "href": f"{public_url}/conformance", "type": _JSON},
        {"rel": f"{_RELATION}/processes", "href": f"{public_url}/processes", "type": _JSON, "title": "Processes"},
        {"rel": f"{_RELATION}/job-list", "href": f"{public_url}/jobs", "type": _JSON, "title": "Jobs"},
    ]
    return {"title": "RS-Python", "description": "Staging and processing, as OGC API – Processes", "links": links}


def create_router(public_url: str) -> APIRouter:
    """The routes, to be included at the root; the lifespan state holds the engine as ``jobs``."""
    router = APIRouter(tags=["Processes"], route_class=ReadRoute)
    _add_landing(router, public_url)
    _add_processes(router, public_url)
    _add_execution(router, public_url)
    _add_jobs(router, public_url)
    _add_job(router, public_url)
    streams = APIRouter()  # no HEAD: what never ends has no size to tell
    _add_events(streams, public_url)
    router.include_router(streams)
    return router


def _add_landing(router: APIRouter, public_url: str) -> None:
    @router.get("/")
    async def landing() -> dict[str, Any]:
        """Where everything of this service begins."""
        return landing_page(public_url)

    @router.get("/conformance")
    async def conformance() -> dict[str, list[str]]:
        """The parts of the standard that are kept."""
        return {"conformsTo": list(CONFORMANCE)}


def _add_processes(router: APIRouter, public_url: str) -> None:
    @router.get("/processes", response_model_exclude_none=True)
    async def list_processes(
        request: Request,
        who: Caller,
        limit: Annotated[int, Query(ge=1, le=10_000)] = 100,
        after: Annotated[str, Query(description="The last process of the page before")] = "",
    ) -> ProcessList:
        """The processes that the caller may know about, by id."""
        found = sorted((each for each in _jobs(request).processes(who) if each.id > after), key=lambda each: each.id)
        page = found[:limit]
        links = [Link(href=_asked_for(request, public_url), rel="self")]
        if len(found) > len(page):
            query = urlencode({"limit": limit, "after": page[-1].id})
            links.append(Link(href=f"{public_url}/processes?{query}", rel="next"))
        told = [{**description.summary(each), "links": _process_links(public_url, each.id)} for each in page]
        return ProcessList(processes=told, links=links)

    @router.get("/processes/{process_id}")
    async def describe_process(request: Request, who: Caller, process_id: str) -> dict[str, Any]:
        """One process, with its inputs and outputs."""
        process = _jobs(request).process(who, process_id)
        return {**description.whole(process), "links": _process_links(public_url, process_id)}


def _add_execution(router: APIRouter, public_url: str) -> None:
    @router.post("/processes/{process_id}/execution", status_code=201, response_model_exclude_none=True)
    async def execute(
        request: Request,
        response: Response,
        who: Caller,
        process_id: str,
        wanted: Execution,
        idempotency_key: Annotated[str | None, Header(min_length=1, max_length=200)] = None,
        prefer: Annotated[str, Header()] = "",
    ) -> StatusInfo:
        """Ask for a job. It always runs by itself; the same Idempotency-Key finds the job of the first time."""
        job, _ = await _jobs(request).submit(who, process_id, wanted.inputs, idempotency_key)
        response.headers["Location"] = f"{public_url}/jobs/{job.id}"
        if prefers_async(prefer):
            response.headers["Preference-Applied"] = "respond-async"
        return status_info(job, public_url)


def _add_jobs(router: APIRouter, public_url: str) -> None:
    @router.get("/jobs", response_model_exclude_none=True)
    async def list_jobs(request: Request, who: Caller, wanted: Annotated[Wanted, Query()]) -> JobList:
        """The caller's jobs, or everybody's for who oversees them; the newest first."""
        found = await _jobs(request).select(who, wanted.selection())
        page = found[: wanted.limit]
        links = [Link(href=_asked_for(request, public_url), rel="self")]
        if len(found) > len(page):
            links.append(Link(href=f"{public_url}/jobs?{_next(wanted, page[-1].id)}", rel="next"))
        return JobList(jobs=[status_info(job, public_url) for job in page], links=links)


def _add_job(router: APIRouter, public_url: str) -> None:
    @router.get("/jobs/{job_id}", response_model_exclude_none=True)
    async def job_status(request: Request, who: Caller, job_id: str) -> StatusInfo:
        """Where a job stands."""
        return status_info(await _jobs(request).job(who, job_id_of(job_id)), public_url)

    @router.get("/jobs/{job_id}/results", response_model=None)
    async def job_results(request: Request, who: Caller, job_id: str) -> Response:
        """Links to what a job made; of a failed job, why it failed."""
        return _results(request, await _jobs(request).job(who, job_id_of(job_id)), public_url)

    @router.get("/jobs/{job_id}/log")
    async def job_log(
        request: Request,
        who: Caller,
        job_id: str,
        after: Annotated[int, Query(ge=0, description="Only what came after the line of this id")] = 0,
    ) -> list[LogLine]:
        """What a job said, the oldest first."""
        return [LogLine(**asdict(line)) for line in await _jobs(request).log(who, job_id_of(job_id), after)]

    @router.delete("/jobs/{job_id}", response_model_exclude_none=True)
    async def dismiss_job(request: Request, who: Caller, job_id: str) -> StatusInfo:
        """End a job; what it has not published yet is never published."""
        return status_info(await _jobs(request).dismiss(who, job_id_of(job_id)), public_url)


def _add_events(router: APIRouter, public_url: str) -> None:
    @router.get("/jobs/{job_id}/events", response_model=None, response_class=EventSourceResponse)
    async def job_events(
        request: Request, who: Caller, job_id: str, last_event_id: Annotated[str, Header()] = ""
    ) -> Response:
        """Server-sent events: one named ``status`` whenever the job changes, the last one when it has ended.

        Who comes back although they were told of the end gets 204, upon which browsers stop asking (HTML, 9.2).
        """
        jobs, job = _jobs(request), job_id_of(job_id)
        now = await jobs.job(who, job)
        seen = int(last_event_id) if _EVENT_ID.fullmatch(last_event_id) else -1
        if now.status.final and now.version == seen:
            return Response(status_code=204)

        async def stream() -> AsyncIterator[ServerSentEvent]:
            changes: Changes = request.state.changes
            with changes.watch(job) as changed:
                async for version in versions(partial(jobs.job, who, job), changed, seen):
                    yield _event(version, public_url)

        return EventSourceResponse(stream(), ping=PING_S, sep="\n")


def _event(job: Job, public_url: str) -> ServerSentEvent:
    status = status_info(job, public_url).model_dump_json(exclude_none=True)
    return ServerSentEvent(data=status, event="status", id=str(job.version), sep="\n")


def status_info(job: Job, public_url: str) -> StatusInfo:
    """Where a job stands, as the standard says it."""
    progress = job.progress
    left_s = progress.seconds_left if job.status is Status.RUNNING else None
    return StatusInfo(
        jobID=job.id,
        processID=job.process,
        status=job.status,
        message=job.message,
        progress=progress.percent,
        created=job.created,
        updated=job.updated,
        started=job.started,
        finished=job.finished,
        owner=job.who.login,
        bytes_done=progress.bytes_done,
        bytes_total=progress.bytes_total,
        files_done=progress.files_done,
        files_total=progress.files_total,
        files_failed=progress.files_failed,
        files_running=progress.files_running,
        rate_bytes_per_s=progress.rate,
        estimated_end=None
        if left_s is None
        else (datetime.now(UTC) + timedelta(seconds=left_s)).replace(microsecond=0),
        waiting=progress.waiting,
        links=_job_links(job, public_url),
    )


def _job_links(job: Job, public_url: str) -> list[Link]:
    here = f"{public_url}/jobs/{job.id}"
    links = [Link(href=here, rel="self"), Link(href=f"{here}/log", rel="log", title="What the job said")]
    if not job.status.final:
        links.append(Link(href=f"{here}/events", rel="monitor", type="text/event-stream"))
    if job.status in (Status.SUCCESSFUL, Status.FAILED):
        links.append(Link(href=f"{here}/results", rel=f"{_RELATION}/results"))
    return links


def _process_links(public_url: str, process_id: str) -> list[dict[str, str]]:
    here = f"{public_url}/processes/{process_id}"
    return [
        {"href": here, "rel": "self", "type": _JSON},
        {"href": f"{here}/execution", "rel": f"{_RELATION}/execute", "type": _JSON},
    ]


def _asked_for(request: Request, public_url: str) -> str:
    """The address of the very document that is asked for."""
    query = request.url.query
    return f"{public_url}{request.url.path}{f'?{query}' if query else ''}"


def prefers_async(prefer: str) -> bool:
    """Whether a ``Prefer`` header (RFC 7240) names the preference."""
    return any(each.partition(";")[0].strip().lower() == "respond-async" for each in prefer.split(","))


def _results(request: Request, job: Job, public_url: str) -> Response:
    if job.status is Status.SUCCESSFUL:
        report = {"report": list(job.report)} if job.report else {}
        return JSONResponse(_links_of(job.outputs or {}, public_url) | report)
    if job.status is Status.FAILED and job.problem is not None:
        report = {"report": list(job.report)} if job.report else {}
        stated = {**job.problem, **report, "instance": request.url.path}
        return JSONResponse(stated, status_code=int(stated["status"]), media_type=errors.PROBLEM_JSON)
    raise ResultNotReady(f"job {job.id} is {job.status}, and has no results")


def _links_of(outputs: Mapping[str, list[str]], public_url: str) -> dict[str, Any]:
    """The outputs, absolute: jobs keep paths, as the server may be reached under another address tomorrow."""
    return {
        name: [{"href": f"{public_url}{path}", "rel": "item", "type": _ITEM} for path in paths]
        for name, paths in outputs.items()
    }


def _next(wanted: Wanted, last: UUID) -> str:
    query = wanted.model_dump(mode="json", exclude_defaults=True) | {"after": str(last)}
    return urlencode(query, doseq=True)


def job_id_of(text: str) -> UUID:
    """The id of a job; a text that is none names no job."""
    try:
        return UUID(text)
    except ValueError as error:
        raise NoSuchJob(f"there is no job {text}") from error


def _jobs(request: Request) -> Jobs:
    jobs: Jobs = request.state.jobs
    return jobs
