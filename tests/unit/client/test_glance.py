"""What objects show of the platform: soon, without an error, and without bothering anybody."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from rs_client.auth import DeviceLogin
from rs_client.glance import Glimpse, glance
from rs_client.http import Http
from rs_client.jobs import Job
from rs_client.session import RsClient
from rs_client.tokenstore import Token
from tests.unit.client.far import SERVER, Far, client, http, session, table

JOBS = {"jobs": [{"jobID": "j1", "processID": "staging", "status": "running", "progress": 40}]}
ANSWERS: dict[str, Any] = {
    "GET /auth/me": {"login": "alice", "roles": [], "groups": ["rs-users"]},
    "GET /ready": {"checks": {"database": {"ok": True}}},
    "GET /dpr/processes": {"processes": [{"id": "s1-l0", "title": "Level 0"}]},
    "GET /auth/api_keys": [{"id": "k1", "name": "chain", "owner": "alice", "expires": None}],
    "GET /jobs": JOBS,
}


@pytest.mark.parametrize(
    ("part", "told"),
    [("dpr", ["s1-l0", "Level 0", "s.dpr.plan("]), ("keys", ["chain", "s.keys.create("]), ("staging", ["j1", "40"])],
)
def test_a_part_shows_what_one_has_there(part: str, told: list[str]) -> None:
    html = getattr(session(table(ANSWERS)), part)._repr_html_()
    assert all(word in html for word in (SERVER, *told))


def test_staging_shows_the_jobs_of_staging_that_are_not_over() -> None:
    far = Far(httpx.Response(200, json={"jobs": []}))
    html = session(far).staging._repr_html_()
    assert "your jobs under way" in html
    assert "none" in html
    assert dict(far.requests[0].url.params.multi_items()) | {"status": ""} == {
        "processID": "staging", "status": "", "limit": "50",
    }  # fmt: skip
    assert far.requests[0].url.params.get_list("status") == ["accepted", "running"]


@pytest.mark.parametrize("part", ["dpr", "keys", "staging"])
@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (httpx.Response(503, json={"detail": "down for an hour"}), "down for an hour"),
        (httpx.Response(401, json={"detail": "this needs a login"}), "this needs a login"),
        (httpx.Response(200, json={"another": "document"}), "Error"),
        (httpx.Response(200, text="<html>"), "not JSON"),
        (httpx.ConnectError("refused"), "does not answer"),
        (httpx.ReadTimeout("late"), "did not answer in time"),
    ],
)
def test_what_goes_wrong_is_a_line_on_the_card(part: str, answer: httpx.Response | Exception, said: str) -> None:
    far = Far(answer)
    html = getattr(session(far), part)._repr_html_()
    assert said in html
    assert f"s.{part}." in html or "s.stage(" in html
    assert len(far.requests) == 1  # nothing is tried again


def test_a_session_shows_what_is_down() -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path == "/ready":  # which is refused as a whole when a part is down
            return httpx.Response(503, json={"checks": {"database": {"ok": False}, "s3": {"ok": True}}})
        return httpx.Response(200, json=ANSWERS["GET /auth/me"])

    html = session(answer)._repr_html_()
    assert "database DOWN, s3 up" in html
    assert "alice" in html


def test_a_session_shows_itself_when_nothing_answers() -> None:
    html = session(Far(httpx.ConnectError("refused")))._repr_html_()
    assert SERVER in html
    assert "does not answer: refused" in html


def test_a_job_shows_what_was_seen_last() -> None:
    job = Job(session(Far(httpx.ConnectError("refused"))), {"jobID": "j1", "processID": "staging", "status": "running"})
    html = job._repr_html_()
    assert "staging · running" in html
    assert "does not answer: refused" in html


def test_a_server_that_never_ends_is_not_waited_for() -> None:
    enough = threading.Event()

    class Drops(httpx.SyncByteStream):
        def __iter__(self) -> Iterator[bytes]:
            while not enough.wait(0.02):  # always in time for the next piece
                yield b" "

    begun = time.monotonic()
    seen = glance(http(lambda request: httpx.Response(200, stream=Drops())), lambda brief: brief.get("/jobs"), 0.2)
    assert time.monotonic() - begun < 2
    assert seen == Glimpse(excuse=f"{SERVER} did not answer within 0.2 s")
    enough.set()


def test_a_silent_server_is_left_alone_in_time() -> None:
    far = Far(httpx.ReadTimeout("late"))
    assert "did not answer" in glance(http(far), lambda brief: brief.get("/jobs"), 0.5).excuse
    (request,) = far.requests
    assert max(request.extensions["timeout"].values()) <= 0.5


class Nobody:
    """A place where no login is kept."""

    def load(self) -> Token:
        return Token()

    def keep(self, token: Token) -> None:
        raise AssertionError(token)

    def forget(self) -> None: ...


def test_nobody_is_asked_to_log_in() -> None:
    said: list[str] = []
    far = Far(httpx.Response(200, json={}))
    login = DeviceLogin("http://keycloak.test/realms/rs", Nobody(), say=said.append)
    html = RsClient(Http(SERVER, login, client(far))).keys._repr_html_()
    assert "nobody is logged in here" in html
    assert said == []
    assert far.requests == []


def test_a_token_that_is_being_renewed_is_not_lost() -> None:
    """The answer comes when nobody looks any more: it is kept all the same, for the next who asks."""
    answered, kept = threading.Event(), threading.Event()

    class Store(Nobody):
        def load(self) -> Token:
            return Token(refresh_token="once")

        def keep(self, token: Token) -> None:
            assert token.access_token == "fresh"
            kept.set()

    def keycloak(request: httpx.Request) -> httpx.Response:
        assert request.extensions["timeout"]["read"] > 60
        answered.wait(10)
        return httpx.Response(200, json={"access_token": "fresh", "refresh_token": "next", "expires_in": 60})

    login = DeviceLogin("http://keycloak.test/realms/rs", Store())
    seen = glance(Http(SERVER, login, client(keycloak)), lambda brief: brief.get("/jobs"), 0.1)
    assert "did not answer" in seen.excuse
    answered.set()
    assert kept.wait(10)


def test_who_looks_again_may_wait_and_be_asked() -> None:
    """The connection for a picture is another one: the session itself has its patience still."""
    far = Far(httpx.Response(503), httpx.Response(200, json=JOBS))
    patient = http(far)
    assert glance(patient, lambda brief: brief.get("/jobs")).value is None
    assert patient.get("/jobs") == JOBS
