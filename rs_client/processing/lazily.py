"""Work that Dask does: on the cluster whose client is active here, else on threads of this process."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import Any

import dask.array as da
import dask.config
import numpy as np
from dask.base import annotate, persist
from dask.base import compute as compute_all
from dask.delayed import delayed
from dask.system import CPU_COUNT
from numpy.typing import NDArray

_HERE = ContextVar("here", default=False)
_KEEPING = ContextVar("keeping", default=False)
KEPT_SHARE = 0.4
"""How much of the memory of a cluster's workers may hold what is needed again; the work itself needs the rest."""


def compute[T](work: Sequence[tuple[Callable[..., T], Sequence[Any]]]) -> list[T]:
    """Do all of it, in any order; the results in the order of the work. Raises what the work raises.

    Each is a callable, and what is lazy among its arguments.
    """
    with ahead():
        return list(compute_all(*(_task(make, *lazy) for make, lazy in work)))  # type: ignore[no-untyped-call]  # Dask's


@dataclass(frozen=True)
class Piece[T]:
    """Work that reads octets which are needed again, and answers with them."""

    make: Callable[[], tuple[T, NDArray[np.uint8]]]
    size: int
    """How many octets it reads."""
    at: float
    """Where in the whole they lie, from 0 to 1. What lies close together is kept on one worker."""


def compute_keeping[T](pieces: Sequence[Piece[T]]) -> list[tuple[T, Any]]:
    """As ``compute``; beside each result its octets, lazy, on the worker that read them, where they are kept.

    They are within :func:`keeping`, on a cluster, as far as its memory allows; else they are ``None``, as those of
    all pieces are on threads.
    """
    homes = _homes(pieces)
    answers = [_answer(piece, home) for piece, home in zip(pieces, homes, strict=True)]
    with ahead():
        parts = iter(persist(*(part for answer in answers for part in answer)))  # type: ignore[no-untyped-call]
        split = [[next(parts) for _ in answer] for answer in answers]
        results = compute_all(*(first for first, *_ in split))  # type: ignore[no-untyped-call]
    return [(result, *kept) if kept else (result, None) for result, (_, *kept) in zip(results, split, strict=True)]


def _answer(piece: Piece[Any], home: str | None) -> list[Any]:
    """The result of a piece as a task, and its octets as another one if they have a home."""
    if home is None:
        return [_task(partial(_first, piece.make))]
    with annotate(workers=[home], allow_other_workers=True):  # Dask's
        both = _task(piece.make)
        return [both[0], both[1]]


def _first(make: Callable[[], tuple[Any, Any]]) -> Any:
    return make()[0]


def _homes(pieces: Sequence[Piece[Any]]) -> list[str | None]:
    """The address of the worker that keeps each piece's octets: stretches of the whole, as far as there is room."""
    left = _rooms()
    workers, homes = list(left), list[str | None]()
    for piece in pieces:
        home = workers[min(int(piece.at * len(workers)), len(workers) - 1)] if workers else None
        if home is not None and left[home] >= piece.size:
            left[home] -= piece.size
            homes.append(home)
        else:
            homes.append(None)
    return homes


def _rooms() -> dict[str, float]:
    """How many octets each worker of the cluster that is active here may keep, by its address."""
    if not _KEEPING.get() or "distributed" not in sys.modules:
        return {}
    from distributed import get_client

    try:
        limits: dict[str, int | None] = get_client().run_on_scheduler(_memory_limits)  # type: ignore[no-untyped-call]
    except ValueError:  # no client is active
        return {}
    return {address: KEPT_SHARE * (limit or 0) for address, limit in sorted(limits.items())}


def _memory_limits(dask_scheduler: Any = None) -> dict[str, int | None]:
    return {address: worker.memory_limit for address, worker in dask_scheduler.workers.items()}


def keeping() -> AbstractContextManager[None]:
    """Within this, a product is made and written: what is lazy in it need not outlive the cluster that is active."""
    return _within(_KEEPING)


def array(pieces: Sequence[tuple[Callable[..., Any], Sequence[Any], int]]) -> Any:
    """A lazy array (uint8, one dimension): each piece a callable, what is lazy among its arguments, and its octets."""
    if not pieces:
        return np.zeros(0, np.uint8)
    parts = [da.from_delayed(_task(make, *lazy), (size,), np.uint8) for make, lazy, size in pieces]  # type: ignore[no-untyped-call]
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


def here() -> AbstractContextManager[None]:
    """Within this, what is written is made on this machine, whatever cluster it is part of."""
    return _within(_HERE)


@contextmanager
def _within(mark: ContextVar[bool]) -> Iterator[None]:
    token = mark.set(True)
    try:
        yield
    finally:
        mark.reset(token)


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


def _task(work: Callable[..., Any], *lazy: Any) -> Any:
    # Not traversed: what the work carries is plain data, not more work. It should be a function, or a partial of one:
    # Dask names a task after it, and after its representation otherwise, which for one with large arrays takes long.
    return delayed(work, pure=False, traverse=False)(*lazy)
