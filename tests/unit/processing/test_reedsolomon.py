"""The code against an independent implementation: `reedsolo`, which counts in the conventional basis."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from reedsolo import RSCodec, init_tables, rs_generator_poly  # type: ignore[import-untyped]

from rs_client.processing import reedsolomon, vector
from rs_client.processing.reedsolomon import CLEAN, CODEWORD, CORRECTED, DATA_SYMBOLS, UNCORRECTABLE, Basis, Octets

DEPTH = 8
ALPHA_TO_THE_11 = 173


@cache
def oracle() -> RSCodec:
    return RSCodec(32, nsize=255, fcr=112, prim=0x187, generator=ALPHA_TO_THE_11)


def encode(data: Octets) -> Octets:
    """Codewords in the dual basis of n × 223 octets."""
    made = reedsolomon.tables()
    words = [list(oracle().encode(made.from_dual[row].tobytes())) for row in data]
    return made.to_dual[np.array(words, np.uint8)]


def blocks(generator: np.random.Generator, count: int) -> Octets:
    words = encode(generator.integers(0, 256, (count * DEPTH, DATA_SYMBOLS), np.uint8))
    return np.ascontiguousarray(words.reshape(count, DEPTH, CODEWORD).transpose(0, 2, 1)).reshape(count, -1)


def repair(received: Octets, basis: Basis = Basis.DUAL) -> list[int]:
    """How each block fared; blocks are mended in place."""
    starts = np.arange(len(received), dtype=np.int64) * (DEPTH * CODEWORD)
    fared: list[int] = reedsolomon.repair(
        received.reshape(-1), starts, np.zeros(len(received), np.bool_), basis
    ).tolist()
    return fared


def damage(generator: np.random.Generator, block: Octets, lane: int, errors: int) -> None:
    for place in generator.choice(CODEWORD, errors, replace=False):
        block[place * DEPTH + lane] ^= generator.integers(1, 256, dtype=np.uint8)


def test_the_dual_basis_is_that_of_the_standard() -> None:
    # CCSDS 131.0-B, annex on the transformation: the columns for single bits.
    to_dual = reedsolomon.tables().to_dual
    assert [int(to_dual[1 << bit]) for bit in range(8)] == [0x7B, 0xAF, 0x99, 0xFA, 0x86, 0xEC, 0xEF, 0x8D]
    assert np.array_equal(reedsolomon.tables().from_dual[to_dual], np.arange(256))


def test_clean_blocks_are_clean() -> None:
    sent = blocks(np.random.default_rng(1), 3)
    received = sent.copy()
    assert repair(received) == [CLEAN] * 3
    assert np.array_equal(received, sent)


@pytest.mark.parametrize("errors", [1, 2, 7, 15, 16])
def test_up_to_sixteen_wrong_symbols_a_codeword_are_mended(errors: int) -> None:
    generator = np.random.default_rng(errors)
    sent = blocks(generator, 3)
    received = sent.copy()
    for lane in range(DEPTH):
        damage(generator, received[1], lane, errors)
    assert repair(received) == [CLEAN, CORRECTED, CLEAN]
    assert np.array_equal(received, sent)


@pytest.mark.parametrize("errors", [17, 18, 20, 40, 255])
def test_more_are_detected_and_the_block_is_left_as_it_came(errors: int) -> None:
    generator = np.random.default_rng(errors)
    for _ in range(20):
        received = blocks(generator, 1)
        damage(generator, received[0], int(generator.integers(DEPTH)), errors)
        before = received.copy()
        assert repair(received) == [UNCORRECTABLE]
        assert np.array_equal(received, before)


def test_a_burst_is_spread_over_the_codewords() -> None:
    generator = np.random.default_rng(5)
    sent = blocks(generator, 1)
    received = sent.copy()
    received[0, 700 : 700 + 16 * DEPTH] ^= 0xFF
    assert repair(received) == [CORRECTED]
    assert np.array_equal(received, sent)


def test_errors_in_the_check_symbols_count_too() -> None:
    generator = np.random.default_rng(6)
    sent = blocks(generator, 1)
    received = sent.copy()
    received[0, -3:] ^= 1
    assert repair(received) == [CORRECTED]
    assert np.array_equal(received, sent)


def test_an_empty_array_has_nothing_to_say() -> None:
    assert repair(np.zeros((0, CODEWORD * DEPTH), np.uint8)) == []


def test_the_generator_reads_the_same_in_both_directions_and_is_written_down_right() -> None:
    # The oracle's own generator polynomial, highest power first, leading 1 left out.
    init_tables(prim=0x187, generator=ALPHA_TO_THE_11)
    coefficients = list(rs_generator_poly(32, fcr=112, generator=ALPHA_TO_THE_11))[1:]
    assert coefficients[:31] == coefficients[30::-1]
    assert coefficients[31] == 1
    power = reedsolomon.tables().power
    gamma = [int(power[117 * j % 255]) for j in range(8)]
    sums = [np.bitwise_xor.reduce([gamma[j] for j in range(8) if powers >> j & 1]) for powers in vector.GENERATOR]
    assert sums == coefficients[:16]


@pytest.mark.parametrize("count", [1, 7, 8, 9, 17])
def test_any_number_of_blocks_is_verified_each_for_itself(count: int) -> None:
    generator = np.random.default_rng(count)
    for basis in Basis:
        received = blocks(generator, count)
        if basis == Basis.CONVENTIONAL:
            received = reedsolomon.tables().from_dual[received]
        sent = received.copy()
        damage(generator, received[-1], 5, 3)
        assert repair(received, basis) == [CLEAN] * (count - 1) + [CORRECTED]
        assert np.array_equal(received, sent)


def test_loose_blocks_are_told_but_not_mended() -> None:
    generator = np.random.default_rng(3)
    received = blocks(generator, 2)
    damage(generator, received[0], 1, 2)
    before = received.copy()
    starts = np.array([0, DEPTH * CODEWORD])
    fared = reedsolomon.repair(received.reshape(-1), starts, np.array([True, True]))
    assert fared.tolist() == [UNCORRECTABLE, CLEAN]
    assert np.array_equal(received, before)
