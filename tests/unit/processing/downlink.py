"""A writer of downlink channels for the tests, packets → frames → CADUs, after the standards alone, slow and plain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache

import numpy as np
from numpy.typing import NDArray
from reedsolo import RSCodec  # type: ignore[import-untyped]

type Octets = NDArray[np.uint8]

CADU, ZONE, FRAME = 2044, 1776, 1784
MARKER = b"\x1a\xcf\xfc\x1d"
IDLE_APID, IDLE_CHANNEL = 2047, 63
# Rows of the conversion matrix of CCSDS 131.0-B, written down as octets: conventional basis → dual basis.
_MATRIX = (0x8D, 0xEF, 0xEC, 0x86, 0xFA, 0x99, 0xAF, 0x7B)


@cache
def codec() -> RSCodec:
    """RS (255,223) over x⁸+x⁷+x²+x+1 with the roots 173^112 … 173^143 (173 = α¹¹), in the conventional basis."""
    return RSCodec(32, nsize=255, fcr=112, prim=0x187, generator=173)


@cache
def to_dual() -> Octets:
    """The conversion of all symbols."""
    return np.array(
        [
            np.bitwise_xor.reduce([0, *(row for bit, row in enumerate(reversed(_MATRIX)) if symbol >> bit & 1)])
            for symbol in range(256)
        ],
        np.uint8,
    )


@cache
def _check_rows() -> Octets:
    """223 × 8 × 32: what each single bit of the data adds to the check symbols, all in the dual basis.

    The code is linear, which makes encoding many frames with these rows a thousand times quicker than with the codec.
    """
    from_dual = np.argsort(to_dual())
    rows = np.zeros((223, 8, 32), np.uint8)
    for place in range(223):
        for bit in range(8):
            word = bytearray(223)
            word[place] = from_dual[1 << bit]
            rows[place, bit] = to_dual()[np.frombuffer(bytes(codec().encode(word)[-32:]), np.uint8)]
    return rows


@cache
def _check_table() -> Octets:
    """223 × 256 × 32: what each symbol of the data adds to the check symbols."""
    table = np.zeros((223, 256, 32), np.uint8)
    for bit in range(8):
        chosen = np.arange(256) >> bit & 1 == 1
        table[:, chosen] ^= _check_rows()[:, bit, None]
    return table


def encode(frames: Octets) -> Octets:
    """CADUs of n × 1784 octets."""
    data = frames.reshape(-1, 223, 8)
    check = np.zeros((len(frames), 8, 32), np.uint8)
    for place in range(223):
        check ^= _check_table()[place][data[:, place]]
    parity = check.transpose(0, 2, 1).reshape(len(frames), 256)
    markers = np.tile(np.frombuffer(MARKER, np.uint8), (len(frames), 1))
    return np.concatenate([markers, frames, parity], axis=1)


def packet(apid: int, count: int, body: bytes, *, timed: bool = False) -> bytes:
    """A space packet; ``timed``: its body begins with a secondary header."""
    first = int(timed) << 11 | apid
    return first.to_bytes(2) + (0xC000 | count).to_bytes(2) + (len(body) - 1).to_bytes(2) + body


def frame(virtual_channel: int, counter: int, pointer: int, zone: bytes) -> bytes:
    """A transfer frame of version 2 and spacecraft 0x1A."""
    assert len(zone) == ZONE
    first = 1 << 14 | 0x1A << 6 | virtual_channel
    return first.to_bytes(2) + counter.to_bytes(3) + b"\0" + pointer.to_bytes(2) + zone


@dataclass
class VirtualChannel:
    """Packets of one virtual channel written into frames one after the other."""

    number: int
    counter: int = 0
    frames: list[bytes] = field(default_factory=list)
    spans: list[tuple[int, int]] = field(default_factory=list)
    """The first and the last frame of each packet, as indices of ``frames``."""

    def write(self, packets: Sequence[bytes]) -> None:
        """Fill frames; the last one is filled up with an idle packet (there are at least 7 octets left, or none)."""
        stream = b"".join(packets)
        left = -len(stream) % ZONE
        if left:
            length = left if left >= 7 else left + ZONE
            packets = [*packets, packet(IDLE_APID, 0, bytes(length - 6))]
            stream = b"".join(packets)
        ends = np.cumsum([len(one) for one in packets])
        starts = ends - [len(one) for one in packets]
        base = len(self.frames)
        self.spans += [(base + int(a) // ZONE, base + int(b - 1) // ZONE) for a, b in zip(starts, ends, strict=True)]
        for at in range(0, len(stream), ZONE):
            inside = starts[(starts >= at) & (starts < at + ZONE)]
            pointer = int(inside[0]) - at if inside.size else 0x7FF
            self.frames.append(frame(self.number, self.counter, pointer, stream[at : at + ZONE]))
            self.counter = (self.counter + 1) % (1 << 24)


def idle_frame(counter: int) -> bytes:
    """A frame of the idle virtual channel."""
    return frame(IDLE_CHANNEL, counter, 0x7FE, b"\x55" * ZONE)


def cadus(frames: Sequence[bytes]) -> Octets:
    """n × 2044 octets."""
    if not frames:
        return np.zeros((0, CADU), np.uint8)
    return encode(np.frombuffer(b"".join(frames), np.uint8).reshape(-1, FRAME))


def cut(octets: Octets, generator: np.random.Generator, pieces: int) -> list[Octets]:
    """The same octets in pieces, cut anywhere; some may be empty."""
    where = np.sort(generator.integers(0, octets.size + 1, pieces - 1))
    return np.split(octets, where)


def random_packets(
    generator: np.random.Generator, how_many: int, apids: Sequence[int] = (100, 200), largest: int = 6000
) -> list[bytes]:
    """Packets of all sizes, small ones and full-frame ones among them, counted by APID, idle packets in between."""
    counts = dict.fromkeys(apids, 16_380)
    packets = []
    for _ in range(how_many):
        kind = generator.integers(0, 10)
        size = [1, ZONE - 6, 2 * ZONE - 6][kind] if kind < 3 else int(generator.integers(1, largest))
        body = generator.integers(0, 256, size, np.uint8).tobytes()
        if generator.random() < 0.15:
            packets.append(packet(IDLE_APID, 0, body))
            continue
        apid = int(generator.choice(apids))
        packets.append(packet(apid, counts[apid], body))
        counts[apid] = (counts[apid] + 1) % (1 << 14)
    return packets
