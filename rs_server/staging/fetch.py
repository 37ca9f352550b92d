"""Fetches the missing parts of a large file, over one connection or several, and puts each into a multipart upload."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from rs_server.errors import RsError
from rs_server.staging.inspection import Inspector
from rs_server.staging.model import Lost
from rs_server.staging.parts import Part
from rs_server.staging.source import File

Put = Callable[[Part, bytearray], Coroutine[Any, Any, None]]

_SHARED_FROM = 3  # parts that are still to be fetched, for another connection to be worth its beginning


def _kept(_connections: int) -> None:
    """Nobody else wants them."""


@dataclass(slots=True)
class Connections:
    """The connections to the station that a file has at the moment.

    ``spare`` is told how many of them are needed no more: bytes are fetched before they are all put, and somebody else
    may fetch meanwhile. ``join`` takes one more; it is None while another would be of no use.
    """

    count: int = 1
    spare: Callable[[int], None] = field(default=_kept)
    join: Callable[[], None] | None = None

    def give_back(self, connections: int) -> None:
        """So many are needed no more."""
        self.count -= connections
        self.spare(connections)


def parts_in_memory(width: int) -> int:
    """Most parts of one file that are in memory at a time, fetched over so many connections."""
    return 2 * width + 1


class InOrder:
    """Shows the parts to an inspector in the order of the file, in whichever they come."""

    def __init__(self, inspector: Inspector) -> None:
        self._inspector = inspector
        self._next = 1
        self._seen = asyncio.Condition()

    async def show(self, number: int, data: bytearray) -> None:
        """Show a part, as soon as all before it have been seen; back when it is needed no more."""
        async with self._seen:
            await self._seen.wait_for(lambda: self._next == number)
            held = [data]  # a thread keeps what it was given until it gets to run again: by then the next part is made
            await asyncio.to_thread(lambda: self._inspector.update(held.pop()))
            self._next += 1
            self._seen.notify_all()


@dataclass(slots=True)
class Fetch:
    """The fetching of one file; ``put`` keeps a part, ``count`` is told bytes as they come.

    Over one connection, all that follows one another comes in one answer; over several, each asks for a part at a time.
    """

    file: File
    put: Put
    count: Callable[[int], None]
    inspector: Inspector | None
    connections: Connections
    _slots: asyncio.Semaphore = field(init=False)
    _order: InOrder | None = field(init=False)
    _runs: deque[tuple[Part, ...]] = field(init=False)
    _lanes: int = field(init=False, default=0)
    _parted: asyncio.Event = field(init=False, default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        # A part holds a slot from its first byte on, and the parts get theirs in order: the one that the checksum waits
        # for always has one. So many parts are in memory at a time: while those of all connections are put, and hashed,
        # the connections go on; and one has twice that, as a part may wait for a slow answer of the object storage.
        self._slots = asyncio.Semaphore(parts_in_memory(self.connections.count))
        self._order = InOrder(self.inspector) if self.inspector else None

    async def all(self, runs: deque[tuple[Part, ...]]) -> None:
        """Fetch all of these parts; the first error ends it, as it is."""
        self._runs = runs
        try:
            async with asyncio.TaskGroup() as group:
                lanes = min(self.connections.count, len(runs))
                if unused := self.connections.count - lanes:
                    self.connections.give_back(unused)
                for _ in range(lanes):
                    self._begin(group, joined=False)
                if self.file.ranges:
                    self.connections.join = lambda: self._join(group)
        except* (RsError, Lost) as errors:
            raise _first(errors) from None
        finally:
            self.connections.join = None

    def _begin(self, group: asyncio.TaskGroup, *, joined: bool) -> None:
        self._lanes += 1
        group.create_task(self._lane(group, joined=joined))

    def _join(self, group: asyncio.TaskGroup) -> None:
        """One more connection, for parts of what another one would have fetched."""
        self.connections.count += 1
        for _ in range(parts_in_memory(1) - 1):
            self._slots.release()
        self._begin(group, joined=True)

    async def _lane(self, group: asyncio.TaskGroup, *, joined: bool) -> None:
        if joined and not self._runs:
            await self._parted.wait()
        while self._runs:
            await self._run(self._runs.popleft(), group)
        self._parted.set()
        self.connections.join = None
        self._lanes -= 1
        self.connections.give_back(1)

    async def _run(self, run: tuple[Part, ...], group: asyncio.TaskGroup) -> None:
        """Fetch parts that follow one another; once others fetch as well, the rest of them is for all."""
        async with aclosing(self._filled(run)) as filled:
            async for part, data in filled:
                group.create_task(self._keep(part, data))
                del data  # else it was in memory until the next one is there, also when it has no slot any more
                left = run[-1].number - part.number
                if left and self._lanes > 1 and self.file.ranges:
                    self._runs.extendleft((each,) for each in reversed(run[-left:]))
                    self._parted.set()
                    return
                if left + len(self._runs) < _SHARED_FROM:
                    self.connections.join = None

    async def _filled(self, run: tuple[Part, ...]) -> AsyncGenerator[tuple[Part, bytearray]]:
        """The parts of a run with their bytes, over one connection as long as it holds."""
        waiting = iter(run)
        part, data = await self._empty(next(waiting))
        at = 0
        async with aclosing(self.file.read(run[0].start, run[-1].end, alone=self._lanes == 1)) as chunks:
            async for chunk in chunks:
                view = memoryview(chunk)
                while view:
                    taken = view[: part.size - at]
                    data[at : at + len(taken)] = taken
                    at += len(taken)
                    view = view[len(taken) :]
                    self.count(len(taken))
                    if at == part.size:
                        yield part, data
                        del data
                        following = next(waiting, None)
                        if following is None and part.end == self.file.size:
                            return
                        if following is None:
                            break  # no bytes are left in the answer: it is read to its end, for the next request
                        part, data = await self._empty(following)
                        at = 0

    async def _empty(self, part: Part) -> tuple[Part, bytearray]:
        await self._slots.acquire()
        return part, bytearray(part.size)

    async def _keep(self, part: Part, data: bytearray) -> None:
        async with asyncio.TaskGroup() as group:
            group.create_task(self.put(part, data))
            if self._order is not None:
                group.create_task(self._order.show(part.number, data))
        self._slots.release()


def _first(errors: BaseExceptionGroup[BaseException]) -> BaseException:
    """The error that ended it all: what else there was is only cancelled."""
    first = errors.exceptions[0]
    return _first(first) if isinstance(first, BaseExceptionGroup) else first
