"""The Reed–Solomon (255,223) code of CCSDS 131.0-B: which code blocks are whole, and which can be mended.

Symbols are elements of GF(2⁸) with the field polynomial x⁸ + x⁷ + x² + x + 1; the generator polynomial has the 32 roots
β¹¹² … β¹⁴³ with β = α¹¹. On the link the symbols stand in the dual basis: bit ``j`` of a symbol, the most significant
first, is the trace of ``symbol · α^(117 j)``. Both transformations are linear, so verification runs on the symbols as
they came: the tables carry the basis. Only a damaged codeword is turned to the conventional basis and back.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from rs_client.processing.compiled import compiled

type Octets = NDArray[np.uint8]

DATA_SYMBOLS = 223
CHECK_SYMBOLS = 32
CODEWORD = DATA_SYMBOLS + CHECK_SYMBOLS
CORRECTABLE = CHECK_SYMBOLS // 2
"""Wrong symbols that one codeword can carry and still be mended."""

CLEAN, CORRECTED, UNCORRECTABLE = 0, 1, 2
"""What :func:`repair` says of a code block."""

_FIELD_POLYNOMIAL = 0x187
_ROOT_STEP = 11
_FIRST_ROOT = 112
_DUAL_STEP = 117


@dataclass(frozen=True, eq=False)
class Tables:
    """Everything the code needs, computed once from its definition."""

    power: NDArray[np.int64]
    """α to the power of the index, twice round, so that sums of two logarithms need no reduction."""
    logarithm: NDArray[np.int64]
    to_dual: Octets
    from_dual: Octets
    feedback: NDArray[np.uint64]
    """256 × 4 words: the generator times a feedback symbol, in the dual basis, highest power first."""


@cache
def tables() -> Tables:
    """The tables of the code (some 14 kB)."""
    power = _powers()
    logarithm = np.zeros(256, np.int64)
    logarithm[power[:255]] = np.arange(255)
    to_dual = np.array([_dual(symbol, power, logarithm) for symbol in range(256)], np.uint8)
    from_dual = np.argsort(to_dual).astype(np.uint8)
    rows = _products(from_dual[:, None].astype(np.int64), _generator(power, logarithm)[None, :], power, logarithm)
    feedback = to_dual[rows].view(">u8").astype(np.uint64)
    return Tables(power, logarithm, to_dual, from_dual, feedback)


def _powers() -> NDArray[np.int64]:
    power = np.zeros(510, np.int64)
    value = 1
    for exponent in range(255):
        power[exponent] = power[exponent + 255] = value
        value <<= 1
        if value & 0x100:
            value ^= _FIELD_POLYNOMIAL
    return power


def _products(
    a: NDArray[np.int64], b: NDArray[np.int64], power: NDArray[np.int64], logarithm: NDArray[np.int64]
) -> NDArray[np.int64]:
    return np.where((a == 0) | (b == 0), 0, power[logarithm[a] + logarithm[b]])


def _dual(symbol: int, power: NDArray[np.int64], logarithm: NDArray[np.int64]) -> int:
    """A conventional symbol in the dual basis: its traces against the powers of α¹¹⁷."""
    bits = 0
    for j in range(8):
        term = int(power[(logarithm[symbol] + _DUAL_STEP * j) % 255]) if symbol else 0
        bits = bits << 1 | _trace(term, power, logarithm)
    return bits


def _trace(symbol: int, power: NDArray[np.int64], logarithm: NDArray[np.int64]) -> int:
    """The sum of the eight conjugates of an element: 0 or 1."""
    if symbol == 0:
        return 0
    conjugates = power[(logarithm[symbol] << np.arange(8)) % 255]
    return int(np.bitwise_xor.reduce(conjugates))


def _generator(power: NDArray[np.int64], logarithm: NDArray[np.int64]) -> NDArray[np.int64]:
    """Coefficients of the generator polynomial below its leading one, highest power first."""
    coefficients = np.array([1], np.int64)
    for root in range(_FIRST_ROOT, _FIRST_ROOT + CHECK_SYMBOLS):
        factor = np.array([power[_ROOT_STEP * root % 255]], np.int64)
        shifted = _products(coefficients, factor, power, logarithm)
        coefficients = np.append(coefficients, 0) ^ np.append(0, shifted)
    return coefficients[1:]


def repair(blocks: Octets, depth: int) -> Octets:
    """Verify code blocks of ``depth`` interleaved codewords, mend in place those that can be, and say how each fared.

    ``blocks`` is an array of n × (255 · depth) octets, C-contiguous. The answer has one of ``CLEAN``, ``CORRECTED``,
    ``UNCORRECTABLE`` a block. A block is left as it came unless all its codewords could be mended.
    """
    made = tables()
    damaged = np.zeros((len(blocks), depth), np.bool_)
    _verify(blocks, depth, made.feedback, damaged)
    fared = np.full(len(blocks), CLEAN, np.uint8)
    for index in np.flatnonzero(damaged.any(axis=1)):
        fared[index] = _mend_block(blocks[index].reshape(CODEWORD, depth), np.flatnonzero(damaged[index]), made)
    return fared


def _mend_block(block: Octets, lanes: NDArray[np.int64], made: Tables) -> int:
    words = made.from_dual[block[:, lanes].T]
    for word in words:
        if not _mend(word, made.power, made.logarithm):
            return UNCORRECTABLE
    block[:, lanes] = made.to_dual[words.T]
    return CORRECTED


@compiled
def _verify(blocks: Octets, depth: int, feedback: NDArray[np.uint64], damaged: NDArray[np.bool_]) -> None:
    """Divide the data of each codeword by the generator, and compare the remainder with the check symbols."""
    state = np.empty((depth, 4), np.uint64)
    eight, top = np.uint64(8), np.uint64(56)
    for n in range(blocks.shape[0]):
        block = blocks[n]
        state[:] = 0
        for i in range(DATA_SYMBOLS):
            for lane in range(depth):
                a, b, c, d = state[lane, 0], state[lane, 1], state[lane, 2], state[lane, 3]
                row = feedback[np.uint8(a >> top) ^ block[i * depth + lane]]
                state[lane, 0] = ((a << eight) | (b >> top)) ^ row[0]
                state[lane, 1] = ((b << eight) | (c >> top)) ^ row[1]
                state[lane, 2] = ((c << eight) | (d >> top)) ^ row[2]
                state[lane, 3] = (d << eight) ^ row[3]
        for i in range(CHECK_SYMBOLS):
            shift = np.uint64(56 - 8 * (i % 8))
            for lane in range(depth):
                if np.uint8(state[lane, i // 8] >> shift) != block[(DATA_SYMBOLS + i) * depth + lane]:
                    damaged[n, lane] = True


@compiled
def _mend(word: Octets, power: NDArray[np.int64], logarithm: NDArray[np.int64]) -> bool:
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
def _times(a: int, b: int, power: NDArray[np.int64], logarithm: NDArray[np.int64]) -> int:
    if a == 0 or b == 0:
        return 0
    return power[logarithm[a] + logarithm[b]]  # type: ignore[no-any-return]  # a machine integer once compiled


@compiled
def _syndromes(word: Octets, power: NDArray[np.int64], logarithm: NDArray[np.int64]) -> NDArray[np.int64]:
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
def _locator(
    syndromes: NDArray[np.int64], power: NDArray[np.int64], logarithm: NDArray[np.int64]
) -> tuple[NDArray[np.int64], int]:
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
    locator: NDArray[np.int64],
    degree: int,
    syndromes: NDArray[np.int64],
    power: NDArray[np.int64],
    logarithm: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
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
def _evaluator(
    locator: NDArray[np.int64], syndromes: NDArray[np.int64], power: NDArray[np.int64], logarithm: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Ω = S · Λ mod x³², lowest power first."""
    product = np.zeros(CHECK_SYMBOLS, np.int64)
    for i in range(CHECK_SYMBOLS):
        for j in range(i + 1):
            product[i] ^= _times(locator[j], syndromes[i - j], power, logarithm)
    return product


@compiled
def _at(polynomial: NDArray[np.int64], exponent: int, power: NDArray[np.int64], logarithm: NDArray[np.int64]) -> int:
    """A polynomial (lowest power first) at α to the exponent."""
    value = 0
    for i in range(polynomial.shape[0]):
        if polynomial[i] != 0:
            value ^= power[(logarithm[polynomial[i]] + exponent * i) % 255]
    return value


@compiled
def _slope(polynomial: NDArray[np.int64], exponent: int, power: NDArray[np.int64], logarithm: NDArray[np.int64]) -> int:
    """The formal derivative of a polynomial at α to the exponent: in characteristic 2 the odd terms alone."""
    value = 0
    for i in range(1, polynomial.shape[0], 2):
        if polynomial[i] != 0:
            value ^= power[(logarithm[polynomial[i]] + exponent * (i - 1)) % 255]
    return value
