"""Processes and jobs in the words of OGC API – Processes, held against the standard's own schemas."""

from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
from pydantic import ValidationError

from rs_server.access.policy import Principal
from rs_server.dpr.request import ProcessorInputs
from rs_server.errors import BadInput
from rs_server.processes import description
from rs_server.processes.app import CONFORMANCE, JobList, Link, Wanted, landing_page, prefers_async, status_info
from rs_server.processes.jobs import valid
from rs_server.processes.model import Job, Process, Progress, Status
from rs_server.staging.inputs import StagingInputs
from tests.schemas import ogc_faults


async def nothing(*_: Any) -> Any:
    raise NotImplementedError


def process(inputs: Any) -> Process[Any]:
    return Process("p", "P", "Does p.", "1.0.0", inputs, {"items": "Items"}, nothing, nothing)


def job(status: Status) -> Job:
    now = datetime.now(UTC)
    return Job(
        uuid4(), "p", status, Principal("alice"), {}, "said", Progress(40, 4, 10, 1, 2), 1, now, now, started=now
    )


# A processor's items may be given by the name of its input instead.
@pytest.mark.parametrize(("inputs", "fewest"), [(StagingInputs, 1), (ProcessorInputs, 0)])
def test_descriptions_are_valid(inputs: Any, fewest: int) -> None:
    described = description.whole(process(inputs))
    assert ogc_faults(described, "process") == []
    assert "$ref" not in str(described)
    assert described["inputs"]["items"]["minOccurs"] == fewest


def test_a_description_tells_defaults_and_how_many() -> None:
    described = description.whole(process(StagingInputs))
    assert described["inputs"]["existing"]["schema"]["default"] == "replace"
    items = described["inputs"]["items"]["schema"]
    assert (items["type"], items["minItems"], items["maxItems"]) == ("array", 1, 1000)
    assert described["outputs"].keys() == {"items", "report"}


@pytest.mark.parametrize(
    ("header", "asked"),
    [
        ("", False),
        ("respond-async", True),
        ("wait=10, Respond-Async; x=1", True),
        ("no-respond-async", False),
        ("x=respond-async", False),
    ],
)
def test_who_prefers_not_to_wait(header: str, *, asked: bool) -> None:
    assert prefers_async(header) is asked


@pytest.mark.parametrize(
    "query", [{"processID": ["\0"]}, {"owner": "\0"}, {"minDuration": "inf"}, {"maxDuration": "Infinity"}]
)
def test_what_no_database_could_look_for_is_refused(query: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Wanted.model_validate(query)


def test_lists_are_valid() -> None:
    listed = {"processes": [description.summary(process(StagingInputs))], "links": [{"href": "x", "rel": "self"}]}
    assert ogc_faults(listed, "processList") == []


@pytest.mark.parametrize("status", list(Status))
def test_job_status_is_valid_and_carries_our_members(status: Status) -> None:
    told = status_info(job(status), "http://server")
    document = told.model_dump(mode="json", exclude_none=True)
    assert ogc_faults(document, "statusInfo") == []
    listed = JobList(jobs=[told], links=[Link(href="x", rel="self")]).model_dump(mode="json", exclude_none=True)
    assert ogc_faults(listed, "jobList") == []
    assert (document["bytes_done"], document["bytes_total"], document["files_done"], document["files_total"]) == (
        4,
        10,
        1,
        2,
    )
    assert document["owner"] == "alice"
    results = [link for link in document["links"] if link["rel"].endswith("/results")]
    assert bool(results) == (status in (Status.SUCCESSFUL, Status.FAILED))


@pytest.mark.parametrize(
    ("inputs", "named"),
    [
        ({"collection": "c"}, "inputs.items"),
        ({"items": [{"href": "x"}]}, "inputs.collection"),
        ({"items": [], "collection": "c"}, "inputs.items"),
        ({"items": [{"href": 1}], "collection": "c"}, "inputs.items.0.href: Input should be a valid string"),
        ({"items": "x", "collection": "c"}, 'inputs.items.0: an item is {"href": …}'),
        ({"items": [{}], "collection": "c"}, 'inputs.items.0: an item is {"href": …}'),
        ({"items": [{"search": {}}], "collection": "c"}, "inputs.items.0.service: Field required"),
        ({"items": {"service": "cadip", "serch": {}}, "collection": "c"}, "inputs.items.search: Field required"),
        ({"items": [{"service": "x", "search": {}}], "collection": "c"}, "inputs.items.0.service: Input should be"),
        ({"items": [{"href": "x"}], "collection": 3}, "inputs.collection"),
        ({"items": [{"href": "x"}], "collection": "c", "colection": "d"}, "inputs.colection"),
    ],
)
def test_wrong_inputs_are_named(inputs: dict[str, Any], named: str) -> None:
    with pytest.raises(BadInput) as caught:
        valid(StagingInputs, inputs)
    assert caught.value.detail.startswith(named)


@pytest.mark.parametrize(
    ("status", "final"),
    [
        (Status.ACCEPTED, False),
        (Status.RUNNING, False),
        (Status.SUCCESSFUL, True),
        (Status.FAILED, True),
        (Status.DISMISSED, True),
    ],
)
def test_which_statuses_are_an_end(status: Status, *, final: bool) -> None:
    assert status.final is final


@pytest.mark.parametrize(
    ("text", "since", "until"),
    [
        (None, None, None),
        ("2026-11-25T10:00:00Z", 10, 10),
        ("2026-11-25T10:00:00Z/2026-11-25T12:00:00Z", 10, 12),
        ("../2026-11-25T12:00:00Z", None, 12),
        ("2026-11-25T10:00:00Z/..", 10, None),
        ("2026-11-25T10:00:00Z/", 10, None),
    ],
)
def test_when_jobs_were_made(text: str | None, since: int | None, until: int | None) -> None:
    wanted = Wanted(datetime=text).selection()
    assert (wanted.since, wanted.until) == tuple(
        None if hour is None else datetime(2026, 11, 25, hour, tzinfo=UTC) for hour in (since, until)
    )


@pytest.mark.parametrize("text", ["yesterday", "2026-11-25T10:00:00", "2026-11-25T10:00:00Z/x", "a/b/c"])
def test_what_is_no_time_is_named(text: str) -> None:
    with pytest.raises(BadInput, match="datetime"):
        Wanted(datetime=text).selection()


def test_the_landing_page_and_the_conformance_are_valid() -> None:
    assert ogc_faults(landing_page("http://server"), "landingPage") == []
    assert ogc_faults({"conformsTo": list(CONFORMANCE)}, "confClasses") == []
