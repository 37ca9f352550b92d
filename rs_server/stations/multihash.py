"""Checksums as stations list them, read as the multihash of the STAC file extension."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rs_server.storage.checksums import KINDS, Multihash


def of(checksums: Iterable[dict[str, Any]]) -> str | None:
    """The multihash of an OData ``Checksum`` collection, or None if no entry is of a known form.

    Of several it is the one whose kind comes first in the table of kinds.
    """
    values = {_plain(str(each.get("Algorithm"))): str(each.get("Value")).lower() for each in checksums}
    for kind in KINDS:
        value = values.get(_plain(kind.name), "")
        if len(value) == kind.digits and all(digit in "0123456789abcdef" for digit in value):
            return str(Multihash(kind, value))
    return None


def unchecked(checksums: Iterable[dict[str, Any]]) -> str | None:
    """What a ``Checksum`` collection says where none of its entries is of a known form, as ``CRC32 1a2b3c4d``."""
    told = [each for each in checksums if each.get("Value")]
    return None if of(told) else ", ".join(f"{each.get('Algorithm')} {each['Value']}" for each in told) or None


def _plain(algorithm: str) -> str:
    return algorithm.upper().replace("-", "").replace("_", "")
