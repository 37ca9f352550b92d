"""Who may come in to a station: OAuth2 access tokens for a client's secret or a user's password, or HTTP Basic.

Stations differ: in the grants they know, in where the client shows its secret (form or header), in whether a scope must
be named, and some know no tokens at all. With a user's token comes one that renews it, as long as it lives.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import itertools
import secrets
import time
from collections.abc import Callable, Iterable, Mapping
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

    @property
    def name(self) -> str:
        """By what the station tells them from others."""
        return self.username or self.client_id

    def admits_user(self, name: str, password: str) -> bool:
        """Whether these are the user's."""
        return self.username is not None and _same((name, password), (self.username, self.password or ""))


@dataclass(frozen=True)
class _Token:
    """What a token says: what it is for, until when (seconds since 1970), whose it is, and the how many-th."""

    kind: str
    expires: int
    number: int
    name: str

    @classmethod
    def parse(cls, payload: str) -> _Token:
        kind, expires, number, name, _ = payload.split(".")
        return cls(kind, int(expires), int(number), bytes.fromhex(name).decode())


_ACCESS, _REFRESH = "access", "refresh"
_GRANTS = ("client_credentials", "password", "refresh_token")


class TokenIssuer:
    """Issues opaque tokens that expire; a restart of the station does not void them."""

    def __init__(
        self,
        known: Iterable[Credentials],
        ttl_s: int,
        login: LoginSettings | None = None,
        *,
        refresh_ttl_s: int = 3600,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._known = tuple(known)
        self._login = login or LoginSettings()
        self._ttl_s = ttl_s
        self._refresh_ttl_s = refresh_ttl_s
        self._clock = clock
        self._key = hashlib.sha256(b"access tokens\0" + self._known[0].client_secret.encode()).digest()
        self._numbers = itertools.count(time.time_ns())  # those of an earlier run of the station are smaller
        self._revoked_until = 0

    @property
    def challenge(self) -> str:
        """How to authenticate, as a refused request is told."""
        return f'{"Basic" if self._login.flavour == "basic" else "Bearer"} realm="station"'

    def issue(
        self, form: Mapping[str, str], basic: tuple[str, str] | None = None, *, life_s: int | None = None
    ) -> dict[str, str | int]:
        """The answer to a token request (form of RFC 6749, client in the form or in a Basic header).

        With ``life_s`` the access token lives so long, whatever the answer says.
        """
        if self._login.flavour == "basic":
            raise Refused("unauthorized_client", "this station issues no tokens; it takes HTTP Basic")
        shown = self._client(form, basic)
        same = [each for each in self._known if _same(shown, (each.client_id, each.client_secret))]
        if not same:
            raise Refused("invalid_client", "unknown client or wrong secret")
        owner = self._granted(form, same)
        if self._login.scope is not None and self._login.scope not in form.get("scope", "").split():
            raise Refused("invalid_scope", f"name the scope {self._login.scope}")
        token = self._token(_ACCESS, owner, self._ttl_s if life_s is None else life_s)
        answer: dict[str, str | int] = {"access_token": token, "token_type": "Bearer", "expires_in": self._ttl_s}
        if form["grant_type"] != "client_credentials" and "refresh_token" in self._login.grants:
            answer["refresh_token"] = self._token(_REFRESH, owner, self._refresh_ttl_s)
            answer["refresh_expires_in"] = self._refresh_ttl_s
        return answer

    def client_of(self, authorization: str) -> str | None:
        """The name of whoever's data that header opens; none: it opens nothing."""
        if self._login.flavour == "basic":
            given = basic(authorization) or ("", "")
            them = ((each.username or each.client_id, each.password or each.client_secret) for each in self._known)
            return next((known[0] for known in them if _same(given, known)), None)
        scheme, _, token = authorization.partition(" ")
        return self._owner(token.strip(), _ACCESS) if scheme.lower() == "bearer" else None

    def _owner(self, token: str, kind: str) -> str | None:
        """Whose token it is, if it is ours and of that kind, has not expired and was not revoked."""
        payload, _, signature = token.rpartition(".")
        if not hmac.compare_digest(signature.encode(), self._sign(payload).encode()):
            return None
        told = _Token.parse(payload)
        holds = told.kind == kind and told.expires > self._clock() and told.number > self._revoked_until
        return told.name if holds else None

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

    def _granted(self, form: Mapping[str, str], clients: list[Credentials]) -> str:
        """Whose token it becomes, of those who come through a client."""
        grant, without_user = form.get("grant_type", ""), all(each.username is None for each in clients)
        if grant not in _GRANTS:
            raise Refused("unsupported_grant_type", f"use {', '.join(_GRANTS)}")
        if grant not in self._login.grants or (grant == "password" and without_user):
            raise Refused("unauthorized_client", f"this station does not know the grant {grant}")
        if grant == "client_credentials":
            return clients[0].name
        if grant == "refresh_token":
            owner = self._owner(form.get("refresh_token", ""), _REFRESH)
            if owner not in [each.name for each in clients]:
                raise Refused("invalid_grant", "the refresh token is unknown, expired or another client's")
            return str(owner)
        given = (form.get("username", ""), form.get("password", ""))
        owner = next((each.name for each in clients if each.admits_user(*given)), None)
        if owner is None:
            raise Refused("invalid_grant", "unknown user or wrong password")
        return owner

    def _token(self, kind: str, owner: str, life_s: int) -> str:
        expires = int(self._clock()) + life_s
        payload = f"{kind}.{expires}.{next(self._numbers)}.{owner.encode().hex()}.{secrets.token_urlsafe(18)}"
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
