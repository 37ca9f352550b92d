"""Talking to a station: tokens, retries, redirects, and failures as our errors."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from prometheus_client import CollectorRegistry

from rs_server.errors import (
    NotFound,
    RsError,
    StationRefused,
    StationTimeout,
    StationUnavailable,
    TooManyRequests,
    Unavailable,
)
from rs_server.settings import StationSettings
from rs_server.stations.login import StationToken, login
from rs_server.stations.manners import Gate
from rs_server.stations.metrics import StationMetrics
from rs_server.stations.session import ATTEMPTS, Session

ROOT = "https://station.test/odata/v1"
TOKEN = "https://station.test/token"
Answer = Callable[[httpx.Request], httpx.Response]


class Script(httpx.AsyncBaseTransport):
    """A station that answers what a function says; its token endpoint counts."""

    def __init__(self, answer: Answer, token: Answer | None = None) -> None:
        self.answer = answer
        self.token = token or self._good_token
        self.tokens = 0
        self.requests: list[httpx.Request] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        await asyncio.sleep(0)
        if request.url == TOKEN:
            self.tokens += 1
            return self.token(request)
        self.requests.append(request)
        return self.answer(request)

    def _good_token(self, _: httpx.Request) -> httpx.Response:
        return httpx.Response(200, json={"access_token": f"t{self.tokens}", "expires_in": 600})


class Clock:
    """A clock that is moved, and a sleep that notes how long it was asked for."""

    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)


@asynccontextmanager
async def session(script: Script, clock: Clock | None = None, **more: Any) -> AsyncIterator[Session]:
    clock = clock or Clock()
    settings = StationSettings(kind="cadip", url=ROOT, **more)
    auth = StationToken("far", TOKEN, {"grant_type": "client_credentials"}, clock=clock)
    async with httpx.AsyncClient(auth=auth, transport=script) as http:
        yield Session("far", settings, http, sleep=clock.sleep, clock=clock)


EMPTY = httpx.Response(200, json={"value": []})


def ok(_: httpx.Request) -> httpx.Response:
    return httpx.Response(200, json={"value": []})


def scripted(*answers: httpx.Response | Exception) -> Answer:
    """One answer after another."""
    rest: Iterator[httpx.Response | Exception] = iter(answers)

    def answer(_: httpx.Request) -> httpx.Response:
        found = next(rest)
        if isinstance(found, Exception):
            raise found
        return found

    return answer


# --- tokens -----------------------------------------------------------------------------------------------------------


async def test_one_token_for_many_waiters() -> None:
    script = Script(ok)
    async with session(script) as far:
        await asyncio.gather(*(far.query("Sessions", {}) for _ in range(20)))
    assert script.tokens == 1
    assert {request.headers["authorization"] for request in script.requests} == {"Bearer t1"}


async def test_a_token_is_replaced_before_it_expires() -> None:
    script, clock = Script(ok), Clock()
    async with session(script, clock) as far:
        for clock.now in (0, 500, 569, 571, 600):
            await far.query("Sessions", {})
    assert [request.headers["authorization"][-2:] for request in script.requests] == ["t1", "t1", "t1", "t2", "t2"]


async def test_a_refused_token_is_replaced_once() -> None:
    def only_second(request: httpx.Request) -> httpx.Response:
        return ok(request) if request.headers["authorization"] == "Bearer t2" else httpx.Response(401)

    script = Script(only_second)
    async with session(script) as far:
        await asyncio.gather(*(far.query("Sessions", {}) for _ in range(5)))
    assert script.tokens == 2
    script = Script(lambda _: httpx.Response(401))
    async with session(script) as far:
        with pytest.raises(StationRefused):
            await far.query("Sessions", {})
    assert script.tokens == 2


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (httpx.Response(401, json={"error": "invalid_client"}), StationRefused),
        (httpx.Response(400), StationRefused),
        (httpx.Response(503), StationUnavailable),
        (httpx.Response(500), StationUnavailable),
        (httpx.Response(200, text="<html>"), StationRefused),
        (httpx.Response(200, json={}), StationRefused),
        (httpx.Response(200, json=[]), StationRefused),
        (httpx.ConnectError("no"), StationUnavailable),
        (httpx.ReadTimeout("no"), StationTimeout),
    ],
)
async def test_token_endpoint_fails(answer: httpx.Response | Exception, error: type[RsError]) -> None:
    async with session(Script(ok, scripted(*[answer] * ATTEMPTS))) as far:
        with pytest.raises(error, match="far"):
            await far.query("Sessions", {})


@pytest.mark.parametrize("in_header", [True, False])
async def test_the_client_logs_in_by_form_or_by_header(in_header: bool) -> None:
    asked: list[httpx.Request] = []

    def token(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        return httpx.Response(200, json={"access_token": "t1"})

    grant = {"grant_type": "password", "username": "u", "password": "p", "client_id": "rs:a", "client_secret": "s"}
    settings = StationSettings.model_validate(
        {"kind": "cadip", "url": ROOT, "token_url": TOKEN, "grant": grant, "client_in_header": in_header}
    )
    async with httpx.AsyncClient(auth=login("far", settings), transport=Script(ok, token)) as http:
        await Session("far", settings, http).query("Sessions", {})
    (request,) = asked
    assert b"grant_type=password" in request.content
    assert (b"client_secret" in request.content) is not in_header
    expected = "Basic " + base64.b64encode(b"rs%3Aa:s").decode() if in_header else None
    assert request.headers.get("authorization") == expected


async def test_name_and_password() -> None:
    settings = StationSettings.model_validate({"kind": "cadip", "url": ROOT, "username": "u", "password": "p"})
    script = Script(ok)
    async with httpx.AsyncClient(auth=login("far", settings), transport=script) as http:
        await Session("far", settings, http).query("Sessions", {})
    assert script.requests[0].headers["authorization"] == "Basic " + base64.b64encode(b"u:p").decode()
    assert login("far", StationSettings(kind="cadip", url=ROOT)) is None


# --- retries ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "failure", [httpx.Response(503), httpx.Response(429), httpx.Response(500), httpx.ConnectError("no")]
)
async def test_what_may_pass_is_tried_again(failure: httpx.Response | Exception) -> None:
    clock, good = Clock(), httpx.Response(200, json={"value": [1]})
    async with session(Script(scripted(failure, failure, good)), clock) as far:
        assert await far.query("Sessions", {}) == {"value": [1]}
    assert len(clock.slept) == 2
    assert 0 <= clock.slept[0] <= 0.2
    assert 0 <= clock.slept[1] <= 0.4


@pytest.mark.parametrize("failure", [httpx.Response(400), httpx.Response(403), httpx.ReadTimeout("slow")])
async def test_what_will_not_pass_is_not(failure: httpx.Response | Exception) -> None:
    clock = Clock()
    async with session(Script(scripted(failure)), clock) as far:
        with pytest.raises((StationRefused, StationTimeout)):
            await far.query("Sessions", {})
    assert clock.slept == []


async def test_retry_after_is_honoured_or_the_station_is_down() -> None:
    clock = Clock()
    soon, late = (httpx.Response(503, headers={"Retry-After": seconds}) for seconds in ("1", "60"))
    async with session(Script(scripted(soon, late)), clock) as far:
        with pytest.raises(StationUnavailable) as down:
            await far.query("Sessions", {})
    assert clock.slept == [1.0]
    assert down.value.members["retry_after_s"] == 60


@pytest.mark.parametrize("wish", ["9" * 400, "9" * 20])
async def test_retry_after_of_any_length_is_a_time(wish: str) -> None:
    async with session(Script(scripted(httpx.Response(503, headers={"Retry-After": wish})))) as far:
        with pytest.raises(StationUnavailable) as down:
            await far.query("Sessions", {})
    assert down.value.members["retry_after_s"] == 365 * 86_400


async def test_retry_after_may_be_a_date() -> None:
    late = httpx.Response(503, headers={"Retry-After": "Fri, 31 Dec 2100 23:59:59 GMT"})
    async with session(Script(scripted(late))) as far:
        with pytest.raises(StationUnavailable) as down:
            await far.query("Sessions", {})
    assert down.value.members["retry_after_s"] > 1e6


async def test_an_order_is_sent_once() -> None:
    for failure, error in (
        (httpx.ConnectError("no"), StationUnavailable),
        (httpx.Response(503), StationUnavailable),
        (httpx.Response(429, headers={"Retry-After": "7"}), TooManyRequests),
        (httpx.Response(403), TooManyRequests),
        (httpx.Response(400), StationRefused),
    ):
        script = Script(scripted(failure))
        async with session(script) as far:
            with pytest.raises(error, match="far"):
                await far.send("Products(1)/OData.CSC.Order", {"Priority": 50})
        (request,) = script.requests
        assert (request.method, request.content) == ("POST", b'{"Priority":50}')


# --- limits -----------------------------------------------------------------------------------------------------------


async def test_only_so_many_queries_at_once() -> None:
    now = most = 0

    class Counting(Script):
        async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
            nonlocal now, most
            now += 1
            most = max(most, now)
            await asyncio.sleep(0.001)
            now -= 1
            return await super().handle_async_request(request)

    async with session(Counting(ok), queries_at_once=3) as far:
        await asyncio.gather(*(far.query("Sessions", {}) for _ in range(20)))
    assert most == 3


async def test_only_so_many_queries_a_second() -> None:
    clock = Clock()
    async with session(Script(ok), clock, queries_per_s=4, timeout_s=0.9) as far:
        answers = await asyncio.gather(*(far.query("Sessions", {}) for _ in range(8)), return_exceptions=True)
    assert clock.slept == [0.25, 0.5, 0.75]
    assert sum(isinstance(answer, StationUnavailable) for answer in answers) == 4


async def test_a_redirect_to_the_station_and_a_retry_take_turns_of_their_own() -> None:
    moved = httpx.Response(302, headers={"location": f"{ROOT}/elsewhere"})
    clock = Clock()
    async with session(Script(scripted(moved, EMPTY)), clock, queries_per_s=4) as far:
        await far.query("Sessions", {})
    assert clock.slept == [0.25]
    clock = Clock()
    async with session(Script(scripted(httpx.Response(500), EMPTY)), clock, queries_per_s=4) as far:
        await far.query("Sessions", {})
    assert clock.slept[1:] == [0.25]  # after the pause before the retry


async def test_turns_are_booked_where_others_book_theirs() -> None:
    booked: list[tuple[str, float, float]] = []
    waits: list[float | None] = [0.0, 2.0, None]

    async def book(station: str, interval_s: float, within_s: float) -> float | None:
        booked.append((station, interval_s, within_s))
        return waits.pop(0)

    clock = Clock()
    gate = Gate("far", 4, per_second=4, patience_s=9, book=book, sleep=clock.sleep)
    for _ in range(2):
        async with gate.passed():
            pass
    assert clock.slept == [2.0]
    with pytest.raises(StationUnavailable, match="too much is waiting"):
        async with gate.passed():
            pass
    assert booked == 3 * [("far", 0.25, 9)]


async def test_a_process_that_cannot_book_keeps_the_pace_by_itself() -> None:
    async def book(station: str, interval_s: float, within_s: float) -> float | None:
        raise Unavailable("the database does not answer")

    clock = Clock()
    gate = Gate("far", 4, per_second=4, patience_s=9, book=book, clock=clock, sleep=clock.sleep)
    for _ in range(3):
        async with gate.passed():
            pass
    assert clock.slept == [0.25, 0.5]


async def test_who_waits_too_long_for_a_turn_is_told() -> None:
    gate = Gate("far", 1, patience_s=0.01)
    async with gate.passed():
        with pytest.raises(StationUnavailable, match="under way"):
            async with gate.passed():
                pass
    async with gate.passed():
        pass


async def test_a_station_that_fails_is_left_alone_and_tried_again() -> None:
    clock, down = Clock(), True
    script = Script(lambda request: httpx.Response(500) if down else ok(request))
    async with session(script, clock, failures=3, pause_s=30) as far:
        for _ in range(3):
            with pytest.raises(StationUnavailable, match="answered 500"):
                await far.query("Sessions", {})
        asked = len(script.requests)
        with pytest.raises(StationUnavailable, match="failed 3 times in a row") as alone:
            await far.query("Sessions", {})
        assert alone.value.members["retry_after_s"] == 30
        assert len(script.requests) == asked
        clock.now = 31
        with pytest.raises(StationUnavailable, match="answered 500"):  # one tries …
            await far.query("Sessions", {})
        with pytest.raises(StationUnavailable, match="in a row"):  # … and finds it down
            await far.query("Sessions", {})
        clock.now, down = 62, False
        await far.query("Sessions", {})
        await far.query("Sessions", {})


async def test_a_station_that_asks_to_be_left_alone_is() -> None:
    clock = Clock()
    script = Script(scripted(httpx.Response(429, headers={"Retry-After": "20"}), httpx.Response(200, json={})))
    async with session(script, clock) as far:
        for _ in range(2):
            with pytest.raises(StationUnavailable) as refused:
                await far.query("Sessions", {})
            assert refused.value.members["retry_after_s"] == 20
        clock.now = 21
        assert await far.query("Sessions", {}) == {}


async def test_an_answer_that_is_too_long_is_refused() -> None:
    async def endless() -> AsyncIterator[bytes]:
        while True:
            yield b" " * 1000

    async with session(Script(lambda _: httpx.Response(200, content=endless())), answer_bytes=5_000) as far:
        with pytest.raises(StationRefused, match="5000 bytes"):
            await far.query("Sessions", {})


async def test_requests_are_counted() -> None:
    metrics = StationMetrics()
    now = 0.0
    registry = CollectorRegistry()
    registry.register(metrics)
    settings = StationSettings(kind="cadip", url=ROOT, failures=1, pause_s=9)
    asked = [httpx.Response(200, json={"a": 1}), httpx.Response(400), httpx.Response(204)]
    down = httpx.Response(503, headers={"Retry-After": "60"})
    async with httpx.AsyncClient(transport=Script(scripted(*asked, down))) as http:
        far = Session("far", settings, http, metrics=metrics, clock=lambda: now)
        metrics.watch("far", far.circuit)
        await far.query("Sessions", {})
        with pytest.raises(StationRefused):
            await far.query("Sessions", {})
        await far.send("Orders", {})
        circuit = [registry.get_sample_value("station_circuit_state", {"station": "far"})]
        with pytest.raises(StationUnavailable):
            async with far.stream("Files(1)/$value", {}):
                pass
        for later in (1.0, 60.0):
            now = later
            circuit.append(registry.get_sample_value("station_circuit_state", {"station": "far"}))

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(f"station_{name}", {"station": "far", **labels})

    assert value("requests_total", op="query", outcome="ok") == 1
    assert value("requests_total", op="query", outcome="StationRefused") == 1
    assert value("requests_total", op="order", outcome="ok") == 1
    assert value("requests_total", op="download", outcome="StationUnavailable") == 1
    assert value("request_duration_seconds_count") == 4
    assert value("bytes_total") == len(b'{"a":1}')
    assert circuit == [0, 2, 0]
    metrics.forget("far")
    assert value("circuit_state") is None


async def test_a_slow_body_is_a_timeout() -> None:
    async def drip() -> AsyncIterator[bytes]:
        while True:
            yield b" "
            await asyncio.sleep(0.01)

    script = Script(lambda _: httpx.Response(200, content=drip()))
    async with session(script, timeout_s=0.1) as far:
        with pytest.raises(StationTimeout):
            await far.query("Sessions", {})


async def test_options_are_written_readably() -> None:
    script = Script(ok)
    async with session(script) as far:
        await far.query("Sessions", {"$filter": "Name eq 'a&b+ü''#'", "$top": 5})
    assert script.requests[0].url.raw_path == b"/odata/v1/Sessions?$filter=Name%20eq%20'a%26b%2B%C3%BC''%23'&$top=5"


# --- redirects --------------------------------------------------------------------------------------------------------


def redirecting(target: str, status: int = 307) -> Answer:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("$value"):
            return httpx.Response(status, headers={"Location": target})
        return httpx.Response(200, stream=httpx.ByteStream(b"bytes"))

    return answer


async def _download(script: Script, **more: Any) -> httpx.Request:
    async with session(script, **more) as far, far.stream("Files(1)/$value", {"Range": "bytes=5-"}) as response:
        assert b"".join([chunk async for chunk in far.chunks(response)]) == b"bytes"
    return script.requests[-1]


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_gets_all_headers_again(status: int) -> None:
    script = Script(redirecting("https://other.test:8443/place", status))
    last = await _download(script, redirect_hosts=("other.test",))
    assert last.headers["authorization"] == "Bearer t1"
    assert last.headers["range"] == "bytes=5-"
    assert (await _download(Script(redirecting("/elsewhere")))).headers["authorization"] == "Bearer t1"


async def test_a_signed_address_gets_no_token() -> None:
    script = Script(redirecting("https://s3.test/bucket/key?X-Amz-Credential=a&X-Amz-Signature=b"))
    last = await _download(script, redirect_hosts=("s3.test",))
    assert "authorization" not in last.headers
    assert last.headers["range"] == "bytes=5-"


@pytest.mark.parametrize(
    "target",
    [
        "https://evil.test/place",
        "https://station.test.evil.test/place",
        "https://station.test@evil.test/place",
        "http://station.test/place",
        "file:///etc/passwd",
        "https://station.test/odata/v1/again/$value",
        "https://[broken",
    ],
)
async def test_a_redirect_elsewhere_is_refused(target: str) -> None:
    script = Script(redirecting(target))
    with pytest.raises(StationRefused):
        await _download(script)
    assert all(request.url.host == "station.test" for request in script.requests)


# --- downloads --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("status", [404, 410])
async def test_a_file_that_is_gone(status: int) -> None:
    async with session(Script(lambda _: httpx.Response(status))) as far:
        with pytest.raises(NotFound, match="far"):
            async with far.stream("Files(1)/$value", {}):
                pass


async def test_a_broken_stream_is_told() -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"half"
        raise httpx.ReadError("reset")

    async with (
        session(Script(lambda _: httpx.Response(200, content=broken()))) as far,
        far.stream("Files(1)/$value", {}) as response,
    ):
        with pytest.raises(StationUnavailable, match="far"):
            async for _ in far.chunks(response):
                pass
