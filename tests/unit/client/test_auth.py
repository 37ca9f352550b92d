"""Who you are: which way in is taken where, and tokens that are renewed before they end."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest

from rs_client.auth import ApiKey, Auth, DeviceLogin, HubToken, choose
from rs_client.errors import NotAuthenticated, NotConfigured, ServiceUnavailable
from tests.unit.client.far import Far, access_token, client

ISSUER = "http://keycloak.test/realms/rs-python"
HUB = {"RS_TOKEN_URL": "http://hub.test/token", "JUPYTERHUB_API_TOKEN": "hub-secret"}
KEY = {"RS_API_KEY": "rsk_alice"}


@pytest.mark.parametrize(
    ("environment", "issuer", "expected"),
    [
        (HUB, None, HubToken),
        (HUB | KEY, ISSUER, HubToken),
        (KEY, None, ApiKey),
        (KEY | {"RS_TOKEN_URL": "http://hub.test/token"}, None, ApiKey),
        ({"JUPYTERHUB_API_TOKEN": "hub-secret"}, ISSUER, DeviceLogin),
        ({"RS_API_KEY": ""}, ISSUER, DeviceLogin),
        ({}, ISSUER, DeviceLogin),
    ],
)
def test_the_way_in(tmp_path: Path, environment: dict[str, str], issuer: str | None, expected: type[Auth]) -> None:
    asked = []

    def where() -> str | None:
        asked.append(True)
        return issuer

    chosen = choose({"XDG_STATE_HOME": str(tmp_path), **environment}, where, httpx.Client())
    assert type(chosen) is expected
    assert bool(asked) == (expected is DeviceLogin)


def test_no_way_in() -> None:
    with pytest.raises(NotConfigured, match="RS_API_KEY"):
        choose({}, lambda: None, httpx.Client())


def test_an_api_key_is_sent_and_not_shown() -> None:
    assert ApiKey("rsk_secret").headers() == {"x-api-key": "rsk_secret"}
    assert "secret" not in repr(ApiKey("rsk_secret"))


class TestHubToken:
    def answer(self, lives_s: float) -> httpx.Response:
        return httpx.Response(200, json={"access_token": access_token(lives_s)})

    def token(self, far: Far) -> HubToken:
        return HubToken("http://hub.test/token", "hub-secret", client(far))

    def test_it_is_asked_for_once_while_it_lives(self) -> None:
        far = Far(self.answer(300))
        token = self.token(far)
        first = token.headers()
        assert token.headers() == first
        assert first["Authorization"].startswith("Bearer ey") or first["Authorization"].startswith("Bearer e30.")
        (request,) = far.requests
        assert request.headers["Authorization"] == "token hub-secret"

    def test_it_is_renewed_before_it_ends(self) -> None:
        old, new = self.answer(20), self.answer(300)
        token = self.token(Far(old, new))
        assert token.headers() == {"Authorization": f"Bearer {old.json()['access_token']}"}
        assert token.headers() == {"Authorization": f"Bearer {new.json()['access_token']}"}

    @pytest.mark.parametrize(
        ("answer", "expected"),
        [
            (httpx.Response(401), NotAuthenticated),
            (httpx.Response(403), NotAuthenticated),
            (httpx.Response(500), ServiceUnavailable),
            (httpx.ConnectError("refused"), ServiceUnavailable),
        ],
    )
    def test_refusals(self, answer: httpx.Response | Exception, expected: type[Exception]) -> None:
        with pytest.raises(expected):
            self.token(Far(answer)).headers()


class TestDeviceLogin:
    STARTED = httpx.Response(
        200,
        json={
            "device_code": "device",
            "user_code": "ABCD",
            "verification_uri_complete": "http://keycloak.test/device?user_code=ABCD",
            "interval": 5,
            "expires_in": 600,
        },
    )

    @pytest.fixture(autouse=True)
    def place(self, tmp_path: Path) -> None:
        self.store = tmp_path / "state" / "login.json"
        self.said: list[str] = []
        self.slept: list[float] = []

    def login(self, far: Far) -> DeviceLogin:
        return DeviceLogin(ISSUER, self.store, client(far), say=self.said.append, sleep=self.slept.append)

    def tokens(self, lives_s: float) -> httpx.Response:
        return httpx.Response(200, json={"access_token": access_token(lives_s), "refresh_token": f"r{lives_s}"})

    def refused(self, reason: str) -> httpx.Response:
        return httpx.Response(400, json={"error": reason})

    def test_a_login_is_kept_where_only_you_can_read_it(self) -> None:
        far, tokens = Far(self.STARTED, self.tokens(300)), self.tokens(300)
        headers = self.login(far).headers()
        assert headers.keys() == tokens.json().keys() - {"access_token", "refresh_token"} | {"Authorization"}
        assert self.store.stat().st_mode & 0o777 == 0o600
        assert self.store.parent.stat().st_mode & 0o077 == 0
        assert "http://keycloak.test/device?user_code=ABCD" in self.said[0]
        again = Far(httpx.Response(500))
        assert self.login(again).headers() == headers
        assert again.requests == []

    def test_the_proof_key_is_that_of_the_challenge(self) -> None:
        far = Far(self.STARTED, self.tokens(300))
        self.login(far).headers()
        start, end = far.forms
        assert start["code_challenge_method"] == "S256"
        assert len(end["code_verifier"]) >= 43
        assert end["code_verifier"] not in str(start)
        assert end["device_code"] == "device"

    def test_it_waits_longer_when_told_to_slow_down(self) -> None:
        pending, slow = self.refused("authorization_pending"), self.refused("slow_down")
        self.login(Far(self.STARTED, pending, slow, pending, self.tokens(300))).headers()
        assert self.slept == [5, 5, 10, 10]

    def test_a_gateways_error_page_does_not_end_the_login(self) -> None:
        page = httpx.Response(502, text="<html>bad gateway</html>")
        self.login(Far(self.STARTED, page, self.tokens(300))).headers()
        assert self.slept == [5, 5]

    @pytest.mark.parametrize("reason", ["access_denied", "expired_token"])
    def test_a_refused_login_says_so(self, reason: str) -> None:
        with pytest.raises(NotAuthenticated, match="not completed"):
            self.login(Far(self.STARTED, self.refused(reason))).headers()
        assert not self.store.exists()

    def test_a_login_that_cannot_start_says_so(self) -> None:
        with pytest.raises(NotAuthenticated, match="503"):
            self.login(Far(httpx.Response(503))).headers()

    def test_it_is_renewed_before_it_ends_without_a_browser(self) -> None:
        far = Far(self.STARTED, self.tokens(10), self.tokens(300))
        login = self.login(far)
        first = login.headers()
        assert login.headers() != first
        assert far.forms[-1]["refresh_token"] == "r10"
        assert json.loads(self.store.read_text())["refresh_token"] == "r300"
        assert len(self.said) == 1

    def test_a_login_that_cannot_be_renewed_is_made_anew(self) -> None:
        far = Far(self.STARTED, self.tokens(10), self.refused("invalid_grant"), self.STARTED, self.tokens(300))
        login = self.login(far)
        login.headers()
        login.headers()
        assert len(self.said) == 2

    @pytest.mark.parametrize("kept", ["not json", "[]", '{"issuer": "http://other.test", "access_token": "x.y.z"}'])
    def test_what_another_place_or_an_accident_left_is_not_used(self, kept: str) -> None:
        self.store.parent.mkdir()
        self.store.write_text(kept)
        self.login(Far(self.STARTED, self.tokens(300))).headers()
        assert len(self.said) == 1

    def test_keycloak_that_is_away_is_named(self) -> None:
        with pytest.raises(ServiceUnavailable, match="Keycloak"):
            self.login(Far(httpx.ConnectError("refused"))).headers()
