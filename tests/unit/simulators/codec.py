"""An independent Reed–Solomon codec for the tests: reedsolo, and the dual basis by its definition."""

from __future__ import annotations

from functools import cache

from reedsolo import RSCodec  # type: ignore[import-untyped]  # ships no types


def check(codeword: bytes) -> bool:
    """Whether a dual-basis codeword of 255 symbols is free of errors."""
    return all(_codec().check(codeword.translate(_to_conventional())))


def correct(codeword: bytes) -> bytes:
    """The data symbols of a dual-basis codeword, up to 16 wrong symbols corrected."""
    return bytes(_codec().decode(codeword.translate(_to_conventional()))[0]).translate(to_dual())


@cache
def to_dual() -> bytes:
    """The dual-basis representation of each conventional symbol."""
    return bytes(_dual(symbol) for symbol in range(256))


@cache
def _to_conventional() -> bytes:
    table = to_dual()
    return bytes(table.index(symbol) for symbol in range(256))


@cache
def _codec() -> RSCodec:
    """Generator roots α^(11 (112 + i)), i < 32."""
    return RSCodec(nsym=32, nsize=255, fcr=112, prim=0x187, generator=_power(2, 11))


def _dual(symbol: int) -> int:
    """CCSDS 131.0-B: bit i of the dual representation, first bit first, is the trace of symbol · α^(117 i)."""
    return sum(_trace(_multiply(symbol, _power(2, 117 * i))) << (7 - i) for i in range(8))


def _multiply(a: int, b: int) -> int:
    product = 0
    while b:
        product ^= a if b & 1 else 0
        a = a << 1 ^ (0x187 if a & 0x80 else 0)
        b >>= 1
    return product


def _power(base: int, exponent: int) -> int:
    value = 1
    for _ in range(exponent):
        value = _multiply(value, base)
    return value


def _trace(value: int) -> int:
    total, term = 0, value
    for _ in range(8):
        total ^= term
        term = _multiply(term, term)
    return total
