"""Starting processes: what is sent for an item, for several, and for a search; nothing for nothing."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

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
    ("items", "ids"), [(A, "a"), ([A, B], "ab"), ((one for one in (B, A)), "ba"), (execution.address(A), "a")]
)
def test_items_go_as_references(items: Items, ids: str) -> None:
    far = Far(JOB)
    job = StagingClient(session(far)).stage(items, to="s1-cadu")
    assert (job.id, job.process) == ("j1", "staging")
    (request,) = far.requests
    assert (request.method, request.url.path) == ("POST", "/processes/staging/execution")
    hrefs = [{"href": f"{SERVER}/cadip/collections/s1-sgs/items/{one}"} for one in ids]
    assert json.loads(request.content) == {"inputs": {"items": hrefs, "collection": "s1-cadu"}}


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


def test_a_refusal_is_ours() -> None:
    refused = Far(httpx.Response(403, json={"detail": "you may not", "hint": "ask for the role"}))
    with pytest.raises(Forbidden, match="ask for the role"):
        StagingClient(session(refused)).stage(A, to="s1-cadu")


def test_processors_are_those_of_data_processing() -> None:
    processes: list[dict[str, Any]] = [{"id": "s1-l0", "title": "Level 0"}]
    client = DprClient(session(table({"GET /dpr/processes": {"processes": processes}})))
    assert client.processors() == {"s1-l0": "Level 0"}


def test_what_else_a_processor_takes_goes_along() -> None:
    far = Far(JOB)
    run(session(far), "s1-l0", A, to="s1-l0", workers=3)
    assert json.loads(far.requests[0].content)["inputs"]["workers"] == 3
