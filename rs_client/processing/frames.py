"""From the octets of a downlink channel to its transfer frames: found, verified, mended and told apart.

A channel is a row of CADUs of 2044 octets (CCSDS 131.0-B-5): the sync marker ``1ACFFC1D`` (section 9) and eight
interleaved Reed–Solomon codewords (section 4), whose data are one AOS transfer frame (CCSDS 732.0-B-4): a primary
header of 6 octets (4.1.2), and an M_PDU (4.1.4.2) of 2 octets of header and a packet zone of 1776 octets. A station may
have left the pseudo-noise sequence of 255 bits (131.0-B-5, 10.4.2; that of 131071 bits, 10.4.1, came with issue 5 and
is not known here) in the code block. That sequence is itself a codeword in each of the eight, so the code cannot tell
whether it was taken out: only the frame's version number does.

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

from dataclasses import astuple, dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray

from rs_client.processing import reedsolomon
from rs_client.processing.compiled import compiled
from rs_client.processing.reedsolomon import CLEAN, CORRECTED, UNCORRECTABLE, Basis, Flags, Integers, Octets

SYNC_MARKER = bytes.fromhex("1ACFFC1D")
MARKER_SIZE = len(SYNC_MARKER)
CADU_SIZE = MARKER_SIZE + reedsolomon.BLOCK
HEADER_SIZE = 6 + 2
ZONE_SIZE = reedsolomon.INTERLEAVE * reedsolomon.DATA_SYMBOLS - HEADER_SIZE
ZONE_START = MARKER_SIZE + HEADER_SIZE
"""Offset of the packet zone in a CADU."""

AOS_VERSION = 0b01
"""Transfer frame version number of AOS frames, as it stands in their first two bits (732.0-B-4, 4.1.2.2.2)."""
IDLE_CHANNEL = 63
"""Virtual channel of frames that only fill the link (732.0-B-4, 4.1.2.3)."""
NO_PACKET_STARTS = 0x7FF
IDLE_ZONE = 0x7FE
"""First header pointers that are no offsets: no packet starts, nothing but idle data (732.0-B-4, 4.1.4.2.3)."""
COUNTER_RANGE = 1 << 24
"""Values of the frame count of a virtual channel (732.0-B-4, 4.1.2.4)."""

LOOK_AHEAD = 2 * CADU_SIZE + MARKER_SIZE
"""Octets after a place that decide whether a frame starts there."""


@dataclass(frozen=True)
class Coding:
    """What a station left in the frames."""

    basis: Basis = Basis.DUAL
    """Of the code's symbols (CCSDS 131.0-B-5, 4.3.9 and annex F)."""
    randomised: bool = False
    """The code blocks carry the pseudo-noise sequence of 255 bits (CCSDS 131.0-B-5, 10.4.2)."""
    verified: bool = True
    """Check and mend code blocks; without it, every frame is taken for whole."""


@dataclass(frozen=True)
class Lock:
    """Where the next frame is looked for, as an offset in octets; ``locked``: one is due right there."""

    at: int = 0
    locked: bool = False


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
    corrected_fill: int = 0
    """Of the fill, those that had errors."""
    foreign: int = 0
    """Of the good and corrected, those that say they are no AOS frames (transfer frame version other than 2)."""

    @property
    def octets(self) -> int:
        """Octets accounted for: as many as came in."""
        return self.frames * CADU_SIZE + self.skipped_octets

    @property
    def frames(self) -> int:
        """Frames of all kinds."""
        return self.good + self.corrected + self.bad + self.fill

    def __add__(self, other: FrameCount) -> FrameCount:
        return FrameCount(*(mine + theirs for mine, theirs in zip(astuple(self), astuple(other), strict=True)))


@dataclass(frozen=True, eq=False)
class Frames:
    """Frames in order of arrival, without fill, as places in the octets they were found in; a value each."""

    start: Integers
    """Offset of the CADU, in octets."""
    virtual_channel: NDArray[np.uint8]
    counter: Integers
    """Frame count of the virtual channel, 24 bits."""
    first_header: Integers
    """Offset in the zone of the first packet that starts in it; 0x7FF: none does."""
    fared: NDArray[np.uint8]
    """``CLEAN``, ``CORRECTED`` or ``UNCORRECTABLE``; the headers of the last kind may be wrong as well."""
    entry: int
    """Where the first frame of all began; where the search ended, if there is none."""
    count: FrameCount
    lock: Lock
    """Where to go on."""

    def __len__(self) -> int:
        return self.start.size


def find_frames(octets: Octets, lock: Lock, stop: int, *, last: bool, coding: Coding) -> Frames:
    """The frames that start from ``lock.at`` to before ``stop``; their code blocks are mended in place.

    ``octets`` (uint8, one dimension) are writable, and offsets are counted in them. Behind ``stop`` they reach on by
    ``LOOK_AHEAD``, or it is the ``last`` stretch and they end there.
    """
    starts = np.empty(octets.size // CADU_SIZE + 1, np.int64)
    loose = np.zeros(starts.size, np.bool_)
    found, at, locked = _locate(octets, lock.at, lock.locked, stop, last, starts, loose)
    starts, loose = starts[:found], loose[:found]
    fared = restore(octets, starts, loose, coding)
    skipped = at - lock.at - found * CADU_SIZE
    entry = int(starts[0]) if found else at
    return _parse(octets, starts, fared, skipped, entry, Lock(at, locked))


def restore(octets: Octets, starts: Integers, loose: Flags, coding: Coding) -> NDArray[np.uint8]:
    """Take the pseudo-noise out of code blocks, verify and mend them in place, and say how each fared.

    ``starts`` are offsets of CADUs (n), and ``loose`` those of them (n) that are never mended; the answer (uint8, n) is
    as of ``reedsolomon.repair``.
    """
    if coding.randomised:
        _derandomise(octets, starts, pseudo_noise())
    if not coding.verified:
        return np.full(starts.size, CLEAN, np.uint8)
    return reedsolomon.repair(octets, starts + MARKER_SIZE, loose, coding.basis)


@cache
def pseudo_noise() -> Octets:
    """The sequence that is added to a code block (uint8, 2040 octets).

    x⁸ + x⁷ + x⁵ + x³ + 1, all ones at first, 255 bits long, anew in each code block (CCSDS 131.0-B-5, 10.4.2, 10.4.3).
    """
    bits = np.ones(255 * 8, np.uint8)
    for n in range(8, bits.size):
        bits[n] = bits[n - 1] ^ bits[n - 3] ^ bits[n - 5] ^ bits[n - 8]
    return np.resize(np.packbits(bits), reedsolomon.BLOCK)


def _parse(octets: Octets, starts: Integers, fared: Octets, skipped: int, entry: int, lock: Lock) -> Frames:
    """Frames as their headers say, fill taken out."""
    headers = octets[starts[:, None] + np.arange(MARKER_SIZE, ZONE_START)]
    virtual_channel = (headers[:, 1] & 0x3F).astype(np.uint8)
    counter = headers[:, 2].astype(np.int64) << 16 | headers[:, 3].astype(np.int64) << 8 | headers[:, 4]
    first_header = (headers[:, 6].astype(np.int64) & 0x07) << 8 | headers[:, 7]
    bad = fared == UNCORRECTABLE
    fill = ~bad & ((virtual_channel == IDLE_CHANNEL) | (first_header == IDLE_ZONE))
    kept = np.flatnonzero(~fill)
    return Frames(
        start=starts[kept],
        virtual_channel=virtual_channel[kept],
        counter=counter[kept],
        first_header=first_header[kept],
        fared=fared[kept],
        entry=entry,
        count=_count(fared, fill, headers[:, 0] >> 6 != AOS_VERSION, skipped),
        lock=lock,
    )


def _count(fared: Octets, fill: Flags, foreign: Flags, skipped: int) -> FrameCount:
    return FrameCount(
        good=int(np.count_nonzero((fared == CLEAN) & ~fill)),
        corrected=int(np.count_nonzero((fared == CORRECTED) & ~fill)),
        bad=int(np.count_nonzero(fared == UNCORRECTABLE)),
        fill=int(np.count_nonzero(fill)),
        skipped_octets=skipped,
        corrected_fill=int(np.count_nonzero((fared == CORRECTED) & fill)),
        foreign=int(np.count_nonzero((fared != UNCORRECTABLE) & ~fill & foreign)),
    )


@compiled
def _derandomise(octets: Octets, starts: Integers, noise: Octets) -> None:
    for n in range(starts.size):
        begin = starts[n] + MARKER_SIZE
        block = octets[begin : begin + noise.size]
        for i in range(noise.size):
            block[i] ^= noise[i]


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
    at: int,
    locked: bool,  # noqa: FBT001 - compiled functions know no keywords
    stop: int,
    last: bool,  # noqa: FBT001
    starts: Integers,
    loose: Flags,
) -> tuple[int, int, bool]:
    """Fill in where frames start; return how many, the octets done with, and whether a frame is due there.

    ``loose`` marks frames whose end nothing confirms: neither a marker right behind them, nor one a frame later.
    """
    size, found = octets.size, 0
    limit = min(stop - 1, size - CADU_SIZE) if last else stop - 1
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
