"""Checksums of stored files as STAC writes them: a multihash, in hexadecimal."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Protocol

from blake3 import blake3


class Digest(Protocol):
    """A hash under way."""

    def update(self, data: bytes, /) -> object:
        """Take more bytes."""
        ...

    def hexdigest(self) -> str:
        """The digest of all bytes taken."""
        ...


# https://github.com/multiformats/multicodec: code and length of the digest → how it is made
_KINDS: dict[str, Callable[[], Digest]] = {
    "d50110": lambda: hashlib.md5(usedforsecurity=False),  # what stations name; it finds accidents, not attackers
    "1114": lambda: hashlib.sha1(usedforsecurity=False),
    "1220": hashlib.sha256,
    "1340": hashlib.sha512,
    "1620": hashlib.sha3_256,
    "1e20": blake3,
}


class Checker:
    """Holds bytes against a multihash; ``ValueError`` for one of an unknown kind."""

    def __init__(self, expected: object) -> None:
        text = expected.lower() if isinstance(expected, str) else ""
        prefix = next((prefix for prefix in _KINDS if text.startswith(prefix)), None)
        if prefix is None:
            raise ValueError("is not a multihash of a known kind (MD5, SHA-1, SHA-2, SHA3-256, BLAKE3)")
        self._expected = text.removeprefix(prefix)
        self._digest = _KINDS[prefix]()

    def update(self, data: bytes) -> None:
        """Take more bytes."""
        self._digest.update(data)

    @property
    def met(self) -> bool:
        """Whether the bytes so far are those that the checksum was made of."""
        return self._digest.hexdigest() == self._expected
