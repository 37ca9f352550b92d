"""The token service against a fake hub: it hands out one's own fresh access token, or says why not."""

import base64
import json
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from pydantic import SecretStr
from starlette.types import Receive, Scope, Send

from rs_hub.settings import TokenServiceEnvironment
from rs_hub.tokens import create_app, grants_access

SERVICE = TokenServiceEnvironment(
    api_url="http://hub/hub/api",
    api_token=SecretStr("token-of-the-service"),
    service_name="rs-token",
    service_prefix="/services/rs-token/",
    service_url="http://127.0.0.1:9/services/rs-token/",
)
ACCESS = "access:services!service=rs-token"
PATH = "/services/rs-token/token"


def access_token(life_s: float, login: str = "alice") -> str:
    payload = json.dumps({"exp": int(time.time() + life_s), "preferred_username": login}).encode()
    return f"h.{base64.urlsafe_b64encode(payload).decode().rstrip('=')}.s"


class Hub:
    """The far side: knows callers by their token, and shows stored logins to the service alone."""

    def __init__(self) -> None:
        self.callers: dict[str, dict[str, Any]] = {}
        self.logins: dict[str, dict[str, Any] | None] = {}
        self.asked: list[str] = []

    def add(self, name: str, token: str, *scopes: str, kind: str = "user", life_s: float = 200) -> None:
        self.callers[f"token {token}"] = {"kind": kind, "name": name, "scopes": list(scopes)}
        self.logins[name] = {"access_token": access_token(life_s, name), "refresh_token": f"refresh-{name}"}

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append(request.url.path)
        who = request.headers["Authorization"]
        if request.url.path == "/hub/api/user":
            known = self.callers.get(who)
            return httpx.Response(200, json=known) if known else httpx.Response(403, json={"message": "Forbidden"})
        assert who == "token token-of-the-service"
        name = request.url.path.rpartition("/")[2]
        return httpx.Response(200, json={"name": name, "auth_state": self.logins[name]})


@pytest.fixture
def hub() -> Hub:
    hub = Hub()
    hub.add("alice", "of-alice", ACCESS)
    hub.add("bob", "of-bob", ACCESS)
    return hub


@asynccontextmanager
async def serving(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    """Run an application in this process, its lifespan's state in every request."""
    async with app.router.lifespan_context(app) as state:

        async def with_state(scope: Scope, receive: Receive, send: Send) -> None:
            await app({**scope, "state": dict(state or {})}, receive, send)

        transport = httpx.ASGITransport(with_state)
        async with httpx.AsyncClient(transport=transport, base_url="http://service") as client:
            yield client


@pytest.fixture
async def service(hub: Hub) -> AsyncIterator[httpx.AsyncClient]:
    async with serving(create_app(SERVICE, httpx.MockTransport(hub))) as client:
        yield client


async def ask(service: httpx.AsyncClient, token: str) -> httpx.Response:
    return await service.get(PATH, headers={"Authorization": f"token {token}"})


async def test_a_user_gets_her_own_access_token_and_nothing_else(service: httpx.AsyncClient, hub: Hub) -> None:
    answer = await ask(service, "of-alice")
    assert answer.status_code == 200
    assert answer.json().keys() == {"access_token", "token_type", "expires_in"}
    assert answer.json()["access_token"] == (hub.logins["alice"] or {})["access_token"]
    assert 190 < answer.json()["expires_in"] <= 200
    assert answer.headers["Cache-Control"] == "no-store"
    assert "refresh" not in answer.text


async def test_the_hub_is_asked_with_the_callers_token_first(service: httpx.AsyncClient, hub: Hub) -> None:
    await ask(service, "of-alice")
    assert hub.asked == ["/hub/api/user", "/hub/api/users/alice"]  # the first makes the hub renew the login


async def test_the_token_alone_says_who_is_asking(service: httpx.AsyncClient) -> None:
    answer = await service.get(f"{PATH}?user=alice", headers={"Authorization": "token of-bob", "X-User": "alice"})
    payload = answer.json()["access_token"].split(".")[1]
    assert json.loads(base64.urlsafe_b64decode(payload + "=="))["preferred_username"] == "bob"


async def test_without_a_token(service: httpx.AsyncClient, hub: Hub) -> None:
    answer = await service.get(PATH)
    assert answer.status_code == 401
    assert "send your hub token" in answer.json()["detail"]
    assert hub.asked == []


async def test_a_token_the_hub_does_not_know(service: httpx.AsyncClient) -> None:
    answer = await ask(service, "of-nobody")
    assert answer.status_code == 401
    assert "log in to the hub again" in answer.json()["detail"]


@pytest.mark.parametrize("scopes", [(), ("users:activity!user",), ("access:services!service=dask-gateway",)])
async def test_a_token_without_the_scope(service: httpx.AsyncClient, hub: Hub, scopes: tuple[str, ...]) -> None:
    hub.add("carol", "of-carol", *scopes)
    answer = await ask(service, "of-carol")
    assert answer.status_code == 403
    assert "/hub/api/users/carol" not in hub.asked


async def test_a_service_is_not_a_user(service: httpx.AsyncClient, hub: Hub) -> None:
    hub.add("alice", "of-service", ACCESS, kind="service")
    assert (await ask(service, "of-service")).status_code == 403


async def test_after_a_logout_there_is_nothing_to_hand_out(service: httpx.AsyncClient, hub: Hub) -> None:
    hub.logins["alice"] = None
    answer = await ask(service, "of-alice")
    assert answer.status_code == 401
    assert "log in to the hub again" in answer.json()["detail"]


async def test_an_expired_token_is_not_handed_out(service: httpx.AsyncClient, hub: Hub) -> None:
    hub.add("alice", "of-alice", ACCESS, life_s=-1)
    answer = await ask(service, "of-alice")
    assert answer.status_code == 503
    assert "Keycloak" in answer.json()["detail"]


def _gone(_: httpx.Request) -> httpx.Response:
    raise httpx.ConnectError("connection refused")


@pytest.mark.parametrize(
    ("far_side", "told"),
    [(_gone, "not answering"), (lambda _: httpx.Response(502), "status 502")],
)
async def test_a_hub_in_trouble(far_side: Callable[[httpx.Request], httpx.Response], told: str) -> None:
    async with serving(create_app(SERVICE, httpx.MockTransport(far_side))) as service:
        answer = await ask(service, "of-alice")
    assert answer.status_code == 503
    assert told in answer.json()["detail"]


async def test_health_needs_no_token(service: httpx.AsyncClient) -> None:
    assert (await service.get("/services/rs-token/health")).json() == {"ok": True}


@pytest.mark.parametrize(
    ("scopes", "expected"),
    [
        (["access:services"], True),
        ([ACCESS], True),
        (["access:services!service=rs-token2"], False),
        (["read:services!service=rs-token"], False),
        ([], False),
    ],
)
def test_grants_access(scopes: list[str], *, expected: bool) -> None:
    assert grants_access(scopes, "rs-token") is expected
