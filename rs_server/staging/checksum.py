"""Checksums as STAC writes them: a multihash, that is a code, a length and the digest, in hexadecimal."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Protocol


class Digest(Protocol):
    """A hash under way."""

    def update(self, data: bytes, /) -> None:
        """Take more bytes."""
        ...

    def hexdigest(self) -> str:
        """The digest of all bytes taken."""
        ...


def _md5() -> Digest:
    return hashlib.md5(usedforsecurity=False)  # what stations name; it finds accidents, not attackers


# https://github.com/multiformats/multicodec: code and length of the digest
_KNOWN: tuple[tuple[str, Callable[[], Digest]], ...] = (
    ("d50110", _md5),
    ("1220", hashlib.sha256),
    ("1620", hashlib.sha3_256),
)


class Checker:
    """Holds bytes against a multihash; one of an unknown kind, or none at all, is met by any bytes."""

    def __init__(self, expected: str | None) -> None:
        text = (expected or "").lower()
        self._digest: Digest | None = None
        for prefix, make in _KNOWN:
            if text.startswith(prefix):
                self._expected, self._digest = text.removeprefix(prefix), make()

    def update(self, data: bytes) -> None:
        """Take more bytes."""
        if self._digest is not None:
            self._digest.update(data)

    @property
    def met(self) -> bool:
        """Whether the bytes so far are those that the checksum was made of."""
        return self._digest is None or self._digest.hexdigest() == self._expected
