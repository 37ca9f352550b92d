"""The checksum of a file that is carried, and whether its bytes are CADUs."""

from __future__ import annotations

from rs_server.storage import checksums
from rs_server.storage.checksums import BLAKE3, MD5, Multihash

CADU_BYTES = 2044  # sync marker and codeblock, as stations deliver them
_SYNC_MARKER = bytes.fromhex("1acffc1d")  # CCSDS 131.0-B, 9.3.3
_NOISY = 0.5  # a bad pass has CADUs whose marker is damaged; bytes that are no CADUs have next to no markers


def announced(checksum: str | None) -> Multihash | None:
    """The checksum that a source names, or None where it names none of a known kind.

    32 digits alone are an MD5: items of older catalogs have it without its code.
    """
    text = checksum or ""
    if len(text) == MD5.digits and all(digit in "0123456789abcdef" for digit in text.lower()):
        return Multihash(MD5, text.lower())
    return checksums.read(text)


class Checker:
    """Makes the checksum of a file that comes in order: of the kind that its source names, else a BLAKE3."""

    def __init__(self, expected: str | None) -> None:
        self._expected = announced(expected)
        self._kind = self._expected.kind if self._expected else BLAKE3  # the fastest
        self._digest = self._kind.begin()

    def update(self, data: bytes | bytearray) -> None:
        """Take more bytes."""
        self._digest.update(data)

    @property
    def multihash(self) -> str:
        """The checksum of the bytes so far."""
        return str(Multihash(self._kind, self._digest.hexdigest()))

    @property
    def met(self) -> bool | None:
        """Whether the bytes so far are those that the source's checksum was made of; None: it names none we know."""
        return None if self._expected is None else self.multihash == str(self._expected)


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
