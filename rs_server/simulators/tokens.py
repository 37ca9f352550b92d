"""OAuth2 access tokens of a station: issued for a client's secret or a user's password, checked by their signature."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass


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

    def __init__(self, credentials: Credentials, ttl_s: int, *, clock: Callable[[], float] = time.time) -> None:
        self._credentials = credentials
        self._ttl_s = ttl_s
        self._clock = clock
        self._key = hashlib.sha256(b"access tokens\0" + credentials.client_secret.encode()).digest()

    def issue(self, form: Mapping[str, str], basic: tuple[str, str] | None = None) -> dict[str, str | int]:
        """The answer to a token request (form of RFC 6749, client in the form or in a Basic header)."""
        client = basic or (form.get("client_id", ""), form.get("client_secret", ""))
        if not _same(client, (self._credentials.client_id, self._credentials.client_secret)):
            raise Refused("invalid_client", "unknown client or wrong secret")
        self._check_grant(form)
        return {"access_token": self._token(), "token_type": "Bearer", "expires_in": self._ttl_s}

    def accepts(self, token: str) -> bool:
        """Whether the token is ours and has not expired."""
        payload, _, signature = token.rpartition(".")
        if not hmac.compare_digest(signature.encode(), self._sign(payload).encode()):
            return False
        expires, _, _ = payload.partition(".")
        return int(expires) > self._clock()

    def _check_grant(self, form: Mapping[str, str]) -> None:
        known = self._credentials
        match form.get("grant_type"):
            case "client_credentials":
                return
            case "password" if known.username is not None and known.password is not None:
                given = (form.get("username", ""), form.get("password", ""))
                if not _same(given, (known.username, known.password)):
                    raise Refused("invalid_grant", "unknown user or wrong password")
            case "password":
                raise Refused("unauthorized_client", "this station has no users")
            case _:
                raise Refused("unsupported_grant_type", "use client_credentials or password")

    def _token(self) -> str:
        payload = f"{int(self._clock()) + self._ttl_s}.{secrets.token_urlsafe(18)}"
        return f"{payload}.{self._sign(payload)}"

    def _sign(self, payload: str) -> str:
        return hmac.new(self._key, payload.encode(), hashlib.sha256).hexdigest()


def _same(given: tuple[str, str], wanted: tuple[str, str]) -> bool:
    """Compare names and secrets in constant time."""
    return hmac.compare_digest("\0".join(given).encode(), "\0".join(wanted).encode())
