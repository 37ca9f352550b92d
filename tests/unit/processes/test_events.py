"""Watching a job: each change is told once, changes that come together are told together, and the end ends it."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID, uuid4

from rs_server.access.policy import Principal
from rs_server.processes.events import Changes, versions
from rs_server.processes.model import Job, Progress, Status

NOW = datetime(2026, 11, 25, tzinfo=UTC)
JOB = Job(uuid4(), "staging", Status.RUNNING, Principal("alice"), {}, "", Progress(), 1, NOW, NOW)


class Far:
    """A job that others change while it is watched."""

    def __init__(self) -> None:
        self.job = JOB
        self.looks = 0

    async def look(self) -> Job:
        self.looks += 1
        return self.job

    def change(self, changed: asyncio.Event, status: Status = Status.RUNNING) -> None:
        self.job = replace(self.job, version=self.job.version + 1, status=status)
        changed.set()


async def test_every_change_is_told_up_to_the_end() -> None:
    far, changed, told = Far(), asyncio.Event(), []
    async for job in versions(far.look, changed):
        told.append((job.version, job.status))
        if len(told) == 1:
            far.change(changed)
            far.change(changed)
        elif len(told) == 2:
            far.change(changed, Status.SUCCESSFUL)
    assert told == [(0, "running"), (2, "running"), (3, "successful")]
    assert far.looks == 3


async def test_who_comes_back_is_told_what_is_new_and_always_the_end() -> None:
    far, changed = Far(), asyncio.Event()
    far.change(changed)
    far.change(changed, Status.FAILED)
    assert [job.version async for job in versions(far.look, changed, seen=1)] == [2]
    assert [job.version async for job in versions(far.look, changed, seen=2)] == [2]


async def test_a_notice_reaches_the_watchers_of_that_job_only() -> None:
    changes, other = Changes(), UUID(int=1)
    with changes.watch(JOB.id) as mine, changes.watch(JOB.id) as too, changes.watch(other) as theirs:
        changes.tell(JOB.id)
        assert [event.is_set() for event in (mine, too, theirs)] == [True, True, False]
        changes.connected()
        assert theirs.is_set()
    changes.tell(JOB.id)  # nobody is left
