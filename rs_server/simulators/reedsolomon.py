"""Reed–Solomon (255,223) check symbols of CCSDS 131.0-B in its dual-basis representation.

The field is GF(256) with polynomial x⁸+x⁷+x²+x+1; the generator polynomial has the roots α^(11·j), j = 112…143, so that
16 wrong symbols of a codeword can be corrected. Symbols are written in Berlekamp's dual basis, as the standard demands.

The code is linear over GF(2): the check symbols of a codeword are the exclusive or of what each of its 223 symbols
contributes alone. ``contributions`` is that table; it also tells what a changed symbol changes in the check symbols.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

DATA_SYMBOLS = 223
CHECK_SYMBOLS = 32

_FIELD_POLYNOMIAL = 0x187
_ROOT_STEP = 11
_FIRST_ROOT = 112
# What each bit of a conventional symbol, most significant first, becomes in the dual basis (CCSDS 131.0-B, annex F).
_TO_DUAL = (0x8D, 0xEF, 0xEC, 0x86, 0xFA, 0x99, 0xAF, 0x7B)

type Octets = NDArray[np.uint8]
type Words = NDArray[np.uint64]


@cache
def contributions() -> Words:
    """What symbol value ``v`` at position ``k`` contributes: ``[k, v]`` are 32 check symbols held in four words."""
    to_dual = _dual_of_conventional()
    conventional = np.argsort(to_dual).astype(np.uint8)
    table = np.empty((DATA_SYMBOLS, 256, CHECK_SYMBOLS), np.uint8)
    generator = _generator()
    remainder = generator
    for position in reversed(range(DATA_SYMBOLS)):
        table[position] = to_dual[_multiply(conventional[:, None], remainder[None, :])]
        shifted = np.append(remainder[1:], np.uint8(0))
        remainder = shifted ^ _multiply(remainder[:1], generator)
    table.flags.writeable = False
    return table.view(np.uint64)


def encode(data: Octets) -> Octets:
    """The check symbols (n × 32) of n codewords' data symbols (n × 223)."""
    table = contributions()
    check = np.zeros((len(data), 4), np.uint64)
    for position in range(DATA_SYMBOLS):
        check ^= table[position].take(data[:, position], axis=0)
    return check.view(np.uint8)


@cache
def _powers() -> tuple[Octets, NDArray[np.int64]]:
    """α^i for i < 255, and the logarithm to base α of each symbol (of 0: meaningless)."""
    power, logarithm = np.zeros(255, np.uint8), np.zeros(256, np.int64)
    value = 1
    for exponent in range(255):
        power[exponent], logarithm[value] = value, exponent
        value <<= 1
        if value > 0xFF:
            value ^= _FIELD_POLYNOMIAL
    return power, logarithm


def _multiply(a: Octets, b: Octets) -> Octets:
    power, logarithm = _powers()
    product: Octets = power[(logarithm[a] + logarithm[b]) % 255]
    product[(a == 0) | (b == 0)] = 0
    return product


def _generator() -> Octets:
    """Coefficients of the generator polynomial below its leading 1, highest degree first."""
    power, _ = _powers()
    polynomial = np.ones(1, np.uint8)
    for j in range(_FIRST_ROOT, _FIRST_ROOT + CHECK_SYMBOLS):
        root = power[_ROOT_STEP * j % 255 : _ROOT_STEP * j % 255 + 1]
        polynomial = np.append(polynomial, np.uint8(0)) ^ np.append(np.uint8(0), _multiply(polynomial, root))
    return polynomial[1:]


def _dual_of_conventional() -> Octets:
    bits = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1)
    chosen = np.where(bits == 1, np.array(_TO_DUAL, np.uint8), np.uint8(0))
    table: Octets = np.bitwise_xor.reduce(chosen, axis=1)
    return table
