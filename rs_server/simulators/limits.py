"""A station's quotas: how much each of its clients may have at once and in a period."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from rs_server.simulators.scenario import Quotas


class OverQuota(Exception):
    """A request that is too much; the text says which quota, ``quotas`` how such a request is answered."""

    def __init__(self, message: str, quotas: Quotas) -> None:
        super().__init__(message)
        self.quotas = quotas


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
class _Taken:
    """What one client has."""

    running: int = 0
    downloads: _Period = field(default_factory=_Period)
    orders: _Period = field(default_factory=_Period)
    requests: _Period = field(default_factory=_Period)


@dataclass
class Limits:
    """Counts what clients take, each by itself; refuses what the quotas do not give.

    ``special`` are the quotas of some clients, ``quotas`` those of each other one. ``now`` tells the station's time.
    """

    quotas: Quotas
    special: Mapping[str, Quotas]
    now: Callable[[], datetime]
    _taken: dict[str, _Taken] = field(default_factory=dict)

    def of(self, client: str) -> Quotas:
        """The quotas of a client."""
        return self.special.get(client, self.quotas)

    def request(self, client: str) -> None:
        """One more request of any kind; ``OverQuota``: it is too soon after the last ones."""
        quotas, requests = self.of(client), self._of(client).requests
        if quotas.requests_per_minute is None:
            return
        count, _ = requests.total(self.now(), 60)
        _check("requests in a minute", count, quotas.requests_per_minute, quotas)
        requests.taken.append((self.now(), 1))

    def begin_download(self, client: str) -> None:
        """One more download runs; ``OverQuota``: it must not."""
        quotas, taken = self.of(client), self._of(client)
        count, volume = taken.downloads.total(self.now(), quotas.period_s)
        _check("parallel downloads", taken.running, quotas.parallel_downloads, quotas)
        _check("downloads", count, quotas.total_downloads, quotas)
        _check("volume", volume, quotas.volume, quotas)
        taken.running += 1

    def end_download(self, client: str, sent: int) -> None:
        """A download has ended after so many octets."""
        taken = self._of(client)
        taken.running -= 1
        taken.downloads.taken.append((self.now(), sent))

    def order(self, client: str, parallel: int) -> None:
        """One more order is placed while so many are open; ``OverQuota``: it must not."""
        quotas, orders = self.of(client), self._of(client).orders
        count, _ = orders.total(self.now(), quotas.period_s)
        _check("parallel order requests", parallel, quotas.parallel_orders, quotas)
        _check("orders", count, quotas.total_orders, quotas)
        orders.taken.append((self.now(), 1))

    def subscription(self, client: str, running: int) -> None:
        """One more subscription runs beside so many; ``OverQuota``: it must not."""
        _check("running subscriptions", running, self.of(client).subscriptions, self.of(client))

    def _of(self, client: str) -> _Taken:
        return self._taken.setdefault(client, _Taken())


def _check(what: str, taken: int, most: int | None, quotas: Quotas) -> None:
    if most is not None and taken >= most:
        raise OverQuota(f"User quota exceeded: {what}, of which {most} are given", quotas)
