"""Multihashes: each kind that stations name is checked, an unknown one is let pass."""

import hashlib

import pytest

from rs_server.staging.checksum import Checker

DATA = b"1234567890"


@pytest.mark.parametrize(
    ("multihash", "met"),
    [
        (f"d50110{hashlib.md5(DATA, usedforsecurity=False).hexdigest()}", True),
        (f"D50110{hashlib.md5(DATA, usedforsecurity=False).hexdigest().upper()}", True),
        (f"1220{hashlib.sha256(DATA).hexdigest()}", True),
        (f"1620{hashlib.sha3_256(DATA).hexdigest()}", True),
        (f"1220{hashlib.sha256(b'x').hexdigest()}", False),
        ("d50110", False),
        ("1e2000", True),
        ("", True),
        (None, True),
    ],
)
def test_checker(multihash: str | None, *, met: bool) -> None:
    checker = Checker(multihash)
    checker.update(DATA[:4])
    checker.update(DATA[4:])
    assert checker.met is met
