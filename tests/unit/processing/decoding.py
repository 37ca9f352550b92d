"""What the tests ask of a decoded channel: its packets as bytes, and that every octet is accounted for."""

from __future__ import annotations

from itertools import pairwise

import numpy as np

from rs_client.processing.channel import SEGMENT, Decoded, decode, in_memory
from rs_client.processing.frames import ZONE_SIZE, Coding
from rs_client.processing.gathering import Share, collect
from rs_client.processing.packets import VirtualChannel, apid_of
from tests.unit.processing.downlink import IDLE_APID, Octets


def decoded(files: Octets | list[Octets], size: int = SEGMENT, coding: Coding | None = None) -> Decoded:
    """Decode a channel whose files are arrays; the arrays stay as they are."""
    return decode(in_memory(1, files), coding, size)


def bodies(found: Decoded, virtual: VirtualChannel) -> list[bytes]:
    """The packets of one virtual channel."""
    packets = virtual.packets
    place = np.append(0, np.cumsum(packets.length))
    if len(packets) == 0:
        return []
    share = Share(
        found.channel, found.coding, virtual.start, virtual.fared, packets.frame, packets.offset, packets.length,
        place[:-1],
    )  # fmt: skip
    data = collect([share], int(place[-1]), slice(None))
    return [data[start:stop].tobytes() for start, stop in pairwise(place)]


def found(of: Decoded) -> dict[int, list[bytes]]:
    """The packets by APID, those of each virtual channel in order of arrival."""
    sorted_out: dict[int, list[bytes]] = {}
    for virtual in of.by_virtual_channel.values():
        apids = apid_of(virtual.packets.head).tolist()
        for apid, body in zip(apids, bodies(of, virtual), strict=True):
            sorted_out.setdefault(apid, []).append(body)
    return sorted_out


def by_apid(packets: list[bytes]) -> dict[int, list[bytes]]:
    """What was sent, without idle packets."""
    kept = [one for one in packets if apid(one) != IDLE_APID]
    return {number: [one for one in kept if apid(one) == number] for number in {apid(one) for one in kept}}


def apid(packet: bytes) -> int:
    """Its application process identifier."""
    return int.from_bytes(packet[:2]) & 0x7FF


def gaps(of: Decoded, number: int) -> list[bool]:
    """Whether something was lost on the virtual channel before each packet of an APID, in order of arrival."""
    flags: list[bool] = []
    for virtual in of.by_virtual_channel.values():
        own = virtual.packets.interruptions[apid_of(virtual.packets.head) == number]
        flags += np.append(False, np.diff(own) > 0).tolist() if own.size else []
    return flags


def assert_accounted(of: Decoded, octets: int) -> None:
    """Every input octet is in a frame or skipped, every zone octet in a packet, idle or dropped."""
    assert of.frames.octets == octets
    used = of.frames.good + of.frames.corrected + of.frames.bad - of.packets.frames_unusable
    counted = of.packets.packet_octets + of.packets.idle_octets + of.packets.dropped_octets
    assert used * ZONE_SIZE == counted


def assert_same(one: Decoded, other: Decoded) -> None:
    """Both found the same, to the last flag."""
    assert (one.frames, one.packets) == (other.frames, other.packets)
    assert one.by_virtual_channel.keys() == other.by_virtual_channel.keys()
    for number, virtual in one.by_virtual_channel.items():
        theirs = other.by_virtual_channel[number]
        assert np.array_equal(virtual.start, theirs.start)
        assert np.array_equal(virtual.fared, theirs.fared)
        for name in vars(virtual.packets):
            assert np.array_equal(getattr(virtual.packets, name), getattr(theirs.packets, name)), name
