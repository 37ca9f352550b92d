"""An independent reading of downlink bytes for the tests: it shares nothing with the generator."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass

CADU = 2044
ZONE = 1776


@dataclass(frozen=True)
class Frame:
    version: int
    spacecraft: int
    vcid: int
    count: int
    pointer: int
    zone: bytes


def frames(data: bytes) -> list[Frame]:
    assert len(data) % CADU == 0
    return [_frame(data[at : at + CADU]) for at in range(0, len(data), CADU)]


def _frame(cadu: bytes) -> Frame:
    assert cadu[:4].hex() == "1acffc1d"
    head, pointer = int.from_bytes(cadu[4:10]), int.from_bytes(cadu[10:12])
    assert head & 0xFF == 0
    return Frame(head >> 46, head >> 38 & 0xFF, head >> 32 & 0x3F, head >> 8 & 0xFFFFFF, pointer, cadu[12 : 12 + ZONE])


def codewords(cadu: bytes) -> list[bytes]:
    """The 8 codewords of 255 symbols of a CADU."""
    block = cadu[4:]
    return [block[i::8] for i in range(8)]


def packets(data: bytes) -> dict[int, list[bytes]]:
    """Whole packets of each virtual channel, in order; the first header pointers are checked on the way."""
    streams: dict[int, list[Frame]] = defaultdict(list)
    for frame in frames(data):
        if frame.vcid != 63:
            streams[frame.vcid].append(frame)
    return {vcid: _split(stream) for vcid, stream in streams.items()}


def _split(stream: list[Frame]) -> list[bytes]:
    octets = b"".join(frame.zone for frame in stream)
    found, at = [], 0
    first_start: dict[int, int] = {}
    while at < len(octets):
        first_start.setdefault(at // ZONE, at % ZONE)
        size = int.from_bytes(octets[at + 4 : at + 6]) + 7
        found.append(octets[at : at + size])
        at += size
    assert at == len(octets), "the last packet is cut off"
    assert [frame.pointer for frame in stream] == [first_start.get(rank, 0x7FF) for rank in range(len(stream))]
    return found


def apid(packet: bytes) -> int:
    return int.from_bytes(packet[:2]) & 0x7FF


def sequence(packet: bytes) -> int:
    return int.from_bytes(packet[2:4]) & 0x3FFF


def time(packet: bytes) -> int:
    """GPS time in units of 2^-16 s."""
    return int.from_bytes(packet[6:12])
