"""Who may come in to a station: OAuth2 access tokens for a client's secret or a user's password, or HTTP Basic.

Stations differ: in the grants they know, in where the client shows its secret (form or header), in whether a scope must
be named, and some know no tokens at all.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import itertools
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import unquote_plus

from rs_server.simulators.settings import LoginSettings


class Refused(Exception):
    """A token request that is refused; ``code`` as RFC 6749 §5.2 names it."""

    def __init__(self, code: str, description: str) -> None:
        super().__init__(description)
        self.code = code
        self.description = description


@dataclass(frozen=True)
class Credentials:
    """Who may ask for tokens. Without a user there is no password grant."""

    client_id: str
    client_secret: str
    username: str | None = None
    password: str | None = None


class TokenIssuer:
    """Issues opaque tokens that expire; a restart of the station does not void them."""

    def __init__(
        self,
        credentials: Credentials,
        ttl_s: int,
        login: LoginSettings | None = None,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._credentials = credentials
        self._login = login or LoginSettings()
        self._ttl_s = ttl_s
        self._clock = clock
        self._key = hashlib.sha256(b"access tokens\0" + credentials.client_secret.encode()).digest()
        self._numbers = itertools.count(time.time_ns())  # those of an earlier run of the station are smaller
        self._revoked_until = 0

    @property
    def challenge(self) -> str:
        """How to authenticate, as a refused request is told."""
        return f'{"Basic" if self._login.flavour == "basic" else "Bearer"} realm="station"'

    def issue(self, form: Mapping[str, str], basic: tuple[str, str] | None = None) -> dict[str, str | int]:
        """The answer to a token request (form of RFC 6749, client in the form or in a Basic header)."""
        if self._login.flavour == "basic":
            raise Refused("unauthorized_client", "this station issues no tokens; it takes HTTP Basic")
        if not _same(self._client(form, basic), (self._credentials.client_id, self._credentials.client_secret)):
            raise Refused("invalid_client", "unknown client or wrong secret")
        self._check_grant(form)
        if self._login.scope is not None and self._login.scope not in form.get("scope", "").split():
            raise Refused("invalid_scope", f"name the scope {self._login.scope}")
        return {"access_token": self._token(), "token_type": "Bearer", "expires_in": self._ttl_s}

    def admits(self, authorization: str) -> bool:
        """Whether that header opens the station's data."""
        if self._login.flavour == "basic":
            known = self._credentials
            given = basic(authorization)
            return given is not None and _same(
                given, (known.username or known.client_id, known.password or known.client_secret)
            )
        scheme, _, token = authorization.partition(" ")
        return scheme.lower() == "bearer" and self.accepts(token.strip())

    def accepts(self, token: str) -> bool:
        """Whether the token is ours, has not expired and was not revoked."""
        payload, _, signature = token.rpartition(".")
        if not hmac.compare_digest(signature.encode(), self._sign(payload).encode()):
            return False
        expires, number, _ = payload.split(".")
        return int(expires) > self._clock() and int(number) > self._revoked_until

    def revoke_all(self) -> None:
        """No token issued until now is good any more."""
        self._revoked_until = next(self._numbers)

    def _client(self, form: Mapping[str, str], basic: tuple[str, str] | None) -> tuple[str, str]:
        """Client and secret, where this station wants them."""
        in_form = (form.get("client_id", ""), form.get("client_secret", ""))
        match self._login.client_in:
            case "header":
                return basic or ("", "")
            case "body":
                return in_form
            case "any":
                return basic or in_form

    def _check_grant(self, form: Mapping[str, str]) -> None:
        known, grant = self._credentials, form.get("grant_type", "")
        if grant not in ("client_credentials", "password"):
            raise Refused("unsupported_grant_type", "use client_credentials or password")
        if grant not in self._login.grants or (grant == "password" and known.username is None):
            raise Refused("unauthorized_client", f"this station does not know the grant {grant}")
        if grant == "password":
            given = (form.get("username", ""), form.get("password", ""))
            if not _same(given, (known.username or "", known.password or "")):
                raise Refused("invalid_grant", "unknown user or wrong password")

    def _token(self) -> str:
        payload = f"{int(self._clock()) + self._ttl_s}.{next(self._numbers)}.{secrets.token_urlsafe(18)}"
        return f"{payload}.{self._sign(payload)}"

    def _sign(self, payload: str) -> str:
        return hmac.new(self._key, payload.encode(), hashlib.sha256).hexdigest()


def basic(authorization: str) -> tuple[str, str] | None:
    """Name and secret of a Basic header (RFC 6749 §2.3.1); None: it is of another scheme."""
    scheme, _, encoded = authorization.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        name, _, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return ("", "")
    return unquote_plus(name), unquote_plus(secret)


def _same(given: tuple[str, str], wanted: tuple[str, str]) -> bool:
    """Compare names and secrets in constant time."""
    return hmac.compare_digest("\0".join(given).encode(), "\0".join(wanted).encode())
