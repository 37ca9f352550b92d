"""Whether a service does its work now: a query, an HTTP answer with the right body, a fresh heartbeat."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

_TIMEOUT_S = 3.0
_OK = 200
_MOST_BYTES = 65_536


class Probe(Protocol):
    """Looks at one service."""

    def check(self) -> str | None:
        """Why the service is not ready; ``None`` when it is."""
        ...


@dataclass(frozen=True)
class Http:
    """An HTTP answer with this status whose body holds this text."""

    url: str
    body: str
    status: int = _OK

    def check(self) -> str | None:
        """Ask once."""
        address = urlsplit(self.url)
        connection = HTTPConnection(address.hostname or "", address.port, timeout=_TIMEOUT_S)
        try:
            connection.request("GET", address.path)
            answer = connection.getresponse()
            text = answer.read(_MOST_BYTES).decode(errors="replace")
        except (OSError, HTTPException) as error:
            return f"{self.url} does not answer ({type(error).__name__})"
        finally:
            connection.close()
        if answer.status != self.status or self.body not in text:
            return f"{self.url} answers {answer.status} {text[:120]!r}"
        return None


@dataclass(frozen=True)
class Query:
    """A query that a PostgreSQL server answers."""

    conninfo: str = field(repr=False)

    def check(self) -> str | None:
        """Connect and ask once."""
        import psycopg

        try:
            with psycopg.connect(self.conninfo, connect_timeout=3) as connection:
                connection.execute("SELECT 1")
        except psycopg.Error as error:
            return f"PostgreSQL: {str(error).strip().splitlines()[-1]}"
        return None


@dataclass(frozen=True)
class Heartbeat:
    """A file that a living worker touches every few seconds."""

    path: Path
    max_age_s: float = 10.0
    now: Callable[[], float] = time.time

    def check(self) -> str | None:
        """Look at the age of the file."""
        try:
            age = self.now() - self.path.stat().st_mtime
        except FileNotFoundError:
            return "no sign of life yet"
        return None if age <= self.max_age_s else f"no sign of life for {age:.0f} s"


@dataclass(frozen=True)
class Both:
    """Two probes that must both be content."""

    first: Probe
    second: Probe

    def check(self) -> str | None:
        """Ask the first, then the second."""
        return self.first.check() or self.second.check()
