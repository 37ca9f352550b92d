"""Work that Dask does: on the cluster whose client is active here, else on threads of this process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import dask.array as da
import numpy as np
from dask.base import compute as compute_all
from dask.delayed import delayed


def compute[T](work: Sequence[Callable[[], T]]) -> list[T]:
    """Do all of it, in any order; the results in the order of the work."""
    return list(compute_all(*map(_task, work)))  # type: ignore[no-untyped-call]  # Dask's


def array(pieces: Sequence[tuple[Callable[[], Any], int]]) -> Any:
    """A lazy array of octets: each piece made by its callable, of the length given with it."""
    if not pieces:
        return np.zeros(0, np.uint8)
    parts = [da.from_delayed(_task(make), (size,), np.uint8) for make, size in pieces]  # type: ignore[no-untyped-call]
    return da.concatenate(parts)  # type: ignore[no-untyped-call]


def _task(work: Callable[[], Any]) -> Any:
    # Not traversed: what the work carries is plain data, not more work.
    return delayed(work, pure=False, traverse=False)()
