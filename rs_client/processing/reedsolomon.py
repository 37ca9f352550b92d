"""The Reed–Solomon (255,223) code of CCSDS 131.0-B-5, section 4: which code blocks are whole, and which can be mended.

Symbols are elements of GF(2⁸) with the field polynomial x⁸ + x⁷ + x² + x + 1 (4.3.3); the generator polynomial has the
32 roots β¹¹² … β¹⁴³ with β = α¹¹ (4.3.4; its coefficients are in annex G). On the link the symbols stand in the dual
basis (4.3.9): bit ``j`` of a symbol, the most significant first, is the trace of ``symbol · α^(117 j)``; annex F has it
as a matrix. Verification divides in the dual basis (see ``vector``); a damaged codeword is mended in the conventional
one.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import cache

import numpy as np
from numpy.typing import NDArray

from rs_client.processing import vector
from rs_client.processing.compiled import compiled

type Octets = NDArray[np.uint8]
type Integers = NDArray[np.int64]
type Flags = NDArray[np.bool_]

INTERLEAVE = 8
DATA_SYMBOLS = 223
CHECK_SYMBOLS = 32
CODEWORD = DATA_SYMBOLS + CHECK_SYMBOLS
BLOCK = INTERLEAVE * CODEWORD
"""Octets of one code block: eight codewords, symbol by symbol in turn."""
CORRECTABLE = CHECK_SYMBOLS // 2
"""Wrong symbols that one codeword can carry and still be mended."""

CLEAN, CORRECTED, UNCORRECTABLE = 0, 1, 2
"""What :func:`repair` says of a code block."""

_FIELD_POLYNOMIAL = 0x187
_ROOT_STEP = 11
_FIRST_ROOT = 112
_DUAL_STEP = 117


class Basis(StrEnum):
    """How the symbols of the code stand in octets (CCSDS 131.0-B-5, 4.3.9 and annex F)."""

    DUAL = "dual"
    CONVENTIONAL = "conventional"


@dataclass(frozen=True, eq=False)
class Tables:
    """Everything the code needs, computed once from its definition: ``power`` of 510 values, the others of 256."""

    power: Integers
    """α to the power of the index, twice round, so that sums of two logarithms need no reduction."""
    logarithm: Integers
    to_dual: Octets
    from_dual: Octets


@cache
def tables() -> Tables:
    """The tables of the code (some 7 kB)."""
    power = _powers()
    logarithm = np.zeros(256, np.int64)
    logarithm[power[:255]] = np.arange(255)
    to_dual = np.array([_dual(symbol, power, logarithm) for symbol in range(256)], np.uint8)
    from_dual = np.argsort(to_dual).astype(np.uint8)
    return Tables(power, logarithm, to_dual, from_dual)


def _powers() -> Integers:
    power = np.zeros(510, np.int64)
    value = 1
    for exponent in range(255):
        power[exponent] = power[exponent + 255] = value
        value <<= 1
        if value & 0x100:
            value ^= _FIELD_POLYNOMIAL
    return power


def _dual(symbol: int, power: Integers, logarithm: Integers) -> int:
    """A conventional symbol in the dual basis: its traces against the powers of α¹¹⁷."""
    bits = 0
    for j in range(8):
        term = int(power[(logarithm[symbol] + _DUAL_STEP * j) % 255]) if symbol else 0
        bits = bits << 1 | _trace(term, power, logarithm)
    return bits


def _trace(symbol: int, power: Integers, logarithm: Integers) -> int:
    """The sum of the eight conjugates of an element: 0 or 1."""
    if symbol == 0:
        return 0
    conjugates = power[(logarithm[symbol] << np.arange(8)) % 255]
    return int(np.bitwise_xor.reduce(conjugates))


def repair(octets: Octets, starts: Integers, loose: Flags, basis: Basis = Basis.DUAL) -> Octets:
    """Verify code blocks, mend in place those that can be, and say how each fared.

    ``octets`` (uint8) is writable; ``starts`` (n) are the offsets of code blocks (2040 octets each) in it. Those that
    are ``loose`` (n) are verified but never mended. The answer (uint8, n) has one of ``CLEAN``, ``CORRECTED``,
    ``UNCORRECTABLE`` a block. A block is left as it came unless all its codewords could be mended.
    """
    made = tables()
    same = np.arange(256, dtype=np.uint8)
    damaged = np.zeros(starts.size, np.uint64)
    _verify(octets, starts, basis == Basis.CONVENTIONAL, made.to_dual, damaged)
    hurt = np.flatnonzero(damaged)
    fared = np.full(starts.size, CLEAN, np.uint8)
    fared[hurt] = UNCORRECTABLE
    hurt = hurt[~loose[hurt]]
    into, back = (made.from_dual, made.to_dual) if basis == Basis.DUAL else (same, same)
    for index in hurt:
        block = octets[starts[index] : starts[index] + BLOCK].reshape(CODEWORD, INTERLEAVE)
        lanes = np.flatnonzero(damaged[index : index + 1].view(np.uint8))
        if _mend_block(block, lanes, into, back, made.power, made.logarithm):
            fared[index] = CORRECTED
    return fared


@compiled
def _verify(
    octets: Octets,
    starts: Integers,
    conventional: bool,  # noqa: FBT001 - compiled functions know no keywords
    to_dual: Octets,
    damaged: NDArray[np.uint64],
) -> None:
    """Divide the data of each codeword by the generator, and compare the remainder with the check symbols.

    ``damaged`` gets a word for each block; octet ``i`` of it is not zero where codeword ``i`` is not whole.
    """
    symbols = np.zeros((CODEWORD, vector.FRAMES), np.uint64)
    each = symbols.view(np.uint8).reshape(CODEWORD, vector.FRAMES, INTERLEAVE)
    remainder = np.zeros((CHECK_SYMBOLS, vector.FRAMES), np.uint64)
    for base in range(0, starts.size, vector.FRAMES):
        many = min(vector.FRAMES, starts.size - base)
        for v in range(many):
            _load(octets, starts[base + v], each, v)
        if conventional:
            _convert(each, to_dual)
        remainder[:] = 0
        for i in range(DATA_SYMBOLS):
            vector.divide(symbols.ctypes.data + i * vector.ROW, remainder.ctypes.data, i % CHECK_SYMBOLS)
        for i in range(CHECK_SYMBOLS):
            row = (DATA_SYMBOLS + i) % CHECK_SYMBOLS
            for v in range(many):
                damaged[base + v] |= remainder[row, v] ^ symbols[DATA_SYMBOLS + i, v]


@compiled
def _load(octets: Octets, start: int, each: NDArray[np.uint8], v: int) -> None:
    for i in range(CODEWORD):
        for lane in range(INTERLEAVE):
            each[i, v, lane] = octets[start + i * INTERLEAVE + lane]


@compiled
def _convert(each: NDArray[np.uint8], table: Octets) -> None:
    flat = each.reshape(-1)
    for n in range(flat.size):
        flat[n] = table[flat[n]]


@compiled
def _mend_block(
    block: Octets,
    lanes: Integers,
    into: Octets,
    back: Octets,
    power: Integers,
    logarithm: Integers,
) -> bool:
    """Mend the codewords ``lanes`` of a block in place; false, and untouched, if one of them cannot be."""
    words = np.empty((lanes.size, CODEWORD), np.uint8)
    for n in range(lanes.size):
        for i in range(CODEWORD):
            words[n, i] = into[block[i, lanes[n]]]
        if not _mend(words[n], power, logarithm):
            return False
    for n in range(lanes.size):
        for i in range(CODEWORD):
            block[i, lanes[n]] = back[words[n, i]]
    return True


@compiled
def _mend(word: Octets, power: Integers, logarithm: Integers) -> bool:
    """Correct one codeword (conventional basis) in place; false, and untouched, if it has more than 16 errors.

    Syndromes, Berlekamp–Massey, a search of all roots, Forney. The mended word is accepted only if its syndromes
    vanish.
    """
    syndromes = _syndromes(word, power, logarithm)
    locator, degree = _locator(syndromes, power, logarithm)
    if degree > CORRECTABLE:
        return False
    places, values, found = _errors(locator, degree, syndromes, power, logarithm)
    if found != degree:
        return False
    for i in range(found):
        word[places[i]] ^= np.uint8(values[i])
    if np.any(_syndromes(word, power, logarithm)):
        for i in range(found):
            word[places[i]] ^= np.uint8(values[i])
        return False
    return True


@compiled
def _times(a: int, b: int, power: Integers, logarithm: Integers) -> int:
    if a == 0 or b == 0:
        return 0
    return power[logarithm[a] + logarithm[b]]  # type: ignore[no-any-return]  # a machine integer once compiled


@compiled
def _syndromes(word: Octets, power: Integers, logarithm: Integers) -> Integers:
    """The word's polynomial (first symbol: highest power) at the roots of the generator."""
    syndromes = np.zeros(CHECK_SYMBOLS, np.int64)
    for j in range(CHECK_SYMBOLS):
        root = power[_ROOT_STEP * (_FIRST_ROOT + j) % 255]
        value = 0
        for i in range(CODEWORD):
            value = _times(value, root, power, logarithm) ^ int(word[i])
        syndromes[j] = value
    return syndromes


@compiled
def _locator(syndromes: Integers, power: Integers, logarithm: Integers) -> tuple[Integers, int]:
    """Berlekamp–Massey: the shortest register that makes the syndromes, lowest power first, and its length."""
    current = np.zeros(CHECK_SYMBOLS + 1, np.int64)
    previous = np.zeros(CHECK_SYMBOLS + 1, np.int64)
    current[0] = previous[0] = 1
    length, gap, scale = 0, 1, 1
    for n in range(CHECK_SYMBOLS):
        discrepancy = int(syndromes[n])
        for i in range(1, length + 1):
            discrepancy ^= _times(current[i], syndromes[n - i], power, logarithm)
        if discrepancy == 0:
            gap += 1
            continue
        before = current.copy()
        factor = power[logarithm[discrepancy] + 255 - logarithm[scale]]
        for i in range(CHECK_SYMBOLS + 1 - gap):
            current[i + gap] ^= _times(factor, previous[i], power, logarithm)
        if 2 * length <= n:
            length, previous, scale, gap = n + 1 - length, before, discrepancy, 1
        else:
            gap += 1
    return current, length


@compiled
def _errors(
    locator: Integers,
    degree: int,
    syndromes: Integers,
    power: Integers,
    logarithm: Integers,
) -> tuple[Integers, Integers, int]:
    """Places (index in the word) and values of the errors, and how many there are."""
    places = np.zeros(CHECK_SYMBOLS, np.int64)
    values = np.zeros(CHECK_SYMBOLS, np.int64)
    evaluator = _evaluator(locator, syndromes, power, logarithm)
    found = 0
    for place in range(CODEWORD):
        # The symbol at `place` belongs to x^(254 - place); its locator is X = β^(254 - place).
        exponent = _ROOT_STEP * (CODEWORD - 1 - place) % 255
        inverse = (255 - exponent) % 255
        if _at(locator, inverse, power, logarithm) != 0:
            continue
        if found == degree:
            return places, values, found + 1
        slope = _slope(locator, inverse, power, logarithm)
        if slope == 0:
            return places, values, -1
        top = _at(evaluator, inverse, power, logarithm)
        places[found] = place
        if top != 0:
            # Forney: value = X^(1 - first root) · Ω(1/X) / Λ'(1/X)
            values[found] = power[(logarithm[top] + 255 - logarithm[slope] + inverse * (_FIRST_ROOT - 1)) % 255]
        found += 1
    return places, values, found


@compiled
def _evaluator(locator: Integers, syndromes: Integers, power: Integers, logarithm: Integers) -> Integers:
    """Ω = S · Λ mod x³², lowest power first."""
    product = np.zeros(CHECK_SYMBOLS, np.int64)
    for i in range(CHECK_SYMBOLS):
        for j in range(i + 1):
            product[i] ^= _times(locator[j], syndromes[i - j], power, logarithm)
    return product


@compiled
def _at(polynomial: Integers, exponent: int, power: Integers, logarithm: Integers) -> int:
    """A polynomial (lowest power first) at α to the exponent."""
    value = 0
    for i in range(polynomial.shape[0]):
        if polynomial[i] != 0:
            value ^= power[(logarithm[polynomial[i]] + exponent * i) % 255]
    return value


@compiled
def _slope(polynomial: Integers, exponent: int, power: Integers, logarithm: Integers) -> int:
    """The formal derivative of a polynomial at α to the exponent: in characteristic 2 the odd terms alone."""
    value = 0
    for i in range(1, polynomial.shape[0], 2):
        if polynomial[i] != 0:
            value ^= power[(logarithm[polynomial[i]] + exponent * (i - 1)) % 255]
    return value
