"""How the hot loops are compiled: on first use, and kept on disk where there is a place to keep them."""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import numba


def compiled[**P, R](function: Callable[P, R]) -> Callable[P, R]:
    """Compile a function of arrays and numbers to machine code without the interpreter lock.

    The machine code is cached beside the source, or in the user's cache folder. Where neither can be written (a
    read-only image without a home folder) numba refuses the cache when the function is *defined*; the function is then
    compiled once in each process.
    """
    try:
        return cast("Callable[P, R]", numba.njit(cache=True, nogil=True)(function))
    except RuntimeError:
        return cast("Callable[P, R]", numba.njit(nogil=True)(function))
