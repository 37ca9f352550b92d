"""Space packets of Sentinel-1 form: what stands in them and when (functions of values, no frames, no I/O).

SAR packets follow S1-IF-ASD-PL-0007 (Sentinel-1 SAR Space Packet Protocol Data Unit): CCSDS primary header (6 octets),
secondary header (62 octets), user data in bypass coding (10-bit sign and magnitude samples of IE, IO, QE, QO).
The instrument works in interferometric wide swath mode, VV+VH; one *cycle* of it dwells on the swaths IW1, IW2, IW3.
Its sampling windows are shorter than the real ones, so that uncompressed packets have the size of the real, compressed
ones. A cycle's user data repeat in the next; its headers run on.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache

import numpy as np
from numpy.typing import NDArray

from rs_server.simulators import orbit
from rs_server.simulators.reedsolomon import Octets

SAR_APID = 1052  # process id 65 (SAR), packet category 12
ANCILLARY_APID = 1054
IDLE_APID = 2047

PRIMARY_HEADER = 6
SAR_SECONDARY_HEADER = 62
SYNC_MARKER = 0x352EF853
LEAP_SECONDS = 18
FIRST_SEQUENCE_COUNT = 16_000  # so that the 14-bit count wraps early, as it does in a real data take
MAX_CHANNELS = 2  # one for each receive polarisation

SUBCOM_WORDS = 64
ANCILLARY_SIZE = 290

_GPS_EPOCH = datetime(1980, 1, 6, tzinfo=UTC)
_TICKS_PER_100_S = 3_753_472_224  # the instrument counts in periods of 37.534 722 24 MHz
_ECHO, _NOISE, _TX_CALIBRATION = 0, 1, 8
_CALIBRATION_QUADS = 128
_ECHOES_PER_DWELL = 10
_IDLE_AFTER_DWELL = (301, 44, 777)  # sizes that let packets start anywhere in a frame
_ANCILLARY_PER_CYCLE = 12
_AMPLITUDE = 64.0

# Octets of a SAR packet that differ from cycle to cycle: sequence count, time, sub-commutated word, the two counters.
SAR_RUNNING = np.array([2, 3, *range(6, 12), *range(26, 37)])
# The same of an ancillary packet: sequence count, time, state vector.
ANCILLARY_RUNNING = np.array([2, 3, *range(6, 60)])

type Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Swath:
    """How the instrument looks at one swath; codes and ticks as the secondary header holds them."""

    number: int
    range_decimation: int
    quads: int
    window_ticks: int  # sampling window length
    window_start_ticks: int
    interval_ticks: int  # pulse repetition interval
    rank: int
    pulse_ticks: int
    ramp_rate: int  # bit 15: the sign (up)
    start_frequency: int  # bit 15 clear: negative


@dataclass(frozen=True)
class Pulse:
    """One radar pulse of a cycle, and the packet that reports it."""

    swath: Swath
    signal: int
    quads: int
    tick: int  # since the start of the cycle

    @property
    def size(self) -> int:
        """Octets of the whole packet, a multiple of 4 as the standard of the packets demands."""
        return PRIMARY_HEADER + SAR_SECONDARY_HEADER + 4 * _words(self.quads) * 2


@dataclass(frozen=True)
class DataTake:
    """What all packets of one downlink channel share."""

    start: int  # GPS time of the first pulse, in units of 2⁻¹⁶ s
    identifier: int
    channel: int  # from 1
    channels: int

    def counts(self, own: Integers) -> Integers:
        """Count over all channels of a packet, given its count in this one: channels take turns."""
        return own * self.channels + (self.channel - 1)


def gps_time(moment: datetime) -> int:
    """GPS time of a UTC moment (after 2017-01-01), in units of 2⁻¹⁶ s."""
    since = moment - _GPS_EPOCH
    seconds = since.days * 86_400 + since.seconds + LEAP_SECONDS
    return (seconds << 16) + since.microseconds * 65_536 // 1_000_000


@cache
def swaths() -> tuple[Swath, ...]:
    """IW1, IW2 and IW3."""
    return (
        Swath(10, 8, 3696, 4312, 3580, 21_860, 9, 1967, 0x8000 | 1605, 12_331),
        Swath(11, 11, 3520, 4840, 4105, 25_850, 8, 2323, 0x8000 | 1160, 10_533),
        Swath(12, 9, 3280, 5248, 3912, 22_276, 10, 2009, 0x8000 | 1196, 9_357),
    )


@cache
def science() -> tuple[Pulse | int, ...]:
    """One cycle of the science stream in order: pulses, and between the dwells the sizes of idle packets."""
    stream: list[Pulse | int] = []
    tick = 0
    for swath, idle in zip(swaths(), _IDLE_AFTER_DWELL, strict=True):
        for signal, quads in _dwell(swath):
            stream.append(Pulse(swath, signal, quads, tick))
            tick += swath.interval_ticks
        stream.append(idle)
    return tuple(stream)


def _dwell(swath: Swath) -> list[tuple[int, int]]:
    noise = [(_NOISE, swath.quads)] if swath.number == swaths()[0].number else []
    return [*noise, (_TX_CALIBRATION, _CALIBRATION_QUADS), *[(_ECHO, swath.quads)] * _ECHOES_PER_DWELL]


@cache
def pulses() -> tuple[Pulse, ...]:
    """The pulses of one cycle."""
    return tuple(item for item in science() if isinstance(item, Pulse))


@cache
def cycle_ticks() -> int:
    """How long a cycle lasts."""
    last = pulses()[-1]
    return last.tick + last.swath.interval_ticks


def ancillary_count() -> int:
    """How many ancillary packets a cycle has."""
    return _ANCILLARY_PER_CYCLE


# --- packets, less what runs ---------------------------------------------------------------------------------------


def sar_packet(pulse: Pulse, take: DataTake, samples: np.random.Generator) -> bytes:
    """A SAR packet whose running octets are zero (but for the sequence flags)."""
    return (
        _primary_header(SAR_APID, pulse.size, secondary=True)
        + _sar_secondary_header(pulse, take)
        + _bypass(samples, pulse.quads)
    )


def ancillary_packet() -> bytes:
    """An ancillary packet whose running octets are zero: time (6 octets), state vector (6 × float64), padding."""
    header = _primary_header(ANCILLARY_APID, ANCILLARY_SIZE, secondary=True)
    return (header + bytes(6 + 48)).ljust(ANCILLARY_SIZE, b"\xaa")


def idle_packet(size: int) -> bytes:
    """An idle packet of ``size`` octets, at least 7."""
    return _primary_header(IDLE_APID, size, secondary=False).ljust(size, b"\x55")


def _primary_header(apid: int, size: int, *, secondary: bool) -> bytes:
    unsegmented = 0xC000
    return struct.pack(">HHH", secondary << 11 | apid, unsegmented, size - PRIMARY_HEADER - 1)


def _sar_secondary_header(pulse: Pulse, take: DataTake) -> bytes:
    header = _fixed_ancillary(take) + bytes(11) + _radar_configuration(pulse, take) + struct.pack(">HB", pulse.quads, 0)
    assert len(header) == SAR_SECONDARY_HEADER
    return header


def _fixed_ancillary(take: DataTake) -> bytes:
    """Datation service (zero) and fixed ancillary data: interferometric wide swath is number 8 of the modes."""
    receive_horizontal = take.channel - 1
    return bytes(6) + struct.pack(">IIBBI", SYNC_MARKER, take.identifier, 8, receive_horizontal, 7)


def _radar_configuration(pulse: Pulse, take: DataTake) -> bytes:
    swath = pulse.swath
    bypass, block_length, gain = 0, 31, 8
    polarisation = 7 if take.channels == MAX_CHANNELS else 6  # transmit V, receive V and H, or V alone
    calibration = pulse.signal == _TX_CALIBRATION
    return b"".join(
        (
            struct.pack(">BBBBB", bypass, block_length, 0, swath.range_decimation, gain),
            struct.pack(">HH", swath.ramp_rate, swath.start_frequency),
            swath.pulse_ticks.to_bytes(3, "big"),
            bytes([swath.rank]),
            swath.interval_ticks.to_bytes(3, "big"),
            swath.window_start_ticks.to_bytes(3, "big"),
            swath.window_ticks.to_bytes(3, "big"),
            struct.pack(">BBB", calibration << 7 | polarisation << 4 | 3 << 2, 6 << 4, 0),
            struct.pack(">BBB", 0, pulse.signal << 4, swath.number),
        )
    )


def _bypass(samples: np.random.Generator, quads: int) -> bytes:
    """Gaussian noise in format type A: four runs of 10-bit samples, each padded to whole 16-bit words."""
    values = np.rint(samples.normal(0, _AMPLITUDE, (4, quads))).clip(-511, 511).astype(np.int16)
    codes = np.abs(values) | np.where(values < 0, 0x200, 0).astype(np.int16)
    bits = np.unpackbits(codes.astype(">u2").view(np.uint8).reshape(4, quads, 2), axis=2)[:, :, 6:].reshape(4, -1)
    return np.packbits(np.pad(bits, ((0, 0), (0, _words(quads) * 16 - bits.shape[1]))), axis=1).tobytes()


def _words(quads: int) -> int:
    """16-bit words that one run of 10-bit samples fills."""
    return -(-10 * quads // 16)


# --- what runs -----------------------------------------------------------------------------------------------------


def sar_running(take: DataTake, cycle: int, count: int) -> Octets:
    """The running octets (count × 19, as ``SAR_RUNNING`` orders them) of the first ``count`` pulses of a cycle."""
    own = cycle * len(pulses()) + np.arange(count)
    overall = take.counts(own)
    return np.hstack(
        (
            _octets((overall + FIRST_SEQUENCE_COUNT) % 16_384, 2),
            _octets(_time(take, own), 6),
            _octets(overall % SUBCOM_WORDS + 1, 1),
            _octets(_subcommutated(take, overall), 2),
            _octets(overall, 4),
            _octets(own, 4),
        )
    )


def ancillary_running(take: DataTake, cycle: int, count: int) -> Octets:
    """The running octets (count × 56) of the first ``count`` ancillary packets of a cycle, evenly spaced in time."""
    index = np.arange(count)
    own = cycle * _ANCILLARY_PER_CYCLE + index
    time = take.start + _fine(cycle * cycle_ticks() + index * cycle_ticks() // _ANCILLARY_PER_CYCLE)
    vectors = orbit.state(time / 65_536).astype(">f8").view(np.uint8)
    return np.hstack((_octets(take.counts(own) % 16_384, 2), _octets(time, 6), vectors))


def _time(take: DataTake, pulse: Integers) -> Integers:
    """GPS time of the pulse with that count, in units of 2⁻¹⁶ s."""
    ticks = np.array([p.tick for p in pulses()])
    cycle, index = np.divmod(pulse, len(ticks))
    return take.start + _fine(cycle * cycle_ticks() + ticks[index])


def _fine(ticks: Integers) -> Integers:
    return ticks * 6_553_600 // _TICKS_PER_100_S


def _subcommutated(take: DataTake, overall: Integers) -> Integers:
    """The word of the ancillary frame that each packet carries; a frame is spread over 64 packets of all channels."""
    group, index = np.divmod(overall, SUBCOM_WORDS)
    frames, position = np.unique(group, return_inverse=True)
    words = _ancillary_frames(_time(take, -(-frames * SUBCOM_WORDS // take.channels)))
    return words[position, index]


def _ancillary_frames(time: Integers) -> Integers:
    """Words 1–64 for each time: position, velocity, their time, attitude, its time, pointing status, temperatures."""
    vectors = orbit.state(time / 65_536)
    stamp = (time << 8).astype(">u8")  # seconds with 24 fractional bits
    attitude = np.tile(np.array([0.70710678, 0, 0, 0.70710678, 0, -1.06e-3, 0], ">f4"), (len(time), 1))
    rest = np.zeros((len(time), SUBCOM_WORDS - 40), ">u2")
    columns = (
        vectors[:, :3].astype(">f8"),
        vectors[:, 3:].astype(">f4"),
        stamp[:, None],
        attitude,
        stamp[:, None],
        rest,
    )
    octets = np.hstack([np.ascontiguousarray(column).view(np.uint8) for column in columns])
    return octets.view(">u2").astype(np.int64)


def _octets(values: Integers, width: int) -> Octets:
    """Each value as ``width`` octets, most significant first."""
    return values.astype(">i8").view(np.uint8).reshape(-1, 8)[:, 8 - width :]
