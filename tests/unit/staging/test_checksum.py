"""Multihashes: each kind that sources name is checked, and one that nobody knows does not count as met."""

import hashlib

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from rs_server.staging.checksum import CADU_BYTES, Checker, Frames, announced

DATA = b"1234567890"


@pytest.mark.parametrize(
    ("multihash", "met"),
    [
        (f"d50110{hashlib.md5(DATA, usedforsecurity=False).hexdigest()}", True),
        (f"D50110{hashlib.md5(DATA, usedforsecurity=False).hexdigest().upper()}", True),
        (f"1220{hashlib.sha256(DATA).hexdigest()}", True),
        (f"1620{hashlib.sha3_256(DATA).hexdigest()}", True),
        (f"1220{hashlib.sha256(b'x').hexdigest()}", False),
        (f"2030{hashlib.sha384(DATA).hexdigest()}", True),
        (f"1340{hashlib.sha512(DATA).hexdigest()}", True),
        (f"1340{hashlib.sha512(b'x').hexdigest()}", False),
        (f"1440{hashlib.sha3_512(DATA).hexdigest()}", True),
        (f"1530{hashlib.sha3_384(DATA).hexdigest()}", True),
        (f"1114{hashlib.sha1(DATA, usedforsecurity=False).hexdigest()}", True),
        (f"1114{hashlib.sha1(b'x', usedforsecurity=False).hexdigest()}", False),
        (hashlib.md5(DATA, usedforsecurity=False).hexdigest(), True),
        (hashlib.md5(DATA, usedforsecurity=False).hexdigest().upper(), True),
        (hashlib.md5(b"x", usedforsecurity=False).hexdigest(), False),
        (f"1e20{'0' * 28}", False),  # an MD5 that begins as a BLAKE3 would
        (f"1220{'0' * 60}", None),  # a SHA-256 that begins as a multihash would
        ("x" * 32, None),
        ("d50110", False),
        ("1e2000", False),
        ("9999", None),
        ("", None),
        (None, None),
    ],
)
def test_checker(multihash: str | None, *, met: bool | None) -> None:
    checker = Checker(multihash)
    checker.update(DATA[:4])
    checker.update(DATA[4:])
    assert checker.met is met


@pytest.mark.parametrize(
    ("expected", "own"),
    [
        (None, f"1e20{blake3(DATA).hexdigest()}"),
        ("1e2000", f"1e20{blake3(DATA).hexdigest()}"),
        ("9999aa", f"1e20{blake3(DATA).hexdigest()}"),
        ("122000", f"1220{hashlib.sha256(DATA).hexdigest()}"),
        ("134000", f"1340{hashlib.sha512(DATA).hexdigest()}"),
        (f"1e20{'0' * 28}", f"d50110{hashlib.md5(DATA, usedforsecurity=False).hexdigest()}"),
        (f"1220{'0' * 60}", f"1e20{blake3(DATA).hexdigest()}"),
    ],
)
def test_the_checksum_is_of_the_kind_that_the_source_names(expected: str | None, own: str) -> None:
    checker = Checker(expected)
    checker.update(DATA)
    assert checker.multihash == own


@given(st.binary(min_size=16, max_size=16))
def test_every_md5_without_its_code_is_read_as_one(digest: bytes) -> None:
    told = announced(digest.hex())
    assert told is not None
    assert (told.kind.name, told.digest) == ("MD5", digest.hex())


CADU = bytes.fromhex("1acffc1d") + bytes(CADU_BYTES - 4)
NOISE = bytes(CADU_BYTES)


@pytest.mark.parametrize(
    ("data", "aligned"),
    [
        (b"", True),
        (CADU * 5, True),
        (CADU * 3 + NOISE * 2, True),  # a noisy pass
        (CADU * 2 + NOISE * 3, False),
        (CADU * 5 + b"x", False),
        (b"x" + CADU * 5, False),
        (b"<html>" * CADU_BYTES, False),
    ],
)
@pytest.mark.parametrize("step", [CADU_BYTES, 1000, 5000])
def test_whether_bytes_are_cadus(data: bytes, step: int, *, aligned: bool) -> None:
    frames = Frames()
    for start in range(0, len(data), step):
        frames.update(data[start : start + step])
    assert frames.aligned is aligned
