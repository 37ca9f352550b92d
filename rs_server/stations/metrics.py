"""Counters of what passes between us and each station."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

_SECONDS = (0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100, 1000)


class StationMetrics(Collector):
    """All stations' counters; a registry collects them."""

    def __init__(self) -> None:
        self._requests = Counter("rs_station_requests", "Requests to stations", ["station", "outcome"], registry=None)
        self._seconds = Histogram(
            "rs_station_request_seconds",
            "Time until a station's answer was read, in seconds",
            ["station"],
            buckets=_SECONDS,
            registry=None,
        )
        self._bytes = Counter("rs_station_bytes", "Bytes that came from stations", ["station"], registry=None)
        self._open = Gauge("rs_station_breaker_open", "1 while a station is left alone", ["station"], registry=None)

    def answered(self, station: str, outcome: str, seconds: float) -> None:
        """Count one request; the outcome is ``ok`` or the name of the error it ended in."""
        self._requests.labels(station, outcome).inc()
        self._seconds.labels(station).observe(seconds)

    def came(self, station: str, size: int) -> None:
        """Count bytes."""
        self._bytes.labels(station).inc(size)

    def breaker(self, station: str, *, open: bool) -> None:  # noqa: A002
        """Note whether the station is left alone."""
        self._open.labels(station).set(open)

    def collect(self) -> Iterable[Metric]:
        """What a registry asks for."""
        for each in (self._requests, self._seconds, self._bytes, self._open):
            yield from each.collect()
