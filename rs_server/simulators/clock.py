"""The time at a station: the world's, or one that starts elsewhere and runs faster."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

FOREVER = 2**62
"""Later than any moment of a station, in microseconds since 1970."""


def micros(moment: datetime) -> int:
    """Microseconds since 1970."""
    return (moment - EPOCH) // _MICROSECOND


def moment(at: int) -> datetime:
    """The moment that many microseconds after 1970."""
    return EPOCH + at * _MICROSECOND


class Clock:
    """Runs ``speed`` times as fast as the world's clock; ``real`` tells the world's time in seconds since 1970."""

    def __init__(
        self, start: datetime | None = None, speed: float = 1.0, *, real: Callable[[], float] = time.time
    ) -> None:
        self._real = real
        self._since = real()
        self._start = start.astimezone(UTC) if start else EPOCH + timedelta(seconds=self._since)
        self.speed = speed

    def now(self) -> datetime:
        """The station's time."""
        return self._start + timedelta(seconds=(self._real() - self._since) * self.speed)

    def set(self, *, at: datetime | None = None, speed: float | None = None) -> None:
        """Go on from another moment, or at another speed. 0: the time stands still."""
        self._start, self._since = at.astimezone(UTC) if at else self.now(), self._real()
        self.speed = self.speed if speed is None else speed

    def skew(self, seconds: float) -> None:
        """Be ahead of the world's clock by so much, or behind it."""
        self.set(at=EPOCH + timedelta(seconds=self._real() + seconds))

    def advance(self, seconds: float) -> None:
        """Jump ahead."""
        self.set(at=self.now() + timedelta(seconds=seconds))

    def real_seconds(self, span: timedelta) -> float:
        """How long the world waits for that long at the station; infinite while time stands still."""
        return span.total_seconds() / self.speed if self.speed else float("inf")
