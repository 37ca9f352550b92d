"""Who goes on asking too often reaches nothing, and has the same answer."""

from __future__ import annotations

from collections.abc import Mapping

from fastapi import FastAPI, Request

from rs_server import errors, telemetry
from rs_server.access.gate import Gate
from rs_server.access.limits import Rates
from rs_server.errors import TooManyRequests
from tests.asgi import client


class Authenticator:
    """Counts whom it lets in."""

    def __init__(self) -> None:
        self.rates = Rates(1, 2)
        self.reached = 0

    def refusal(self, headers: Mapping[str, str]) -> TooManyRequests | None:
        return self.rates.refusal(headers.get("x-api-key", ""))


def app(metrics: telemetry.Metrics) -> FastAPI:
    app = FastAPI()
    errors.install(app)

    @app.get("/jobs")
    async def jobs(request: Request) -> None:
        authenticator = request.state.authenticator
        authenticator.reached += 1
        authenticator.rates.take("alice", request.headers["x-api-key"])

    app.add_middleware(telemetry.RequestLog, metrics=metrics)
    app.add_middleware(Gate, metrics=metrics)
    return app


async def test_a_caller_who_was_refused_reaches_nothing_and_others_everything() -> None:
    authenticator, metrics = Authenticator(), telemetry.Metrics()
    async with client(app(metrics), authenticator=authenticator) as http:
        hers = [await http.get("/jobs", headers={"x-api-key": "a", "x-request-id": f"r{n}"}) for n in range(9)]
        assert authenticator.reached == 3
        other = await http.get("/jobs", headers={"x-api-key": "b"})
    assert [answer.status_code for answer in hers] == [200, 200] + [429] * 7
    told, again = hers[2], hers[3]
    assert again.json() == {**told.json(), "request_id": "r3"}
    assert again.json()["detail"] == "more than 1 requests a second"
    for answer in (told, again):
        assert answer.headers["retry-after"] == "1"
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.headers["x-request-id"] == answer.json()["request_id"]
    assert authenticator.reached == 4
    assert other.status_code == 429  # the same caller by another key: known when it is looked at

    def refused(handler: str) -> float | None:
        labels = {"handler": handler, "method": "GET", "status": "429"}
        return metrics.registry.get_sample_value("http_requests_total", labels)

    assert (refused("/jobs"), refused("none")) == (2, 6)


async def test_without_an_authenticator_the_door_is_open() -> None:
    metrics = telemetry.Metrics()
    async with client(app(metrics)) as http:
        assert (await http.get("/nothing")).status_code == 404
