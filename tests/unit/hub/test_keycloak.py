"""What is told when Keycloak refuses or is away, and what is asked of it."""

import json
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from rs_hub.keycloak import KeycloakAdmin, KeycloakError
from rs_hub.realm import add_users
from rs_hub.settings import KeycloakAdministrator

ADMINISTRATOR = KeycloakAdministrator(user="admin", password=SecretStr("pass-of-admin"))


class Keycloak:
    """The far side: lets the administrator in, answers as it was told, keeps the requests."""

    def __init__(self, *answers: httpx.Response) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/token"):
            return httpx.Response(200, json={"access_token": "token-of-admin"})
        self.requests.append(request)
        return self.answers.pop(0)

    def admin(self) -> KeycloakAdmin:
        return KeycloakAdmin("http://keycloak", ADMINISTRATOR, httpx.MockTransport(self))


def test_a_refusal_names_the_request_and_the_reason() -> None:
    keycloak = Keycloak(httpx.Response(409, json={"errorMessage": "Client jupyterhub already exists"}))
    told = "refused POST /admin/realms/r/clients: 409 Client jupyterhub already exists"
    with keycloak.admin() as admin, pytest.raises(KeycloakError, match=told):
        admin.post("r/clients", {"secret": "hidden"})


def test_a_wrong_password_is_a_refusal_that_does_not_repeat_it() -> None:
    transport = httpx.MockTransport(lambda _: httpx.Response(401, json={"error_description": "Invalid credentials"}))
    with pytest.raises(KeycloakError, match="401 Invalid credentials") as refused:
        KeycloakAdmin("http://keycloak", ADMINISTRATOR, transport).log_in()
    assert "pass-of-admin" not in str(refused.value)


def test_an_absent_keycloak_is_named() -> None:
    def gone(_: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("connection refused")

    with pytest.raises(KeycloakError, match="http://keycloak does not answer: connection refused"):
        KeycloakAdmin("http://keycloak", ADMINISTRATOR, httpx.MockTransport(gone)).log_in()


def test_requests_carry_the_token() -> None:
    keycloak = Keycloak(httpx.Response(200, json=[]))
    with keycloak.admin() as admin:
        assert admin.get("r/groups", max=5) == []
    assert keycloak.requests[0].headers["Authorization"] == "Bearer token-of-admin"
    assert keycloak.requests[0].url.query == b"max=5"


def test_users_who_are_there_are_left_alone() -> None:
    keycloak = Keycloak(
        httpx.Response(200, json=[{"username": "alice"}]), httpx.Response(200, json=[]), httpx.Response(201)
    )
    users: dict[str, dict[str, Any]] = {
        "alice": {"password": "a"},
        "bob": {"password": "b", "groups": ["rs-users"], "email": "b@example.org"},
    }
    with keycloak.admin() as admin:
        assert add_users(admin, "r", users) == ["bob"]
    assert [request.method for request in keycloak.requests] == ["GET", "GET", "POST"]
    made = json.loads(keycloak.requests[-1].content)
    assert (made["username"], made["groups"], made["email"]) == ("bob", ["/rs-users"], "b@example.org")
    assert made["credentials"] == [{"type": "password", "value": "b", "temporary": False}]
