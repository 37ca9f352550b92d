"""From transfer frames to space packets: put together over frames and files, each virtual channel for itself.

Packets (CCSDS 133.0-B) run on in the packet zones of their virtual channel (M_PDU, CCSDS 732.0-B). A packet is kept if
nothing of it is missing and every first header pointer on its way agrees; otherwise it alone is dropped, its octets are
counted, and the next packet is looked for at the next pointer. An uncorrectable frame is used only if it is the one
that is due on its virtual channel, and then only to carry on a packet that began before it: no packet header is read
from it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, field, replace

import numpy as np

from rs_client.processing.compiled import compiled
from rs_client.processing.frames import (
    COUNTER_RANGE,
    NO_PACKET_STARTS,
    ZONE_SIZE,
    Flags,
    FrameCount,
    Frames,
    Integers,
    Octets,
)

IDLE_APID = 0x7FF
PRIMARY_HEADER = 6
SMALLEST_PACKET = PRIMARY_HEADER + 1

_UNKNOWN = -1
_NOT_BEGUN = -1


@dataclass(frozen=True)
class PacketCount:
    """What became of every octet of the packet zones: kept, idle or dropped; and what was missing between them."""

    packets: int = 0
    packet_octets: int = 0
    idle_packets: int = 0
    idle_octets: int = 0
    dropped_octets: int = 0
    """Octets of packets that could not be made whole, at the ends of the channel too."""
    interruptions: int = 0
    """Times the row of packets broke off on a virtual channel."""
    frames_missing: int = 0
    """Frames the counters tell were sent, but that are not there or could not be used."""
    frames_unusable: int = 0
    """Uncorrectable frames that could not be placed on a virtual channel."""

    def __add__(self, other: PacketCount) -> PacketCount:
        return PacketCount(*(mine + theirs for mine, theirs in zip(astuple(self), astuple(other), strict=True)))


@dataclass(frozen=True, eq=False)
class Packets:
    """Packets of one APID and one virtual channel, in order of arrival."""

    data: Octets
    """All packets, back to back, primary headers included."""
    offset: Integers
    """n + 1 offsets into ``data``."""
    virtual_channel: int
    interruptions: Integers
    """How often the row of packets had broken off on the virtual channel before the packet: rises after a gap."""
    corrected: Flags
    uncorrectable: Flags
    """A frame under the packet was mended, or could not be."""

    def __len__(self) -> int:
        return len(self.offset) - 1


@dataclass(frozen=True)
class ChannelPackets:
    """All packets of a downlink channel by APID, and the account of its octets."""

    channel: int
    by_apid: Mapping[int, Sequence[Packets]]
    frames: FrameCount
    packets: PacketCount


@dataclass(frozen=True, eq=False)
class _Row:
    """Frames of one virtual channel that a packet still runs through, and what the next frame must be."""

    frames: Frames
    start: int = _NOT_BEGUN
    """Where the running packet starts in the first of the frames; or no packet runs, and the next pointer is due."""
    due: int = _UNKNOWN
    """Counter of the first of the frames, or of the next one."""
    interruptions: int = 0


@dataclass(eq=False)
class _Found:
    """Room for what the walk finds."""

    start: Integers
    stop: Integers
    interruptions: Integers
    state: Integers = field(default_factory=lambda: np.zeros(5, np.int64))


def packets_of(channel: int, batches: Iterable[Frames]) -> ChannelPackets:
    """Put the packets of one downlink channel together; ``batches`` are its frames in order, however they are cut."""
    rows: dict[int, _Row] = {}
    by_apid: dict[int, list[Packets]] = {}
    frame_count, packet_count = FrameCount(), PacketCount()
    for batch in batches:
        frame_count += batch.count
        for virtual_channel, frames in _by_virtual_channel(batch, rows):
            found, rows[virtual_channel], count = _extend(rows.get(virtual_channel), frames)
            packet_count += count
            for apid, packets in found.items():
                by_apid.setdefault(apid, []).append(packets)
        packet_count += PacketCount(frames_unusable=int(np.count_nonzero(batch.uncorrectable)))
    packet_count += sum((_abandon(row) for row in rows.values()), PacketCount())
    return ChannelPackets(channel, by_apid, frame_count, packet_count)


def _by_virtual_channel(batch: Frames, rows: Mapping[int, _Row]) -> Iterable[tuple[int, Frames]]:
    """The frames of each virtual channel that is known for sure; uncorrectable frames go where they say."""
    known = {*rows, *np.unique(batch.virtual_channel[~batch.uncorrectable]).tolist()}
    for virtual_channel in sorted(known):
        members = np.flatnonzero(batch.virtual_channel == virtual_channel)
        if members.size:
            yield virtual_channel, _select(batch, members)


def _select(frames: Frames, members: Integers | slice) -> Frames:
    return replace(
        frames,
        zone=frames.zone[members],
        virtual_channel=frames.virtual_channel[members],
        counter=frames.counter[members],
        first_header=frames.first_header[members],
        corrected=frames.corrected[members],
        uncorrectable=frames.uncorrectable[members],
        count=FrameCount(),
    )


def _join(first: Frames, second: Frames) -> Frames:
    return Frames(
        zone=np.concatenate([first.zone, second.zone]),
        virtual_channel=np.concatenate([first.virtual_channel, second.virtual_channel]),
        counter=np.concatenate([first.counter, second.counter]),
        first_header=np.concatenate([first.first_header, second.first_header]),
        corrected=np.concatenate([first.corrected, second.corrected]),
        uncorrectable=np.concatenate([first.uncorrectable, second.uncorrectable]),
        count=FrameCount(),
    )


def _extend(row: _Row | None, frames: Frames) -> tuple[dict[int, Packets], _Row, PacketCount]:
    """Carry on a virtual channel with more frames: whole packets by APID, what is left to carry on, and the count."""
    row = row or _Row(_select(frames, slice(0, 0)))
    members, carried = _in_row(row, frames)
    after = int(members.counter[-1] + 1) % COUNTER_RANGE if len(members) else row.due
    steps = (members.counter - np.append(row.due, members.counter[:-1] + 1)) % COUNTER_RANGE
    if row.due == _UNKNOWN and len(members):
        steps[0] = 0
    found, dropped = _walk_row(row, members, steps != 0)
    packets, kept = _cut(members, found)
    first, start, _, interruptions, _ = found.state.tolist()
    rest = _select(members, slice(first, len(members)))
    due = int(rest.counter[0]) if len(rest) else after
    count = replace(
        kept,
        dropped_octets=dropped,
        interruptions=interruptions - row.interruptions,
        frames_missing=int(steps[steps < COUNTER_RANGE // 2].sum()),
        frames_unusable=-int(np.count_nonzero(members.uncorrectable[carried:])),
    )
    return packets, _Row(rest, start, due, interruptions), count


def _in_row(row: _Row, frames: Frames) -> tuple[Frames, int]:
    """The frames carried along and the new ones, without uncorrectable ones that are not due."""
    members = _join(row.frames, frames) if len(row.frames) else frames
    if members.uncorrectable.any():
        usable = np.ones(len(members), np.bool_)
        _place(members.counter, members.uncorrectable, row.due, usable)
        members = _select(members, np.flatnonzero(usable))
    return members, len(row.frames)


def _walk_row(row: _Row, members: Frames, broken: Flags) -> tuple[_Found, int]:
    """Find the packets of a row of frames, and how many octets went with packets that broke off."""
    head = np.where(members.uncorrectable, _UNKNOWN, members.first_header)
    head[(head >= ZONE_SIZE) & (head != NO_PACKET_STARTS)] = _UNKNOWN
    room = len(members) * ZONE_SIZE // SMALLEST_PACKET + 1
    found = _Found(np.empty(room, np.int64), np.empty(room, np.int64), np.empty(room, np.int64))
    found.state[:] = 0, row.start, 0, row.interruptions, 0
    _walk(members.zone, head, broken, found.start, found.stop, found.interruptions, found.state)
    return found, int(found.state[4])


def _cut(members: Frames, found: _Found) -> tuple[dict[int, Packets], PacketCount]:
    """Copy the packets out of the zones, one array for each APID; idle packets are counted and left."""
    total = int(found.state[2])
    start, stop = found.start[:total], found.stop[:total]
    flat = members.zone.reshape(-1)
    apid = (flat[start].astype(np.int64) & 0x07) << 8 | flat[start + 1]
    idle = apid == IDLE_APID
    packets = {
        int(one): _cut_one(members, found, np.flatnonzero(apid == one)) for one in np.unique(apid[~idle]).tolist()
    }
    length = stop - start
    return packets, PacketCount(
        packets=int(np.count_nonzero(~idle)),
        packet_octets=int(length[~idle].sum()),
        idle_packets=int(np.count_nonzero(idle)),
        idle_octets=int(length[idle].sum()),
    )


def _cut_one(members: Frames, found: _Found, chosen: Integers) -> Packets:
    start, stop = found.start[chosen], found.stop[chosen]
    offset = np.append(0, np.cumsum(stop - start))
    data = np.empty(offset[-1], np.uint8)
    gather(members.zone.reshape(-1), start, offset, data)
    first, last = start // ZONE_SIZE, (stop - 1) // ZONE_SIZE
    return Packets(
        data=data,
        offset=offset,
        virtual_channel=int(members.virtual_channel[0]),
        interruptions=found.interruptions[chosen],
        corrected=_any_between(members.corrected, first, last),
        uncorrectable=_any_between(members.uncorrectable, first, last),
    )


def _any_between(flags: Flags, first: Integers, last: Integers) -> Flags:
    """Whether a flag is set from ``first`` to ``last``, both included."""
    before = np.append(0, np.cumsum(flags))
    return np.asarray(before[last + 1] > before[first])


def _abandon(row: _Row) -> PacketCount:
    """The channel is over: what still runs is not whole."""
    return PacketCount(dropped_octets=len(row.frames) * ZONE_SIZE - max(row.start, 0) if len(row.frames) else 0)


@compiled
def gather(source: Octets, start: Integers, offset: Integers, data: Octets) -> None:
    """Copy pieces of ``source`` back to back: piece ``i`` fills ``offset[i]`` to ``offset[i + 1]`` of ``data``."""
    for i in range(start.size):
        data[offset[i] : offset[i + 1]] = source[start[i] : start[i] + offset[i + 1] - offset[i]]


@compiled
def _place(counter: Integers, uncorrectable: Flags, due: int, usable: Flags) -> None:
    """Keep an uncorrectable frame only where its counter is the one that is due."""
    for i in range(counter.size):
        if uncorrectable[i] and counter[i] != due:
            usable[i] = False
        else:
            due = (counter[i] + 1) % COUNTER_RANGE


@compiled
def _next_start(head: Integers, broken: Flags, frame: int) -> int:
    """Position of the first packet start a pointer tells of, from a frame on; or the end of the frames.

    Interruptions on the way belong to the one that is being recovered from: their marks are taken away.
    """
    while frame < head.size:
        broken[frame] = False
        if 0 <= head[frame] < ZONE_SIZE:
            return int(frame * ZONE_SIZE + head[frame])
        frame += 1
    return head.size * ZONE_SIZE


@compiled
def _octet(zone: Octets, at: int) -> int:
    return np.int64(zone[at // ZONE_SIZE, at % ZONE_SIZE])  # type: ignore[return-value]  # a machine integer once compiled


@compiled
def _fault(head: Integers, broken: Flags, start: int, stop: int) -> int:
    """The first frame that speaks against a packet from ``start`` to ``stop``, or -1.

    Frames it runs through must follow one another, and their pointers must say that no other packet starts before its
    end. Frames that are not there yet say nothing.
    """
    last = (stop - 1) // ZONE_SIZE
    for frame in range(start // ZONE_SIZE + 1, min(last + 1, head.size)):
        end = stop - frame * ZONE_SIZE
        said = end if end < ZONE_SIZE else NO_PACKET_STARTS
        if broken[frame] or (head[frame] != _UNKNOWN and head[frame] != said):
            return frame
    return -1


@compiled
def _header_fault(head: Integers, broken: Flags, at: int) -> int:
    """The frame after which to look again if no packet header may be read at ``at``, or -1."""
    frame, within = at // ZONE_SIZE, at % ZONE_SIZE
    if within == 0 and (broken[frame] or head[frame] != 0):
        return frame
    if head[frame] == _UNKNOWN:
        return frame + 1
    after = (at + PRIMARY_HEADER - 1) // ZONE_SIZE
    if after != frame and after < head.size and (broken[after] or head[after] == _UNKNOWN):
        return after
    return -1


@compiled
def _walk(
    zone: Octets, head: Integers, broken: Flags, starts: Integers, stops: Integers, breaks: Integers, state: Integers
) -> None:
    """From packet to packet through the frames of a virtual channel.

    ``state`` holds, before and after: the frame to carry on from, where in it a packet starts (-1: none is known), how
    many packets were found, the interruptions so far, and the octets dropped.
    """
    size = head.size * ZONE_SIZE
    at, found, interruptions, dropped = state[1], 0, state[3], 0
    if at < 0:
        at = _next_start(head, broken, 0)
        dropped = at
        if at == size:
            state[0], state[1], state[4] = head.size, -1, dropped
            return
    while at < size:
        fault, stop = _header_fault(head, broken, at), size + 1
        if fault < 0 and at + PRIMARY_HEADER <= size:
            stop = at + SMALLEST_PACKET + (_octet(zone, at + 4) << 8) + _octet(zone, at + 5)
            fault = _fault(head, broken, at, stop)
        if fault >= 0:
            interruptions += 1
            again = _next_start(head, broken, fault)
            dropped, at = dropped + again - at, again
            if at == size:
                state[0], state[1], state[2], state[3], state[4] = head.size, -1, found, interruptions, dropped
                return
        elif stop > size:
            break
        else:
            starts[found], stops[found], breaks[found] = at, stop, interruptions
            found, at = found + 1, stop
    state[0], state[1], state[2], state[3], state[4] = at // ZONE_SIZE, at % ZONE_SIZE, found, interruptions, dropped
