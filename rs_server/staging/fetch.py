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
from rs_server.staging.parts import Part
from rs_server.staging.rows import Lost
from rs_server.staging.source import File

Put = Callable[[Part, bytearray], Coroutine[Any, Any, None]]


def parts_in_memory(width: int) -> int:
    """Most parts of one file that are in memory at a time, fetched over so many connections."""
    return 2 * width + 1


class InOrder:
    """Shows the parts to an inspector in the order of the file, in whichever they come."""

    def __init__(self, inspector: Inspector) -> None:
        self._inspector = inspector
        self._next = 1
        self._early: dict[int, bytearray] = {}
        self._lock = asyncio.Lock()

    async def show(self, number: int, data: bytearray) -> None:
        """Take a part; it has been seen when those before it have come."""
        self._early[number] = data
        async with self._lock:
            while self._next in self._early:
                await asyncio.to_thread(self._inspector.update, self._early.pop(self._next))
                self._next += 1


@dataclass(slots=True)
class Fetch:
    """The fetching of one file; ``put`` keeps a part, ``count`` is told bytes as they come."""

    file: File
    put: Put
    count: Callable[[int], None]
    inspector: Inspector | None
    width: int
    _slots: asyncio.Semaphore = field(init=False)
    _order: InOrder | None = field(init=False)

    def __post_init__(self) -> None:
        # A part holds a slot from its first byte on, and the parts get theirs in order: the one that the checksum waits
        # for always has one. So many parts are in memory at a time: while those of all connections are put, and hashed,
        # the connections go on; and one has twice that, as a part may wait for a slow answer of the object storage.
        self._slots = asyncio.Semaphore(parts_in_memory(self.width))
        self._order = InOrder(self.inspector) if self.inspector else None

    async def all(self, runs: deque[tuple[Part, ...]]) -> None:
        """Fetch all of these parts; the first error ends it, as it is."""
        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(min(self.width, len(runs))):
                    group.create_task(self._lane(runs, group))
        except* (RsError, Lost) as errors:
            raise _first(errors) from None

    async def _lane(self, runs: deque[tuple[Part, ...]], group: asyncio.TaskGroup) -> None:
        while runs:
            async with aclosing(self._filled(runs.popleft())) as filled:
                async for part, data in filled:
                    group.create_task(self._keep(part, data))

    async def _filled(self, run: tuple[Part, ...]) -> AsyncGenerator[tuple[Part, bytearray]]:
        """The parts of a run with their bytes, over one connection as long as it holds."""
        waiting = iter(run)
        part, data = await self._empty(next(waiting))
        at = 0
        async with aclosing(self.file.read(run[0].start, run[-1].end, alone=self.width == 1)) as chunks:
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
                        following = next(waiting, None)
                        if following is None:
                            return
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
