"""Following a job by its events: what is heard, what happens when the line breaks, and how it is left; both drivers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import httpx
import pytest

from rs_client import errors
from rs_client.aio import AsyncRsClient
from rs_client.auth import ApiKey, HubToken
from rs_client.errors import Detached, Forbidden, JobFailed, NotFound, ServiceUnavailable, Timeout
from rs_client.http import Http
from rs_client.jobs import AsyncJob, Job
from rs_client.progress import Status
from rs_client.session import RsClient
from tests.unit.client.far import SERVER, Answer, async_http, client, session

ACCEPTED = {"jobID": "j1", "processID": "staging", "status": "accepted"}
type Wait = Callable[[Answer, float | None], Status]


def state(status: str, progress: int = 0, **more: Any) -> dict[str, Any]:
    return {**ACCEPTED, "status": status, "progress": progress, **more}


def event(number: int, document: dict[str, Any]) -> str:
    return f"event: status\r\nid: {number}\r\ndata: {json.dumps(document)}\r\n\r\n"


class Stream(httpx.SyncByteStream, httpx.AsyncByteStream):
    """Pieces of an answer; an exception among them breaks the line."""

    def __init__(self, pieces: Iterable[str | BaseException]) -> None:
        self._pieces = iter(pieces)
        self.closed = False

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._pieces:
            if isinstance(piece, BaseException):
                raise piece
            yield piece.encode()

    async def __aiter__(self) -> Any:
        for piece in self:
            yield piece

    def close(self) -> None:
        self.closed = True

    async def aclose(self) -> None:
        self.closed = True


class Server:
    """Answers each opening of the events with the next stream or answer, and the job itself with a state."""

    def __init__(
        self, *streams: Iterable[str | BaseException] | httpx.Response, now: dict[str, Any] | None = None
    ) -> None:
        self._streams = list(streams)
        self._now = now
        self.opened: list[Stream] = []
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        if request.url.path == "/jobs/j1/events":
            stream = self._streams.pop(0) if len(self._streams) > 1 else self._streams[0]
            if isinstance(stream, httpx.Response):
                return stream
            self.opened.append(Stream(stream))
            return httpx.Response(200, headers={"content-type": "text/event-stream"}, stream=self.opened[-1])
        if request.url.path == "/jobs/j1" and self._now is not None:
            return httpx.Response(200, json=self._now)
        return httpx.Response(404, json={"detail": "not here"})

    @property
    def paths(self) -> list[str]:
        return [request.url.path for request in self.requests]


def blocking(answer: Answer, timeout: float | None) -> Status:
    return Job(session(answer), ACCEPTED).wait(timeout).last_seen.status


def on_a_loop(answer: Answer, timeout: float | None) -> Status:
    async def wait() -> Status:
        async with AsyncRsClient(async_http(answer)) as opened:
            return (await AsyncJob(opened, ACCEPTED).wait(timeout)).last_seen.status

    return asyncio.run(wait())


@pytest.fixture(params=[blocking, on_a_loop])
def wait(request: pytest.FixtureRequest) -> Wait:
    found: Wait = request.param
    return found


def said(capsys: pytest.CaptureFixture[str]) -> list[str]:
    return capsys.readouterr().err.splitlines()


def test_it_hears_until_the_end_and_asks_once(wait: Wait, capsys: pytest.CaptureFixture[str]) -> None:
    text = event(1, state("running", 40)) + ": ping\r\n\r\n" + event(2, state("successful", 100))
    server = Server([text[:30], text[30:]])
    assert wait(server, None) is Status.SUCCESSFUL
    assert server.paths == ["/jobs/j1/events"]
    assert server.requests[0].headers["Accept"] == "text/event-stream"
    assert server.requests[0].headers["x-api-key"] == "rsk_alice"
    assert server.opened[0].closed
    assert said(capsys) == ["staging · running · 40 %", "staging · successful · 100 %"]


@pytest.mark.parametrize(
    "broken", [httpx.ReadError("reset"), httpx.ReadTimeout("silent"), httpx.RemoteProtocolError("cut")]
)
def test_a_broken_line_is_taken_up_where_it_broke(
    wait: Wait, broken: Exception, capsys: pytest.CaptureFixture[str]
) -> None:
    server = Server([event(7, state("running", 40)), broken], [event(8, state("successful", 100))])
    assert wait(server, None) is Status.SUCCESSFUL
    assert [request.headers.get("Last-Event-ID") for request in server.requests] == [None, "7"]
    assert all(stream.closed for stream in server.opened)
    assert "looking again" in said(capsys)[1]


def test_a_stream_that_ends_early_is_opened_again(wait: Wait) -> None:
    server = Server([event(1, state("running"))], [], [event(2, state("successful"))])
    assert wait(server, None) is Status.SUCCESSFUL
    assert server.paths == ["/jobs/j1/events"] * 3


@pytest.mark.parametrize("status", [404, 405, 406])
def test_a_server_without_events_is_looked_at(wait: Wait, status: int) -> None:
    server = Server(httpx.Response(status), now=state("successful"))
    assert wait(server, None) is Status.SUCCESSFUL
    assert server.paths == ["/jobs/j1/events", "/jobs/j1"]


def streamed(status: int, text: str = "<html>", **headers: str) -> httpx.Response:
    """As a real server answers: what it says is read only when it is asked for."""
    return httpx.Response(status, headers=headers, stream=Stream([text]))


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_server_that_refuses_for_a_while_is_borne_with(
    wait: Wait, status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    refusal = streamed(status, json.dumps({"detail": "not now"}))
    server = Server(refusal, streamed(status), [event(1, state("successful"))])
    assert wait(server, None) is Status.SUCCESSFUL
    assert server.paths == ["/jobs/j1/events"] * 3
    assert "not now · looking again" in said(capsys)[0]


def test_who_is_told_to_wait_waits_so_long() -> None:
    pauses: list[float] = []
    server = Server(streamed(429, "{}", **{"Retry-After": "7"}), [event(1, state("successful"))])
    patient = RsClient(Http(SERVER, ApiKey("k"), client(server), pause=pauses.append))
    assert Job(patient, ACCEPTED).wait().last_seen.status is Status.SUCCESSFUL
    assert pauses == [7.0]


def test_a_job_of_others_is_not_waited_for(wait: Wait) -> None:
    with pytest.raises(Forbidden, match="not yours"):
        wait(Server(streamed(403, json.dumps({"detail": "not yours"}))), None)


def test_what_answers_something_else_has_no_events(wait: Wait) -> None:
    server = Server(streamed(200, "<html>", **{"Content-Type": "text/html"}), now=state("successful"))
    assert wait(server, None) is Status.SUCCESSFUL
    assert server.paths == ["/jobs/j1/events", "/jobs/j1"]


def test_a_job_that_is_gone_is_not_found(wait: Wait) -> None:
    with pytest.raises(NotFound):
        wait(Server(httpx.Response(404)), None)


def test_a_failure_tells_what_the_log_said_last(wait: Wait) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/jobs/j1/log":
            return httpx.Response(200, json=[{"at": "", "line": f"line {number}"} for number in range(9)])
        return Server([event(1, state("failed", message="no space"))])(request)

    with pytest.raises(JobFailed, match="staging failed: no space") as caught:
        wait(answer, None)
    assert caught.value.log_tail == ("line 4", "line 5", "line 6", "line 7", "line 8")


def test_the_patience_has_an_end_and_the_job_does_not(wait: Wait) -> None:
    server = Server([event(1, state("running"))])
    with pytest.raises(Timeout, match="still running") as caught:
        wait(server, 0)
    assert "s.job('j1').wait()" in caught.value.hint
    assert {request.method for request in server.requests} == {"GET"}


def test_silence_near_the_end_of_the_patience_is_cut_short(wait: Wait) -> None:
    server = Server([event(1, state("running"))])
    with pytest.raises(Timeout):
        wait(server, 0.3)
    assert all(request.extensions["timeout"]["read"] <= 0.3 for request in server.requests)


def test_a_login_that_ended_meanwhile_is_renewed() -> None:
    tokens = iter("ab")
    server = Server(httpx.Response(401), [event(1, state("successful"))])

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.host == "hub.test":
            return httpx.Response(200, json={"access_token": next(tokens), "expires_in": 300})
        return server(request)

    hub = RsClient(Http(SERVER, HubToken("http://hub.test/token", "t"), client(answer)))
    assert Job(hub, ACCEPTED).wait().status is Status.SUCCESSFUL
    assert [request.headers["Authorization"] for request in server.requests] == ["Bearer a", "Bearer b"]


def test_a_server_that_stays_away_is_named_at_last(wait: Wait, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rs_client.watch.PATIENCE_S", -1.0)
    with pytest.raises(ServiceUnavailable, match="does not answer"):
        wait(Server([httpx.ReadError("reset")]), None)


def test_ctrl_c_leaves_the_job_and_says_how_to_come_back() -> None:
    server = Server([event(1, state("running")), KeyboardInterrupt()])
    with pytest.raises(Detached, match=r"s\.job\('j1'\)\.wait\(\)"):
        blocking(server, None)
    assert server.opened[0].closed
    assert {request.method for request in server.requests} == {"GET"}
    assert issubclass(Detached, KeyboardInterrupt)
    assert not issubclass(Detached, errors.RsError)


async def test_a_cancelled_task_leaves_the_job() -> None:
    server = Server([event(1, state("running")), asyncio.CancelledError()])
    async with AsyncRsClient(async_http(server)) as opened:
        with pytest.raises(asyncio.CancelledError):
            await AsyncJob(opened, ACCEPTED).wait()
    assert server.opened[0].closed
