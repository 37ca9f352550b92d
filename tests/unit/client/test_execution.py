"""Starting processes: what is sent for an item, for several, and for a search; nothing for nothing."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any, cast

import httpx
import pystac
import pytest

from rs_client import execution
from rs_client.dpr import DprClient, run
from rs_client.errors import Forbidden, Invalid
from rs_client.execution import Items
from rs_client.staging import StagingClient
from tests.unit.client.far import SERVER, Far, session, table

JOB = httpx.Response(201, json={"jobID": "j1", "processID": "staging", "status": "accepted"})


def item(item_id: str) -> pystac.Item:
    one = pystac.Item(item_id, None, None, datetime(2024, 11, 14, tzinfo=UTC), {})
    one.set_self_href(f"{SERVER}/cadip/collections/s1-sgs/items/{item_id}")
    return one


A, B = item("a"), item("b")


@pytest.mark.parametrize(
    ("items", "ids"),
    [
        (A, "a"),
        ([A, B], "ab"),
        ((one for one in (B, A)), "ba"),
        (execution.address(A), "a"),
        (pystac.ItemCollection([A, B], clone_items=False), "ab"),
    ],
)
def test_items_go_as_references(items: Items, ids: str) -> None:
    far = Far(JOB)
    job = StagingClient(session(far)).stage(items, to="s1-cadu")
    assert (job.id, job.process) == ("j1", "staging")
    (request,) = far.requests
    assert (request.method, request.url.path) == ("POST", "/processes/staging/execution")
    hrefs = [{"href": f"{SERVER}/cadip/collections/s1-sgs/items/{one}"} for one in ids]
    assert json.loads(request.content) == {"inputs": {"items": hrefs, "collection": "s1-cadu"}}


def test_how_items_are_staged_goes_with_them() -> None:
    far = Far(JOB)
    StagingClient(session(far)).stage(A, to="s1-cadu", assets=["x"], existing="fail", follow=True)
    inputs = json.loads(far.requests[0].content)["inputs"]
    assert (inputs["assets"], inputs["existing"], inputs["follow"]) == (["x"], "fail", True)
    with pytest.raises(Invalid, match="no item"):
        StagingClient(session(far)).stage([], to="s1-cadu", strict=True)


def test_a_processor_is_a_process() -> None:
    far = Far(JOB)
    DprClient(session(far)).run("s1-l0", A, to="s1-l0")
    assert far.requests[0].url.path == "/processes/s1-l0/execution"


@pytest.mark.parametrize(
    ("items", "said"),
    [([], "no item"), (pystac.Item("a", None, None, datetime(2024, 11, 14, tzinfo=UTC), {}), "no address")],
)
def test_what_cannot_be_run_is_not_sent(items: Items, said: str) -> None:
    far = Far(JOB)
    with pytest.raises(Invalid, match=said):
        StagingClient(session(far)).stage(items, to="s1-cadu")
    assert far.requests == []


def test_a_search_of_asyncio_is_told_from_items() -> None:
    async def search() -> AsyncIterator[pystac.Item]:
        yield A

    far = Far(JOB)
    with pytest.raises(Invalid, match="async for item"):
        StagingClient(session(far)).stage(cast("Items", search()), to="s1-cadu")
    assert far.requests == []


def test_a_refusal_is_ours() -> None:
    refused = Far(httpx.Response(403, json={"detail": "you may not", "hint": "ask for the role"}))
    with pytest.raises(Forbidden, match="ask for the role"):
        StagingClient(session(refused)).stage(A, to="s1-cadu")


def test_processors_by_id() -> None:
    processes: list[dict[str, Any]] = [{"id": "s1-l0", "title": "Level 0"}]
    client = DprClient(session(table({"GET /dpr/processes": {"processes": processes}})))
    assert client.processors() == {"s1-l0": "Level 0"}
    assert "Level 0" in client.processors()._repr_html_()


PLAN: dict[str, Any] = {
    "processor": "s1-l0",
    "version": "1.0.0",
    "steps": [
        {
            "inputs": [
                {"name": "cadu", "id": "S1A_1", "files": 2, "bytes": 2_000_000, "why": "", "stage_to": "alice_cadu"}
            ],
            "adfs": [{"name": "orbit", "id": "O", "files": 1, "bytes": 1000, "why": "latest", "stage_to": None}],
            "outputs": [{"name": "l0", "id": "S1A_1_L0", "product:type": "S1_L0", "collection": "alice_s1-l0"}],
        }
    ],
    "cluster": {"workers": 2, "cores": 2, "memory_gib": 1.75},
    "bytes_to_read": 2_001_000,
    "bytes_to_stage": 2_000_000,
    "notes": ["one orbit file is old"],
    "problems": [],
}


def test_a_plan_says_what_would_be_done_and_why() -> None:
    asked: list[httpx.Request] = []

    def answer(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(200, json=PLAN)

    plan = DprClient(session(answer)).plan("s1-l0", A, parameters={"basis": "dual"})
    assert asked[0].url.path == "/dpr/processes/s1-l0/plan"
    assert json.loads(asked[0].content)["inputs"]["parameters"] == {"basis": "dual"}
    assert plan.problems == []
    assert "2.0 MB of them staged first" in repr(plan)
    assert "staged first into alice_cadu" in plan._repr_html_()


def test_what_else_a_processor_takes_goes_along() -> None:
    far = Far(JOB)
    run(session(far), "s1-l0", A, to="s1-l0", workers=3)
    assert json.loads(far.requests[0].content)["inputs"]["workers"] == 3
