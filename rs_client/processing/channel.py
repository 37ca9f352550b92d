"""A downlink channel decoded in segments: each by itself, anywhere and in any order, then put together.

The files of a channel are one row of octets. Where a file is missing, the row has a *barrier*: no frame reaches over
it. A segment is read and decoded on the assumption that a frame starts with the first marker in it. Where that was not
so (octets slipped over its border, say), it is decoded again with the true place, so that the answer is the same
whatever the segments are.

What is kept of a segment is where its frames and packets lie, not their octets (some 30 octets a frame, and 120 a
packet); :mod:`rs_client.processing.gathering` reads those again when they are written, except where a cluster has room
to keep them until then.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
import xarray as xr

from rs_client.processing import memory
from rs_client.processing.frames import CADU_SIZE, LOOK_AHEAD, Coding, FrameCount, Lock, find_frames
from rs_client.processing.packets import Assembly, PacketCount, Part, VirtualChannel, parts_of
from rs_client.processing.reedsolomon import Octets

SEGMENT = 8192 * CADU_SIZE
"""Octets decoded at once (16.7 MB)."""
SMALLEST_SEGMENT = 2 * LOOK_AHEAD


@dataclass(frozen=True, eq=False)
class Block:
    """One file of a channel: its number, and its octets (uint8), which may be read only when they are asked for."""

    number: int
    octets: xr.Variable


@dataclass(frozen=True, eq=False)
class Channel:
    """The files of one downlink channel, in order."""

    number: int
    blocks: Sequence[Block]

    @property
    def size(self) -> int:
        """Octets of all files."""
        return sum(block.octets.size for block in self.blocks)

    @property
    def missing(self) -> list[int]:
        """Numbers between the first and the last file that are not there."""
        numbers = [block.number for block in self.blocks]
        return sorted(set(range(numbers[0], numbers[-1] + 1)) - set(numbers)) if numbers else []

    def read(self, start: int, stop: int) -> Octets:
        """The octets ``start`` to ``stop`` (uint8), over files; writable. ``InputUnreadable``."""
        octets = memory.room(stop - start)
        begin = 0
        for block in self.blocks:
            end = begin + block.octets.size
            at, until = max(start, begin), min(stop, end)
            if at < until:
                _fill(octets[at - start : until - start], block.octets[at - begin : until - begin])
            begin = end
        return octets

    def segments(self, size: int = SEGMENT) -> list[Segment]:
        """The channel cut into segments of about ``size`` octets, and at its barriers."""
        return [one for start, stop in self._stretches() for one in _cut(start, stop, max(size, SMALLEST_SEGMENT))]

    def _stretches(self) -> Iterator[tuple[int, int]]:
        """Between barriers."""
        ends = np.cumsum([0, *(block.octets.size for block in self.blocks)]).tolist()
        barriers = [end for (before, after), end in zip(pairwise(self.blocks), ends[1:], strict=False)
                    if after.number != before.number + 1]  # fmt: skip
        return ((start, stop) for start, stop in pairwise([0, *barriers, ends[-1]]) if start < stop)


def _fill(target: Octets, source: xr.Variable) -> None:
    """Read octets to where they belong: straight there if they come from a file of ours."""
    with memory.lending(target):
        found = source.to_numpy()
    if not np.may_share_memory(found, target):
        target[:] = found


@dataclass(frozen=True)
class Segment:
    """A piece of a channel, in octets, worked on at once; ``first``, ``last``: a barrier lies before it, follows it."""

    start: int
    stop: int
    first: bool
    last: bool

    @property
    def seen(self) -> int:
        """Octets are read up to here."""
        return self.stop if self.last else self.stop + LOOK_AHEAD


def _cut(start: int, stop: int, size: int) -> Iterator[Segment]:
    """Pieces of ``size`` octets; the last one is larger if little more than the look ahead would be left for it."""
    begin = start
    while begin < stop:
        end = begin + size if stop - begin - size >= SMALLEST_SEGMENT else stop
        yield Segment(begin, end, begin == start, end == stop)
        begin = end


@dataclass(frozen=True, eq=False)
class Scan:
    """What a segment holds, by virtual channel; places are those in the channel."""

    segment: Segment
    entry: int
    """Where its first frame starts; where the search ended, if there is none."""
    lock: Lock
    """Where the frames of the next segment go on."""
    count: FrameCount
    parts: Mapping[int, Part]

    def follows(self, lock: Lock) -> bool:
        """Whether it is what decoding from that place would have found."""
        return self.entry == lock.at or (not lock.locked and self.entry > lock.at)


def scan(channel: Channel, segment: Segment, coding: Coding, lock: Lock | None = None) -> Scan:
    """Read and decode a segment, from ``lock`` (a place in the channel) if that is known. ``InputUnreadable``."""
    return scan_with_octets(channel, segment, coding, lock)[0]


def scan_with_octets(
    channel: Channel, segment: Segment, coding: Coding, lock: Lock | None = None
) -> tuple[Scan, Octets]:
    """The same, and what was read; the frames that begin in the segment are as they were sent. ``InputUnreadable``."""
    base = min(segment.start, lock.at) if lock else segment.start
    octets = channel.read(base, segment.seen)
    where = Lock(lock.at - base, lock.locked) if lock else Lock()
    frames = find_frames(octets, where, segment.stop - base, last=segment.last, coding=coding)
    count = replace(frames.count, skipped_octets=0)
    onward = Lock(frames.lock.at + base, frames.lock.locked)
    return Scan(segment, frames.entry + base, onward, count, parts_of(octets, frames, base)), octets


@dataclass(frozen=True, eq=False)
class Kept:
    """The octets of a segment, from its start on, that stay where they were read; its frames are as they were sent."""

    segment: Segment
    octets: Any
    """Lazy: an argument of Dask's work."""


@dataclass(frozen=True, eq=False)
class Decoded:
    """All packets of a downlink channel by virtual channel, and the account of its octets."""

    channel: Channel
    coding: Coding
    by_virtual_channel: Mapping[int, VirtualChannel]
    frames: FrameCount
    packets: PacketCount
    kept: Sequence[Kept] = ()


type Scanner = Callable[[Channel, Segment, Coding, Lock], Scan]


def put_together(channel: Channel, coding: Coding, scans: Iterable[Scan], again: Scanner = scan) -> Decoded:
    """Join the scans of all segments, in order; ``again`` decodes one once more, from a place that it is given."""
    assembly, count, lock = Assembly(), FrameCount(), Lock()
    for found in scans:
        if found.segment.first:
            lock = Lock(found.segment.start)
        true = found if found.follows(lock) else again(channel, found.segment, coding, lock)
        assembly.add(true.parts, true.count.bad)
        skipped = true.lock.at - lock.at - true.count.frames * CADU_SIZE
        count += replace(true.count, skipped_octets=skipped)
        lock = true.lock
    return Decoded(channel, coding, assembly.finish(), count, assembly.count)


def decode(channel: Channel, coding: Coding | None = None, size: int = SEGMENT) -> Decoded:
    """Decode a channel here, one segment of ``size`` octets after the other. ``InputUnreadable``."""
    coding = coding or Coding()
    return put_together(channel, coding, (scan(channel, one, coding) for one in channel.segments(size)))


def in_memory(number: int, octets: Octets | Sequence[Octets]) -> Channel:
    """A channel whose files, numbered from 1, are arrays (uint8, one dimension)."""
    files = [octets] if isinstance(octets, np.ndarray) else list(octets)
    blocks = [Block(n, xr.Variable(("octet",), file)) for n, file in enumerate(files, start=1)]
    return Channel(number, blocks)
