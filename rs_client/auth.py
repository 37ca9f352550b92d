"""Ways to prove who you are: an API key, the token of your hub server, or a login in the browser."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import secrets
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import httpx

from rs_client.errors import NotAuthenticated, NotConfigured, ServiceUnavailable

RENEW_BEFORE_S = 30
"""A token with less life than this, in seconds, is renewed before it is used."""

DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
_CLIENT_ID = "rs-client"
_SLOWER_S = 5  # what a client adds to its interval when told to slow down (RFC 8628, 3.5)


class Auth(Protocol):
    """Whatever can put your identity into a request."""

    def headers(self) -> dict[str, str]:
        """The headers of the next request; renews what is about to expire."""
        ...


class NoLogin:
    """Nobody: for a server of one local user, which asks for no login."""

    def headers(self) -> dict[str, str]:
        """Nothing."""
        return {}


@dataclass(frozen=True, slots=True)
class ApiKey:
    """An API key, as scripts and unattended chains use it."""

    key: str

    def headers(self) -> dict[str, str]:
        """The header ``x-api-key``."""
        return {"x-api-key": self.key}

    def __repr__(self) -> str:
        return "ApiKey(…)"


@dataclass(frozen=True, slots=True)
class Token:
    """An access token, when it ends (seconds since 1970), and what to renew it with if one may."""

    access_token: str = ""
    expires: float = 0.0
    refresh_token: str = ""

    @classmethod
    def of(cls, answer: Mapping[str, Any], now: float) -> Token:
        """Read the answer of a token endpoint (RFC 6749, 5.1)."""
        life_s = float(answer.get("expires_in") or 0)
        return cls(str(answer["access_token"]), now + life_s, str(answer.get("refresh_token") or ""))

    def __repr__(self) -> str:
        return f"Token(…, expires={self.expires:.0f})"


class Bearer(ABC):
    """A bearer token that is renewed shortly before its end; safe to use from several threads."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._token = Token()
        self._renewing = threading.Lock()

    def headers(self) -> dict[str, str]:
        """The header ``Authorization``; while no new token is to be had, the one at hand serves to its end."""
        with self._renewing:
            if self._left_s() < RENEW_BEFORE_S:
                try:
                    self._token = self.renewed(self._token)
                except ServiceUnavailable:
                    if self._left_s() <= 0:
                        raise
            return {"Authorization": f"Bearer {self._token.access_token}"}

    @abstractmethod
    def renewed(self, token: Token) -> Token:
        """A fresh token in place of this one."""

    def _left_s(self) -> float:
        return self._token.expires - self._clock()


class HubToken(Bearer):
    """A fresh access token from the hub's token service, asked for with the server's own hub token."""

    def __init__(self, url: str, hub_token: str, http: httpx.Client, *, clock: Callable[[], float] = time.time) -> None:
        super().__init__(clock)
        self._url, self._hub_token, self._http = url, hub_token, http

    def renewed(self, token: Token) -> Token:  # noqa: ARG002 - nothing of the old one is needed
        """Ask the token service."""
        now = self._clock()
        try:
            answer = self._http.get(self._url, headers={"Authorization": f"token {self._hub_token}"})
        except httpx.HTTPError as error:
            raise ServiceUnavailable(f"the hub's token service does not answer: {error}") from error
        if answer.status_code in (401, 403):
            raise NotAuthenticated("your login to the hub is over", hint="log in to the hub again", status=401)
        if answer.is_error:
            raise ServiceUnavailable(f"the hub's token service answered {answer.status_code}", hint="try again soon")
        return Token.of(answer.json(), now)


class DeviceLogin(Bearer):
    """A login in the browser (OAuth 2.0 device grant, RFC 8628, with PKCE), kept in a file that only you can read."""

    def __init__(
        self,
        issuer: str,
        store: Path,
        http: httpx.Client,
        *,
        say: Callable[[str], None] | None = None,
        clock: Callable[[], float] = time.time,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        super().__init__(clock)
        self._endpoint = f"{issuer.rstrip('/')}/protocol/openid-connect"
        self._store, self._http, self._pause = store, http, pause
        self._say = say or (lambda line: print(line, file=sys.stderr, flush=True))  # noqa: T201 - a person must see it
        self._token = _kept(store)

    def renewed(self, token: Token) -> Token:
        """With the refresh token while it holds; else a person must log in."""
        fresh = self._refreshed(token) or self._log_in()
        _keep(self._store, fresh)
        return fresh

    def _refreshed(self, token: Token) -> Token | None:
        if not token.refresh_token:
            return None
        form = {"grant_type": "refresh_token", "refresh_token": token.refresh_token, "client_id": _CLIENT_ID}
        now = self._clock()
        answer = self._post("token", form)
        if answer.status_code >= 500:
            raise ServiceUnavailable(f"Keycloak answered {answer.status_code}", hint="try again soon")
        return None if answer.is_error else Token.of(answer.json(), now)

    def _log_in(self) -> Token:
        verifier = secrets.token_urlsafe(48)
        form = {
            "client_id": _CLIENT_ID,
            "scope": "openid",
            "code_challenge": _challenge(verifier),
            "code_challenge_method": "S256",
        }
        answer = self._post("auth/device", form)
        if answer.is_error:
            raise NotAuthenticated(f"the login could not be started: Keycloak answered {answer.status_code}")
        started = answer.json()
        self._say(f"Log in at {started['verification_uri_complete']} (code {started['user_code']})")
        return self._approved(started, verifier)

    def _approved(self, started: Mapping[str, Any], verifier: str) -> Token:
        """The token, once the person has approved."""
        form = {
            "grant_type": DEVICE_GRANT,
            "device_code": str(started["device_code"]),
            "client_id": _CLIENT_ID,
            "code_verifier": verifier,
        }
        interval = float(started.get("interval", 5))
        deadline = self._clock() + float(started.get("expires_in", 600))
        while self._clock() < deadline:
            self._pause(interval)
            now = self._clock()
            answer = self._post("token", form)
            if not answer.is_error:
                return Token.of(answer.json(), now)
            interval += _slower(answer)
        raise NotAuthenticated("nobody completed the login in the browser in time", hint="connect again")

    def _post(self, path: str, form: Mapping[str, str]) -> httpx.Response:
        try:
            return self._http.post(f"{self._endpoint}/{path}", data=dict(form))
        except httpx.HTTPError as error:
            raise ServiceUnavailable(f"Keycloak does not answer: {error}") from error


def _challenge(verifier: str) -> str:
    """What is told of the verifier beforehand (RFC 7636, 4.2)."""
    digest = hashlib.sha256(verifier.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def _slower(answer: httpx.Response) -> float:
    """How much longer to wait between two questions, in seconds; raises when the person refused."""
    try:
        reason = answer.json().get("error")
    except ValueError:  # not the token endpoint: something in front of it
        reason = f"status {answer.status_code}"
    if reason == "slow_down":
        return _SLOWER_S
    if reason == "authorization_pending" or answer.status_code >= 500:
        return 0
    raise NotAuthenticated(f"the login in the browser was not completed: {reason}", hint="connect again")


def _kept(store: Path) -> Token:
    """The token of the last login, or none."""
    try:
        return Token(**json.loads(store.read_text()))
    except (FileNotFoundError, json.JSONDecodeError, TypeError):  # never logged in, or the file is damaged
        return Token()


def _keep(store: Path, token: Token) -> None:
    store.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = store.with_name(f"{store.name}.{os.getpid()}")
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        json.dump(asdict(token), file)
    temporary.replace(store)


def choose(environment: Mapping[str, str], login_at: Callable[[], str | None], http: httpx.Client) -> Auth:
    """The way in that this place offers: hub server, API key, or the browser.

    ``login_at`` gives the issuer of the server's users, or none if it asks for no login; it is called only when there
    is no other way. Raises ``NotConfigured`` when a login in the browser would be needed and nobody can be asked.
    """
    if environment.get("RS_TOKEN_URL") and environment.get("JUPYTERHUB_API_TOKEN"):
        return HubToken(environment["RS_TOKEN_URL"], environment["JUPYTERHUB_API_TOKEN"], http)
    if environment.get("RS_API_KEY"):
        return ApiKey(environment["RS_API_KEY"])
    issuer = login_at()
    if issuer is None:
        return NoLogin()
    if environment.get("CI"):
        raise NotConfigured("nobody can log in here", hint="set RS_API_KEY to an API key of yours")
    return DeviceLogin(issuer, login_file(environment, issuer), http)


def login_file(environment: Mapping[str, str], issuer: str) -> Path:
    """Where the login at an issuer is kept, below the user's XDG state folder."""
    home = environment.get("XDG_STATE_HOME")
    folder = (Path(home) if home else Path.home() / ".local" / "state") / "rs-python"
    return folder / f"login-{hashlib.sha256(issuer.encode()).hexdigest()[:12]}.json"
