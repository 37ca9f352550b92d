"""Memory that was used before is used again, and what is too much of it goes back to the system."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rs_client.processing import memory

MANY = 5 << 20


def address(array: NDArray[np.uint8]) -> int:
    return int(array.ctypes.data)


def test_room_is_writable_and_as_large_as_asked_for() -> None:
    for size in (0, 1, 1 << 20, MANY + 7):
        octets = memory.room(size)
        octets[:] = 7
        assert octets.size == size
        assert np.all(octets == 7)


def test_room_is_lent_again_once_nothing_refers_to_it() -> None:
    first = memory.room(MANY)
    place, part = address(first), first[10:20]
    del first
    other = memory.room(MANY)
    assert address(other) != place  # a view still needs it
    del part
    assert address(memory.room(MANY - 1)) == place


def test_no_more_is_kept_than_is_set() -> None:
    pool = memory._Pool(2 << 20)
    given = [pool.take(1 << 20) for _ in range(3)]
    for one in given:
        pool.give(1 << 20, one)
    again = [pool.take(1 << 20) for _ in range(3)]
    assert sum(one in given for one in again) == 2
