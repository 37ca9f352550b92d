"""Figures of the carrying, as the database has them: for the metrics, and for people who want to see how it goes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from rs_server.database import Database, Row

JOB_STATES = ("accepted", "running", "successful", "failed", "dismissed")


@dataclass(frozen=True, slots=True)
class Figures:
    """Read from the rows each time, so that they are of all workers, and outlive them."""

    database: Database

    async def metrics(self) -> list[Metric]:
        """The figures that Prometheus collects."""
        jobs = await self._rows(
            "SELECT status, count(*)::int AS n FROM rs.jobs WHERE process = 'staging' GROUP BY status"
        )
        totals = await self._rows("SELECT station, outcome, files, bytes FROM rs.staging_totals")
        stations = await self._rows(_STATIONS)
        (oldest,) = await self._rows(
            "SELECT coalesce(max(extract(epoch FROM now() - j.created)), 0)::float AS s FROM rs.jobs j "
            "WHERE j.status = 'running' AND EXISTS (SELECT 1 FROM rs.transfers WHERE job = j.id AND state = 'waiting')"
        )
        return [
            _gauge("staging_jobs", "Staging jobs", "state", {**dict.fromkeys(JOB_STATES, 0), **_pairs(jobs)}),
            _counter("staging_files", "Files that came to an end", totals, "files"),
            _counter("staging_bytes", "Bytes of files that came to an end", totals, "bytes"),
            GaugeMetricFamily(
                "staging_oldest_pending_seconds", "Age of the oldest job of which files wait", value=oldest["s"]
            ),
            _gauge(
                *("staging_circuit_state", "0: in use, 1: to be tried, 2: left alone, by all workers", "station"),
                {row["name"]: row["circuit"] for row in stations},
            ),
            _gauge(
                *("staging_transfers_running", "Files under way", "station"),
                {row["name"]: row["running"] for row in stations},
            ),
        ]

    async def state(self, owner: str | None, limit: int) -> dict[str, Any]:
        """How the carrying goes: stations and workers, and the unfinished jobs of one owner or of all."""
        workers = await self._rows(
            "SELECT count(*)::int AS n FROM procrastinate.procrastinate_workers "
            "WHERE last_heartbeat > now() - interval '30 s'"
        )
        jobs = await self._rows(_JOBS, {"owner": owner, "limit": limit})
        return {"workers": workers[0]["n"], "stations": await self._rows(_STATIONS), "jobs": jobs}

    async def _rows(self, query: str, values: Any = None) -> list[Row]:
        async with self.database.connection() as conn:
            return await (await conn.execute(query, values)).fetchall()


_STATIONS = (
    "SELECT coalesce(s.name, t.station) AS name, "
    "CASE WHEN closed_until > now() THEN 2 WHEN closed_until IS NOT NULL THEN 1 ELSE 0 END AS circuit, "
    "closed_until, reason, coalesce(t.running, 0)::int AS running, coalesce(t.waiting, 0)::int AS waiting, "
    "coalesce(t.rate, 0)::float AS bytes_per_s "
    "FROM rs.stations s FULL JOIN (SELECT station, count(*) FILTER (WHERE state = 'running') AS running, "
    "count(*) FILTER (WHERE state IN ('waiting', 'paused', 'ordered')) AS waiting, "
    "sum(rate) FILTER (WHERE state = 'running') AS rate FROM rs.transfers "
    "WHERE state IN ('waiting', 'paused', 'ordered', 'running') GROUP BY station) t ON t.station = s.name ORDER BY 1"
)
_JOBS = (
    "SELECT id, owner, status, message, waiting, progress, bytes_done, bytes_total, files_done, files_total, "
    "files_failed, rate, created FROM rs.jobs WHERE process = 'staging' AND status IN ('accepted', 'running') "
    "AND (%(owner)s::text IS NULL OR owner = %(owner)s) ORDER BY created LIMIT %(limit)s"
)


def _pairs(rows: Iterable[Row]) -> dict[str, int]:
    return {row["status"]: row["n"] for row in rows}


def _gauge(name: str, help_: str, label: str, values: dict[str, int]) -> Metric:
    family = GaugeMetricFamily(name, help_, labels=[label])
    for value, number in values.items():
        family.add_metric([value], number)
    return family


def _counter(name: str, help_: str, rows: Iterable[Row], column: str) -> Metric:
    family = CounterMetricFamily(name, help_, labels=["station", "outcome"])
    for row in rows:
        family.add_metric([row["station"], row["outcome"]], row[column])
    return family
