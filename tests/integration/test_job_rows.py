"""Jobs in a database of their own: what ends together, and which request finds the job of another one."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from pydantic import BaseModel

from rs_server.access.policy import Principal
from rs_server.database import Database, open_database
from rs_server.errors import Conflict, StationUnavailable
from rs_server.processes.jobs import Jobs
from rs_server.processes.model import Inputs, Job, Process, Status
from rs_server.processes.rows import JobRows, Superseded
from rs_server.settings import DatabaseSettings
from tests.conftest import Platform
from tests.integration.databases import own_database

TABLES = ("10", "12", "20", "21", "50", "64")
ANN = Principal("ann", roles=frozenset({"rs_processes_p_execute"}))


@pytest.fixture(scope="module")
def tables(platform: Platform) -> Iterator[DatabaseSettings]:
    with own_database(platform, "jobs", TABLES) as made:
        yield made


@pytest.fixture
async def database(tables: DatabaseSettings) -> AsyncIterator[Database]:
    async with open_database(tables) as opened:
        async with opened.connection() as conn:
            await conn.execute("TRUNCATE rs.jobs CASCADE")
        yield opened


@pytest.fixture
def rows(database: Database) -> JobRows:
    return JobRows(database)


async def running(rows: JobRows, parent: Job | None = None) -> Job:
    """A job at work, that another one may have asked for."""
    made, _ = await rows.add("p", ANN, {}, None, parent=None if parent is None else parent.id)
    begun = await rows.begin(made.id)
    assert begun is not None
    return begun


async def test_a_dismissed_job_takes_all_with_it_that_it_asked_for(rows: JobRows) -> None:
    job = await running(rows)
    child, done = await running(rows, job), await running(rows, job)
    grandchild, stranger = await running(rows, child), await running(rows)
    await rows.fail(done, "", {})
    ended = await rows.dismiss(job.id, "bob")
    assert ended[0].id == job.id
    assert {each.id for each in ended} == {job.id, child.id, grandchild.id}
    assert {each.status for each in ended} == {Status.DISMISSED}
    assert (await rows.get(done.id)).status is Status.FAILED
    assert (await rows.get(stranger.id)).status is Status.RUNNING
    assert [line.line for line in await rows.log(grandchild.id)] == ["dismissed by bob"]
    assert await rows.dismiss(job.id, "bob") == []


async def test_a_dismissed_job_asks_for_no_other(rows: JobRows) -> None:
    job = await running(rows)
    await rows.dismiss(job.id, "ann")
    with pytest.raises(Superseded):
        await rows.add("p", ANN, {}, None, parent=job.id)


class Things(Inputs):
    things: tuple[str, ...] = ()


class Admitted(BaseModel):
    things: tuple[str, ...]


class Gate:
    """Admits while its station answers."""

    def __init__(self) -> None:
        self.away = False
        self.queued: list[Any] = []

    async def admit(self, who: Principal, inputs: Things) -> Admitted:
        if self.away:
            raise StationUnavailable("sgs", "did not answer")
        return Admitted(things=tuple(sorted(inputs.things)))

    async def put(self, job: Any, queue: str) -> None:
        self.queued.append(job)

    async def run(self, *_: Any) -> Any:
        raise NotImplementedError


async def test_the_same_request_finds_its_job_though_nothing_could_be_looked_up(database: Database) -> None:
    gate = Gate()
    queue: Any = gate
    jobs = Jobs(database, queue, [Process("p", "", "", "1", Things, {}, gate.admit, gate.run)])
    first, new = await jobs.submit(ANN, "p", {"things": ["a", "b"]}, "k")
    assert new
    gate.away = True
    again, new = await jobs.submit(ANN, "p", {"things": ["a", "b"]}, "k")
    assert (again.id, new) == (first.id, False)
    with pytest.raises(StationUnavailable):
        await jobs.submit(ANN, "p", {"things": ["b", "a"]}, "k")
    gate.away = False
    assert (await jobs.submit(ANN, "p", {"things": ["b", "a"]}, "k"))[0].id == first.id  # it comes to the same
    with pytest.raises(Conflict, match=str(first.id)):
        await jobs.submit(ANN, "p", {"things": ["a"]}, "k")
    assert gate.queued == [first.id] * 3
