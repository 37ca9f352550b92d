"""Counters of what passes between us and each station."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

_SECONDS = (0.1, 0.3, 1, 3, 10, 30, 100)


class StationMetrics(Collector):
    """All stations' counters; a registry collects them."""

    def __init__(self) -> None:
        self._requests = Counter(
            "station_requests", "Requests to stations", ["station", "op", "outcome"], registry=None
        )
        self._seconds = Histogram(
            "station_request_duration_seconds",
            "Time until a station's answer was read, in seconds",
            ["station"],
            buckets=_SECONDS,
            registry=None,
        )
        self._bytes = Counter("station_bytes", "Bytes that came from stations", ["station"], registry=None)
        self._circuit = Gauge(
            "station_circuit_state",
            "0: in use, 1: to be tried, 2: left alone, by this process",
            ["station"],
            registry=None,
        )

    def answered(self, station: str, op: str, outcome: str, seconds: float) -> None:
        """Count one request: a query, an order or a download. The outcome is ``ok``, or the name of the error."""
        self._requests.labels(station, op, outcome).inc()
        self._seconds.labels(station).observe(seconds)

    def came(self, station: str, size: int) -> None:
        """Count bytes."""
        self._bytes.labels(station).inc(size)

    def watch(self, station: str, circuit: Callable[[], int]) -> None:
        """Ask from now on whether the station is in use, whenever the figures are read."""
        self._circuit.labels(station).set_function(circuit)

    def forget(self, station: str) -> None:
        """Tell no more how it is: the station is in use no more."""
        self._circuit.remove(station)

    def collect(self) -> Iterable[Metric]:
        """What a registry asks for."""
        for each in (self._requests, self._seconds, self._bytes, self._circuit):
            yield from each.collect()
