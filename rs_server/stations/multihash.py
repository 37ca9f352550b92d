"""Checksums as the multihash of the STAC file extension: lower-case hexadecimal, function and length first."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

# What stations call it → (multihash code and length, hexadecimal digits). The first one present is taken.
PREFIXES = {
    "SHA256": ("1220", 64),
    "SHA3256": ("1620", 64),
    "MD5": ("d50110", 32),
    "BLAKE3": ("1e20", 64),
}


def of(checksums: Iterable[dict[str, Any]]) -> str | None:
    """The multihash of an OData ``Checksum`` collection, or None if no entry is of a known form."""
    values = {_plain(str(each.get("Algorithm"))): str(each.get("Value")).lower() for each in checksums}
    for algorithm, (prefix, digits) in PREFIXES.items():
        value = values.get(algorithm, "")
        if len(value) == digits and all(digit in "0123456789abcdef" for digit in value):
            return prefix + value
    return None


def _plain(algorithm: str) -> str:
    return algorithm.upper().replace("-", "").replace("_", "")
