"""One step of the Reed–Solomon division for 64 codewords at once, in the vector instructions of whatever processor.

Eight interleaved codewords fill a word of 64 bits, one symbol in each octet; eight frames side by side fill a vector of
eight such words. A symbol is multiplied by a constant without tables: in the dual basis, multiplication by γ = α¹¹⁷ is
a shift with one parity, and each coefficient of the generator is a sum of powers of γ. Since the generator reads the
same in both directions, 16 products serve its 32 coefficients.

LLVM does not find this by itself (loops over such arrays may alias), so the step is written in its vector types; it
compiles to AVX-512, AVX2, SSE2 or NEON alike.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

from llvmlite import ir  # type: ignore[import-untyped]
from numba.core import types
from numba.extending import intrinsic

FRAMES = 8
"""Frames side by side."""
ROW = FRAMES * 8
"""Octets of one vector."""

_CHECK_SYMBOLS = 32
_WORD = ir.IntType(64)
_VECTOR = ir.VectorType(_WORD, FRAMES)

# Coefficients of the generator by sums of powers of γ: bit j stands for γ^j. Entry k belongs to x^(31 - k); the code's
# definition (and the test) is in `reedsolomon`.
GENERATOR = (
    0x56, 0x0C, 0x35, 0x8D, 0xC7, 0x63, 0x16, 0xCB, 0x3D, 0x93, 0x10, 0xFF, 0x35, 0x77, 0xAB, 0x46,
)  # fmt: skip


def _splat(value: int) -> Any:
    return ir.Constant(_VECTOR, [value] * FRAMES)


def _times_gamma(build: Any, symbols: Any) -> Any:
    """Multiply every symbol by γ in the dual basis: γ⁸ = 1 + γ + γ³ + γ⁷, and the first bit is the highest."""
    parity = symbols
    for shift in (7, 6, 4):
        parity = build.xor(parity, build.lshr(symbols, _splat(shift)))
    shifted = build.shl(build.and_(symbols, _splat(0x7F7F7F7F7F7F7F7F)), _splat(1))
    return build.or_(shifted, build.and_(parity, _splat(0x0101010101010101)))


class _Products:
    """Multiples of the feedback symbols; sums within the lower and the higher four powers are made once."""

    def __init__(self, build: Any, feedback: Any) -> None:
        self._build = build
        self._sums = {1: feedback}
        power = feedback
        for j in range(1, 8):
            power = _times_gamma(build, power)
            self._sums[1 << j] = power

    def times(self, powers: int) -> Any:
        low, high = powers & 0x0F, powers & 0xF0
        if low and high:
            return self._build.xor(self._sum(low), self._sum(high))
        return self._sum(low or high)

    def _sum(self, powers: int) -> Any:
        if powers not in self._sums:
            lowest = powers & -powers
            self._sums[powers] = self._build.xor(self._sum(powers ^ lowest), self._sums[lowest])
        return self._sums[powers]


def _divide(build: Any, arguments: Sequence[Any]) -> None:
    symbols, remainder, head = arguments

    def place(row: int) -> Any:
        turned = build.and_(build.add(head, ir.Constant(_WORD, row)), ir.Constant(_WORD, _CHECK_SYMBOLS - 1))
        address = build.add(remainder, build.mul(turned, ir.Constant(_WORD, ROW)))
        return build.inttoptr(address, _VECTOR.as_pointer())

    coming = build.load(build.inttoptr(symbols, _VECTOR.as_pointer()), align=8)
    feedback = build.xor(build.load(place(0), align=8), coming)
    products = _Products(build, feedback)
    for k, coefficient in enumerate(GENERATOR):
        product = products.times(coefficient)
        for row in sorted({1 + k, _CHECK_SYMBOLS - 1 - k}):
            build.store(build.xor(build.load(place(row), align=8), product), place(row), align=8)
    build.store(feedback, place(0), align=8)  # the last coefficient is 1, and this row comes last from now on


def _form_of_divide(typing: Any, symbols: Any, remainder: Any, head: Any) -> Any:  # noqa: ARG001 - numba's form
    """Take one more symbol of each codeword into the remainder.

    ``symbols``: address of the vector of symbols; ``remainder``: address of 32 vectors, a ring that begins at
    ``head``. The ring then begins one further.
    """
    signature = types.void(types.uintp, types.uintp, types.intp)

    def generate(context: Any, build: Any, _: Any, arguments: Sequence[Any]) -> Any:
        _divide(build, arguments)
        return context.get_dummy_value()

    return signature, generate


divide = cast("Callable[[int, int, int], None]", intrinsic(_form_of_divide))
