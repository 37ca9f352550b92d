"""How much a station is asked at once, how often, and when it is left alone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import structlog

from rs_server.errors import StationUnavailable, Unavailable

log = structlog.get_logger(__name__)

Clock = Callable[[], float]
Sleep = Callable[[float], Awaitable[None]]
Book = Callable[[str, float, float], Awaitable[float | None]]
"""Book the next turn of a station, of so many seconds, unless it begins later than in so many: how soon it begins."""


class Gate:
    """Lets so many requests through at a time, and so many a second; the others wait in order, but not for ever.

    Their pace is that of all processes that ``book`` turns in the same place, else, or while that is away, of this one.
    """

    def __init__(
        self,
        station: str,
        at_once: int,
        *,
        per_second: float | None = None,
        patience_s: float,
        book: Book | None = None,
        clock: Clock = time.monotonic,
        sleep: Sleep = asyncio.sleep,
    ) -> None:
        self._station = station
        self._book = book
        self._free = asyncio.Semaphore(at_once)
        self._interval_s = 1 / per_second if per_second else 0.0
        self._patience_s = patience_s
        self._clock = clock
        self._sleep = sleep
        self._next = 0.0

    @asynccontextmanager
    async def passed(self) -> AsyncIterator[None]:
        """Inside, one request may be under way; ``StationUnavailable`` if none may be in time."""
        try:
            async with asyncio.timeout(self._patience_s):
                await self._free.acquire()
        except TimeoutError as error:
            raise StationUnavailable(
                self._station,
                f"as many requests as it may be sent are under way, and none ended within {self._patience_s:g} s",
                hint="try again later",
            ) from error
        try:
            await self.turn()
            yield
        finally:
            self._free.release()

    async def turn(self) -> None:
        """Wait until one more request may be sent; ``StationUnavailable`` when that is too late."""
        if not self._interval_s:
            return
        wait = await self._booked()
        if wait is None:
            raise StationUnavailable(
                self._station, "it may be asked only so often, and too much is waiting", hint="try again later"
            )
        if wait > 0:
            await self._sleep(wait)

    async def _booked(self) -> float | None:
        if self._book is not None:
            try:
                return await self._book(self._station, self._interval_s, self._patience_s)
            except Unavailable as error:
                log.warning("turn_not_booked", station=self._station, reason=error.detail)
        now = self._clock()
        begin = max(now, self._next)
        if begin - now > self._patience_s:
            return None
        self._next = begin + self._interval_s
        return begin - now


class Breaker:
    """Leaves a station alone for a while once it has failed several times in a row, or has asked to be.

    After that one request tries whether it is back; the others are refused until that one has worked.
    """

    def __init__(self, station: str, failures: int, pause_s: float, *, clock: Clock = time.monotonic) -> None:
        self._station = station
        self._allowed = failures
        self._pause_s = pause_s
        self._clock = clock
        self._failed = 0
        self._closed_until = 0.0
        self._why = ""

    @property
    def state(self) -> int:
        """0 while the station is in use, 1 when the next request tries whether it is back, 2 while it is left alone."""
        if self._clock() < self._closed_until:
            return 2
        return 1 if self._failed >= self._allowed else 0

    def check(self) -> None:
        """Refuse while the station is left alone."""
        left = self._closed_until - self._clock()
        if left > 0:
            raise StationUnavailable(
                self._station,
                f"{self._why}; it is left alone for another {left:.0f} s",
                hint="try again later",
                retry_after_s=left,
            )
        if self._failed >= self._allowed:  # this request tries; whoever comes meanwhile is refused
            self._closed_until = self._clock() + self._pause_s

    def leave_alone(self, seconds: float) -> None:
        """The station itself has asked for it."""
        self._why = "it asked not to be asked"
        self._closed_until = max(self._closed_until, self._clock() + seconds)

    def worked(self) -> None:
        """A request was answered."""
        self._failed = 0
        self._closed_until = 0.0

    def failed(self) -> None:
        """A request was not answered, or only that the station cannot."""
        self._failed += 1
        if self._failed >= self._allowed:
            self._why = f"it failed {self._failed} times in a row"
            self._closed_until = self._clock() + self._pause_s
