"""SAR packets with user data in both codings, written after the packets' specification."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rs_client.processing import sentinel1
from tests.unit.processing.downlink import packet

APID = 1052
BYPASS, FDBAQ = 0, 12
_BLOCK = 128
_CODES = {0: "0", 1: "10", 2: "110", 3: "111"}
"""Huffman codes of magnitudes at bit rate code 0."""


@dataclass(frozen=True)
class Line:
    """What the header of one SAR packet says."""

    swath: int
    receive: int
    """0: V, 1: H."""
    mode: int
    quads: int
    signal: int = 0
    take: int = 0x6E741


def sar_packet(count: int, line: Line, generator: np.random.Generator) -> bytes:
    """A packet of the data take, the ``count``-th."""
    header = bytearray(62)
    header[:6] = ((1_415_629_862 << 16) + count * 40).to_bytes(6)
    header[6:10] = sentinel1.SYNC_MARKER.to_bytes(4)
    header[10:14] = line.take.to_bytes(4)
    header[14], header[15] = 8, line.receive
    header[23:27] = count.to_bytes(4)
    header[27:31] = count.to_bytes(4)
    header[31] = line.mode
    header[44:47] = (21_860).to_bytes(3)
    header[53] = 7 << 4  # transmitted V, received V and H
    header[57], header[58] = line.signal << 4, line.swath
    header[59:61] = line.quads.to_bytes(2)
    data = _bypass(line.quads, generator) if line.mode == BYPASS else _fdbaq(line.quads, generator)
    return packet(APID, (16_380 + count) % (1 << 14), bytes(header) + data, timed=True)


def _bypass(quads: int, generator: np.random.Generator) -> bytes:
    """Four runs of 10-bit samples, each padded to whole words."""
    words = -(-10 * quads // 16)
    return generator.integers(0, 256, 4 * 2 * words, np.uint8).tobytes()


def _fdbaq(quads: int, generator: np.random.Generator) -> bytes:
    """Four runs (IE, IO, QE, QO) of Huffman codes in blocks of 128; IE carries bit rates, QE thresholds."""
    runs = []
    for run in range(4):
        bits = ""
        for start in range(0, quads, _BLOCK):
            bits += {0: "000", 2: f"{int(generator.integers(256)):08b}"}.get(run, "")
            size = min(_BLOCK, quads - start)
            signs, magnitudes = generator.integers(0, 2, size), generator.integers(0, 4, size)
            bits += "".join(f"{sign}{_CODES[int(one)]}" for sign, one in zip(signs, magnitudes, strict=True))
        bits += "0" * (-len(bits) % 16)
        runs.append(int(bits, 2).to_bytes(len(bits) // 8))
    return b"".join(runs)


def lines(cycles: int) -> list[Line]:
    """Two swaths, two polarisations, both codings, lines of several lengths, and packets that are no echoes."""
    kinds = [
        Line(10, 0, FDBAQ, 300),
        Line(10, 1, FDBAQ, 300),
        Line(11, 0, BYPASS, 200),
        Line(11, 1, FDBAQ, 260),
        Line(10, 0, BYPASS, 128, signal=8),
        Line(10, 0, FDBAQ, 280),
    ]
    return [kinds[n % len(kinds)] for n in range(cycles * len(kinds))]
