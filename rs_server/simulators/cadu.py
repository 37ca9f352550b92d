"""The downlink of a session as CADUs, made on demand: a range costs what it is long, and nothing is stored.

What is in the bytes (all counts big-endian):

CADU, 2044 octets
    sync marker ``1ACFFC1D``, then a code block of 2040 octets: 8 interleaved Reed–Solomon (255,223) codewords (symbol
    ``i`` of the block belongs to codeword ``i % 8``; 1784 data octets, then 256 check octets), CCSDS 131.0-B, *dual
    basis* (see ``reedsolomon``). No pseudo-randomisation, no errors: every frame is a valid codeword.
AOS transfer frame, 1784 octets (CCSDS 732.0-B)
    primary header of 6 octets: version ``01`` (2 bits), spacecraft id ``0x1A`` (8 bits), virtual channel id (6 bits),
    frame count (24 bits, one running count for each virtual channel, over all files of a downlink channel, wrapping),
    signalling field 0. No header error control, insert zone, operational control field or frame error control.
M_PDU
    header of 2 octets: first header pointer (offset of the first packet that starts in the packet zone; ``0x7FF``: none
    starts here), then the packet zone of 1776 octets. Packets cross frames of *their* virtual channel, and files.
Virtual channels of downlink channel ``c`` (1 or 2; the files ``…_ch<c>_…``)
    ``c`` (1, 2): SAR packets and idle packets; ``16 + c`` (17, 18): ancillary packets and idle packets;
    63: idle frames (first header pointer ``0x7FE``, zone of ``0x55``), to be dropped.
Packets (CCSDS 133.0-B, sequence flags ``11``), see ``packets``
    APID 1052: SAR, 62-octet secondary header, sync marker ``352EF853``, BAQ mode 0 (bypass); 708 to 18 548 octets.
    APID 1054: ancillary, 290 octets: after the primary header GPS time (as in SAR packets), then Earth-fixed position
    (m) and velocity (m/s) as 6 float64, then padding.
    APID 2047: idle packets of several sizes, sequence count 0.
Time
    octets 0–3 after the primary header: GPS seconds since 1980-01-06T00:00:00Z without leap seconds (UTC = GPS − 18 s);
    octets 4–5: 2⁻¹⁶ s. Sensing starts 6 min before the downlink; one pulse every 0.58–0.69 ms.
Two channels
    channel 1 carries what the V receiver saw, channel 2 the H receiver: the same pulses, the same times. They take
    turns in the sequence counts of an APID: channel 1 holds the even ones, channel 2 the odd ones (with one channel,
    all). Merged by time, then sequence count, the counts run without a gap. SAR counts start at 16 000 and wrap at
    16 384; ancillary counts start at 0. The space packet count in the SAR header counts likewise, from 0, in 32 bits.
The end of a channel
    the instrument's cycle (312 frames: 309 SAR, 2 ancillary, 1 idle; 34 SAR packets) repeats until the frames are used
    up; the last, shorter one holds the packets that fit, so that no packet is cut off at the end of the last file.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from rs_server.simulators import packets, reedsolomon
from rs_server.simulators.reedsolomon import CHECK_SYMBOLS, DATA_SYMBOLS, Octets

SYNC_MARKER = bytes.fromhex("1ACFFC1D")
INTERLEAVE = 8
CADU_SIZE = len(SYNC_MARKER) + INTERLEAVE * (DATA_SYMBOLS + CHECK_SYMBOLS)
FRAME_SIZE = INTERLEAVE * DATA_SYMBOLS
ZONE_SIZE = FRAME_SIZE - 6 - 2

SPACECRAFT_ID = 0x1A
IDLE_VCID = 63
ANCILLARY_VCID_BASE = 16
NO_PACKET_STARTS = 0x7FF
IDLE_ZONE = 0x7FE

CYCLE_FRAMES = 312
_ANCILLARY_SLOTS = (100, 200)
_SMALLEST_PACKET = 7
_LARGEST_IDLE_PACKET = 4096
_COUNT_OCTETS = np.array([2, 3, 4])

type Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Channel:
    """One downlink channel of a session: everything its bytes depend on."""

    seed: int
    session: str
    take: packets.DataTake
    frames: int

    @property
    def size(self) -> int:
        """Octets of the whole channel."""
        return self.frames * CADU_SIZE


@dataclass(frozen=True, eq=False)
class _Stream:
    """The packets of one virtual channel within a cycle: where they start, and where their running octets lie."""

    zone: Octets  # all packet zones, one after the other
    starts: Integers  # offsets of packet starts in the zones, idle packets included
    running: Integers  # offsets of running octets in the zones (packet × octet)


@dataclass(frozen=True, eq=False)
class _Template:
    """A cycle whose running octets and frame counts are zero, and where to put them."""

    frames: Octets  # n × 1784
    check: NDArray[np.uint64]  # check symbols, (n · 8) × 4 words
    slots: Integers  # virtual channel id of each frame
    sar: Integers  # places of the SAR packets' running octets in the flattened frames
    ancillary: Integers


def read(channel: Channel, start: int, stop: int) -> bytes:
    """Octets ``start`` to ``stop`` (exclusive) of a channel."""
    return b"".join(pieces(channel, start, stop))


def pieces(channel: Channel, start: int, stop: int) -> Iterator[bytes]:
    """The same in pieces of at most one cycle (some 640 kB)."""
    cycle_size = CYCLE_FRAMES * CADU_SIZE
    while start < stop:
        cycle, offset = divmod(start, cycle_size)
        piece = cycle_bytes(channel, cycle)[offset : offset + stop - start]
        if not piece:
            raise ValueError(f"the channel has {channel.size} octets")
        yield piece
        start += len(piece)


def data_frames(channel: Channel) -> int:
    """How many frames of a channel are not idle frames."""
    whole, rest = divmod(channel.frames, CYCLE_FRAMES)
    return whole * int((_slots(CYCLE_FRAMES, 1) != IDLE_VCID).sum()) + int((_slots(rest, 1) != IDLE_VCID).sum())


def packet_counts(channel: Channel) -> tuple[int, int]:
    """How many SAR and how many ancillary packets a channel carries."""
    whole, rest = divmod(channel.frames, CYCLE_FRAMES)
    counts = [_fitting(frames) for frames in (CYCLE_FRAMES, rest)]
    return counts[0][0] * whole + counts[1][0], counts[0][1] * whole + counts[1][1]


@lru_cache(maxsize=16)
def cycle_bytes(channel: Channel, cycle: int) -> bytes:
    """The CADUs of one cycle; the last one of a channel may be shorter."""
    frames = min(CYCLE_FRAMES, channel.frames - cycle * CYCLE_FRAMES)
    if frames <= 0:
        return b""
    template = _template(channel.seed, channel.session, channel.take, frames)
    places, values = _running(channel, template, cycle)
    return _assemble(*_patched(template, places, values))


def _running(channel: Channel, template: _Template, cycle: int) -> tuple[Integers, Octets]:
    """What runs in a cycle: places in the flattened frames, and the octets that stand there."""
    counts = _frame_counts(channel, template.slots, cycle)
    counted = np.arange(len(template.slots))[:, None] * FRAME_SIZE + _COUNT_OCTETS
    sar = packets.sar_running(channel.take, cycle, len(template.sar))
    ancillary = packets.ancillary_running(channel.take, cycle, len(template.ancillary))
    places = np.concatenate([place.ravel() for place in (counted, template.sar, template.ancillary)])
    return places, np.concatenate([counts.ravel(), sar.ravel(), ancillary.ravel()])


def _frame_counts(channel: Channel, slots: Integers, cycle: int) -> Octets:
    """Frame counts of a cycle's frames (n × 3 octets), each virtual channel counting its own."""
    per_cycle = _slots(CYCLE_FRAMES, channel.take.channel)
    counts = np.empty(len(slots), np.int64)
    for vcid in np.unique(slots):
        mine = slots == vcid
        first = _first_count(channel, int(vcid)) + cycle * int((per_cycle == vcid).sum())
        counts[mine] = first + np.arange(mine.sum())
    return (counts % 2**24).astype(">i4").view(np.uint8).reshape(-1, 4)[:, 1:]


def _first_count(channel: Channel, vcid: int) -> int:
    """Frame counters run for years: a downlink finds them anywhere."""
    return zlib.crc32(f"{channel.seed}/{channel.session}/{channel.take.channel}/{vcid}".encode()) % 2**24


def _patched(template: _Template, places: Integers, values: Octets) -> tuple[Octets, NDArray[np.uint64]]:
    """Frames and check symbols with the running octets in: the code is linear, so each octet adds its own share."""
    frames, check = template.frames.copy(), template.check.copy()
    frames.reshape(-1)[places] |= values
    frame, octet = np.divmod(places, FRAME_SIZE)
    symbol, codeword = np.divmod(octet, INTERLEAVE)
    words = (frame * INTERLEAVE + codeword)[:, None] * 4 + np.arange(4)
    shares = reedsolomon.contributions()[symbol, values]
    np.bitwise_xor.at(check.reshape(-1), words.ravel(), shares.ravel())
    return frames, check


def _assemble(frames: Octets, check: NDArray[np.uint64]) -> bytes:
    cadus = np.empty((len(frames), CADU_SIZE), np.uint8)
    cadus[:, :4] = np.frombuffer(SYNC_MARKER, np.uint8)
    cadus[:, 4 : 4 + FRAME_SIZE] = frames
    symbols = check.view(np.uint8).reshape(len(frames), INTERLEAVE, CHECK_SYMBOLS)
    cadus[:, 4 + FRAME_SIZE :] = symbols.transpose(0, 2, 1).reshape(len(frames), -1)
    return cadus.tobytes()


# --- the template of a cycle ---------------------------------------------------------------------------------------


def _slots(frames: int, channel: int) -> Integers:
    """Which virtual channel each frame of a cycle belongs to."""
    slots = np.full(CYCLE_FRAMES, channel, np.int64)
    slots[list(_ANCILLARY_SLOTS)] = ANCILLARY_VCID_BASE + channel
    slots[-1] = IDLE_VCID
    return slots[:frames]


@lru_cache(maxsize=8)
def _template(seed: int, session: str, take: packets.DataTake, frames: int) -> _Template:
    slots = _slots(frames, take.channel)
    noise = np.random.default_rng([seed, zlib.crc32(session.encode()), take.channel])
    octets = np.zeros((frames, FRAME_SIZE), np.uint8)
    octets[:, :2] = ((1 << 14 | SPACECRAFT_ID << 6 | slots)[:, None] >> np.array([8, 0])) & 0xFF
    sar = _lay(octets, slots == take.channel, _science_stream(frames, take, noise))
    ancillary = _lay(octets, slots == ANCILLARY_VCID_BASE + take.channel, _ancillary_stream(frames))
    idle = slots == IDLE_VCID
    octets[idle, 6:8] = IDLE_ZONE >> 8, IDLE_ZONE & 0xFF
    octets[idle, 8:] = 0x55
    data = octets.reshape(frames, DATA_SYMBOLS, INTERLEAVE).transpose(0, 2, 1).reshape(-1, DATA_SYMBOLS)
    return _Template(octets, reedsolomon.encode(data).view(np.uint64), slots, sar, ancillary)


def _lay(octets: Octets, mine: NDArray[np.bool_], stream: _Stream) -> Integers:
    """Put a stream into its frames; return the places of its running octets in the flattened frames."""
    frames = np.flatnonzero(mine)
    octets[frames, 8:] = stream.zone.reshape(len(frames), ZONE_SIZE)
    octets[frames, 6:8] = (_first_headers(stream.starts, len(frames))[:, None] >> np.array([8, 0])) & 0xFF
    rank, offset = np.divmod(stream.running, ZONE_SIZE)
    return frames[rank] * FRAME_SIZE + 8 + offset


def _first_headers(starts: Integers, frames: int) -> Integers:
    """The first header pointer of each frame, given where packets start in the zones."""
    pointers = np.full(frames, NO_PACKET_STARTS, np.int64)
    rank, offset = np.divmod(starts, ZONE_SIZE)
    pointers[rank[::-1]] = offset[::-1]  # the first start in a frame is written last
    return pointers


def _science_stream(frames: int, take: packets.DataTake, noise: np.random.Generator) -> _Stream:
    items = packets.science()[: _science_items(frames)]
    parts = [
        packets.idle_packet(item) if isinstance(item, int) else packets.sar_packet(item, take, noise) for item in items
    ]
    chosen = [not isinstance(item, int) for item in items]
    return _stream(parts, chosen, packets.SAR_RUNNING, _science_frames(frames))


def _ancillary_stream(frames: int) -> _Stream:
    count = _ancillary_items(frames)
    return _stream(
        [packets.ancillary_packet()] * count, [True] * count, packets.ANCILLARY_RUNNING, _ancillary_frames(frames)
    )


def _stream(parts: list[bytes], chosen: list[bool], running: Integers, frames: int) -> _Stream:
    """Packets back to back, idle packets up to the end of the frames; ``chosen`` ones have running octets."""
    used = sum(map(len, parts))
    parts = [*parts, *map(packets.idle_packet, _idle_sizes(frames * ZONE_SIZE - used))]
    starts = np.cumsum([0, *map(len, parts)], dtype=np.int64)[:-1]
    running_starts = starts[: len(chosen)][np.array(chosen, bool)]
    return _Stream(np.frombuffer(b"".join(parts), np.uint8), starts, running_starts[:, None] + running)


def _idle_sizes(room: int) -> Iterator[int]:
    while room:
        size = min(room, _LARGEST_IDLE_PACKET)
        if 0 < room - size < _SMALLEST_PACKET:
            size -= _SMALLEST_PACKET
        yield size
        room -= size


def _science_frames(frames: int) -> int:
    return int((_slots(frames, 1) == 1).sum())


def _ancillary_frames(frames: int) -> int:
    return int((_slots(frames, 1) == ANCILLARY_VCID_BASE + 1).sum())


def _science_items(frames: int) -> int:
    """How many items of the science stream fit into that many frames of a cycle."""
    sizes = [item if isinstance(item, int) else item.size for item in packets.science()]
    return _prefix(sizes, _science_frames(frames) * ZONE_SIZE)


def _ancillary_items(frames: int) -> int:
    return _prefix([packets.ANCILLARY_SIZE] * packets.ancillary_count(), _ancillary_frames(frames) * ZONE_SIZE)


def _prefix(sizes: list[int], room: int) -> int:
    """How many of the first sizes fill the room but for nothing, or for an idle packet."""
    left = [room - int(used) for used in np.cumsum([0, *sizes])]
    return max(n for n, rest in enumerate(left) if rest == 0 or rest >= _SMALLEST_PACKET)


def _fitting(frames: int) -> tuple[int, int]:
    items = packets.science()[: _science_items(frames)]
    return sum(not isinstance(item, int) for item in items), _ancillary_items(frames)
