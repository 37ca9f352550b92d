"""Waiting for a job while the server is away: the job goes on, and so does the waiting."""

from __future__ import annotations

import httpx
import pytest

from rs_client.errors import NotFound
from rs_client.jobs import Job, Status
from tests.unit.client.far import Far, session, without_events

ACCEPTED = {"jobID": "j1", "processID": "staging", "type": "process", "status": "accepted"}
AWAY = httpx.Response(503, json={"detail": "back soon"})
TRIES = 4  # of one look at the job


def job(far: Far) -> Job:
    return Job(session(without_events(far)), ACCEPTED)


def test_a_server_that_restarts_is_waited_for(capsys: pytest.CaptureFixture[str]) -> None:
    far = Far(*[AWAY] * TRIES, httpx.Response(200, json={**ACCEPTED, "status": "successful"}))
    assert job(far).wait().status is Status.SUCCESSFUL
    assert capsys.readouterr().err.splitlines()[0] == "staging · back soon · looking again"


def test_a_job_that_is_gone_is_not(capsys: pytest.CaptureFixture[str]) -> None:
    far = Far(httpx.Response(404, json={"detail": "there is no job j1"}))
    with pytest.raises(NotFound, match="no job"):
        job(far).wait()
    assert len(far.requests) == 1
