"""The octets of packets, read again from the files of their channel and put back to back."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from rs_client.processing import memory
from rs_client.processing.channel import Channel
from rs_client.processing.frames import CADU_SIZE, Coding, restore
from rs_client.processing.packets import gather, in_zones
from rs_client.processing.reedsolomon import CORRECTED, Flags, Integers, Octets

FAR = 1 << 18
"""Octets between frames from which on two reads are better than one."""


@dataclass(frozen=True)
class Stretch:
    """Frames of a share whose octets are at hand, as indexes of its ``start``: ``first`` to before ``last``."""

    first: int
    last: int
    base: int
    """Where in the channel the octets begin."""


@dataclass(frozen=True, eq=False)
class Share:
    """What one virtual channel of a downlink channel gives to a piece of the product.

    Of frames: ``start``, ``fared``, ``zone``; of packets: the other arrays. Offsets, lengths and places are in octets.
    """

    channel: Channel
    coding: Coding
    start: Integers
    """Where the frames lie in the channel."""
    fared: Octets
    frame: Integers
    """The frame that each packet begins in, as an index of ``start``."""
    offset: Integers
    length: Integers
    place: Integers
    """Where each packet goes."""
    zone: Octets | None = None
    """The zones of the frames, where they were kept."""
    at_hand: tuple[Stretch, ...] = ()
    """In order; what lies between is read again."""


def collect(shares: Sequence[Share], size: int, piece: slice, *at_hand: Octets) -> Octets:
    """Packets back to back (uint8), ``size`` octets in all, of which a ``piece`` is wanted.

    ``at_hand``: the octets of all stretches of all shares, in order, whose frames are as they were sent. Raises
    ``InputUnreadable`` when files cannot be read again.
    """
    data, octets = memory.room(size), iter(at_hand)
    for share in shares:
        _fill(share, [next(octets) for _ in share.at_hand], data)
    return data[piece]


def _fill(share: Share, at_hand: Sequence[Octets], data: Octets) -> None:
    octets, start = _frames(share, at_hand)
    ends = share.place + share.length
    order = np.argsort(share.place, kind="stable")
    # Packets of other virtual channels may lie between: each one is copied to a place of its own.
    gather(octets, start, share.frame[order], share.offset[order], share.place[order], ends[order], data)


def _frames(share: Share, at_hand: Sequence[Octets]) -> tuple[Octets, Integers]:
    """The frames as they were sent, in one row, and where in it each begins."""
    if share.zone is not None:
        return share.zone.reshape(-1), in_zones(len(share.zone))
    parts = list(_parts(share, at_hand))
    if len(parts) == 1:
        return parts[0]
    bases = np.cumsum([0, *(octets.size for octets, _ in parts)])
    row = np.concatenate([octets for octets, _ in parts], out=memory.room(int(bases[-1])))
    return row, np.concatenate([start + base for (_, start), base in zip(parts, bases[:-1], strict=True)])


def _parts(share: Share, at_hand: Sequence[Octets]) -> Iterator[tuple[Octets, Integers]]:
    """The same in parts: those at hand, and between them those that are read."""
    done = 0
    for stretch, octets in zip(share.at_hand, at_hand, strict=True):
        yield from _read(share, done, stretch.first)
        start = share.start[stretch.first : stretch.last]
        low, high = int(start[0]), int(start[-1]) + CADU_SIZE
        yield octets[low - stretch.base : high - stretch.base], start - low
        done = stretch.last
    yield from _read(share, done, share.start.size)


def _read(share: Share, first: int, last: int) -> Iterator[tuple[Octets, Integers]]:
    """Frames read again, in as few stretches as is sensible, and mended again."""
    if first == last:
        return
    starts, corrected = share.start[first:last], share.fared[first:last] == CORRECTED
    cuts = np.flatnonzero(np.diff(starts) > FAR) + 1
    for start, hurt in zip(np.split(starts, cuts), np.split(corrected, cuts), strict=True):
        low, high = int(start[0]), int(start[-1]) + CADU_SIZE
        octets = share.channel.read(low, high)
        _restore(octets, start - low, hurt, share.coding)
        yield octets, start - low


def _restore(octets: Octets, start: Integers, corrected: Flags, coding: Coding) -> None:
    """Only the frames that are known to be damaged, and mendable, need the code."""
    if coding.randomised:
        unverified = Coding(coding.basis, randomised=True, verified=False)
        restore(octets, start, np.zeros(start.size, np.bool_), unverified)
    if corrected.any():
        hurt = start[corrected]
        restore(octets, hurt, np.zeros(hurt.size, np.bool_), Coding(coding.basis, randomised=False))
