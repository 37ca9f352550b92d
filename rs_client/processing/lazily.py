"""Work that Dask does: on the cluster whose client is active here, else on threads of this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import dask.array as da
import dask.config
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


def rows(pieces: Sequence[tuple[Callable[[Any], Any], Any, tuple[int, ...]]], dtype: Any) -> Any:
    """A lazy array, made piece by piece along its first axis: a callable, the (lazy) array it takes, and the shape."""
    parts = [
        da.from_delayed(delayed(make, pure=False, traverse=False)(source), shape, dtype)  # type: ignore[no-untyped-call]
        for make, source, shape in pieces
    ]
    return da.concatenate(parts)  # type: ignore[no-untyped-call]


@contextmanager
def here() -> Iterator[None]:
    """Within this, work is done by threads of this process, whatever cluster is active."""
    with dask.config.set(scheduler="threads"):
        yield


def _task(work: Callable[[], Any]) -> Any:
    # Not traversed: what the work carries is plain data, not more work.
    return delayed(work, pure=False, traverse=False)()
