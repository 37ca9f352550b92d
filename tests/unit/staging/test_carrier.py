"""A lane has one connection to the station: it fetches one file at a time, and the next one while the last is put."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, cast
from uuid import uuid4

import pytest

from rs_server.errors import NotOnline
from rs_server.processes.references import Reference
from rs_server.settings import StagingSettings
from rs_server.staging import carrier
from rs_server.staging.carrier import Carrier
from rs_server.staging.fetch import Connections
from rs_server.staging.model import Ended, State, Transfer
from rs_server.staging.source import Changed
from rs_server.staging.transfer import Meter, World


class Rows:
    """Keeps what became of transfers."""

    def __init__(self) -> None:
        self.ended: list[Ended] = []

    async def end(self, ended: list[Ended]) -> set[Any]:
        self.ended += ended
        return set()


class Health:
    async def well(self, _station: str) -> None:
        pass


class Work:
    """Stands for ``carry``: what is fetched and what is put, at each moment."""

    def __init__(self, wrong: Mapping[int, Exception] | None = None) -> None:
        self.wrong = wrong or {}
        self.fetching: set[int] = set()
        self.putting: set[int] = set()
        self.seen: list[tuple[frozenset[int], frozenset[int]]] = []

    async def carry(self, transfer: Transfer, _world: World, _meter: Meter, connections: Connections) -> str:
        self.fetching.add(transfer.id)
        self._look()
        await asyncio.sleep(0.002)
        self.fetching.discard(transfer.id)
        if error := self.wrong.get(transfer.id):
            raise error
        self.putting.add(transfer.id)
        connections.give_back(connections.count)
        await asyncio.sleep(0.005)
        self._look()
        self.putting.discard(transfer.id)
        return f"1e20{transfer.id}"

    def _look(self) -> None:
        self.seen.append((frozenset(self.fetching), frozenset(self.putting)))


def transfer(number: int, size: int = 30_000) -> Transfer:
    return Transfer(
        number,
        1,
        uuid4(),
        Reference("auxip", "c", "item"),
        "far",
        "alice",
        f"file{number}",
        {},
        "rs-data",
        f"alice/c/item/x/file{number}",
        size,
        *(None, 1, 0, 0, None, None, None),
        ranges=False,
        trace=None,
    )


async def carried(lane: list[Transfer], work: Work, monkeypatch: pytest.MonkeyPatch) -> list[Ended]:
    """What became of the files of one lane."""
    monkeypatch.setattr(carrier, "carry", work.carry)
    rows = Rows()
    of = Carrier(*cast("Any", (rows, Health(), None, {}, StagingSettings(), None, None)))
    of._begin(lane)
    await asyncio.gather(*of._lanes)
    return rows.ended


async def test_one_file_is_fetched_while_another_is_put(monkeypatch: pytest.MonkeyPatch) -> None:
    work, lane = Work(), [transfer(number) for number in range(1, 6)]
    ended = await carried(lane, work, monkeypatch)
    assert [(each.transfer.id, each.state, each.digest) for each in ended] == [
        (number, State.DONE, f"1e20{number}") for number in range(1, 6)
    ]
    assert max(len(fetching) for fetching, _ in work.seen) == 1
    assert max(len(fetching | putting) for fetching, putting in work.seen) == 2
    assert sum(bool(fetching and putting) for fetching, putting in work.seen) >= 4


async def test_a_file_that_fails_does_not_hold_up_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    work = Work({2: Changed("not what was announced")})
    ended = await carried([transfer(number) for number in (1, 2, 3)], work, monkeypatch)
    states = {each.transfer.id: each.state for each in ended}
    assert states == {1: State.DONE, 2: State.PAUSED, 3: State.DONE}


async def test_a_file_of_an_archive_that_is_not_there_is_ordered_and_not_wrong(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    archived = replace(transfer(1), source=Reference("lta", "c", "item"), wrong=4)
    (ended,) = await carried([archived], Work({1: NotOnline("it is not online")}), monkeypatch)
    assert (ended.state, ended.wrong, ended.reason) == (State.ORDERED, False, "it is not online")


async def test_lanes_that_end_while_something_is_written_are_written_together(monkeypatch: pytest.MonkeyPatch) -> None:
    class Slow(Rows):
        """Notes which transfers were written together."""

        batches: list[list[int]]

        async def end(self, ended: list[Ended]) -> set[Any]:
            await asyncio.sleep(0.02)
            self.batches.append([each.transfer.id for each in ended])
            return await super().end(ended)

    monkeypatch.setattr(carrier, "carry", Work().carry)
    rows = Slow()
    rows.batches = []
    of = Carrier(*cast("Any", (rows, Health(), None, {}, StagingSettings(), None, None)))
    for number in range(6):
        of._begin([transfer(number)])
        await asyncio.sleep(0.001)
    await asyncio.gather(*of._lanes)
    assert sorted(number for batch in rows.batches for number in batch) == list(range(6))
    assert len(rows.batches) <= 3
    assert of._running == {}


async def test_a_worker_that_stops_gives_back_only_what_is_not_written(monkeypatch: pytest.MonkeyPatch) -> None:
    work, rows = Work(), Rows()
    monkeypatch.setattr(carrier, "carry", work.carry)
    of = Carrier(*cast("Any", (rows, Health(), None, {}, StagingSettings(), None, None)))
    of._begin([transfer(1)])
    of._begin([transfer(number, size=10_000_000) for number in (2, 3)])
    of._notes._waiting.append(Ended(transfer(1), State.DONE, "1e201"))
    await asyncio.sleep(0.001)
    await of._leave()
    assert [(each.transfer.id, each.state) for each in rows.ended] == [
        (1, State.DONE),
        *((number, State.WAITING) for number in (1, 2, 3)),
    ]


async def test_a_job_that_cannot_be_woken_now_is_woken_next_time() -> None:
    job, others = uuid4(), [uuid4(), uuid4()]
    asked: list[Any] = []

    async def wake(wanted: Any) -> bool:
        asked.append(wanted)
        if wanted == others[0] and len(asked) < 4:
            of._whole.add(wanted)  # more has come meanwhile
        return wanted != job or len(asked) > 3

    of = Carrier(*cast("Any", (Rows(), Health(), None, {}, StagingSettings(), wake, None)))
    of._whole |= {job, *others}
    await of._wake_all()
    assert sorted(asked, key=str) == sorted([job, *others], key=str)
    assert of._whole == {job, others[0]}
    assert of._due.is_set()
    await of._wake_all()
    assert of._whole == set()
    assert not of._due.is_set()
