"""Work that Dask does: on the cluster whose client is active here, else on threads of this process."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import dask.array as da
import dask.config
import numpy as np
from dask.base import compute as compute_all
from dask.delayed import delayed
from dask.system import CPU_COUNT

_HERE = ContextVar("here", default=False)


def compute[T](work: Sequence[Callable[[], T]]) -> list[T]:
    """Do all of it, in any order; the results in the order of the work. Raises what the work raises."""
    with ahead():
        return list(compute_all(*map(_task, work)))  # type: ignore[no-untyped-call]  # Dask's


def array(pieces: Sequence[tuple[Callable[[], Any], int]]) -> Any:
    """A lazy array (uint8, one dimension): each piece made by its callable, of so many octets as are given with it."""
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
def ahead() -> Iterator[None]:
    """Within this, threads of this process are twice as many as its cores: half of them wait for a store.

    A number of threads that was chosen elsewhere stays, and a cluster is not concerned.
    """
    if dask.config.get("num_workers", None) is not None:
        yield
        return
    with dask.config.set(num_workers=2 * CPU_COUNT):
        yield


@contextmanager
def here() -> Iterator[None]:
    """Within this, what is written is made on this machine, whatever cluster it is part of."""
    token = _HERE.set(True)
    try:
        yield
    finally:
        _HERE.reset(token)


def place() -> dict[str, Any]:
    """Where Dask's work has to be done, as arguments to its ``compute``: anywhere, or on this worker of a cluster.

    Not by threads beside it: what EOPF's readers leave lazy may need what they have put on the cluster.
    """
    if not (_HERE.get() and on_worker()):
        return {}
    from distributed import get_worker

    return {"workers": [get_worker().address], "allow_other_workers": False}


def on_worker() -> bool:
    """Whether this is a task on a worker of a Dask cluster."""
    if "distributed" not in sys.modules:
        return False
    from distributed import get_worker

    try:
        get_worker()
    except ValueError:
        return False
    return True


def _task(work: Callable[[], Any]) -> Any:
    # Not traversed: what the work carries is plain data, not more work. It should be a function, or a partial of one:
    # Dask names a task after it, and after its representation otherwise, which for one with large arrays takes long.
    return delayed(work, pure=False, traverse=False)()
