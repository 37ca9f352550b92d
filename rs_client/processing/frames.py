"""From the octets of a downlink channel to its transfer frames: found, verified, mended and told apart.

A channel is a row of CADUs of 2044 octets (CCSDS 131.0-B): the sync marker ``1ACFFC1D`` and eight interleaved
Reed–Solomon codewords, whose data are one AOS transfer frame (CCSDS 732.0-B): a primary header of 6 octets, and an
M_PDU of 2 octets of header and a packet zone of 1776 octets.

Where a frame begins is decided by the markers alone, with a look ahead of less than two CADUs, so that the answer does
not depend on how the channel was cut into files or pieces:

* a marker where one is expected starts a frame, unless its frame is cut short: the next marker is not where it should
  be, and another one, confirmed a CADU further on, stands inside;
* a damaged marker is forgiven between a frame and a marker that are where they should be;
* otherwise octets are skipped, and counted, up to the next marker.

The code is cyclic: a frame into which octets have slipped looks like another codeword with a few errors. A frame that
is not followed by a marker where one is due (or by the end of the channel) therefore counts only if it is clean;
errors in it are taken for a slip and not mended.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import astuple, dataclass

import numpy as np
from numpy.typing import NDArray

from rs_client.processing import reedsolomon
from rs_client.processing.compiled import compiled
from rs_client.processing.reedsolomon import CLEAN, CORRECTED, UNCORRECTABLE

type Octets = NDArray[np.uint8]
type Integers = NDArray[np.int64]
type Flags = NDArray[np.bool_]

SYNC_MARKER = bytes.fromhex("1ACFFC1D")
MARKER_SIZE = len(SYNC_MARKER)
INTERLEAVE = 8
CADU_SIZE = MARKER_SIZE + INTERLEAVE * reedsolomon.CODEWORD
HEADER_SIZE = 6 + 2
ZONE_SIZE = INTERLEAVE * reedsolomon.DATA_SYMBOLS - HEADER_SIZE

IDLE_CHANNEL = 63
NO_PACKET_STARTS = 0x7FF
IDLE_ZONE = 0x7FE
COUNTER_RANGE = 1 << 24

PIECE = 4096 * CADU_SIZE
"""Octets worked on at once: enough to be quick, little enough to stay in reach of the processor (8 MB)."""

_LOOK_AHEAD = 2 * CADU_SIZE + MARKER_SIZE


@dataclass(frozen=True)
class FrameCount:
    """What became of every octet: frames of each kind, and octets outside any frame.

    ``good`` and ``corrected`` frames carry packets, ``fill`` frames are idle, ``bad`` ones have more errors than the
    code can mend.
    """

    good: int = 0
    corrected: int = 0
    bad: int = 0
    fill: int = 0
    skipped_octets: int = 0

    @property
    def octets(self) -> int:
        """Octets accounted for: as many as came in."""
        return (self.good + self.corrected + self.bad + self.fill) * CADU_SIZE + self.skipped_octets

    def __add__(self, other: FrameCount) -> FrameCount:
        return FrameCount(*(mine + theirs for mine, theirs in zip(astuple(self), astuple(other), strict=True)))


@dataclass(frozen=True, eq=False)
class Frames:
    """Frames that carry packets, in order of arrival; and the count of all that were seen beside them."""

    zone: Octets
    """n × 1776: the packet zones."""
    virtual_channel: NDArray[np.uint8]
    counter: Integers
    """Frame count of the virtual channel, 24 bits."""
    first_header: Integers
    """Offset in the zone of the first packet that starts in it; 0x7FF: none does."""
    corrected: Flags
    uncorrectable: Flags
    """The frame has errors that could not be mended; its headers may be wrong as well."""
    count: FrameCount

    def __len__(self) -> int:
        return len(self.zone)


def frames_of(blocks: Iterable[Octets]) -> Iterator[Frames]:
    """The frames of one channel, piece by piece; ``blocks`` are its files in order, cut wherever they may be."""
    rest, locked = np.zeros(0, np.uint8), False
    for piece in _pieces(blocks):
        octets = np.concatenate([rest, piece])
        found, consumed, locked = _frames(octets, locked=locked, last=False)
        rest = octets[consumed:]
        yield found
    yield _frames(rest, locked=locked, last=True)[0]


def _pieces(blocks: Iterable[Octets]) -> Iterator[Octets]:
    for block in blocks:
        for start in range(0, block.size, PIECE):
            yield block[start : start + PIECE]


def _frames(octets: Octets, *, locked: bool, last: bool) -> tuple[Frames, int, bool]:
    """The frames that can be told for sure, how many octets are done with, and whether the next frame is due there."""
    starts = np.empty(octets.size // CADU_SIZE + 1, np.int64)
    loose = np.zeros(starts.size, np.bool_)
    found, consumed, locked = _locate(octets, starts, loose, locked, last)
    blocks = np.empty((found, CADU_SIZE - MARKER_SIZE), np.uint8)
    _gather(octets, starts, blocks)
    fared = _repair(blocks, np.flatnonzero(loose[:found]))
    return _parse(blocks, fared, skipped=consumed - found * CADU_SIZE), consumed, locked


def _repair(blocks: Octets, loose: Integers) -> Octets:
    """Verify and mend code blocks in place, but never mend the ``loose`` ones: they may have slipped."""
    as_came = blocks[loose]
    fared = reedsolomon.repair(blocks, INTERLEAVE)
    blocks[loose] = as_came
    fared[loose[fared[loose] == CORRECTED]] = UNCORRECTABLE
    return fared


def _parse(blocks: Octets, fared: Octets, *, skipped: int) -> Frames:
    """Code blocks as frames: their headers read, fill taken out."""
    virtual_channel = (blocks[:, 1] & 0x3F).astype(np.uint8)
    counter = blocks[:, 2].astype(np.int64) << 16 | blocks[:, 3].astype(np.int64) << 8 | blocks[:, 4]
    first_header = (blocks[:, 6].astype(np.int64) & 0x07) << 8 | blocks[:, 7]
    bad = fared == UNCORRECTABLE
    fill = ~bad & ((virtual_channel == IDLE_CHANNEL) | (first_header == IDLE_ZONE))
    kept = np.flatnonzero(~fill)
    return Frames(
        zone=blocks[kept, HEADER_SIZE : HEADER_SIZE + ZONE_SIZE],
        virtual_channel=virtual_channel[kept],
        counter=counter[kept],
        first_header=first_header[kept],
        corrected=fared[kept] == CORRECTED,
        uncorrectable=bad[kept],
        count=_count(fared, fill, skipped),
    )


def _count(fared: Octets, fill: Flags, skipped: int) -> FrameCount:
    return FrameCount(
        good=int(np.count_nonzero((fared == CLEAN) & ~fill)),
        corrected=int(np.count_nonzero((fared == CORRECTED) & ~fill)),
        bad=int(np.count_nonzero(fared == UNCORRECTABLE)),
        fill=int(np.count_nonzero(fill)),
        skipped_octets=skipped,
    )


@compiled
def _marker(octets: Octets, at: int) -> bool:
    """Whether a whole marker stands at an offset."""
    if at + 4 > octets.size:
        return False
    return bool(octets[at] == 0x1A and octets[at + 1] == 0xCF and octets[at + 2] == 0xFC and octets[at + 3] == 0x1D)


@compiled
def _ends(octets: Octets, at: int) -> bool:
    """Whether a frame may end at an offset: a marker follows, or nothing. Before the last octets, only a marker."""
    return at == octets.size or _marker(octets, at)


@compiled
def _next_marker(octets: Octets, start: int, stop: int) -> int:
    """Offset of the first marker that begins in ``start`` to ``stop``; ``stop`` if there is none."""
    for at in range(start, stop):
        if octets[at] == 0x1A and _marker(octets, at):
            return at
    return stop


@compiled
def _cut_short(octets: Octets, at: int) -> int:
    """Where the frame that follows the one at ``at`` begins, if that one is cut short; else the end of the frame."""
    end = at + CADU_SIZE
    if _ends(octets, end):
        return end
    inside = _next_marker(octets, at + 4, end)
    while inside < end and not _ends(octets, inside + CADU_SIZE):
        inside = _next_marker(octets, inside + 1, end)
    return inside


@compiled
def _locate(
    octets: Octets,
    starts: Integers,
    loose: Flags,
    locked: bool,  # noqa: FBT001 - compiled functions know no keywords
    last: bool,  # noqa: FBT001
) -> tuple[int, int, bool]:
    """Fill in where frames start; return how many, the octets done with, and whether a frame is due there.

    Unless these octets are the last ones, it stops where the look ahead would leave them. ``loose`` marks frames whose
    end nothing confirms: neither a marker right behind them, nor one a frame later.
    """
    size, at, found = octets.size, 0, 0
    limit = size - (CADU_SIZE if last else _LOOK_AHEAD)
    while at <= limit:
        end = at + CADU_SIZE
        if _marker(octets, at):
            end = _cut_short(octets, at)
        elif not (locked and _ends(octets, end)):
            at, locked = _next_marker(octets, at + 1, max(limit + 1, at + 1)), False
            continue
        locked = end == at + CADU_SIZE
        if locked:
            starts[found] = at
            loose[found] = not (_ends(octets, end) or _ends(octets, end + CADU_SIZE))
            found += 1
        at = end
    return found, size if last else at, locked


@compiled
def _gather(octets: Octets, starts: Integers, blocks: Octets) -> None:
    """Copy code blocks out of the stream."""
    for n in range(blocks.shape[0]):
        begin = starts[n] + 4
        blocks[n] = octets[begin : begin + blocks.shape[1]]
