"""Which headers make a caller, and what the routes of /auth answer without a database."""

from __future__ import annotations

from typing import NoReturn

import httpx
import pytest

from rs_server.access import app as access_app
from rs_server.access.apikeys import new_key
from rs_server.access.authentication import open_access
from rs_server.access.changes import Changes
from rs_server.database import Database
from rs_server.errors import Unavailable
from rs_server.settings import AccessSettings, Settings
from tests.asgi import client
from tests.identity import ISSUER, Issuer

WITH_ISSUER = Settings(public_url="http://server.test", access=AccessSettings(issuer=ISSUER))


class NoDatabase(Database):
    """A database that does not answer."""

    def __init__(self) -> None:
        pass

    def connection(self) -> NoReturn:
        raise Unavailable("the database does not answer")


@pytest.fixture(scope="module")
def issuer() -> Issuer:
    return Issuer()


async def answered(settings: Settings, issuer: Issuer, path: str, headers: dict[str, str]) -> httpx.Response:
    keys = httpx.MockTransport(lambda _: httpx.Response(200, json=issuer.key_set()))
    async with open_access(settings.access, NoDatabase(), Changes(), transport=keys) as access:
        app = access_app.create_app(settings)
        async with client(app, access=access, authenticator=access.authenticator, request_id="r1") as http:
            return await http.get(path, headers=headers)


async def test_a_token_says_who(issuer: Issuer) -> None:
    headers = {"Authorization": f"bearer {issuer.token('alice', ['rs_cadip_sgs_read', 'a'])}"}
    answer = await answered(WITH_ISSUER, issuer, "/me", headers)
    assert answer.status_code == 200
    assert answer.json() == {
        "login": "alice",
        "subject": "id-of-alice",
        "roles": ["a", "rs_cadip_sgs_read"],
        "groups": ["rs-users"],
        "granted": None,  # there is no database to ask
        "scopes": None,
        "everything": False,
        "via": "bearer",
        "user_login": "alice",
        "iam_roles": ["rs_cadip_sgs_read"],
    }


REFUSED = [
    ({}, 401),
    ({"Authorization": "Basic YTpi"}, 401),
    ({"Authorization": "Bearer"}, 401),
    ({"Authorization": "Bearer  "}, 401),
    ({"Authorization": "Bearer a b"}, 401),
    ({"x-api-key": ""}, 401),
    ({"x-api-key": "rsk_guess"}, 401),
    ({"x-api-key": new_key()}, 401),  # no directory is configured: nobody could say what its owner may do
    ({"x-api-key": new_key(), "Authorization": "Bearer x"}, 400),
]


@pytest.mark.parametrize(("headers", "status"), REFUSED)
async def test_refused(headers: dict[str, str], status: int, issuer: Issuer) -> None:
    answer = await answered(WITH_ISSUER, issuer, "/me", headers)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["request_id"] == "r1"
    assert answer.headers.get("www-authenticate", "").startswith("Bearer") is (status == 401)


async def test_a_key_in_the_address_is_not_looked_at(issuer: Issuer) -> None:
    answer = await answered(WITH_ISSUER, issuer, f"/me?x-api-key={new_key()}&access_token={issuer.token()}", {})
    assert answer.status_code == 401


async def test_without_an_issuer_everybody_is_the_local_user(issuer: Issuer) -> None:
    answer = await answered(Settings(), issuer, "/me", {"x-api-key": "whatever"})
    assert answer.json() | {"subject": ""} == {
        "login": "local",
        "subject": "",
        "roles": [],
        "groups": [],
        "granted": [],
        "scopes": None,
        "everything": True,
        "via": "local",
        "user_login": "local",
        "iam_roles": [],
    }


async def test_the_way_to_the_login_page(issuer: Issuer) -> None:
    login = await answered(WITH_ISSUER, issuer, "/login", {})
    assert (login.status_code, login.headers["location"]) == (307, "http://server.test/docs")
    logout = await answered(WITH_ISSUER, issuer, "/logout", {})
    assert logout.headers["location"] == f"{ISSUER}/protocol/openid-connect/logout?client_id=rs-client"
