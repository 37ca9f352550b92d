"""Whether the process lives, whether it can work, and its counters."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

from fastapi import FastAPI, Request, Response
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import Metric
from prometheus_client.registry import Collector
from pydantic import BaseModel, Field

from rs_server.database import Database
from rs_server.errors import RsError, Unavailable
from rs_server.telemetry import Metrics

PATIENCE_S = 3.0

_TABLES = ("rs.migrations", "rs.api_keys", "rs.jobs", "pgstac.items", "procrastinate.procrastinate_jobs")


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that the server works with; ``ask`` raises one of our errors when it is not there."""

    name: str
    ask: Callable[[], Awaitable[None]]
    needed: bool = True  # without it the server is not ready; others are only told


class Figures(Protocol):
    """Figures that are read at each scrape."""

    async def metrics(self) -> Sequence[Metric]:
        """As they are now; ``Unavailable``."""
        ...


class Health(BaseModel):
    """The process answers."""

    status: str = "ok"


class CheckResult(BaseModel):
    """What came of one check."""

    ok: bool
    needed: bool = Field(description="Whether the server is not ready without it")
    reason: str = ""


class Readiness(BaseModel):
    """Whether the server can work, and what with."""

    ready: bool
    checks: dict[str, CheckResult]


def install(app: FastAPI, metrics: Metrics) -> None:
    """Serve ``/health``, ``/ready`` and ``/metrics``; the lifespan state makes ``checks``, and may hold ``scraped``."""

    @app.get("/health", tags=["Operation"])
    async def health() -> Health:
        """The process answers."""
        return Health()

    @app.get("/ready", tags=["Operation"], responses={503: {"model": Readiness}})
    async def ready(request: Request, response: Response) -> Readiness:
        """Whether everything needed is there; 503 if not."""
        found = await readiness(request.state.checks())
        response.status_code = 200 if found.ready else 503
        return found

    @app.get("/metrics", tags=["Operation"], response_class=Response)
    async def counters(request: Request) -> Response:
        """Counters of this process, and figures of all workers, in the text form of Prometheus."""
        text = generate_latest(metrics.registry) + await _figures(getattr(request.state, "scraped", ()))
        return Response(text, media_type=CONTENT_TYPE_LATEST)


async def _figures(sources: Iterable[Figures]) -> bytes:
    """What the database knows; nothing while it does not answer, as counters must not fall."""
    try:
        found = [metric for source in sources for metric in await source.metrics()]
    except Unavailable:
        return b""
    registry = CollectorRegistry()
    registry.register(_Read(found))
    return generate_latest(registry)


class _Read(Collector):
    """Figures that were read already, as a registry takes them."""

    def __init__(self, found: Sequence[Metric]) -> None:
        self.found = found

    def collect(self) -> Sequence[Metric]:
        """All of them."""
        return self.found


async def readiness(checks: Sequence[Check], patience_s: float = PATIENCE_S) -> Readiness:
    """Ask all at the same time; one that does not answer in time has failed."""
    answers = await asyncio.gather(*(_result(check, patience_s) for check in checks))
    results = {check.name: answer for check, answer in zip(checks, answers, strict=True)}
    return Readiness(ready=all(found.ok or not found.needed for found in results.values()), checks=results)


async def _result(check: Check, patience_s: float) -> CheckResult:
    try:
        async with asyncio.timeout(patience_s):
            await check.ask()
    except RsError as error:
        return CheckResult(ok=False, needed=check.needed, reason=error.detail)
    except TimeoutError:
        return CheckResult(ok=False, needed=check.needed, reason=f"no answer within {patience_s:g} s")
    return CheckResult(ok=True, needed=check.needed)


async def tables_there(database: Database) -> None:
    """Raise ``Unavailable`` unless the database answers and has been brought to the form we need."""
    async with database.connection() as conn:
        cursor = await conn.execute(
            "SELECT name FROM unnest(%s::text[]) AS name WHERE to_regclass(name) IS NULL", [list(_TABLES)]
        )
        missing = [str(row["name"]) for row in await cursor.fetchall()]
    if missing:
        raise Unavailable(f"the database lacks {', '.join(missing)}: run python -m rs_server.migrate")


async def worker_there(database: Database) -> None:
    """Raise ``Unavailable`` unless some worker showed itself within the last 30 s."""
    async with database.connection() as conn:
        cursor = await conn.execute(
            "SELECT 1 FROM procrastinate.procrastinate_workers WHERE last_heartbeat > now() - interval '30 s'"
        )
        if await cursor.fetchone() is None:
            raise Unavailable("no worker is running: jobs are accepted and wait")
