"""Holds the bytes of one file, as they come in order, against all that was announced of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rs_server.staging.checksum import Checker, Frames
from rs_server.staging.source import Changed

_CADU_ROLE = "cadu"


class Inspector:
    """Size and checksum of a file; of a downlink also whether it is made of CADUs."""

    def __init__(self, name: str, asset: Mapping[str, Any], size: int, checksum: str | None) -> None:
        self._name = name
        self._size = size
        self._seen = 0
        self._checker = Checker(checksum)
        self._frames = Frames() if _CADU_ROLE in asset.get("roles", ()) else None

    def update(self, data: bytes | bytearray) -> None:
        """Take more bytes."""
        self._seen += len(data)
        self._checker.update(data)
        if self._frames is not None:
            self._frames.update(data)

    def verdict(self) -> str:
        """The multihash of the bytes; ``Changed`` when they are not what was announced."""
        if self._seen != self._size:
            raise Changed(f"{self._name} has {self._seen} bytes, not the {self._size} announced")
        if self._checker.met is False:
            raise Changed(f"{self._name} does not have the checksum announced")
        if self._frames is not None and not self._frames.aligned:
            raise Changed(f"{self._name} is not made of CADUs")
        return self._checker.multihash
