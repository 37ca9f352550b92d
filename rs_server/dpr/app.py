"""The routes of data processing: processors with their task tables, plans, and what a job was prepared to do.

A plan is a route of its own and no mode of execution: it makes no job, changes nothing and answers at once, with the
same form as the execution that would follow it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from fastapi import APIRouter, Header, Request, Response
from pydantic import BaseModel

from rs_server.access.guards import Caller, require
from rs_server.access.policy import Principal, Right, Service
from rs_server.dpr.process import Processing
from rs_server.dpr.records import Record, Records
from rs_server.errors import NotFound
from rs_server.processes import description
from rs_server.processes.app import Execution, Link, ProcessList, StatusInfo, job_id_of, status_info
from rs_server.processes.jobs import Jobs, valid
from rs_server.processes.model import NoSuchProcess

_JSON = "application/json"
_RELATION = "http://www.opengis.net/def/rel/ogc/1.0"


class Payloads(BaseModel):
    """The eopf triggering payloads of a job, one for each run of the unit."""

    payloads: list[dict[str, Any]]


class Dpr:
    """The processors that this server offers, and the records of their jobs."""

    def __init__(self, processings: Mapping[str, Processing], jobs: Jobs, records: Records) -> None:
        self._processings = processings
        self._jobs = jobs
        self._records = records

    def visible(self, who: Principal) -> list[Processing]:
        """The processors that the caller may know about."""
        known = {process.id for process in self._jobs.processes(who)}
        return [processing for name, processing in self._processings.items() if name in known]

    def one(self, who: Principal, name: str) -> Processing:
        """One processor; ``NoSuchProcess``."""
        self._jobs.process(who, name)
        return self._known(name)

    def runnable(self, who: Principal, name: str) -> Processing:
        """One processor that the caller may run; ``NoSuchProcess``, ``Forbidden``."""
        processing = self._known(name)
        require(who, Right.EXECUTE, Service.PROCESSES, name)
        return processing

    def _known(self, name: str) -> Processing:
        if name not in self._processings:
            raise NoSuchProcess(f"there is no processor {name}")
        return self._processings[name]

    async def plan(self, who: Principal, name: str, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """What a job with these inputs would do; nothing is changed."""
        processing = self.runnable(who, name)
        request = await processing.request(who, valid(processing.process().inputs, inputs))
        plan = await processing.preparation.plan(who, request)
        return plan.document(processing.world.place.public_url)

    async def record(self, who: Principal, job_id: str) -> Record:
        """What a job was prepared to do; ``NotFound`` before it was."""
        job = await self._jobs.job(who, job_id_of(job_id))
        record = await self._records.get(job.id)
        if record is None:
            raise NotFound(f"job {job.id} has not been prepared", hint="wait, or look at the job's log")
        return record


def create_router(public_url: str) -> APIRouter:
    """The routes, to be included at the root; the lifespan state holds ``dpr`` and ``jobs``."""
    router = APIRouter(prefix="/dpr", tags=["Processing"])
    _add_processes(router, public_url)
    _add_execution(router, public_url)
    _add_records(router)
    return router


def _add_processes(router: APIRouter, public_url: str) -> None:
    @router.get("/processes", response_model_exclude_none=True)
    async def list_processors(request: Request, who: Caller) -> ProcessList:
        """The processors that the caller may know about."""
        found = [_summary(processing, public_url) for processing in _dpr(request).visible(who)]
        return ProcessList(processes=found, links=[Link(href=f"{public_url}/dpr/processes", rel="self")])

    @router.get("/processes/{process_id}")
    async def describe_processor(request: Request, who: Caller, process_id: str) -> dict[str, Any]:
        """One processor: its inputs and outputs as the standard describes them, and its task table."""
        processing = _dpr(request).one(who, process_id)
        return {
            **description.whole(processing.process()),
            "taskTable": processing.processor.task.model_dump(mode="json", by_alias=True),
            "links": _links(process_id, public_url),
        }


def _add_execution(router: APIRouter, public_url: str) -> None:
    @router.post("/processes/{process_id}/execution", status_code=201, response_model_exclude_none=True)
    async def run_processor(
        request: Request,
        response: Response,
        who: Caller,
        process_id: str,
        wanted: Execution,
        idempotency_key: Annotated[str | None, Header(min_length=1, max_length=200)] = None,
    ) -> StatusInfo:
        """Ask for a job; the same as under /processes, for processors only."""
        jobs: Jobs = request.state.jobs
        _dpr(request).runnable(who, process_id)
        job, _ = await jobs.submit(who, process_id, wanted.inputs, idempotency_key)
        response.headers["Location"] = f"{public_url}/jobs/{job.id}"
        response.headers["Preference-Applied"] = "respond-async"
        return status_info(job, public_url)

    @router.post("/processes/{process_id}/plan")
    async def plan_processor(request: Request, who: Caller, process_id: str, wanted: Execution) -> dict[str, Any]:
        """What such a job would do: inputs chosen and why, what must be staged, cluster and products. Makes no job."""
        return await _dpr(request).plan(who, process_id, wanted.inputs)


def _add_records(router: APIRouter) -> None:
    @router.get("/jobs/{job_id}/plan")
    async def job_plan(request: Request, who: Caller, job_id: str) -> dict[str, Any]:
        """What a job was prepared to do."""
        return dict((await _dpr(request).record(who, job_id)).plan)

    @router.get("/jobs/{job_id}/payloads")
    async def job_payloads(request: Request, who: Caller, job_id: str) -> Payloads:
        """The eopf triggering payloads of a job, without keys."""
        record = await _dpr(request).record(who, job_id)
        return Payloads(payloads=[dict(order["payload"]) for order in record.orders])


def _summary(processing: Processing, public_url: str) -> dict[str, Any]:
    task, process = processing.processor.task, processing.process()
    return {
        **description.summary(process),
        "level": task.level,
        "inputTypes": {name: list(spec.product_types) for name, spec in task.inputs.items()},
        "outputTypes": {name: spec.product_type for name, spec in task.outputs.items()},
        "links": _links(process.id, public_url),
    }


def _links(process_id: str, public_url: str) -> list[dict[str, str]]:
    here = f"{public_url}/dpr/processes/{process_id}"
    return [
        {"href": here, "rel": "self", "type": _JSON},
        {"href": f"{here}/execution", "rel": f"{_RELATION}/execute", "type": _JSON},
        {"href": f"{here}/plan", "rel": "plan", "type": _JSON, "title": "What a job would do"},
    ]


def _dpr(request: Request) -> Dpr:
    dpr: Dpr = request.state.dpr
    return dpr
