"""Counter of what the object storage did not do."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import Counter
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector


class StorageMetrics(Collector):
    """One process's counter; a registry collects it."""

    def __init__(self) -> None:
        self._errors = Counter(
            "s3_errors", "Calls to the object storage that failed, after all attempts", ["op", "code"], registry=None
        )

    def failed(self, op: str, code: str) -> None:
        """Count one call: what it was about, as a verb, and S3's code or the name of the client's error."""
        self._errors.labels(op, code).inc()

    def collect(self) -> Iterable[Metric]:
        """What a registry asks for."""
        yield from self._errors.collect()
