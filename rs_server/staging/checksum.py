"""Checksums as STAC writes them: a multihash, that is a code, a length and the digest, in hexadecimal."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Protocol

from blake3 import blake3

CADU_BYTES = 2044  # sync marker and codeblock, as stations deliver them
_SYNC_MARKER = bytes.fromhex("1acffc1d")  # CCSDS 131.0-B, 9.3.3
_NOISY = 0.5  # a bad pass has CADUs whose marker is damaged; bytes that are no CADUs have next to no markers


class Digest(Protocol):
    """A hash under way."""

    def update(self, data: bytes | bytearray, /) -> object:
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
    ("1e20", blake3),
)
_OWN = ("1e20", blake3)  # where the source names none that we know: the fastest


class Checker:
    """Makes the checksum of a file that comes in order: of the kind that its source names, else a BLAKE3."""

    def __init__(self, expected: str | None) -> None:
        text = (expected or "").lower()
        known = next(((prefix, make) for prefix, make in _KNOWN if text.startswith(prefix)), None)
        self._expected = text if known else None
        self._prefix, make = known or _OWN
        self._digest = make()

    def update(self, data: bytes | bytearray) -> None:
        """Take more bytes."""
        self._digest.update(data)

    @property
    def multihash(self) -> str:
        """The checksum of the bytes so far."""
        return f"{self._prefix}{self._digest.hexdigest()}"

    @property
    def met(self) -> bool:
        """Whether the bytes so far are those that the source's checksum was made of; True if it names none."""
        return self._expected in (None, self.multihash)


class Frames:
    """Counts the CADUs of a file that comes in order, and those that begin with their marker."""

    def __init__(self) -> None:
        self._offset = 0
        self._whole = 0
        self._marked = 0

    def update(self, data: bytes | bytearray) -> None:
        """Take more bytes; a CADU whose marker is cut between two calls is not counted."""
        view = memoryview(data)
        first = -self._offset % CADU_BYTES
        for at in range(first, len(view) - len(_SYNC_MARKER) + 1, CADU_BYTES):
            self._whole += 1
            self._marked += view[at : at + len(_SYNC_MARKER)] == _SYNC_MARKER
        self._offset += len(view)

    @property
    def aligned(self) -> bool:
        """Whether the bytes so far are whole CADUs."""
        return self._offset % CADU_BYTES == 0 and self._marked >= _NOISY * self._whole
