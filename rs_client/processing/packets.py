"""From transfer frames to space packets: put together over frames and files, each virtual channel for itself.

Packets (CCSDS 133.0-B-2) run on in the zones of their virtual channel (M_PDU, CCSDS 732.0-B-4). A packet is kept if
nothing of it is missing and every first header pointer on its way agrees; otherwise it alone is dropped, its octets are
counted, and the next packet is looked for at the next pointer. An uncorrectable frame is used only if it is the one
that is due on its virtual channel, and then only to carry on a packet that began before it: no packet header is read
from it.

A channel is worked on in segments, each by itself and in any order (:func:`parts_of`): from the first pointer of a
virtual channel on, what is found there depends on nothing before it. Only the frames up to that pointer, the *lead*,
need to know what runs on from the segment before; :class:`Assembly` walks through them, segment after segment, and
gets what one walk through the whole channel would get.

Nothing is copied: a packet is a place, the running number of a frame of its virtual channel, and an offset in its zone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple, dataclass, field, fields, replace

import numpy as np

from rs_client.processing import memory
from rs_client.processing.compiled import compiled
from rs_client.processing.frames import (
    COUNTER_RANGE,
    NO_PACKET_STARTS,
    ZONE_SIZE,
    ZONE_START,
    Frames,
)
from rs_client.processing.reedsolomon import CORRECTED, UNCORRECTABLE, Flags, Integers, Octets

IDLE_APID = 0x7FF
"""Of packets that only fill the zone (CCSDS 133.0-B-2, 4.1.3.3.4.4)."""
PRIMARY_HEADER = 6
SMALLEST_PACKET = PRIMARY_HEADER + 1
"""Octets; the data length field counts those behind the header less one (CCSDS 133.0-B-2, 4.1.3.5.3)."""
HEAD = 68
"""Octets kept of the beginning of each packet: both headers of a SAR packet."""

SPARSE = 64
"""A virtual channel is sparse that has no more than one frame in so many; its frames are few enough to be kept."""

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
    """Packets of one virtual channel in order of arrival, as places in its frames, without idle ones; n of them."""

    frame: Integers
    """Running number of the frame that a packet starts in."""
    offset: Integers
    """Where in the zone of that frame, in octets."""
    length: Integers
    """Octets, primary header included."""
    interruptions: Integers
    """How often the row of packets had broken off before the packet: rises after a gap."""
    corrected: Flags
    """A frame under the packet was mended."""
    uncorrectable: Flags
    """A frame under the packet could not be mended."""
    head: Octets
    """n × 68: how the packet begins, zeros behind a shorter one."""

    def __len__(self) -> int:
        return self.frame.size

    def chosen(self, which: Integers | slice | Flags) -> Packets:
        """Some of them."""
        return Packets(*(getattr(self, each.name)[which] for each in fields(self)))


@dataclass(frozen=True, eq=False)
class Row:
    """Frames of one virtual channel in hand, each with its zone; n of them."""

    start: Integers
    """Where the frames lie in the channel."""
    counter: Integers
    first_header: Integers
    fared: Octets
    zone: Octets
    """n × 1776."""

    def __len__(self) -> int:
        return self.start.size

    def chosen(self, which: Integers | slice | Flags) -> Row:
        """Some of them."""
        return Row(*(getattr(self, each.name)[which] for each in fields(self)))

    def joined(self, other: Row) -> Row:
        """These and then others."""
        return Row(*(np.concatenate([getattr(row, each.name) for row in (self, other)]) for each in fields(self)))


@dataclass(frozen=True, eq=False)
class Part:
    """One virtual channel in one segment: the lead as it came, and what was found from the first pointer on."""

    lead: Row
    """All frames up to the one with the first pointer, that one included; all, where there is no pointer."""
    start: Integers
    """Where the usable frames from that one on lie in the channel; empty where there is no pointer."""
    fared: Octets
    packets: Packets
    zone: Octets | None
    """Their zones, n × 1776, where the virtual channel is sparse."""
    rest: Row
    """The frames that a packet still runs through at the end."""
    rest_start: int
    """Where in the first of them it starts; -1: no packet runs."""
    due: int
    """Counter that the next frame must have."""
    count: PacketCount


@dataclass(frozen=True, eq=False)
class VirtualChannel:
    """All of one virtual channel: its usable frames, and the packets in them."""

    start: Integers
    """Where the frames lie in the channel."""
    fared: Octets
    packets: Packets
    zone: Octets | None = None
    """The zones of the frames, n × 1776, where they are so sparse that to read them again is to read all the rest."""


def parts_of(octets: Octets, frames: Frames, base: int) -> dict[int, Part]:
    """What a segment's frames hold, by virtual channel; its ``octets`` (uint8) begin at ``base`` of the channel."""
    numbers = np.unique(frames.virtual_channel).tolist()
    return {number: _part(octets, frames, np.flatnonzero(frames.virtual_channel == number), base) for number in numbers}


def _part(octets: Octets, frames: Frames, members: Integers, base: int) -> Part:
    bad = frames.fared[members] == UNCORRECTABLE
    usable = np.ones(members.size, np.bool_)
    _place(frames.counter[members], bad, _UNKNOWN, usable)
    pointers = np.flatnonzero(usable & ~bad & (frames.first_header[members] < ZONE_SIZE))
    if pointers.size == 0:
        return _unpointed(_row(octets, frames, members, base))
    first = int(pointers[0])
    lead = _row(octets, frames, members[: first + 1], base)
    return _pointed(octets, frames, members[first:][usable[first:]], base, lead)


def _row(octets: Octets, frames: Frames, members: Integers, base: int) -> Row:
    start = frames.start[members]
    zone = _zones(octets, start)
    return Row(start + base, frames.counter[members], frames.first_header[members], frames.fared[members], zone)


def _zones(octets: Octets, start: Integers) -> Octets:
    zone = np.empty((start.size, ZONE_SIZE), np.uint8)
    for n, at in enumerate(start.tolist()):
        zone[n] = octets[at + ZONE_START : at + ZONE_START + ZONE_SIZE]
    return zone


def in_zones(count: int) -> Integers:
    """Where frames lie (int64, count) in an array of so many zones back to back, as if they were whole."""
    return np.arange(count, dtype=np.int64) * ZONE_SIZE - ZONE_START


def _unpointed(lead: Row) -> Part:
    nothing = lead.chosen(slice(0, 0))
    return Part(
        *(lead, nothing.start, nothing.fared, no_packets(), nothing.zone, nothing, _NOT_BEGUN, _UNKNOWN, PacketCount())
    )


def _pointed(octets: Octets, frames: Frames, members: Integers, base: int, lead: Row) -> Part:
    """Walk from the first pointer on, as if nothing came before it."""
    start, counter, fared = frames.start[members], frames.counter[members], frames.fared[members]
    steps = np.append(0, np.diff(counter) - 1) % COUNTER_RANGE
    steps[0] = 0
    walk = _Walk(octets, start, frames.first_header[members], fared, steps != 0)
    found = walk.go(0, int(frames.first_header[members[0]]))
    packets, count = _kept(found.packets)
    rest = _row(octets, frames, members[found.frame :], base)
    return Part(
        lead=lead,
        start=start + base,
        fared=fared,
        packets=packets,
        zone=_zones(octets, start) if start.size * SPARSE <= frames.start.size else None,
        rest=rest,
        rest_start=found.start,
        due=int(counter[-1] + 1) % COUNTER_RANGE,
        count=replace(
            count, dropped_octets=found.dropped, interruptions=found.interruptions, frames_missing=_missing(steps)
        ),
    )


def _missing(steps: Integers) -> int:
    """Frames that counters skip; a step backwards skips none."""
    return int(steps[steps < COUNTER_RANGE // 2].sum())


def no_packets() -> Packets:
    """No packets at all."""
    none = np.zeros(0, np.int64)
    return Packets(none, none, none, none, none.astype(np.bool_), none.astype(np.bool_), np.zeros((0, HEAD), np.uint8))


def _kept(packets: Packets) -> tuple[Packets, PacketCount]:
    """The packets that are not idle, and the count of all."""
    idle = apid_of(packets.head) == IDLE_APID
    kept = packets.chosen(~idle)
    return kept, PacketCount(
        packets=len(kept),
        packet_octets=int(kept.length.sum()),
        idle_packets=int(np.count_nonzero(idle)),
        idle_octets=int(packets.length[idle].sum()),
    )


def apid_of(head: Octets) -> Integers:
    """The 11-bit application process identifiers (int64, n) in primary headers (uint8, n × at least 2).

    Source: CCSDS 133.0-B-2, 4.1.3.3.4.
    """
    return (head[:, 0].astype(np.int64) & 0x07) << 8 | head[:, 1]


@dataclass(eq=False)
class _Open:
    """A virtual channel while segment after segment is added."""

    row: Row
    row_start: int = _NOT_BEGUN
    row_number: int = 0
    """Running number of the row's first frame."""
    due: int = _UNKNOWN
    interruptions: int = 0
    start: list[Integers] = field(default_factory=list)
    fared: list[Octets] = field(default_factory=list)
    zone: list[Octets] | None = field(default_factory=list)
    packets: list[Packets] = field(default_factory=list)
    frames: int = 0

    def add_frames(self, start: Integers, fared: Octets, zone: Octets | None) -> None:
        self.start.append(start)
        self.fared.append(fared)
        self.frames += start.size
        if zone is None:
            self.zone = None
        elif self.zone is not None:
            self.zone.append(zone)

    def add_packets(self, packets: Packets, number: int, interruptions: int) -> None:
        self.packets.append(
            replace(packets, frame=packets.frame + number, interruptions=packets.interruptions + interruptions)
        )


class Assembly:
    """Puts the parts of a downlink channel together, in order."""

    def __init__(self) -> None:
        self._open: dict[int, _Open] = {}
        self.count = PacketCount()

    def add(self, parts: Mapping[int, Part], uncorrectable: int) -> None:
        """Add the next segment; ``uncorrectable``: how many such frames it has."""
        used = sum(self._add(number, part) for number, part in sorted(parts.items()))
        self.count += PacketCount(frames_unusable=uncorrectable - used)

    def finish(self) -> dict[int, VirtualChannel]:
        """The channel is over: what still runs is not whole. The virtual channels by number."""
        for each in self._open.values():
            if len(each.row):
                self.count += PacketCount(dropped_octets=len(each.row) * ZONE_SIZE - max(each.row_start, 0))
        return {number: _closed(each) for number, each in sorted(self._open.items())}

    def _add(self, number: int, part: Part) -> int:
        """Add the part of one virtual channel; how many uncorrectable frames were of use."""
        state = self._open.setdefault(number, _Open(part.lead.chosen(slice(0, 0))))
        before, lead, found = self._walk_lead(state, part)
        count = PacketCount(dropped_octets=found.dropped, interruptions=found.interruptions - state.interruptions)
        known = part.start.size > 0
        packets = found.packets
        if known:
            pointer = (len(before) + len(lead) - 1) * ZONE_SIZE + int(part.lead.first_header[-1])
            packets = packets.chosen(packets.frame * ZONE_SIZE + packets.offset < pointer)
        kept, kept_count = _kept(packets)
        state.add_packets(kept, state.row_number, 0)
        self.count += count + kept_count + part.count
        fresh = lead.chosen(slice(0, len(lead) - known))  # the frame with the pointer comes with those after it
        state.add_frames(fresh.start, fresh.fared, fresh.zone)
        state.interruptions = found.interruptions
        if known:
            self._follow(state, part)
        else:
            _carry_on(state, before.joined(lead), found)
        used = np.count_nonzero(fresh.fared == UNCORRECTABLE) + np.count_nonzero(part.fared == UNCORRECTABLE)
        return int(used)

    def _walk_lead(self, state: _Open, part: Part) -> tuple[Row, Row, _Found]:
        """Walk through the frames carried along and the usable ones of the lead."""
        before, lead = state.row, part.lead
        bad = lead.fared == UNCORRECTABLE
        usable = np.ones(len(lead), np.bool_)
        _place(lead.counter, bad, state.due, usable)
        lead = lead.chosen(usable)
        due = np.append(state.due, lead.counter[:-1] + 1)[: len(lead)]
        steps = (lead.counter - due) % COUNTER_RANGE
        if state.due == _UNKNOWN and len(lead):
            steps[0] = 0
        self.count += PacketCount(frames_missing=_missing(steps))
        if len(lead):
            state.due = int(lead.counter[-1] + 1) % COUNTER_RANGE
        row = before.joined(lead)
        broken = np.append(np.zeros(len(before), np.bool_), steps != 0)
        walk = _Walk(row.zone.reshape(-1), in_zones(len(row)), row.first_header, row.fared, broken)
        return before, lead, walk.go(state.interruptions, state.row_start)

    def _follow(self, state: _Open, part: Part) -> None:
        """Take over what was found from the pointer on."""
        state.add_packets(part.packets, state.frames, state.interruptions)
        state.row, state.row_start, state.due = part.rest, part.rest_start, part.due
        state.interruptions += part.count.interruptions
        state.add_frames(part.start, part.fared, part.zone)
        state.row_number = state.frames - len(part.rest)


def _carry_on(state: _Open, row: Row, found: _Found) -> None:
    state.row, state.row_start = row.chosen(slice(found.frame, None)), found.start
    state.row_number = state.frames - len(state.row)


def _closed(state: _Open) -> VirtualChannel:
    packets = state.packets or [no_packets()]
    joined = Packets(*(np.concatenate([getattr(one, each.name) for one in packets]) for each in fields(Packets)))
    zone = None if state.zone is None else np.concatenate(state.zone)
    return VirtualChannel(np.concatenate(state.start), np.concatenate(state.fared), joined, zone)


@dataclass(frozen=True, eq=False)
class _Found:
    """What a walk found, and where it ended."""

    packets: Packets
    frame: int
    """The frame to carry on from."""
    start: int
    """Where in it a packet starts, or -1."""
    interruptions: int
    dropped: int


class _Walk:
    """Frames of one virtual channel, ready to be walked through."""

    def __init__(self, octets: Octets, start: Integers, first_header: Integers, fared: Octets, broken: Flags) -> None:
        self._octets, self._start, self._fared = octets, start, fared
        self._head = np.where(fared == UNCORRECTABLE, _UNKNOWN, first_header)
        self._head[(self._head >= ZONE_SIZE) & (self._head != NO_PACKET_STARTS)] = _UNKNOWN
        self._broken = broken

    def go(self, interruptions: int, start: int) -> _Found:
        """Walk from a packet that starts at ``start`` of the first frame, or from the first pointer if that is -1."""
        total = int(self._walk(interruptions, start, 0)[3][2])  # there is no telling before
        begin, end, breaks, state = self._walk(interruptions, start, total)
        frame, start, _, interruptions, dropped = state.tolist()
        return _Found(self._packets(begin, end, breaks), frame, start, interruptions, dropped)

    def _walk(self, interruptions: int, start: int, room: int) -> tuple[Integers, Integers, Integers, Integers]:
        """Walk with room for so many packets; more are counted all the same."""
        begin, end, breaks = (np.empty(room, np.int64) for _ in range(3))
        state = np.array([0, start, 0, interruptions, 0], np.int64)
        _walk(self._octets, self._start, self._head, self._broken.copy(), begin, end, breaks, state)
        return begin, end, breaks, state

    def _packets(self, begin: Integers, end: Integers, breaks: Integers) -> Packets:
        head = np.zeros((begin.size, HEAD), np.uint8)
        _peek(self._octets, self._start, begin, end, head)
        first, last = begin // ZONE_SIZE, (end - 1) // ZONE_SIZE
        return Packets(
            frame=first,
            offset=begin % ZONE_SIZE,
            length=end - begin,
            interruptions=breaks,
            corrected=_any_between(self._fared == CORRECTED, first, last),
            uncorrectable=_any_between(self._fared == UNCORRECTABLE, first, last),
            head=head,
        )


def _any_between(flags: Flags, first: Integers, last: Integers) -> Flags:
    """Whether a flag is set from ``first`` to ``last``, both included."""
    before = np.append(0, np.cumsum(flags))
    return np.asarray(before[last + 1] > before[first])


@compiled
def gather(
    octets: Octets, start: Integers, frame: Integers, offset: Integers, place: Integers, end: Integers, data: Octets
) -> None:
    """Copy packets out of the zones of their frames: packet ``i`` fills ``place[i]`` to ``end[i]`` of ``data``.

    ``start`` (frames): where they lie in ``octets`` (uint8); ``frame`` and ``offset`` (packets): where those begin.
    Raises ``IndexError`` before anything is copied from or to where there is nothing.
    """
    source, target = octets.ctypes.data, data.ctypes.data
    for i in range(frame.size):
        at, number, within = place[i], frame[i], offset[i]
        while at < end[i]:
            many = min(end[i] - at, ZONE_SIZE - within)
            if at < 0 or at + many > data.size or number < 0 or number >= start.size:
                raise IndexError("a packet lies outside of its frames, or of its place")
            begin = start[number] + ZONE_START + within
            if begin < 0 or begin + many > octets.size:
                raise IndexError("a frame lies outside of the octets")
            memory.copy(target + at, source + begin, many)
            at, number, within = at + many, number + 1, 0


@compiled
def _peek(octets: Octets, start: Integers, begin: Integers, end: Integers, head: Octets) -> None:
    """Copy the beginnings of packets; all frames they run through are there."""
    for i in range(begin.size):
        many = min(end[i] - begin[i], head.shape[1])
        frame, within = begin[i] // ZONE_SIZE, begin[i] % ZONE_SIZE
        for k in range(many):
            head[i, k] = octets[start[frame] + ZONE_START + within]
            within += 1
            if within == ZONE_SIZE:
                frame, within = frame + 1, 0


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
def _octet(octets: Octets, start: Integers, at: int) -> int:
    place = start[at // ZONE_SIZE] + ZONE_START + at % ZONE_SIZE
    return np.int64(octets[place])  # type: ignore[return-value]  # a machine integer once compiled


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
    octets: Octets,
    start: Integers,
    head: Integers,
    broken: Flags,
    begins: Integers,
    ends: Integers,
    breaks: Integers,
    state: Integers,
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
            stop = at + SMALLEST_PACKET + (_octet(octets, start, at + 4) << 8) + _octet(octets, start, at + 5)
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
            if found < begins.size:
                begins[found], ends[found], breaks[found] = at, stop, interruptions
            found, at = found + 1, stop
    state[0], state[1], state[2], state[3], state[4] = at // ZONE_SIZE, at % ZONE_SIZE, found, interruptions, dropped
