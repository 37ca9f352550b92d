"""Checksums of files as STAC writes them: a multihash, that is a code, a length and the digest, in hexadecimal."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from blake3 import blake3


class Digest(Protocol):
    """A hash under way."""

    def update(self, data: bytes | bytearray, /) -> object:
        """Take more bytes."""
        ...

    def hexdigest(self) -> str:
        """The digest of all bytes taken."""
        ...


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of checksum: ``prefix`` is the multihash's code and length, ``digits`` the digest's, in hexadecimal."""

    name: str
    prefix: str
    digits: int
    begin: Callable[[], Digest]


# https://github.com/multiformats/multicodec. MD5 is what stations name; it finds accidents, not attackers.
MD5 = Kind("MD5", "d50110", 32, lambda: hashlib.md5(usedforsecurity=False))
BLAKE3 = Kind("BLAKE3", "1e20", 64, blake3)
KINDS = (
    Kind("SHA-256", "1220", 64, hashlib.sha256),
    Kind("SHA-384", "2030", 96, hashlib.sha384),
    Kind("SHA-512", "1340", 128, hashlib.sha512),
    Kind("SHA3-256", "1620", 64, hashlib.sha3_256),
    Kind("SHA3-384", "1530", 96, hashlib.sha3_384),
    Kind("SHA3-512", "1440", 128, hashlib.sha3_512),
    MD5,
    BLAKE3,
    Kind("SHA-1", "1114", 40, lambda: hashlib.sha1(usedforsecurity=False)),
)
_BARE = frozenset(kind.digits for kind in KINDS)


@dataclass(frozen=True, slots=True)
class Multihash:
    """A checksum; no bytes have one whose ``digest`` is cut short."""

    kind: Kind
    digest: str

    def __str__(self) -> str:
        return f"{self.kind.prefix}{self.digest}"


def read(text: str) -> Multihash | None:
    """The checksum that a text is, or None where its kind is not known.

    As long as a digest alone it is no multihash: one digest in some thousands begins as if it were.
    """
    lower = text.lower()
    if len(lower) in _BARE:
        return None
    kind = next((kind for kind in KINDS if lower.startswith(kind.prefix)), None)
    return Multihash(kind, lower.removeprefix(kind.prefix)) if kind else None


class Checker:
    """Holds bytes against a multihash; ``ValueError`` for one of an unknown kind."""

    def __init__(self, expected: object) -> None:
        told = read(expected) if isinstance(expected, str) else None
        if told is None:
            raise ValueError(f"is not a multihash of a known kind ({', '.join(kind.name for kind in KINDS)})")
        self._expected = told.digest
        self._digest = told.kind.begin()

    def update(self, data: bytes) -> None:
        """Take more bytes."""
        self._digest.update(data)

    @property
    def met(self) -> bool:
        """Whether the bytes so far are those that the checksum was made of."""
        return self._digest.hexdigest() == self._expected
