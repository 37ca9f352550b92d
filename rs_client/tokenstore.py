"""Where a login in the browser is kept between programs: the system's keyring, or a file that only you can read."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from rs_client.errors import NotConfigured
from rs_client.settings import Settings

SERVICE = "rs-python"
"""The name that logins have in the keyring."""


@dataclass(frozen=True, slots=True)
class Token:
    """An access token, when it ends (seconds since 1970), its whole life (seconds), and what renews it if one may."""

    access_token: str = ""
    expires: float = 0.0
    refresh_token: str = ""
    life_s: float = 0.0

    @classmethod
    def of(cls, answer: Mapping[str, Any], now: float) -> Token:
        """Read the answer of a token endpoint (RFC 6749, 5.1)."""
        life_s = float(answer.get("expires_in") or 0)
        return cls(str(answer["access_token"]), now + life_s, str(answer.get("refresh_token") or ""), life_s)

    @classmethod
    def read(cls, text: str | None) -> Token:
        """A token as it was kept; none where the text is damaged, or there is none."""
        try:
            return cls(**json.loads(text or "{}"))
        except (json.JSONDecodeError, TypeError):
            return cls()

    @property
    def text(self) -> str:
        """The form in which it is kept."""
        return json.dumps(asdict(self))

    def left_s(self, now: float) -> float:
        """How long it still holds, in seconds."""
        return self.expires - now

    def margin_s(self, most: float) -> float:
        """How long before its end it is renewed, in seconds."""
        return min(most, self.life_s / 4) if self.life_s else most

    def __repr__(self) -> str:
        return f"Token(…, expires={self.expires:.0f})"


class TokenStore(Protocol):
    """A place for one login."""

    def load(self) -> Token:
        """The login that is kept; an empty one if none is."""
        ...

    def keep(self, token: Token) -> None:
        """Keep a login in place of the one before."""
        ...

    def forget(self) -> None:
        """Keep none."""
        ...


@dataclass(frozen=True, slots=True)
class FileStore:
    """A file of mode 0600."""

    path: Path

    def load(self) -> Token:
        """The login in the file."""
        try:
            return Token.read(self.path.read_text())
        except FileNotFoundError:
            return Token()

    def keep(self, token: Token) -> None:
        """Write the file anew; whoever reads it meanwhile sees the old or the new one."""
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        temporary = self.path.with_name(f"{self.path.name}.{os.getpid()}")
        with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
            file.write(token.text)
        temporary.replace(self.path)

    def forget(self) -> None:
        """Delete the file."""
        self.path.unlink(missing_ok=True)


class Keyring(Protocol):
    """What we need of the package ``keyring``, or of one of its backends."""

    def get_password(self, service: str, username: str) -> str | None:
        """The secret kept under a name."""
        ...

    def set_password(self, service: str, username: str, password: str) -> None:
        """Keep a secret under a name."""
        ...

    def delete_password(self, service: str, username: str) -> None:
        """Keep it no longer."""
        ...


@dataclass(frozen=True, slots=True)
class KeyringStore:
    """The system's keyring; a login that it does not take (some bound the length) goes to the file instead."""

    keyring: Keyring
    issuer: str
    file: FileStore

    def load(self) -> Token:
        """The login in the keyring, else that in the file."""
        from keyring.errors import KeyringError

        try:
            kept = Token.read(self.keyring.get_password(SERVICE, self.issuer))
        except KeyringError:
            kept = Token()
        return kept if kept.access_token else self.file.load()

    def keep(self, token: Token) -> None:
        """Give the login to the keyring, and leave none in the file."""
        from keyring.errors import KeyringError

        try:
            self.keyring.set_password(SERVICE, self.issuer, token.text)
        except KeyringError:
            self.file.keep(token)
        else:
            self.file.forget()

    def forget(self) -> None:
        """Take the login out of both."""
        from keyring.errors import KeyringError

        with suppress(KeyringError):  # there was none
            self.keyring.delete_password(SERVICE, self.issuer)
        self.file.forget()


def token_store(settings: Settings, issuer: str) -> TokenStore:
    """The place for a login at an issuer: the keyring where the system has a safe one, else a file.

    ``RS_TOKEN_STORE`` says ``keyring`` or ``file`` to have it one way; ``NotConfigured`` when there is no such keyring.
    """
    name = hashlib.sha256(issuer.encode()).hexdigest()[:12]
    file = FileStore(settings.state_folder / f"login-{name}.json")
    if settings.token_store == "file":  # noqa: S105 - the name of a place
        return file
    keyring = _system_keyring()
    if keyring is not None:
        return KeyringStore(keyring, issuer, file)
    if settings.token_store == "keyring":  # noqa: S105
        raise NotConfigured("this system has no keyring", hint="set RS_TOKEN_STORE=file, or install a keyring backend")
    return file


def _system_keyring() -> Keyring | None:
    """The keyring of the system, unless there is none that protects what it keeps."""
    try:
        import keyring
    except ImportError:
        return None
    backend = keyring.get_keyring()
    return backend if backend.priority >= 1 else None
