"""Bearer tokens of Keycloak, verified without asking it: its public keys are fetched once and kept.

Accepted are access tokens only, signed with one of three asymmetric algorithms (RFC 7519, RFC 8725), by the
configured issuer and for this audience.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import httpx
import jwt
import structlog
from jwt import PyJWK, PyJWKSet

from rs_server.access.metrics import AccessMetrics
from rs_server.access.policy import Principal
from rs_server.access.recent import Recent
from rs_server.errors import NotAuthenticated, Unavailable
from rs_server.settings import AccessSettings

log = structlog.get_logger(__name__)

ALGORITHMS = ("RS256", "ES256", "PS256")
REFETCH_S = 30.0  # an unknown key id makes us ask again at most this often
RETRY_S = 1.0  # while we hold no key at all, at most this often
REFRESH_S = 600.0  # keys are read again after this time, so that a withdrawn one goes
REMEMBERED_TOKENS = 10_000
BELIEVED_S = 60.0  # after which a token is computed again
LONGEST_TOKEN = 16_384  # characters; longer ones are not even parsed

_ACCESS_TOKEN_TYPE = "Bearer"  # noqa: S105 - Keycloak's claim `typ`; ID tokens say ID, refresh tokens Refresh
_LOGIN_AGAIN = "log in again to get a fresh token"


class KeySet:
    """The issuer's public keys. An issuer that cannot be reached does not matter while keys are held."""

    def __init__(
        self,
        url: str,
        http: httpx.AsyncClient,
        clock: Callable[[], float] = time.monotonic,
        metrics: AccessMetrics | None = None,
    ) -> None:
        self._metrics = metrics or AccessMetrics()
        self._url = url
        self._http = http
        self._clock = clock
        self._keys: dict[str, PyJWK] = {}
        self._fetched = self._tried = self._looked = -REFRESH_S
        self._lock = asyncio.Lock()

    async def key(self, kid: str) -> PyJWK:
        """The public key of that id.

        Raises ``NotAuthenticated`` for an id the issuer does not know, ``Unavailable`` while no key could be had yet.
        """
        if kid not in self._keys and self._keys:
            await self._ask_for_unknown()
        elif not self._keys or self._clock() - self._fetched > REFRESH_S:
            await self._refresh()
        if kid not in self._keys:
            raise NotAuthenticated("the token is signed with a key that its issuer does not publish", hint=_LOGIN_AGAIN)
        return self._keys[kid]

    async def ready(self) -> None:
        """Raise ``Unavailable`` unless there are keys to verify with."""
        if not self._keys:
            await self._refresh()

    async def _ask_for_unknown(self) -> None:
        """Look for a new key, unless somebody made us look a moment ago; reading the keys for another reason, for
        instance at the start, does not keep the first new one out.
        """
        async with self._lock:
            if self._clock() - self._looked >= REFETCH_S:
                self._looked = self._clock()
                await self._fetch()

    async def _refresh(self) -> None:
        async with self._lock:
            if self._clock() - self._tried >= (REFETCH_S if self._keys else RETRY_S):
                self._tried = self._clock()
                await self._fetch()
        if not self._keys:
            raise Unavailable("the keys of the identity provider cannot be read", hint="try again in a few seconds")

    async def _fetch(self) -> None:
        try:
            answer = (await self._http.get(self._url)).raise_for_status()
            published = PyJWKSet.from_dict(answer.json())
        except (httpx.HTTPError, ValueError, jwt.PyJWTError) as error:
            log.warning("key_set_unreadable", url=self._url, reason=repr(error), keys_held=len(self._keys))
            self._metrics.key_set_read("failed")
            return
        self._metrics.key_set_read("ok")
        self._keys = {key.key_id: key for key in published.keys if key.key_id and key.public_key_use in (None, "sig")}
        self._fetched = self._clock()


@dataclass(frozen=True, slots=True)
class Verified:
    """A token that holds: whom it speaks for, in which login, until when, and by which key."""

    who: Principal
    session: str | None
    expires: float
    key_id: str


class TokenVerifier:
    """Turns an access token into the caller it speaks for. A token that was seen a moment ago is not computed again."""

    def __init__(
        self, settings: AccessSettings, issuer: str, keys: KeySet, clock: Callable[[], float] = time.time
    ) -> None:
        self._issuer = issuer
        self._audience = settings.audience
        self._leeway_s = settings.leeway_s
        self._keys = keys
        self._clock = clock
        self._known: Recent[bytes, Verified] = Recent(size=REMEMBERED_TOKENS, max_age_s=BELIEVED_S)

    async def verify(self, token: str) -> Principal:
        """The caller of a valid access token; ``NotAuthenticated`` says why another one is refused."""
        return (await self.verified(token)).who

    async def verified(self, token: str) -> Verified:
        """The same with what else the token says."""
        known_as = hashlib.sha256(token.encode()).digest()
        known = self._known.get(known_as)
        if known is not None and known.expires + self._leeway_s > self._clock():
            await self._keys.key(known.key_id)  # which may have been withdrawn
            return known
        found = await self._verified(token)
        self._known.put(known_as, found)
        return found

    async def _verified(self, token: str) -> Verified:
        key_id = _key_id(token)
        key = await self._keys.key(key_id)
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                key,
                algorithms=ALGORITHMS,
                issuer=self._issuer,
                audience=self._audience,
                leeway=self._leeway_s,
                options={"require": ["exp", "iss", "aud", "sub"]},
            )
        except jwt.PyJWTError as error:
            raise NotAuthenticated(_reason(error), hint=_LOGIN_AGAIN) from error
        session = claims.get("sid") or claims.get("jti")
        return Verified(principal(claims), str(session) if session else None, float(claims["exp"]), key_id)

    async def ready(self) -> None:
        """Raise ``Unavailable`` unless tokens can be verified."""
        await self._keys.ready()


def key_set_url(settings: AccessSettings, issuer: str) -> str:
    """Where the issuer publishes its keys: as configured, else Keycloak's standard place."""
    return settings.jwks_url or f"{issuer}/protocol/openid-connect/certs"


def principal(claims: dict[str, Any]) -> Principal:
    """The caller that verified claims describe."""
    login = claims.get("preferred_username")
    if claims.get("typ") != _ACCESS_TOKEN_TYPE:
        raise NotAuthenticated("this is not an access token", hint="send the access token, not the ID or refresh token")
    if not isinstance(login, str) or not login:
        raise NotAuthenticated("the token names no user")
    return Principal(
        login=login,
        subject=claims["sub"],
        roles=_texts(_member(claims.get("realm_access"), "roles")),
        groups=frozenset(group.removeprefix("/") for group in _texts(claims.get("groups"))),
        via="bearer",
    )


def _key_id(token: str) -> str:
    """The id of the signing key, from a header that is not trusted yet."""
    if len(token) > LONGEST_TOKEN:
        raise NotAuthenticated("the token is too long")
    try:
        header = jwt.get_unverified_header(token)
    except jwt.PyJWTError as error:
        raise NotAuthenticated("this is not a token") from error
    if header.get("alg") not in ALGORITHMS:
        raise NotAuthenticated(f"tokens are signed with one of {', '.join(ALGORITHMS)}")
    kid = header.get("kid")
    if not isinstance(kid, str):
        raise NotAuthenticated("the token does not name the key it is signed with")
    return kid


def _reason(error: jwt.PyJWTError) -> str:
    match error:
        case jwt.ExpiredSignatureError():
            return "the token has expired"
        case jwt.ImmatureSignatureError():
            return "the token is not valid yet"
        case jwt.InvalidIssuerError():
            return "the token was issued by somebody else"
        case jwt.InvalidAudienceError():
            return "the token is meant for another service"
        case jwt.MissingRequiredClaimError():
            return f"the token lacks the claim {error.claim}"
        case _:
            return "the token does not hold"


def _member(value: object, name: str) -> object:
    return value.get(name) if isinstance(value, dict) else None


def _texts(value: object) -> frozenset[str]:
    return frozenset(text for text in value if isinstance(text, str)) if isinstance(value, list) else frozenset()
