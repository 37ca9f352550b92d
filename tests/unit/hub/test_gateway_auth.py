"""What the gateway makes of the hub's answers about a caller's token."""

from typing import Any

import pytest
from aiohttp.web import HTTPBadGateway, HTTPUnauthorized

from rs_hub.gateway_auth import HubTokenAuthenticator


class Answer:
    """One answer of the hub."""

    reason = ""

    def __init__(self, status: int, body: dict[str, Any] | None = None) -> None:
        self.status = status
        self.body = body

    async def json(self) -> dict[str, Any] | None:
        return self.body


class Hub:
    """The far side: answers every question alike."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer

    async def get(self, *_: Any, **__: Any) -> Answer:
        return self.answer


class Request:
    """A request that carries a hub token."""

    headers = {"Authorization": "jupyterhub of-alice"}  # noqa: RUF012


def authenticator(answer: Answer) -> HubTokenAuthenticator:
    made = HubTokenAuthenticator(
        jupyterhub_api_token="own", jupyterhub_api_url="http://hub/hub/api", jupyterhub_service_name="dask-gateway"
    )
    made.session, made.ssl_context = Hub(answer), None
    return made


async def test_a_token_with_the_scope_is_taken() -> None:
    body = {"kind": "user", "name": "alice", "scopes": ["access:services!service=dask-gateway"]}
    assert (await authenticator(Answer(200, body)).authenticate(Request())).name == "alice"


@pytest.mark.parametrize(
    "answer", [Answer(403), Answer(401), Answer(404), Answer(200, {"kind": "user", "name": "alice", "scopes": []})]
)
async def test_a_token_that_the_hub_does_not_take_is_401(answer: Answer) -> None:
    with pytest.raises(HTTPUnauthorized):
        await authenticator(answer).authenticate(Request())


async def test_a_hub_in_trouble_is_not_the_callers_fault() -> None:
    with pytest.raises(HTTPBadGateway):
        await authenticator(Answer(503)).authenticate(Request())
