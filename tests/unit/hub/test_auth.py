"""The hub's login against a fake Keycloak: when it is renewed, by whom, and what happens if it cannot be."""

import asyncio
import json
import time
from http import HTTPStatus
from io import BytesIO
from typing import Any
from urllib.parse import parse_qs

import jwt
import pytest
from tornado.httpclient import HTTPClientError, HTTPRequest, HTTPResponse

from rs_hub.auth import KeycloakAuthenticator, Refused, groups_of

CLIENT = "jupyterhub"


def token(life_s: float, **claims: Any) -> str:
    return jwt.encode({"exp": time.time() + life_s, **claims}, "k" * 32)


class Keycloak:
    """The far side: renews each refresh token once, as with rotation switched on, and takes its time."""

    def __init__(self, groups: tuple[str, ...] = ("rs-users",)) -> None:
        self.valid = "refresh-0"
        self.renewals = 0
        self.groups = groups
        self.trouble: BaseException | None = None

    async def fetch(self, request: HTTPRequest, **_: Any) -> HTTPResponse:
        form = {name: values[0] for name, values in parse_qs(request.body.decode()).items()}
        await asyncio.sleep(0.01)
        if self.trouble is not None:
            raise self.trouble
        if form["refresh_token"] != self.valid:
            raise HTTPClientError(400, "invalid_grant")
        return HTTPResponse(request, 200, buffer=BytesIO(json.dumps(self._renewed()).encode()))

    def _renewed(self) -> dict[str, str]:
        self.renewals += 1
        self.valid = f"refresh-{self.renewals}"
        groups = {"groups": list(self.groups)} if self.groups else {}
        return {
            "access_token": token(300, n=self.renewals),
            "id_token": token(300, aud=CLIENT, preferred_username="alice", **groups),
            "refresh_token": self.valid,
            "token_type": "Bearer",
        }


class User:
    """The far side of storage: a hub user whose tokens take a moment to read and write."""

    name = "alice"

    def __init__(self, state: dict[str, Any] | None) -> None:
        self.state = state

    async def get_auth_state(self) -> dict[str, Any] | None:
        await asyncio.sleep(0)
        return self.state

    async def save_auth_state(self, auth_state: dict[str, Any] | None) -> None:
        await asyncio.sleep(0)
        self.state = auth_state


def authenticator(keycloak: Keycloak) -> KeycloakAuthenticator:
    return KeycloakAuthenticator(
        client_id=CLIENT,
        client_secret="secret",
        token_url="http://keycloak/token",
        http_client=keycloak,
        userdata_from_id_token=True,
        username_claim="preferred_username",
        manage_groups=True,
        auth_state_groups_key=groups_of,
        allowed_groups={"rs-users"},
        admin_groups={"rs-operators"},
        contact="the operators",
        life_margin_s=90,
    )


def logged_in(life_s: float) -> User:
    return User({"access_token": token(life_s), "refresh_token": "refresh-0", "id_token": "first"})


async def test_a_token_with_enough_life_is_left_alone() -> None:
    keycloak, user = Keycloak(), logged_in(life_s=100)
    assert await authenticator(keycloak).refresh_user(user) is True
    assert keycloak.renewals == 0


@pytest.mark.parametrize("life_s", [80, 0, -1000])
async def test_a_token_that_ends_soon_is_renewed_and_stored(life_s: float) -> None:
    keycloak, user = Keycloak(), logged_in(life_s)
    model = await authenticator(keycloak).refresh_user(user)
    assert isinstance(model, dict)
    assert (model["name"], model["groups"], model["admin"]) == ("alice", ["rs-users"], False)
    assert user.state is not None
    assert user.state["refresh_token"] == "refresh-1"
    assert user.state["access_token"] == model["auth_state"]["access_token"]


async def test_requests_side_by_side_renew_once() -> None:
    keycloak, user = Keycloak(), logged_in(life_s=10)
    login = authenticator(keycloak)
    answers = await asyncio.gather(*(login.refresh_user(user) for _ in range(8)))
    assert all(answers)
    assert keycloak.renewals == 1


@pytest.mark.parametrize("state", [None, {}, {"access_token": "x"}, {"access_token": "x", "refresh_token": None}])
async def test_without_a_login_one_must_log_in(state: dict[str, Any] | None) -> None:
    assert await authenticator(Keycloak()).refresh_user(User(state)) is False


@pytest.mark.parametrize(
    ("trouble", "goes_on"),
    [
        (HTTPClientError(400, "invalid_grant"), False),  # the session is over, or the user disabled
        (HTTPClientError(401, "invalid_client"), False),
        (HTTPClientError(500), True),
        (HTTPClientError(503), True),
        (HTTPClientError(599, "Timeout"), True),
        (ConnectionRefusedError(111, "refused"), True),
    ],
)
async def test_a_refusal_ends_the_login_and_an_outage_does_not(trouble: BaseException, *, goes_on: bool) -> None:
    keycloak, user = Keycloak(), logged_in(life_s=10)
    keycloak.trouble = trouble
    before = dict(user.state or {})
    assert await authenticator(keycloak).refresh_user(user) is goes_on
    assert user.state == before


async def test_a_renewal_after_an_outage_works() -> None:
    keycloak, user = Keycloak(), logged_in(life_s=10)
    login = authenticator(keycloak)
    keycloak.trouble = ConnectionRefusedError()
    await login.refresh_user(user)
    keycloak.trouble = None
    assert isinstance(await login.refresh_user(user), dict)


@pytest.mark.parametrize("groups", [(), ("rs-producers",)])
async def test_who_has_left_the_groups_must_log_in_again(groups: tuple[str, ...]) -> None:
    assert await authenticator(Keycloak(groups)).refresh_user(logged_in(life_s=10)) is False


async def test_a_login_that_is_refused_says_why() -> None:
    model = {"name": "visitor", "admin": False, "groups": ["guests"], "auth_state": {}}
    with pytest.raises(Refused) as refused:
        await authenticator(Keycloak()).check_allowed("visitor", model)
    told = refused.value
    assert told.status_code == HTTPStatus.FORBIDDEN
    assert (told.person, told.groups, told.allowed, told.contact) == (
        "visitor",
        ["guests"],
        ["rs-users"],
        "the operators",
    )


@pytest.mark.parametrize(("groups", "admin"), [(["rs-users"], False), (["rs-operators"], True)])
async def test_who_may_come_in(groups: list[str], *, admin: bool) -> None:
    model = {"name": "alice", "admin": admin, "groups": groups, "auth_state": {}}
    assert await authenticator(Keycloak()).check_allowed("alice", model)


def test_a_person_without_groups_has_none() -> None:
    assert groups_of({"oauth_user": {"preferred_username": "visitor"}}) == set()
