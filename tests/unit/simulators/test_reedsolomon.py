"""Check symbols against an independent codec, and the dual basis against its definition."""

from __future__ import annotations

import numpy as np
import pytest
from reedsolo import ReedSolomonError  # type: ignore[import-untyped]  # ships no types

from rs_server.simulators import reedsolomon
from tests.unit.simulators import codec


def test_an_independent_codec_accepts_our_codewords_and_corrects_16_errors() -> None:
    random = np.random.default_rng(1)
    data = random.integers(0, 256, (6, 223), dtype=np.uint8)
    for symbols, check in zip(data, reedsolomon.encode(data), strict=True):
        codeword = np.concatenate([symbols, check])
        assert codec.check(codeword.tobytes())
        wrong = random.choice(255, 16, replace=False)
        codeword[wrong] ^= random.integers(1, 256, 16, dtype=np.uint8)
        assert codec.correct(codeword.tobytes()) == symbols.tobytes()


def test_the_codec_of_the_test_is_not_lenient() -> None:
    random = np.random.default_rng(2)
    with pytest.raises(ReedSolomonError):
        codec.correct(random.integers(0, 256, 255, dtype=np.uint8).tobytes())


def test_known_symbols_of_the_dual_basis() -> None:
    assert codec.to_dual()[:5].hex() == "007bafd499"  # CCSDS 131.0-B annex F: of 0, α⁰, α¹, α⁰+α¹, α²


def test_a_symbol_alone_contributes_what_the_table_says() -> None:
    data = np.zeros((1, 223), np.uint8)
    data[0, 17] = 0x5A
    assert (reedsolomon.encode(data).view(np.uint64)[0] == reedsolomon.contributions()[17, 0x5A]).all()
