"""Paging tokens: where a page ended, sealed so that only its caller can go on, and only with the same search.

A token is ``<payload>.<signature>`` in base64url; the signature (HMAC-SHA-256) also covers the caller and the search,
which are not in the token.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from rs_server.errors import BadInput

_VERSION = b"rs-station-paging-1"
_LONGEST = 16_384


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place between two rows: beside the row with these sort values, of this collection and with this key."""

    values: tuple[str | int | float | None, ...]
    collection: str
    id: str
    backwards: bool = False  # the page before the row, not the one after it


@dataclass(frozen=True, slots=True)
class Binding:
    """What a token holds for: one caller and one search."""

    caller: str
    search: Mapping[str, Any]

    def seal(self, key: bytes, payload: bytes) -> bytes:
        """The signature of a token."""
        search = json.dumps(self.search, sort_keys=True).encode()
        parts = (_VERSION, self.caller.encode(), search, payload)
        framed = b"".join(len(part).to_bytes(4) + part for part in parts)
        return hmac.new(key, framed, hashlib.sha256).digest()


def write(key: bytes, binding: Binding, cursor: Cursor) -> str:
    """The token of a place."""
    return sealed(key, binding, asdict(cursor))


def sealed(key: bytes, binding: Binding, content: Mapping[str, Any]) -> str:
    """The token of any place that JSON can name."""
    payload = json.dumps(content, separators=(",", ":")).encode()
    return f"{_encode(payload)}.{_encode(binding.seal(key, payload))}"


def read(key: bytes, binding: Binding, token: str) -> Cursor:
    """The place a token stands for; ``BadInput`` unless it was made for this caller and this search."""
    found = opened(key, binding, token)
    return Cursor(**{**found, "values": tuple(found["values"])})


def opened(key: bytes, binding: Binding, token: str) -> dict[str, Any]:
    """What was sealed; ``BadInput`` unless it was for this caller and this search."""
    payload, _, signature = token.partition(".")
    try:
        content, sealed = _decode(payload), _decode(signature)
    except (binascii.Error, ValueError) as error:
        raise _refused() from error
    if len(token) > _LONGEST or not hmac.compare_digest(sealed, binding.seal(key, content)):
        raise _refused()
    found: dict[str, Any] = json.loads(content)
    return found


def _refused() -> BadInput:
    return BadInput("token: not a token of this search", hint="follow the links of an answer, or search again")


def _encode(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _decode(text: str) -> bytes:
    return base64.b64decode(text.encode() + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
