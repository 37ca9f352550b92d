"""Ways to prove who you are: an API key, your hub server's token, a service account, or a login in the browser."""

from __future__ import annotations

import base64
import hashlib
import secrets
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import httpx

from rs_client.errors import AuthExpired, NotAuthenticated, NotConfigured, ServiceUnavailable
from rs_client.flow import Call, Flow, Pause, Person, document
from rs_client.settings import Settings
from rs_client.tokenstore import Token, TokenStore, token_store

RENEW_BEFORE_S = 30
"""A token with less life than this, in seconds, is renewed before it is used; one with a short life, in its last
quarter."""

DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
CLIENT_ID = "rs-client"
_SLOWER_S = 5  # what a client adds to its interval when told to slow down (RFC 8628, 3.5)


class Auth(Protocol):
    """Whatever can put your identity into a request."""

    def identity(self, refused: Mapping[str, str] | None = None) -> Flow[dict[str, str]]:
        """The headers of the next request; renews what is about to expire, and what was ``refused`` if it can.

        Raises ``NotAuthenticated`` (``AuthExpired`` for a login that is over) when there is no way in any more, and
        ``ServiceUnavailable`` when whoever gives tokens does not answer.
        """
        ...


class NoLogin:
    """Nobody: for a server of one local user, which asks for no login."""

    def identity(self, refused: Mapping[str, str] | None = None) -> Flow[dict[str, str]]:  # noqa: ARG002
        """Nothing."""
        yield from ()
        return {}


@dataclass(frozen=True, slots=True)
class ApiKey:
    """An API key, as scripts and unattended chains use it."""

    key: str

    def identity(self, refused: Mapping[str, str] | None = None) -> Flow[dict[str, str]]:  # noqa: ARG002
        """The header ``x-api-key``."""
        yield from ()
        return {"x-api-key": self.key}

    def __repr__(self) -> str:
        return "ApiKey(…)"


class Bearer(ABC):
    """A bearer token (RFC 6750) that is renewed shortly before its end. Drivers ask for one identity at a time.

    ``clock`` tells seconds since 1970.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._token = Token()

    def identity(self, refused: Mapping[str, str] | None = None) -> Flow[dict[str, str]]:
        """The header ``Authorization``; while no new token is to be had, the one at hand serves to its end.

        Raises ``NotAuthenticated`` or ``AuthExpired`` as ``renewed`` does, and ``ServiceUnavailable`` when the token at
        hand has ended meanwhile.
        """
        if self._token.left_s(self._clock()) < self._token.margin_s(RENEW_BEFORE_S) or refused == self._headers():
            try:
                self._token = yield from self.renewed(self._token)
            except ServiceUnavailable:
                if self._token.left_s(self._clock()) <= 0:
                    raise
        return self._headers()

    @abstractmethod
    def renewed(self, token: Token) -> Flow[Token]:
        """A fresh token in place of this one. Raises ``NotAuthenticated`` or ``ServiceUnavailable``."""

    def _headers(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._token.access_token}"}

    def _called(self, whom: str, call: Call) -> Flow[httpx.Response]:
        """The answer of whoever gives tokens; ``ServiceUnavailable`` when there is none."""
        try:
            answer: httpx.Response = yield call
        except httpx.HTTPError as error:
            raise ServiceUnavailable(f"{whom} does not answer: {error}", url=call.url) from error
        if answer.status_code >= 500:
            raise ServiceUnavailable(f"{whom} answered {answer.status_code}", hint="try again soon", url=call.url)
        return answer


class HubToken(Bearer):
    """A fresh access token from the hub's token service, asked for with the server's own hub token."""

    def __init__(self, url: str, hub_token: str, *, clock: Callable[[], float] = time.time) -> None:
        super().__init__(clock)
        self._call = Call("GET", url, {"Authorization": f"token {hub_token}"})

    def renewed(self, token: Token) -> Flow[Token]:  # noqa: ARG002 - nothing of the old one is needed
        """Ask the token service. Raises ``AuthExpired`` when it refuses, ``ServiceUnavailable`` when it is away."""
        now = self._clock()
        answer = yield from self._called("the hub's token service", self._call)
        if answer.status_code in (401, 403):
            raise AuthExpired("your login to the hub is over", hint="log in to the hub again", status=401)
        if answer.is_error:
            raise ServiceUnavailable(f"the hub's token service answered {answer.status_code}", hint="try again soon")
        return Token.of(answer.json(), now)


class ServiceAccount(Bearer):
    """An identity of its own for unattended work: a Keycloak client with a secret (RFC 6749, 4.4)."""

    def __init__(
        self, issuer: str, client_id: str, client_secret: str, *, clock: Callable[[], float] = time.time
    ) -> None:
        super().__init__(clock)
        form = {"grant_type": "client_credentials", "client_id": client_id, "client_secret": client_secret}
        self._client_id = client_id
        self._call = Call("POST", f"{_endpoint(issuer)}/token", form=form)

    def renewed(self, token: Token) -> Flow[Token]:  # noqa: ARG002 - nothing of the old one is needed
        """Ask the token endpoint with the client's secret.

        Raises ``NotAuthenticated`` when it is refused, ``ServiceUnavailable`` when Keycloak is away.
        """
        now = self._clock()
        answer = yield from self._called("Keycloak", self._call)
        if answer.is_error:
            raise NotAuthenticated(
                f"Keycloak refuses the service account {self._client_id}: {_reason(answer)}",
                hint="look at RS_CLIENT_ID and RS_CLIENT_SECRET",
                status=answer.status_code,
            )
        return Token.of(answer.json(), now)

    def __repr__(self) -> str:
        return f"ServiceAccount({self._client_id!r}, …)"


class DeviceLogin(Bearer):
    """A login in the browser (OAuth 2.0 device grant, RFC 8628, with PKCE, RFC 7636), kept where only you can read it.

    ``say`` is told the line that asks a person to log in; left out, it goes to stderr.
    """

    def __init__(
        self,
        issuer: str,
        store: TokenStore,
        *,
        say: Callable[[str], None] | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        super().__init__(clock)
        self._endpoint = _endpoint(issuer)
        self._store = store
        self._say = say or (lambda line: print(line, file=sys.stderr, flush=True))  # noqa: T201 - a person must see it
        self._may_ask = True
        self._token = store.load()

    def ask_nobody(self) -> None:
        """From now on, do without a person: a login that cannot be renewed raises ``NotAuthenticated`` instead."""
        self._may_ask = False

    def renewed(self, token: Token) -> Flow[Token]:
        """As another program renewed it, or with the refresh token while it holds; else a person must log in.

        Raises ``NotAuthenticated`` when nobody does, or refuses; ``ServiceUnavailable`` when Keycloak is away.
        """
        kept = self._store.load()
        if kept.access_token != token.access_token and kept.left_s(self._clock()) > kept.margin_s(RENEW_BEFORE_S):
            return kept
        fresh = (yield from self._refreshed(kept if kept.refresh_token else token)) or (yield from self._log_in())
        self._store.keep(fresh)
        return fresh

    def _refreshed(self, token: Token) -> Flow[Token | None]:
        if not token.refresh_token:
            return None
        form = {"grant_type": "refresh_token", "refresh_token": token.refresh_token, "client_id": CLIENT_ID}
        now = self._clock()
        answer = yield from self._called("Keycloak", Call("POST", f"{self._endpoint}/token", form=form))
        return None if answer.is_error else Token.of(answer.json(), now)

    def _log_in(self) -> Flow[Token]:
        if not self._may_ask:
            raise NotAuthenticated("nobody is logged in here", hint="rs login")
        yield Person()
        verifier = secrets.token_urlsafe(48)
        form = {
            "client_id": CLIENT_ID,
            "scope": "openid",
            "code_challenge": _challenge(verifier),
            "code_challenge_method": "S256",
        }
        answer = yield from self._called("Keycloak", Call("POST", f"{self._endpoint}/auth/device", form=form))
        if answer.is_error:
            raise NotAuthenticated(f"the login could not be started: Keycloak answered {answer.status_code}")
        started = answer.json()
        self._say(f"Log in at {started['verification_uri_complete']} (code {started['user_code']})")
        return (yield from self._approved(started, verifier))

    def _approved(self, started: Mapping[str, Any], verifier: str) -> Flow[Token]:
        """The token, once the person has approved."""
        form = {
            "grant_type": DEVICE_GRANT,
            "device_code": str(started["device_code"]),
            "client_id": CLIENT_ID,
            "code_verifier": verifier,
        }
        interval = float(started.get("interval", 5))
        deadline = self._clock() + float(started.get("expires_in", 600))
        while self._clock() < deadline:
            yield Pause(interval)
            now = self._clock()
            try:
                answer = yield from self._called("Keycloak", Call("POST", f"{self._endpoint}/token", form=form))
            except ServiceUnavailable:  # a gateway's hiccup does not end a login that a person is at
                continue
            if not answer.is_error:
                return Token.of(answer.json(), now)
            interval += _slower(answer)
        raise NotAuthenticated("nobody completed the login in the browser in time", hint="connect again")


def choose(settings: Settings, issuer: str | None) -> Auth:
    """The way in that a place offers, the first of: hub server, API key, service account, no login, the browser.

    ``issuer`` is where the server's users log in, or none if it asks for no login; it matters to the last three.
    Raises ``NotConfigured`` when a login in the browser would be needed and nobody can be asked.
    """
    direct = without_issuer(settings)
    if direct is not None:
        return direct
    if issuer is None:
        return NoLogin()
    if settings.client_id and settings.client_secret:
        return ServiceAccount(issuer, settings.client_id, settings.client_secret)
    if settings.unattended:
        raise NotConfigured(
            "nobody can log in here", hint="set RS_API_KEY, or RS_CLIENT_ID and RS_CLIENT_SECRET of a service account"
        )
    return DeviceLogin(issuer, token_store(settings, issuer))


def without_issuer(settings: Settings) -> Auth | None:
    """The way in for which nobody needs to know where users log in, if there is one."""
    if settings.token_url and settings.hub_token:
        return HubToken(settings.token_url, settings.hub_token)
    if settings.api_key:
        return ApiKey(settings.api_key)
    return None


def _endpoint(issuer: str) -> str:
    return f"{issuer.rstrip('/')}/protocol/openid-connect"


def _challenge(verifier: str) -> str:
    """What is told of the verifier beforehand (RFC 7636, 4.2)."""
    digest = hashlib.sha256(verifier.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def _reason(answer: httpx.Response) -> str:
    return str(document(answer).get("error") or f"status {answer.status_code}")


def _slower(answer: httpx.Response) -> float:
    """How much longer to wait between two questions, in seconds; raises when the person refused."""
    reason = _reason(answer)
    if reason == "slow_down":
        return _SLOWER_S
    if reason == "authorization_pending":
        return 0
    raise NotAuthenticated(f"the login in the browser was not completed: {reason}", hint="connect again")
