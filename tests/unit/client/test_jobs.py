"""Jobs: waiting for their end, what a failure says, and what came out."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from rs_client.errors import JobDismissed, JobFailed, NotFound, Timeout
from rs_client.jobs import Job, Progress, Status
from rs_client.stac import Item
from tests.unit.client.far import SERVER, Answer, Far, session, table, without_events

ITEM: dict[str, Any] = {
    "type": "Feature",
    "stac_version": "1.1.0",
    "id": "S1A_1",
    "collection": "alice_s1-l0",
    "geometry": None,
    "properties": {"datetime": "2024-11-14T00:00:00Z"},
    "links": [],
    "assets": {},
}


def info(status: str, **more: Any) -> dict[str, Any]:
    return {"jobID": "j1", "processID": "staging", "type": "process", "status": status, **more}


def job(answer: Answer, status: str = "accepted") -> Job:
    opened = session(without_events(answer))
    opened.__dict__["catalog"] = None  # these jobs need none
    return Job(opened, info(status))


def test_progress_is_read_whole() -> None:
    document = info(
        "running",
        message="fetching",
        progress=40,
        bytes_done=4,
        bytes_total=10,
        files_done=1,
        files_total=3,
        created="2024-11-14T14:30:38Z",
    )
    assert Progress.of(document) == Progress(
        Status.RUNNING, "fetching", 40, 4, 10, 1, 3, datetime(2024, 11, 14, 14, 30, 38, tzinfo=UTC), None
    )


def test_what_is_absent_is_nothing() -> None:
    assert Progress.of(info("accepted", progress=None)) == Progress(Status.ACCEPTED, "", 0, 0, 0, 0, 0, None, None)


def test_wait_looks_until_the_end(capsys: pytest.CaptureFixture[str]) -> None:
    far = Far(
        *(httpx.Response(200, json=info(status, progress=at)) for status, at in (("running", 40), ("successful", 100)))
    )
    waited = job(far).wait()
    assert waited.status is Status.SUCCESSFUL
    assert len(far.requests) == 2
    said = capsys.readouterr().err
    assert said.splitlines() == ["staging · running · 40 %", "staging · successful · 100 %"]


def test_what_is_over_is_not_asked_for() -> None:
    far = Far(httpx.Response(500))
    assert job(far, "successful").wait().progress.status is Status.SUCCESSFUL
    assert far.requests == []


def test_a_failure_says_why_and_how_its_log_ended() -> None:
    log = [{"at": "2024-11-14T14:30:38Z", "line": f"line {number}"} for number in range(5)]
    failed = info("failed", message="station sgs is down")
    with pytest.raises(JobFailed) as caught:
        job(table({"GET /jobs/j1": failed, "GET /jobs/j1/log": log})).wait()
    assert isinstance(caught.value, RuntimeError)
    assert caught.value.detail == "staging failed: station sgs is down"
    assert caught.value.log_tail == tuple(f"line {number}" for number in range(5))
    assert (caught.value.job, caught.value.step) == ("j1", "staging")
    assert "rs jobs log" in caught.value.hint


@pytest.mark.parametrize("status", [400, 404, 500, 503])
def test_a_failure_tells_the_unit_the_input_and_what_to_do(status: int) -> None:
    problem = {"status": status, "detail": "a.raw ended early", "unit": "s1-l0", "input": "s3://b/a.raw",
               "hint": "stage it again"}  # fmt: skip
    asked: list[str] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        if request.url.path.endswith("/results"):
            return httpx.Response(status, json=problem)
        if request.url.path.endswith("/log"):
            return httpx.Response(200, json=[])
        return httpx.Response(200, json=info("failed", message="a.raw ended early"))

    with pytest.raises(JobFailed, match="→ stage it again") as caught:
        job(answer, "failed").wait()
    assert caught.value.step == "s1-l0"
    assert caught.value.problem["input"] == "s3://b/a.raw"
    assert asked.count("/jobs/j1/results") == 1


def test_a_failure_without_a_log_still_says_why() -> None:
    with pytest.raises(JobFailed, match=r"^staging failed: it broke\n  → the job's log says more"):
        job(table({"GET /jobs/j1": info("failed", message="it broke")})).wait()


def test_a_dismissed_job_says_so() -> None:
    dismissed = job(table({"DELETE /jobs/j1": info("dismissed")})).dismiss()
    with pytest.raises(JobDismissed):
        dismissed.wait()


def test_waiting_ends_and_the_job_does_not() -> None:
    far = Far(httpx.Response(200, json=info("running")))
    with pytest.raises(Timeout, match="still running") as caught:
        job(far).wait(timeout=0)
    assert "s.job('j1')" in caught.value.hint
    assert isinstance(caught.value, TimeoutError)
    assert {request.method for request in far.requests} == {"GET"}


def test_items_are_those_of_the_catalog() -> None:
    path = "/catalog/collections/alice_s1-l0/items/S1A_1"
    results = {"items": [{"href": f"{SERVER}{path}"}]}
    (item,) = job(table({"GET /jobs/j1/results": results, f"GET {path}": ITEM}), "successful").items
    assert isinstance(item, Item)
    assert (item.collection_id, item.id) == ("alice_s1-l0", "S1A_1")


REPORT = [{"item": "A", "outcome": "published"}, {"item": "B", "outcome": "gone", "reason": "evicted"}]


@pytest.mark.parametrize(("status", "code"), [("successful", 200), ("failed", 404), ("failed", 502)])
def test_what_became_of_each_item_is_told_of_good_ends_and_of_bad_ones(status: str, code: int) -> None:
    report = job(Far(httpx.Response(code, json={"report": REPORT, "status": code})), status).report
    assert report == REPORT
    assert report.failed == REPORT[1:]
    assert repr(report) == "item  outcome    reason\nA     published\nB     gone       evicted"
    assert "evicted" in report._repr_html_()


def test_a_job_without_results_says_so() -> None:
    for what in ("items", "report"):
        with pytest.raises(NotFound):
            getattr(job(table({}), "running"), what)


def test_it_shows_itself() -> None:
    one = job(table({"GET /jobs/j1": info("running", message="<b>busy</b>", bytes_done=1500, bytes_total=2_000_000)}))
    assert "&lt;b&gt;busy" in one._repr_html_()
    assert repr(one) == "<Job j1 staging · running · 0 % · 1.5 kB of 2.0 MB · <b>busy</b>>"
