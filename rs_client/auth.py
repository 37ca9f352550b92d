"""Ways to prove who you are: an API key, the token of your hub server, or a login in the browser."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import secrets
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import httpx

from rs_client.errors import NotAuthenticated, NotConfigured, ServiceUnavailable

RENEW_BEFORE_S = 30
"""A token with less life than this, in seconds, is renewed before it is used."""

_DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
_CLIENT_ID = "rs-client"


class Auth(Protocol):
    """Whatever can put your identity into a request."""

    def headers(self) -> dict[str, str]:
        """The headers of the next request; renews what is about to expire."""
        ...


@dataclass(frozen=True, slots=True)
class ApiKey:
    """An API key, as scripts and unattended chains use it."""

    key: str

    def headers(self) -> dict[str, str]:
        """The header ``x-api-key``."""
        return {"x-api-key": self.key}

    def __repr__(self) -> str:
        return "ApiKey(…)"


class HubToken:
    """A fresh access token from the hub's token service, asked for with the server's own hub token."""

    def __init__(self, url: str, hub_token: str, http: httpx.Client) -> None:
        self._url, self._hub_token, self._http = url, hub_token, http
        self._token, self._expires = "", 0.0

    def headers(self) -> dict[str, str]:
        """A bearer token that lives for at least half a minute more."""
        if time.time() > self._expires - RENEW_BEFORE_S:
            self._renew()
        return {"Authorization": f"Bearer {self._token}"}

    def _renew(self) -> None:
        try:
            answer = self._http.get(self._url, headers={"Authorization": f"token {self._hub_token}"})
        except httpx.HTTPError as error:
            raise ServiceUnavailable(f"the hub's token service does not answer: {error}") from error
        if answer.status_code in (401, 403):
            raise NotAuthenticated("your login to the hub is over", hint="log in to the hub again", status=401)
        if answer.is_error:
            raise ServiceUnavailable(f"the hub's token service answered {answer.status_code}", hint="try again soon")
        token = answer.json()["access_token"]
        self._token, self._expires = token, expiry(token)


class DeviceLogin:
    """A login in the browser (OAuth 2.0 device grant, RFC 8628, with PKCE), kept in a file only you can read."""

    def __init__(
        self,
        issuer: str,
        store: Path,
        http: httpx.Client,
        *,
        say: Callable[[str], None] | None = None,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._endpoint = f"{issuer.rstrip('/')}/protocol/openid-connect"
        self._issuer, self._store, self._http, self._sleep = issuer, store, http, sleep
        self._say = say or (lambda line: print(line, file=sys.stderr))  # noqa: T201 - the person must see it
        self._tokens: dict[str, Any] = self._kept()

    def headers(self) -> dict[str, str]:
        """A bearer token; asks for a login in the browser when there is none that can be renewed."""
        access = self._tokens.get("access_token", "")
        if not access or expiry(access) < time.time() + RENEW_BEFORE_S:
            self._keep(self._refreshed() or self._log_in())
        return {"Authorization": f"Bearer {self._tokens['access_token']}"}

    def _refreshed(self) -> dict[str, Any] | None:
        refresh = self._tokens.get("refresh_token")
        if not refresh:
            return None
        form = {"grant_type": "refresh_token", "refresh_token": refresh, "client_id": _CLIENT_ID}
        answer = self._post("token", form)
        return None if answer.is_error else dict(answer.json())

    def _log_in(self) -> dict[str, Any]:
        verifier = secrets.token_urlsafe(48)
        digest = hashlib.sha256(verifier.encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        form = {
            "client_id": _CLIENT_ID,
            "scope": "openid",
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        answer = self._post("auth/device", form)
        if answer.is_error:
            raise NotAuthenticated(f"the login could not be started: Keycloak answered {answer.status_code}")
        started = answer.json()
        self._say(f"Log in at {started['verification_uri_complete']} (code {started['user_code']})")
        return self._wait(started, verifier)

    def _wait(self, started: Mapping[str, Any], verifier: str) -> dict[str, Any]:
        form = {
            "grant_type": _DEVICE_GRANT,
            "device_code": started["device_code"],
            "client_id": _CLIENT_ID,
            "code_verifier": verifier,
        }
        interval = float(started.get("interval", 5))
        deadline = time.monotonic() + float(started.get("expires_in", 600))
        while time.monotonic() < deadline:
            self._sleep(interval)
            answer = self._post("token", form)
            if not answer.is_error:
                return dict(answer.json())
            if answer.is_server_error:  # a gateway's page, not Keycloak's word
                continue
            reason = answer.json().get("error")
            if reason == "slow_down":
                interval += 5
            elif reason != "authorization_pending":
                break
        raise NotAuthenticated("the login in the browser was not completed", hint="connect again")

    def _post(self, path: str, form: Mapping[str, str]) -> httpx.Response:
        try:
            return self._http.post(f"{self._endpoint}/{path}", data=dict(form))
        except httpx.HTTPError as error:
            raise ServiceUnavailable(f"Keycloak does not answer: {error}") from error

    def _kept(self) -> dict[str, Any]:
        try:
            kept = json.loads(self._store.read_text())
        except (FileNotFoundError, json.JSONDecodeError):
            return {}
        return kept if isinstance(kept, dict) and kept.get("issuer") == self._issuer else {}

    def _keep(self, tokens: Mapping[str, Any]) -> None:
        self._tokens = {**tokens, "issuer": self._issuer}
        self._store.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        temporary = self._store.with_suffix(".new")
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            json.dump(self._tokens, file)
        temporary.replace(self._store)


def expiry(token: str) -> float:
    """When an access token ends, in seconds since 1970; it is read, not verified: that is the server's task."""
    payload = token.split(".")[1]
    claims = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return float(claims["exp"])


def choose(environment: Mapping[str, str], issuer: Callable[[], str | None], http: httpx.Client) -> Auth:
    """The way in that this place offers: hub server, API key, or the browser.

    ``issuer`` is asked only when a login in the browser is the way. Raises ``NotConfigured`` when there is no way.
    """
    if "RS_TOKEN_URL" in environment and "JUPYTERHUB_API_TOKEN" in environment:
        return HubToken(environment["RS_TOKEN_URL"], environment["JUPYTERHUB_API_TOKEN"], http)
    if environment.get("RS_API_KEY"):
        return ApiKey(environment["RS_API_KEY"])
    where = issuer()
    if where is None:
        raise NotConfigured("the server names no place to log in at", hint="set RS_API_KEY to an API key of yours")
    return DeviceLogin(where, _state_folder(environment) / "login.json", http)


def _state_folder(environment: Mapping[str, str]) -> Path:
    home = environment.get("XDG_STATE_HOME")
    return (Path(home) if home else Path.home() / ".local" / "state") / "rs-python"
