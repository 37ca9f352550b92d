"""Memory that was used before is used again, and what is too much of it goes back to the system."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from rs_client.processing import memory, stores
from rs_client.processing.channel import Block, Channel

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


def test_what_is_lent_is_read_into_and_nothing_else(tmp_path: Path) -> None:
    octets = np.arange(3 * MANY, dtype=np.int64).astype(np.uint8)
    octets.tofile(tmp_path / "1.raw")
    file = stores.octets((tmp_path / "1.raw").as_uri(), octets.size, None)
    target = np.zeros(MANY, np.uint8)
    with memory.lending(target):
        found = file[7 : MANY + 7].to_numpy()
        assert address(memory.room(MANY + 1)) != address(target)
    assert address(found) == address(target)
    assert np.array_equal(target, octets[7 : MANY + 7])
    assert address(memory.room(MANY)) != address(target)


def test_a_channel_over_files_and_arrays_is_read_as_one_and_arrays_stay_as_they_are(tmp_path: Path) -> None:
    octets = np.arange(1000, dtype=np.int64).astype(np.uint8)
    octets.tofile(tmp_path / "1.raw")
    blocks = [stores.octets((tmp_path / "1.raw").as_uri(), octets.size, None), xr.Variable(("octet",), octets.copy())]
    channel = Channel(1, [Block(n, each) for n, each in enumerate(blocks, start=1)])
    read = channel.read(900, 1100)
    assert np.array_equal(read, np.append(octets[900:], octets[:100]))
    read[:] = 0
    assert np.array_equal(channel.read(0, 2000), np.append(octets, octets))
