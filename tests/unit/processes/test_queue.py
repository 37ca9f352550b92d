"""Working a queue whose database goes away: a new worker takes the place of the one that ended with its connection."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID, uuid4

import pytest
from procrastinate import App
from procrastinate.exceptions import ConnectorException
from procrastinate.testing import InMemoryConnector

from rs_server.processes.queue import Queue


class Away(InMemoryConnector):
    """A database that is lost when a job is asked for, so often."""

    def __init__(self, losses: int) -> None:
        super().__init__()
        self.losses = losses

    async def fetch_job_one(self, queues: Any, worker_id: int) -> dict[str, Any]:
        self._lose()
        return await super().fetch_job_one(queues, worker_id)

    async def unregister_worker_run(self, worker_id: int) -> None:
        self._lose()
        await super().unregister_worker_run(worker_id)

    def _lose(self) -> None:
        if self.losses:
            self.losses -= 1
            raise ConnectorException


async def test_a_queue_that_was_lost_is_worked_again() -> None:
    queue, job, done = Queue(App(connector=Away(losses=3))), uuid4(), asyncio.Event()
    performed: list[UUID] = []

    async def perform(which: UUID) -> None:
        performed.append(which)
        done.set()

    stop = asyncio.Event()
    working = asyncio.create_task(queue.work(perform, {"jobs": 1}, stop))
    await asyncio.sleep(0)
    await queue.put(job)
    async with asyncio.timeout(10):
        await done.wait()
        stop.set()
        await working
    assert performed == [job]


@pytest.mark.parametrize("losses", [0, 1_000_000])
async def test_who_is_told_to_stop_does_so_whether_the_database_is_there_or_not(losses: int) -> None:
    async def perform(which: UUID) -> None:
        raise AssertionError(which)

    connector, stop = Away(losses=0), asyncio.Event()
    working = asyncio.create_task(Queue(App(connector=connector)).work(perform, {"jobs": 1, "preparation": 2}, stop))
    await asyncio.sleep(0.1)
    connector.losses = losses
    stop.set()
    async with asyncio.timeout(5):
        await working
