"""Large stretches of octets: room for them that goes back to the system, and copies as quick as the C library's."""

from __future__ import annotations

import ctypes
import mmap
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from typing import Any, cast

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba.core import cgutils, types
from numba.extending import intrinsic
from numpy.typing import NDArray

_SMALL = 1 << 20
_MMAP_THRESHOLD = -3  # of <malloc.h>
_KEPT = 1 << 28
_LENT = ContextVar[NDArray[np.uint8] | None]("lent", default=None)


def room(size: int) -> NDArray[np.uint8]:
    """An array of octets (uint8), not cleared, that takes nothing of the process's heap if it is 1 MiB or more.

    Its memory is used again by the next that asks for about as much, once nothing refers to the array: pages that are
    new to the process cost more than what is written to them. Little is kept of it, and the rest goes to the system.
    It may be that of ``lending``.
    """
    lent = _LENT.get()
    if lent is not None and lent.size == size:
        return lent
    return np.empty(size, np.uint8) if size < _SMALL else np.frombuffer(_Lent(size), np.uint8, size)


@contextmanager
def lending(target: NDArray[np.uint8]) -> Iterator[None]:
    """Within this, a room of the size of ``target`` is ``target``: what is read then need not be copied there."""
    token = _LENT.set(target)
    try:
        yield
    finally:
        _LENT.reset(token)


class _Pool:
    """Memory that nobody uses just now, up to so many octets."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept = 0
        self._free: dict[int, list[mmap.mmap]] = {}
        self._lock = threading.Lock()

    def take(self, size: int) -> mmap.mmap:
        """Some of that size: used before, or new."""
        with self._lock:
            if free := self._free.get(size):
                self._kept -= size
                return free.pop()
        return _fresh(size)

    def give(self, size: int, memory: mmap.mmap) -> None:
        """Take it back; it goes to the system when there is enough of it."""
        with self._lock:
            if self._kept + size > self._most:
                return
            self._kept += size
            self._free.setdefault(size, []).append(memory)


def _fresh(size: int) -> mmap.mmap:
    """New memory of the process's own, in pages of 2 MiB where there are such: small ones take six times as long."""
    if not hasattr(mmap, "MADV_HUGEPAGE"):
        return mmap.mmap(-1, size)
    memory = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with suppress(OSError):  # a kernel that has no large pages
        memory.madvise(mmap.MADV_HUGEPAGE)
    return memory


_POOL = _Pool(_KEPT)


class _Lent:
    """Memory of the pool, given back when the last array on it is gone."""

    def __init__(self, size: int) -> None:
        self._size = 1 << (size - 1).bit_length()  # few sizes, so that what is given back fits the next; pages not
        # written to take no memory
        self._memory = _POOL.take(self._size)

    def __buffer__(self, flags: int) -> memoryview:
        return memoryview(self._memory)

    def __del__(self) -> None:
        _POOL.give(self._size, self._memory)


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
