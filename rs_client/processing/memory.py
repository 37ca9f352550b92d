"""Large stretches of octets: room for them that goes back to the system, and copies as quick as the C library's."""

from __future__ import annotations

import ctypes
import mmap
from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba.core import cgutils, types
from numba.extending import intrinsic
from numpy.typing import NDArray

_SMALL = 1 << 20
_MMAP_THRESHOLD = -3  # of <malloc.h>


def room(size: int) -> NDArray[np.uint8]:
    """An array of octets that takes nothing of the process's heap, and leaves nothing behind when it is gone.

    What threads allocate and free by the megabyte otherwise stays with the process, the more so the longer it works.
    """
    return np.empty(size, np.uint8) if size < _SMALL else np.frombuffer(mmap.mmap(-1, size), np.uint8)


def steady() -> None:
    """Ask the C library to take large blocks from the system, and to give them back; elsewhere than there, nothing.

    It would otherwise raise the size from which it does so, to 32 MB, and keep what several threads have freed. This
    concerns the whole process, so it is for those who own one: a command, an order on a worker.
    """
    library = ctypes.CDLL(None)
    if hasattr(library, "mallopt"):
        library.mallopt(_MMAP_THRESHOLD, _SMALL)


def _form_of_copy(typing: Any, target: Any, source: Any, many: Any) -> Any:  # noqa: ARG001 - numba's form
    """Copy ``many`` octets between two addresses that do not overlap. The caller has checked the bounds."""

    def generate(context: Any, build: Any, _: Any, arguments: Sequence[Any]) -> Any:
        pointer = ir.IntType(8).as_pointer()
        target, source, many = arguments
        to, of = build.inttoptr(target, pointer), build.inttoptr(source, pointer)
        cgutils.raw_memcpy(build, to, of, many, 1)  # type: ignore[no-untyped-call]
        return context.get_dummy_value()

    return types.void(types.uintp, types.uintp, types.intp), generate


copy = cast("Callable[[int, int, int], None]", intrinsic(_form_of_copy))
