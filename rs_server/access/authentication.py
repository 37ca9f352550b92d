"""Who is calling: the one place that reads credentials from the headers of a request."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass

import httpx

from rs_server.access import apikeys
from rs_server.access.apikeys import ApiKeys, KeyVerifier
from rs_server.access.changes import Changes
from rs_server.access.directory import Directory
from rs_server.access.grants import Grants
from rs_server.access.limits import Guesses, Rates
from rs_server.access.logins import Logins, open_logins
from rs_server.access.metrics import AccessMetrics
from rs_server.access.policy import Principal
from rs_server.access.tokens import KeySet, TokenVerifier, key_set_url
from rs_server.database import Database
from rs_server.errors import BadInput, NotAuthenticated, TooManyRequests
from rs_server.settings import AccessSettings

LOCAL_USER = Principal(login="local", subject="local", everything=True, via="local")

_HOW = "send `Authorization: Bearer <access token>` or `x-api-key: <key>`"


class LocalAuthenticator:
    """Everybody is the one local user: there is no issuer, and the server listens on a loopback address only."""

    async def authenticate(self, headers: Mapping[str, str], address: str) -> Principal:  # noqa: ARG002
        """The local user."""
        return LOCAL_USER

    def refusal(self, headers: Mapping[str, str]) -> TooManyRequests | None:  # noqa: ARG002
        """Nobody is told to wait."""
        return None

    async def ready(self) -> None:
        """Nothing is needed."""


class CredentialAuthenticator:
    """Callers prove who they are with an access token or an API key."""

    def __init__(
        self, tokens: TokenVerifier, keys: KeyVerifier | None, grants: Grants, logins: Logins, rates: Rates
    ) -> None:
        self._tokens = tokens
        self._keys = keys
        self._grants = grants
        self._logins = logins
        self._rates = rates

    async def authenticate(self, headers: Mapping[str, str], address: str) -> Principal:
        """The caller, with what owners gave them.

        Raises ``NotAuthenticated`` without credentials that hold, ``BadInput`` with two of them, ``TooManyRequests``
        for who guesses or asks too often.
        """
        key, authorization = _presented(headers)
        if key is not None and authorization is not None:
            raise BadInput("two credentials at once", hint=_HOW)
        if key is None and authorization is None:
            raise NotAuthenticated("this needs a login", hint=_HOW)
        try:
            who = await (self._of_key(key, address) if key is not None else self._of_token(authorization or ""))
        except (NotAuthenticated, TooManyRequests) as error:
            self._logins.refused(address, error.detail)
            raise
        self._rates.take(who.subject, key or authorization or "")
        return await self._grants.added(who)

    def refusal(self, headers: Mapping[str, str]) -> TooManyRequests | None:
        """The answer to a caller who asks too often and was told before, without looking anything up; else None."""
        key, authorization = _presented(headers)
        credential = key or authorization
        return self._rates.refusal(credential) if credential else None

    async def ready(self) -> None:
        """Raise ``Unavailable`` unless credentials can be verified."""
        await self._tokens.ready()

    async def _of_token(self, authorization: str) -> Principal:
        found = await self._tokens.verified(_bearer(authorization))
        if found.session is not None:
            await self._logins.seen(found.who, found.session)
        return found.who

    async def _of_key(self, key: str, address: str) -> Principal:
        if self._keys is None:
            raise NotAuthenticated("API keys are not accepted here", hint="no directory is configured to look users up")
        return await self._keys.verify(key, address)


@dataclass(frozen=True, slots=True)
class Access:
    """What the access service works with while the server runs; ``directory`` is None where none is configured."""

    authenticator: LocalAuthenticator | CredentialAuthenticator
    keys: ApiKeys
    grants: Grants
    directory: Directory | None
    metrics: AccessMetrics


@asynccontextmanager
async def open_access(
    settings: AccessSettings,
    database: Database,
    changes: Changes,
    *,
    transport: httpx.AsyncBaseTransport | None = None,
) -> AsyncIterator[Access]:
    """The authenticator that the settings ask for; ``transport`` stands in for the network in tests."""
    keys, grants, metrics = ApiKeys(database, changes), Grants(database, changes), AccessMetrics()
    if settings.issuer is None:
        yield Access(LocalAuthenticator(), keys, grants, None, metrics)
        return
    async with (
        open_logins(database) as logins,
        httpx.AsyncClient(transport=transport, timeout=5, trust_env=False) as http,
    ):
        issuer = settings.issuer.rstrip("/")
        tokens = TokenVerifier(settings, issuer, KeySet(key_set_url(settings, issuer), http, metrics=metrics))
        directory = Directory(settings.directory, http) if settings.directory else None
        verifier = KeyVerifier(keys, directory, Guesses(settings.key_guesses), metrics) if directory else None
        rates = Rates(settings.requests_per_s, settings.requests_at_once)
        authenticator = CredentialAuthenticator(tokens, verifier, grants, logins, rates)
        yield Access(authenticator, keys, grants, directory, metrics)


def _presented(headers: Mapping[str, str]) -> tuple[str | None, str | None]:
    """The API key and the authorization that a request carries."""
    return headers.get(apikeys.HEADER), headers.get("authorization")


def _bearer(authorization: str) -> str:
    scheme, _, token = authorization.partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise NotAuthenticated("the authorization header carries no bearer token", hint=_HOW)
    return token.strip()
