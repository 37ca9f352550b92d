"""Who you are: which way in is taken where, and tokens that are renewed before they end."""

from __future__ import annotations

import os
import sys
from itertools import count
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import cast

import httpx
import pytest

from rs_client.auth import ApiKey, Auth, DeviceLogin, HubToken, NoLogin, ServiceAccount, choose
from rs_client.errors import AuthExpired, NotAuthenticated, NotConfigured, ServiceUnavailable
from rs_client.http import Http
from rs_client.settings import Settings
from rs_client.tokenstore import FileStore
from tests.unit.client.far import SERVER, Far, client

ISSUER = "http://keycloak.test/realms/rs-python"
HUB = {"RS_TOKEN_URL": "http://hub.test/token", "JUPYTERHUB_API_TOKEN": "hub-secret"}
KEY = {"RS_API_KEY": "rsk_alice"}
ACCOUNT = {"RS_CLIENT_ID": "chain", "RS_CLIENT_SECRET": "secret"}


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


class Person:
    """Somebody who proves who they are over a far side that answers so."""

    def __init__(self, auth: Auth, far: Far, clock: Clock) -> None:
        self._http = Http(SERVER, auth, client(far), pause=clock.pause)

    def headers(self, refused: dict[str, str] | None = None) -> dict[str, str]:
        return self._http.run(self._http.auth.identity(refused))


@pytest.mark.parametrize(
    ("environment", "issuer", "expected"),
    [
        (HUB, None, HubToken),
        (HUB | KEY, ISSUER, HubToken),
        (HUB | {"CI": "true"}, ISSUER, HubToken),
        (KEY, None, ApiKey),
        (KEY | ACCOUNT, ISSUER, ApiKey),
        (KEY | {"CI": "true"}, ISSUER, ApiKey),
        (KEY | {"RS_TOKEN_URL": "http://hub.test/token"}, None, ApiKey),
        (ACCOUNT, ISSUER, ServiceAccount),
        (ACCOUNT | {"PREFECT__FLOW_RUN_ID": "r1"}, ISSUER, ServiceAccount),
        (ACCOUNT, None, NoLogin),
        ({"JUPYTERHUB_API_TOKEN": "hub-secret"}, ISSUER, DeviceLogin),
        ({"RS_API_KEY": ""}, ISSUER, DeviceLogin),
        ({}, ISSUER, DeviceLogin),
        ({}, None, NoLogin),
    ],
)
def test_the_way_in(tmp_path: Path, environment: dict[str, str], issuer: str | None, expected: type[Auth]) -> None:
    settings = Settings.of({"XDG_STATE_HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path), **environment})
    assert type(choose(settings, issuer)) is expected


@pytest.mark.parametrize("unattended", [{"CI": "true"}, {"PREFECT__FLOW_RUN_ID": "r1"}])
def test_where_nobody_can_be_asked_there_is_no_way_in(tmp_path: Path, unattended: dict[str, str]) -> None:
    with pytest.raises(NotConfigured, match=r"RS_API_KEY.*RS_CLIENT_ID"):
        choose(Settings.of({"XDG_CONFIG_HOME": str(tmp_path), **unattended}), ISSUER)


@pytest.mark.parametrize("where", ["FlowRunContext", "TaskRunContext", None])
def test_a_flow_that_is_called_as_a_function_is_nobody_to_ask(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str | None
) -> None:
    """It runs in the caller's process, so that no variable says that it is a run of Prefect."""
    for name in [name for name in os.environ if name.startswith(("RS_", "RSPY_", "JUPYTERHUB_", "PREFECT", "CI"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    contexts = {
        name: SimpleNamespace(get=lambda name=name: object() if name == where else None)
        for name in ("FlowRunContext", "TaskRunContext")
    }
    monkeypatch.setitem(sys.modules, "prefect.context", cast("ModuleType", SimpleNamespace(**contexts)))
    assert Settings.here().unattended is (where is not None)


def test_an_api_key_is_sent_and_not_shown(clock: Clock) -> None:
    nobody = Far(httpx.Response(500))
    assert Person(ApiKey("rsk_secret"), nobody, clock).headers() == {"x-api-key": "rsk_secret"}
    assert "secret" not in repr(ApiKey("rsk_secret"))
    assert nobody.requests == []


@pytest.mark.parametrize("life_s", [60, 300, 3600])
@pytest.mark.parametrize("kind", ["hub", "account"])
def test_a_notebook_of_eight_hours_never_shows_an_expired_token(clock: Clock, kind: str, life_s: int) -> None:
    ends: dict[str, float] = {}

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.host == "server.test":
            assert clock() < ends[request.headers["Authorization"]], "the server saw an expired token"
            return httpx.Response(200, json={})
        token = f"t{len(ends)}"
        ends[f"Bearer {token}"] = clock() + life_s
        return httpx.Response(200, json={"access_token": token, "expires_in": life_s})

    hub = HubToken("http://hub.test/token", "hub-secret", clock=clock)
    auth = hub if kind == "hub" else ServiceAccount(ISSUER, "chain", "secret", clock=clock)
    http = Http(SERVER, auth, client(answer))
    end = clock() + 8 * 3600
    while clock() < end:
        http.get("/auth/me")
        clock.now += 29
    assert len(ends) <= 2 * 8 * 3600 / life_s


def test_a_token_that_the_server_refuses_is_renewed_at_once_and_once(clock: Clock, tokens: Endpoint) -> None:
    seen: list[str] = []
    hub = HubToken("http://hub.test/token", "hub-secret", clock=clock)

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.host == "hub.test":
            return tokens()
        seen.append(request.headers["Authorization"])
        good = seen[-1] == "Bearer access-2" and request.method == "POST"
        return httpx.Response(200, json={}) if good else httpx.Response(401, json={"detail": "the token has expired"})

    http = Http(SERVER, hub, client(answer))
    assert http.post("/auth/api_keys", {}) == {}
    assert seen == ["Bearer access-1", "Bearer access-2"]
    with pytest.raises(AuthExpired):
        http.delete("/auth/api_keys/1")
    assert seen[2:] == ["Bearer access-2", "Bearer access-3"]


def test_a_key_that_the_server_refuses_is_shown_once(clock: Clock) -> None:
    far = Far(httpx.Response(401, json={"detail": "there is no such key"}))
    with pytest.raises(NotAuthenticated):
        Http(SERVER, ApiKey("k"), client(far)).get("/auth/me")
    assert len(far.requests) == 1


class TestServiceAccount:
    def account(self, far: Far, clock: Clock) -> Person:
        return Person(ServiceAccount(ISSUER, "chain", "secret", clock=clock), far, clock)

    def test_it_asks_with_its_secret(self, clock: Clock, tokens: Endpoint) -> None:
        far = Far(tokens())
        assert self.account(far, clock).headers() == bearer(1)
        assert str(far.requests[0].url) == f"{ISSUER}/protocol/openid-connect/token"
        assert far.forms == [{"grant_type": "client_credentials", "client_id": "chain", "client_secret": "secret"}]

    def test_a_refusal_names_the_account_and_not_the_secret(self, clock: Clock) -> None:
        far = Far(httpx.Response(401, json={"error": "invalid_client"}))
        with pytest.raises(NotAuthenticated, match=r"chain: invalid_client") as caught:
            self.account(far, clock).headers()
        assert "secret" not in str(caught.value)
        assert "'secret'" not in repr(ServiceAccount(ISSUER, "chain", "secret"))


class TestHubToken:
    def token(self, far: Far, clock: Clock) -> Person:
        return Person(HubToken("http://hub.test/token", "hub-secret", clock=clock), far, clock)

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

    def login(self, far: Far) -> Person:
        login = DeviceLogin(ISSUER, FileStore(self.store), say=self.said.append, clock=self.clock)
        return Person(login, far, self.clock)

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

    def test_nobody_is_asked_where_that_was_said(self) -> None:
        far = Far(self.STARTED)
        login = DeviceLogin(ISSUER, FileStore(self.store), say=self.said.append, clock=self.clock)
        login.ask_nobody()
        with pytest.raises(NotAuthenticated, match="nobody is logged in here"):
            Person(login, far, self.clock).headers()
        assert (far.requests, self.said) == ([], [])

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
        with pytest.raises(NotAuthenticated, match="400"):
            self.login(Far(httpx.Response(400))).headers()
        with pytest.raises(ServiceUnavailable, match="503"):
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

    def test_what_another_program_renewed_is_taken(self, tokens: Endpoint) -> None:
        far = Far(self.STARTED, tokens())
        here = self.login(far)
        here.headers()
        self.clock.now += 280
        assert self.login(Far(tokens())).headers() == bearer(2)
        asked = len(far.requests)
        assert here.headers() == bearer(2)
        assert len(far.requests) == asked

    def test_keycloak_that_is_away_is_named(self) -> None:
        with pytest.raises(ServiceUnavailable, match="Keycloak"):
            self.login(Far(httpx.ConnectError("refused"))).headers()
