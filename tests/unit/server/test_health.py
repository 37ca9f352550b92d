"""Ready means that everything needed is there."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from fastapi import FastAPI

from rs_server import telemetry
from rs_server.errors import StationUnavailable, Unavailable
from rs_server.frontend import health
from rs_server.frontend.health import Check
from tests.asgi import client


async def fine() -> None:
    pass


async def down() -> None:
    raise Unavailable("the database does not answer")


async def station_down() -> None:
    raise StationUnavailable("sgs", "connection refused")


async def silent() -> None:
    await asyncio.sleep(60)


CASES: list[tuple[list[Check], int, str]] = [
    ([Check("a", fine)], 200, ""),
    ([Check("a", fine), Check("b", down)], 503, "the database does not answer"),
    ([Check("a", fine), Check("b", station_down, needed=False)], 200, "station sgs: connection refused"),
]


@pytest.mark.parametrize(("checks", "status", "reason"), CASES)
async def test_ready(checks: list[Check], status: int, reason: str) -> None:
    app = FastAPI()
    health.install(app, telemetry.Metrics())
    async with client(app, checks=lambda: tuple(checks)) as http:
        answer = await http.get("/ready")
        assert (await http.get("/health")).status_code == 200
    assert answer.status_code == status
    body = answer.json()
    assert body["ready"] is (status == 200)
    assert body["checks"][checks[-1].name]["reason"] == reason


async def test_silence_is_a_failure() -> None:
    found = await health.readiness([Check("a", silent)], patience_s=0.05)
    assert not found.ready
    assert found.checks["a"].reason == "no answer within 0.05 s"


async def test_checks_run_side_by_side() -> None:
    met = asyncio.Event()

    async def first() -> None:
        await met.wait()

    async def second() -> None:
        met.set()

    asks: list[Callable[[], Awaitable[None]]] = [first, second]
    found = await health.readiness([Check(str(place), ask) for place, ask in enumerate(asks)])
    assert found.ready


async def test_metrics() -> None:
    app = FastAPI()
    metrics = telemetry.Metrics()
    health.install(app, metrics)
    app.add_middleware(telemetry.RequestLog, metrics=metrics)
    async with client(app) as http:
        await http.get("/health")
        text = (await http.get("/metrics")).text
    assert 'http_requests_total{handler="/health",method="GET",status="200"} 1.0' in text
    assert 'http_request_duration_seconds_bucket{handler="/health",le="0.5"} 1.0' in text
