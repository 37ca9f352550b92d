"""Who you are: which way in is taken where, and tokens that are renewed before they end."""

from __future__ import annotations

from itertools import count
from pathlib import Path

import httpx
import pytest

from rs_client.auth import ApiKey, Auth, DeviceLogin, HubToken, NoLogin, choose, login_file
from rs_client.errors import NotAuthenticated, NotConfigured, ServiceUnavailable
from tests.unit.client.far import Far, client

ISSUER = "http://keycloak.test/realms/rs-python"
HUB = {"RS_TOKEN_URL": "http://hub.test/token", "JUPYTERHUB_API_TOKEN": "hub-secret"}
KEY = {"RS_API_KEY": "rsk_alice"}


class Clock:
    """A clock that goes on when told to."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0
        self.pauses: list[float] = []

    def __call__(self) -> float:
        return self.now

    def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.now += seconds


class Endpoint:
    """Token answers that are told apart by their number."""

    def __init__(self) -> None:
        self._numbers = count(1)

    def __call__(self, *, refresh: bool = True) -> httpx.Response:
        number = next(self._numbers)
        more = {"refresh_token": f"refresh-{number}"} if refresh else {}
        return httpx.Response(200, json={"access_token": f"access-{number}", "expires_in": 300, **more})


def bearer(number: int) -> dict[str, str]:
    return {"Authorization": f"Bearer access-{number}"}


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def tokens() -> Endpoint:
    return Endpoint()


@pytest.mark.parametrize(
    ("environment", "issuer", "expected"),
    [
        (HUB, None, HubToken),
        (HUB | KEY, ISSUER, HubToken),
        (HUB | {"CI": "true"}, ISSUER, HubToken),
        (KEY, None, ApiKey),
        (KEY | {"CI": "true"}, ISSUER, ApiKey),
        (KEY | {"RS_TOKEN_URL": "http://hub.test/token"}, None, ApiKey),
        ({"JUPYTERHUB_API_TOKEN": "hub-secret"}, ISSUER, DeviceLogin),
        ({"RS_API_KEY": ""}, ISSUER, DeviceLogin),
        ({}, ISSUER, DeviceLogin),
        ({}, None, NoLogin),
    ],
)
def test_the_way_in(tmp_path: Path, environment: dict[str, str], issuer: str | None, expected: type[Auth]) -> None:
    asked = []

    def login_at() -> str | None:
        asked.append(True)
        return issuer

    chosen = choose({"XDG_STATE_HOME": str(tmp_path), **environment}, login_at, client(Far(httpx.Response(500))))
    assert type(chosen) is expected
    assert bool(asked) == (expected in (DeviceLogin, NoLogin))


def test_where_nobody_can_be_asked_there_is_no_way_in() -> None:
    with pytest.raises(NotConfigured, match="RS_API_KEY"):
        choose({"CI": "true"}, lambda: ISSUER, client(Far(httpx.Response(500))))


def test_logins_are_kept_by_issuer_in_the_state_folder(tmp_path: Path) -> None:
    environment = {"XDG_STATE_HOME": str(tmp_path)}
    assert login_file(environment, ISSUER).parent == tmp_path / "rs-python"
    assert login_file(environment, ISSUER) != login_file(environment, "http://other.test")
    assert login_file({}, ISSUER).is_relative_to(Path.home() / ".local" / "state")


def test_an_api_key_is_sent_and_not_shown() -> None:
    assert ApiKey("rsk_secret").headers() == {"x-api-key": "rsk_secret"}
    assert "secret" not in repr(ApiKey("rsk_secret"))


class TestHubToken:
    def token(self, far: Far, clock: Clock) -> HubToken:
        return HubToken("http://hub.test/token", "hub-secret", client(far), clock=clock)

    def test_it_is_asked_for_once_while_it_lives(self, clock: Clock, tokens: Endpoint) -> None:
        far = Far(tokens(), tokens())
        token = self.token(far, clock)
        assert token.headers() == bearer(1)
        clock.now += 269
        assert token.headers() == bearer(1)
        (request,) = far.requests
        assert request.headers["Authorization"] == "token hub-secret"

    def test_it_is_renewed_before_it_ends(self, clock: Clock, tokens: Endpoint) -> None:
        token = self.token(Far(tokens(), tokens()), clock)
        token.headers()
        clock.now += 271
        assert token.headers() == bearer(2)

    def test_while_none_is_to_be_had_the_old_one_serves_to_its_end(self, clock: Clock, tokens: Endpoint) -> None:
        token = self.token(Far(tokens(), httpx.Response(500)), clock)
        token.headers()
        clock.now += 299
        assert token.headers() == bearer(1)
        clock.now += 1
        with pytest.raises(ServiceUnavailable):
            token.headers()

    @pytest.mark.parametrize(
        ("answer", "expected"),
        [
            (httpx.Response(401), NotAuthenticated),
            (httpx.Response(403), NotAuthenticated),
            (httpx.Response(500), ServiceUnavailable),
            (httpx.ConnectError("refused"), ServiceUnavailable),
        ],
    )
    def test_refusals(self, clock: Clock, answer: httpx.Response | Exception, expected: type[Exception]) -> None:
        with pytest.raises(expected):
            self.token(Far(answer), clock).headers()


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
    def place(self, tmp_path: Path, clock: Clock) -> None:
        self.store = tmp_path / "state" / "login.json"
        self.said: list[str] = []
        self.clock = clock

    def login(self, far: Far) -> DeviceLogin:
        return DeviceLogin(
            ISSUER, self.store, client(far), say=self.said.append, clock=self.clock, pause=self.clock.pause
        )

    def refused(self, reason: str) -> httpx.Response:
        return httpx.Response(400, json={"error": reason})

    def test_a_login_is_kept_where_only_you_can_read_it(self, tokens: Endpoint) -> None:
        assert self.login(Far(self.STARTED, tokens())).headers() == bearer(1)
        assert self.store.stat().st_mode & 0o777 == 0o600
        assert self.store.parent.stat().st_mode & 0o077 == 0
        assert list(self.store.parent.iterdir()) == [self.store]
        assert "http://keycloak.test/device?user_code=ABCD" in self.said[0]
        again = Far(httpx.Response(500))
        assert self.login(again).headers() == bearer(1)
        assert again.requests == []

    def test_the_challenge_gives_nothing_away(self, tokens: Endpoint) -> None:
        far = Far(self.STARTED, tokens())
        self.login(far).headers()
        start, end = far.forms
        assert start["code_challenge_method"] == "S256"
        assert len(end["code_verifier"]) >= 43
        assert end["code_verifier"] not in str(start)
        assert end["device_code"] == "device"

    def test_it_waits_longer_when_told_to_slow_down(self, tokens: Endpoint) -> None:
        pending, slow = self.refused("authorization_pending"), self.refused("slow_down")
        self.login(Far(self.STARTED, pending, slow, pending, tokens())).headers()
        assert self.clock.pauses == [5, 5, 10, 10]

    def test_a_gateways_error_page_does_not_end_the_login(self, tokens: Endpoint) -> None:
        page = httpx.Response(502, text="<html>bad gateway</html>")
        assert self.login(Far(self.STARTED, page, tokens())).headers() == bearer(1)

    def test_a_refused_login_says_so(self) -> None:
        with pytest.raises(NotAuthenticated, match="access_denied"):
            self.login(Far(self.STARTED, self.refused("access_denied"))).headers()
        assert not self.store.exists()

    def test_a_login_that_nobody_completes_ends(self) -> None:
        with pytest.raises(NotAuthenticated, match="in time"):
            self.login(Far(self.STARTED, self.refused("authorization_pending"))).headers()
        assert sum(self.clock.pauses) == 600

    def test_a_login_that_cannot_start_says_so(self) -> None:
        with pytest.raises(NotAuthenticated, match="503"):
            self.login(Far(httpx.Response(503))).headers()

    def test_it_is_renewed_before_it_ends_without_a_browser(self, tokens: Endpoint) -> None:
        far = Far(self.STARTED, tokens(), tokens())
        login = self.login(far)
        login.headers()
        self.clock.now += 271
        assert login.headers() == bearer(2)
        assert far.forms[-1]["refresh_token"] == "refresh-1"
        assert "refresh-2" in self.store.read_text()
        assert len(self.said) == 1

    @pytest.mark.parametrize("renewable", [True, False])
    def test_a_login_that_cannot_be_renewed_is_made_anew(self, tokens: Endpoint, renewable: bool) -> None:
        refusal = [self.refused("invalid_grant")] if renewable else []
        login = self.login(Far(self.STARTED, tokens(refresh=renewable), *refusal, self.STARTED, tokens()))
        login.headers()
        self.clock.now += 300
        assert login.headers() == bearer(2)
        assert len(self.said) == 2

    @pytest.mark.parametrize("kept", ["not json", "[]", "null", "{}", '{"another": "form"}'])
    def test_a_damaged_file_is_no_login(self, tokens: Endpoint, kept: str) -> None:
        self.store.parent.mkdir()
        self.store.write_text(kept)
        assert self.login(Far(self.STARTED, tokens())).headers() == bearer(1)

    def test_keycloak_that_is_away_is_named(self) -> None:
        with pytest.raises(ServiceUnavailable, match="Keycloak"):
            self.login(Far(httpx.ConnectError("refused"))).headers()
