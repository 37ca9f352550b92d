"""The conversation with rs-server: what is tried again, what never, and whom your identity is shown to."""

from __future__ import annotations

import httpx
import pytest

from rs_client.auth import ApiKey
from rs_client.errors import Invalid, NotFound, RsError, ServiceUnavailable, Timeout
from rs_client.http import Http
from tests.unit.client.far import SERVER, Far, client, http

AWAY = httpx.Response(503, json={"detail": "back soon"})
GOOD = httpx.Response(200, json={"well": True})


@pytest.mark.parametrize("first", [AWAY, httpx.Response(502), httpx.ConnectError("refused")])
def test_get_is_tried_again(first: httpx.Response | Exception) -> None:
    far = Far(first, GOOD)
    assert http(far).get("/jobs", limit=2) == {"well": True}
    assert [str(request.url) for request in far.requests] == [f"{SERVER}/jobs?limit=2"] * 2


def test_get_gives_up() -> None:
    far = Far(AWAY)
    with pytest.raises(ServiceUnavailable, match="back soon"):
        http(far).get("/jobs")
    assert len(far.requests) == 4


def test_the_pauses_grow() -> None:
    pauses: list[float] = []
    with pytest.raises(ServiceUnavailable):
        Http(SERVER, ApiKey("rsk_alice"), client(Far(AWAY)), pause=pauses.append).get("/jobs")
    assert pauses == [0.2, 0.4, 0.8]


def test_post_once_is_tried_again_under_one_key() -> None:
    far = Far(AWAY, GOOD)
    conversation = http(far)
    assert conversation.post_once("/processes/staging/execution", {"a": 1}) == {"well": True}
    first, second = far.requests
    assert first.content == second.content == b'{"a":1}'
    assert first.headers["Idempotency-Key"] == second.headers["Idempotency-Key"]
    conversation.post_once("/processes/staging/execution", {"a": 1})
    assert far.requests[2].headers["Idempotency-Key"] != first.headers["Idempotency-Key"]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (AWAY, ServiceUnavailable),
        (httpx.Response(502, text="<html>"), ServiceUnavailable),
        (httpx.ConnectError("refused"), ServiceUnavailable),
        (httpx.ReadTimeout("slow"), Timeout),
    ],
)
@pytest.mark.parametrize("method", ["post", "delete"])
def test_what_changes_something_is_sent_once(
    method: str, answer: httpx.Response | Exception, expected: type[RsError]
) -> None:
    far = Far(answer)
    with pytest.raises(expected):
        http(far).post("/processes/staging/execution", {}) if method == "post" else http(far).delete("/jobs/1")
    assert len(far.requests) == 1


def test_a_refusal_is_final() -> None:
    far = Far(httpx.Response(404, json={"detail": "no such job"}))
    with pytest.raises(NotFound, match="no such job"):
        http(far).get("/jobs/1")
    assert len(far.requests) == 1


def test_an_answer_may_be_empty() -> None:
    assert http(Far(httpx.Response(204))).delete("/auth/keys/1") is None


def test_the_identity_goes_to_the_server_alone() -> None:
    far = Far(GOOD)
    conversation = http(far)
    conversation.get(f"{SERVER}/jobs/1")
    assert far.requests[0].headers["x-api-key"] == "rsk_alice"
    for elsewhere in (
        "jobs/1",
        f"{SERVER}.evil.test/jobs/1",
        "http://evil.test/",
        f"{SERVER}@evil.test/",
        f"{SERVER}:81/jobs",
    ):
        with pytest.raises(Invalid):
            conversation.get(elsewhere)
    assert len(far.requests) == 1


def test_the_server_may_have_another_address() -> None:
    far = Far(GOOD)
    conversation = http(far)
    conversation.server.also_at("https://public.test/rs/")
    conversation.get("https://public.test/rs/jobs/1")
    assert far.requests[0].headers["x-api-key"] == "rsk_alice"
    assert not conversation.server.owns("http://public.test/rs/jobs/1")


def test_what_is_not_json_is_not_rs_server() -> None:
    with pytest.raises(RsError, match="not JSON") as caught:
        http(Far(httpx.Response(200, text="<html>"))).get("/jobs")
    assert "RS_SERVER_URL" in caught.value.hint
