"""A station's quotas: how much its clients may have at once and in a period."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from rs_server.simulators.scenario import Quotas


class OverQuota(Exception):
    """A request that is too much; the text says which quota."""


@dataclass
class _Period:
    """What was taken within the last so many seconds."""

    taken: deque[tuple[datetime, int]] = field(default_factory=deque)

    def total(self, now: datetime, seconds: float) -> tuple[int, int]:
        """How often, and how much in all."""
        while self.taken and self.taken[0][0] <= now - timedelta(seconds=seconds):
            self.taken.popleft()
        return len(self.taken), sum(amount for _, amount in self.taken)


@dataclass
class Limits:
    """Counts what clients take; refuses what the quotas do not give. ``now`` tells the station's time."""

    quotas: Quotas
    now: Callable[[], datetime]
    _downloads: _Period = field(default_factory=_Period)
    _orders: _Period = field(default_factory=_Period)
    running: int = 0

    def begin_download(self) -> None:
        """One more download runs; ``OverQuota``: it must not."""
        quotas = self.quotas
        count, volume = self._downloads.total(self.now(), quotas.period_s)
        _check("parallel downloads", self.running, quotas.parallel_downloads)
        _check("downloads", count, quotas.total_downloads)
        _check("volume", volume, quotas.volume)
        self.running += 1

    def end_download(self, sent: int) -> None:
        """A download has ended after so many octets."""
        self.running -= 1
        self._downloads.taken.append((self.now(), sent))

    def order(self, parallel: int) -> None:
        """One more order is placed while so many are open; ``OverQuota``: it must not."""
        count, _ = self._orders.total(self.now(), self.quotas.period_s)
        _check("parallel order requests", parallel, self.quotas.parallel_orders)
        _check("orders", count, self.quotas.total_orders)
        self._orders.taken.append((self.now(), 1))

    def subscription(self, running: int) -> None:
        """One more subscription runs beside so many; ``OverQuota``: it must not."""
        _check("running subscriptions", running, self.quotas.subscriptions)


def _check(what: str, taken: int, most: int | None) -> None:
    if most is not None and taken >= most:
        raise OverQuota(f"User quota exceeded: {what}, of which {most} are given")
