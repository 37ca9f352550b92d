"""Counters of how callers prove who they are."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import Counter
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

KEY_RESULTS = ("ok", "refused", "limited", "unavailable")
KEY_SET_RESULTS = ("ok", "failed")


class AccessMetrics(Collector):
    """One process's counters; a registry collects them. Each result is there from the start, at zero."""

    def __init__(self) -> None:
        self._keys = Counter("apikey_checks", "API keys that callers sent", ["result"], registry=None)
        self._key_sets = Counter(
            "jwks_refresh", "Readings of the public keys of the identity provider", ["result"], registry=None
        )
        for counter, results in ((self._keys, KEY_RESULTS), (self._key_sets, KEY_SET_RESULTS)):
            for result in results:
                counter.labels(result)

    def key_checked(self, result: str) -> None:
        """Count an API key: one of ``KEY_RESULTS``."""
        self._keys.labels(result).inc()

    def key_set_read(self, result: str) -> None:
        """Count a reading of the public keys: one of ``KEY_SET_RESULTS``."""
        self._key_sets.labels(result).inc()

    def collect(self) -> Iterable[Metric]:
        """What a registry asks for."""
        for each in (self._keys, self._key_sets):
            yield from each.collect()
