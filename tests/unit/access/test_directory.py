"""What the directory believes about users, and for how long."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from rs_server.access.directory import Directory, User
from rs_server.errors import Unavailable
from rs_server.settings import DirectorySettings

SETTINGS = DirectorySettings.model_validate(
    {
        "admin_url": "http://issuer.test/admin/realms/rs-python",
        "token_url": "http://issuer.test/token",
        "client_id": "rs-directory",
        "client_secret": "s",
    }
)
USERS = "/admin/realms/rs-python/users"


class Keycloak:
    """The far side: one user, and every request that came."""

    def __init__(self) -> None:
        self.now = 0.0
        self.asked: list[str] = []
        self.logins = 0
        self.down = False
        self.user: dict[str, Any] = {"id": "id-a", "username": "alice", "enabled": True}
        self.roles = ["rs_cadip_sgs_read"]
        http = httpx.AsyncClient(transport=httpx.MockTransport(self._serve))
        self.directory = Directory(SETTINGS, http, lambda: self.now)

    def _serve(self, request: httpx.Request) -> httpx.Response:
        if self.down:
            raise httpx.ConnectError("refused")
        if request.url.path == "/token":
            self.logins += 1
            return httpx.Response(200, json={"access_token": f"token-{self.logins}", "expires_in": 300})
        self.asked.append(request.url.path)
        if request.headers["authorization"] != f"Bearer token-{self.logins}":
            return httpx.Response(401)
        return self._answer(request.url)

    def _answer(self, url: httpx.URL) -> httpx.Response:
        answers: dict[str, Any] = {
            USERS: [{"id": "id-b", "username": "alice2"}, self.user] if url.params.get("username") == "alice" else [],
            f"{USERS}/id-a": self.user,
            f"{USERS}/id-a/role-mappings/realm/composite": [{"name": name} for name in self.roles],
            f"{USERS}/id-a/groups": [{"path": "/rs-users"}],
        }
        return httpx.Response(200, json=answers[url.path]) if url.path in answers else httpx.Response(404)


@pytest.fixture
def keycloak() -> Keycloak:
    return Keycloak()


ALICE = User("alice", "id-a", enabled=True, roles=frozenset({"rs_cadip_sgs_read"}), groups=frozenset({"rs-users"}))


async def test_users_by_id_and_by_login(keycloak: Keycloak) -> None:
    assert await keycloak.directory.user("id-a") == ALICE
    assert await keycloak.directory.find("alice") == ALICE
    assert await keycloak.directory.user("nobody") is None
    assert await keycloak.directory.find("nobody") is None


async def test_roles_are_believed_for_a_minute(keycloak: Keycloak) -> None:
    await keycloak.directory.user("id-a")
    keycloak.roles = []
    asked = len(keycloak.asked)
    keycloak.now = 59.0
    assert await keycloak.directory.user("id-a") == ALICE
    assert len(keycloak.asked) == asked
    keycloak.now = 60.0
    user = await keycloak.directory.user("id-a")
    assert user is not None
    assert user.roles == frozenset()


async def test_a_disabled_user_is_told(keycloak: Keycloak) -> None:
    keycloak.user["enabled"] = False
    user = await keycloak.directory.user("id-a")
    assert user is not None
    assert not user.enabled


async def test_its_own_token_is_kept_and_renewed(keycloak: Keycloak) -> None:
    await keycloak.directory.user("id-a")
    keycloak.now = 100.0
    await keycloak.directory.user("id-a")
    assert keycloak.logins == 1
    keycloak.now = 295.0
    await keycloak.directory.user("id-a")
    assert keycloak.logins == 2


async def test_a_token_refused_early_is_renewed(keycloak: Keycloak) -> None:
    await keycloak.directory.user("id-a")
    keycloak.logins += 1  # as after a restart of Keycloak: the token we hold is not the one it knows
    keycloak.now = 61.0
    assert await keycloak.directory.user("id-a") == ALICE


async def test_down(keycloak: Keycloak) -> None:
    keycloak.down = True
    with pytest.raises(Unavailable):
        await keycloak.directory.user("id-a")
