"""The processors of this package run on next to nothing, so that a process that forks others has all of it at hand.

A worker that is forked afterwards need not import them, nor load the machine code of their loops from its cache.
"""

from __future__ import annotations

import importlib

import dask.config
import numpy as np

from rs_client.processing import reedsolomon
from rs_client.processing.channel import decode, in_memory
from rs_client.processing.frames import CADU_SIZE, MARKER_SIZE, Coding
from rs_client.processing.product import Session, assemble
from rs_client.processing.reedsolomon import Octets
from rs_client.processing.tasktable import installed

_PACKET = bytes.fromhex("0864 C000 0499") + bytes(1178)
"""Two thirds of a zone, with a secondary header. Three of them fill two zones, and the second runs over."""
_HEADS = (bytes.fromhex("1ACFFC1D 4681 000000 00 0000"), bytes.fromhex("1ACFFC1D 4681 000001 00 0250"))
"""Marker, frame header (AOS, virtual channel 1) and M_PDU header of two frames (CCSDS 732.0-B)."""


def rehearse() -> None:
    """Import the units of all installed processors, and make the product of two frames.

    No thread is started, and no file or store opened: a fork would lose the one and share the other. Raises what the
    import of a unit raises, after the rest is done.
    """
    reedsolomon.repair(two_frames(), np.array([MARKER_SIZE]), np.zeros(1, np.bool_))
    decoded = decode(in_memory(1, two_frames()), Coding(verified=False))
    with dask.config.set(scheduler="synchronous"):
        assemble("REHEARSAL", Session("REHEARSAL"), [decoded]).compute()
    for table in installed().values():
        if table.unit:
            importlib.import_module(table.unit.partition(":")[0])


def two_frames() -> Octets:
    """Two frames with three packets (uint8, one dimension), without check symbols."""
    packets = 3 * _PACKET
    half = len(packets) // 2
    frames = (_HEADS[0] + packets[:half], _HEADS[1] + packets[half:])
    return np.frombuffer(b"".join(frame.ljust(CADU_SIZE, b"\0") for frame in frames), np.uint8).copy()
