"""The octets of packets, read again from the files of their channel and put back to back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rs_client.processing import memory
from rs_client.processing.channel import Channel
from rs_client.processing.frames import CADU_SIZE, Coding, restore
from rs_client.processing.packets import gather, in_zones
from rs_client.processing.reedsolomon import CORRECTED, Flags, Integers, Octets

FAR = 1 << 18
"""Octets between frames from which on two reads are better than one."""


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


def collect(shares: Sequence[Share], size: int, piece: slice) -> Octets:
    """Packets back to back (uint8), ``size`` octets in all, of which a ``piece`` is wanted.

    Raises ``InputUnreadable`` when files cannot be read again.
    """
    data = memory.room(size)
    for share in shares:
        _fill(share, data)
    return data[piece]


def _fill(share: Share, data: Octets) -> None:
    octets, start = _frames(share)
    ends = share.place + share.length
    order = np.argsort(share.place, kind="stable")
    # Packets of other virtual channels may lie between: each one is copied to a place of its own.
    gather(octets, start, share.frame[order], share.offset[order], share.place[order], ends[order], data)


def _frames(share: Share) -> tuple[Octets, Integers]:
    """The frames as they were sent: those kept, else read in as few stretches as is sensible, and mended again."""
    if share.zone is not None:
        return share.zone.reshape(-1), in_zones(len(share.zone))
    apart = np.flatnonzero(np.diff(share.start) > FAR) + 1
    parts, places, base = [], [], 0
    for start in np.split(share.start, apart):
        first, last = int(start[0]), int(start[-1]) + CADU_SIZE
        parts.append(share.channel.read(first, last))
        places.append(start - first + base)
        base += last - first
    octets = parts[0] if len(parts) == 1 else np.concatenate(parts)
    places_in = np.concatenate(places)
    _restore(octets, places_in, share.fared == CORRECTED, share.coding)
    return octets, places_in


def _restore(octets: Octets, start: Integers, corrected: Flags, coding: Coding) -> None:
    """Only the frames that are known to be damaged, and mendable, need the code."""
    if coding.randomised:
        unverified = Coding(coding.basis, randomised=True, verified=False)
        restore(octets, start, np.zeros(start.size, np.bool_), unverified)
    if corrected.any():
        hurt = start[corrected]
        restore(octets, hurt, np.zeros(hurt.size, np.bool_), Coding(coding.basis, randomised=False))
