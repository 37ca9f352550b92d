"""Working a job under its lease, and how a failure is told."""

import asyncio
from typing import NoReturn

import pytest

from rs_server.errors import BadInput, RsError, StationUnavailable
from rs_server.processes.jobs import _problem, _while_held
from rs_server.processes.model import NoSuchJob
from rs_server.processes.run import Superseded
from tests.schemas import ogc_faults


async def held() -> NoReturn:
    await asyncio.Event().wait()
    raise AssertionError


async def lost() -> NoReturn:
    await asyncio.sleep(0.01)
    raise Superseded


class Work:
    """Work that takes a moment, and notes when it was cut off."""

    def __init__(self, seconds: float, error: Exception | None = None) -> None:
        self.seconds = seconds
        self.error = error
        self.cut_off = False

    async def __call__(self) -> str:
        try:
            await asyncio.sleep(self.seconds)
        except asyncio.CancelledError:
            await asyncio.sleep(0)  # cleaning up is waited for
            self.cut_off = True
            raise
        if self.error:
            raise self.error
        return "done"


async def test_the_result_of_the_work_is_the_result() -> None:
    assert await _while_held(Work(0.01)(), held()) == "done"


async def test_an_error_of_the_work_goes_on() -> None:
    with pytest.raises(BadInput, match="wrong"):
        await _while_held(Work(0.01, BadInput("wrong"))(), held())


async def test_a_lost_lease_cuts_the_work_off() -> None:
    work = Work(60)
    with pytest.raises(Superseded):
        await _while_held(work(), lost())
    assert work.cut_off


async def test_cancelling_waits_for_the_works_end() -> None:
    work = Work(60)
    task = asyncio.create_task(_while_held(work(), held()))
    await asyncio.sleep(0.01)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert work.cut_off


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (StationUnavailable("sgs", "down"), 503, "urn:rs-python:error:StationUnavailable"),
        (NoSuchJob("no"), 404, "http://www.opengis.net/def/exceptions/ogcapi-processes-1/1.0/no-such-job"),
        (RsError("bug"), 500, "urn:rs-python:error:RsError"),
    ],
)
def test_a_failure_is_a_problem_document(error: RsError, status: int, kind: str) -> None:
    told = _problem(error)
    assert (told["status"], told["type"], told["detail"]) == (status, kind, error.detail)
    assert ogc_faults(told, "exception") == []


def test_a_failure_names_its_station() -> None:
    assert _problem(StationUnavailable("sgs", "down"))["station"] == "sgs"
