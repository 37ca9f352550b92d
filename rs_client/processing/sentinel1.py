"""What stands in the headers of Sentinel-1 space packets, as arrays.

Source: S1-IF-ASD-PL-0007, Sentinel-1 SAR Space Packet Protocol Data Unit, issue 13: the primary header of CCSDS
133.0-B-2 (its section 3.1), then a secondary header of 62 octets (3.2): time (3.2.1), fixed and sub-commutated
ancillary data (3.2.2, 3.2.3), counters (3.2.4), radar configuration (3.2.5) and sample count (3.2.6). Codes are kept as
integers; what the document turns into a physical value is given in seconds, hertz, hertz a second and decibels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rs_client.processing.reedsolomon import Integers, Octets

type Values = NDArray[Any]

PRIMARY_HEADER = 6
SECONDARY_HEADER = 62
SAR_HEADER = PRIMARY_HEADER + SECONDARY_HEADER
SYNC_MARKER = 0x352EF853
REFERENCE_FREQUENCY = 37.53472224e6
"""Hertz; the clock in which the instrument counts."""

_TIME_END = PRIMARY_HEADER + 6
_GPS_EPOCH = np.datetime64("1980-01-06T00:00:00", "s")
_LEAP_SECONDS = (
    "1981-07-01", "1982-07-01", "1983-07-01", "1985-07-01", "1988-01-01", "1990-01-01",
    "1991-01-01", "1992-07-01", "1993-07-01", "1994-07-01", "1996-01-01", "1997-07-01",
    "1999-01-01", "2006-01-01", "2009-01-01", "2012-07-01", "2015-07-01", "2017-01-01",
)  # fmt: skip
"""Days that began with one leap second more since the GPS epoch (IERS Bulletin C; none since 2017)."""


@dataclass(frozen=True)
class Field:
    """One field of the secondary header: octet from its start, width in octets, bits within; the first is highest."""

    octet: int
    width: int
    dtype: str
    meaning: str
    shift: int = 0
    mask: int = -1
    unit: str = ""


FIELDS: Mapping[str, Field] = {
    "data_take_id": Field(10, 4, "u4", "data take identifier"),
    "ecc_number": Field(14, 1, "u1", "event control code number: the measurement mode"),
    "test_mode": Field(15, 1, "u1", "test mode", 4, 0x07),
    "rx_channel_id": Field(15, 1, "u1", "receive channel: 0 V, 1 H", 0, 0x0F),
    "instrument_configuration_id": Field(16, 4, "u4", "instrument configuration identifier"),
    "subcommutated_index": Field(20, 1, "u1", "index of the sub-commutated ancillary data word"),
    "subcommutated_word": Field(21, 2, "u2", "sub-commutated ancillary data word"),
    "space_packet_count": Field(23, 4, "u4", "packets since the start of the data take"),
    "pri_count": Field(27, 4, "u4", "pulse repetition intervals since the start of the data take"),
    "error_flag": Field(31, 1, "u1", "1: the baseband signal had an error", 7, 0x01),
    "baq_mode": Field(31, 1, "u1", "block adaptive quantisation mode: 0 bypass, 12–14 FDBAQ", 0, 0x1F),
    "baq_block_length": Field(32, 1, "u1", "block adaptive quantisation block length code"),
    "range_decimation": Field(34, 1, "u1", "range decimation code"),
    "rx_gain_code": Field(35, 1, "u1", "receiver gain code: attenuation in steps of 0.5 dB"),
    "tx_ramp_rate_code": Field(36, 2, "u2", "transmit pulse ramp rate code"),
    "tx_pulse_start_frequency_code": Field(38, 2, "u2", "transmit pulse start frequency code"),
    "tx_pulse_length_code": Field(40, 3, "u4", "transmit pulse length code"),
    "rank": Field(43, 1, "u1", "pulses in flight between transmission and echo", 0, 0x1F),
    "pri_code": Field(44, 3, "u4", "pulse repetition interval code"),
    "swst_code": Field(47, 3, "u4", "sampling window start time code"),
    "swl_code": Field(50, 3, "u4", "sampling window length code"),
    "sas_ssb_flag": Field(53, 1, "u1", "1: the antenna field holds calibration data", 7, 0x01),
    "polarisation": Field(53, 1, "u1", "polarisation code", 4, 0x07),
    "temperature_compensation": Field(53, 1, "u1", "temperature compensation code", 2, 0x03),
    "calibration_mode": Field(56, 1, "u1", "calibration mode", 6, 0x03),
    "tx_pulse_number": Field(56, 1, "u1", "transmit pulse number code", 0, 0x1F),
    "signal_type": Field(57, 1, "u1", "0 echo, 1 noise, 8 transmit calibration, …", 4, 0x0F),
    "swap_flag": Field(57, 1, "u1", "1: measurement data are swapped", 0, 0x01),
    "swath_number": Field(58, 1, "u1", "swath number"),
    "number_of_quads": Field(59, 2, "u2", "quadruples of samples in the user data"),
}


MODES: Mapping[int, str] = {
    1: "S1", 2: "S2", 3: "S3", 4: "S4", 5: "S5-N", 6: "S6", 8: "IW", 9: "WV", 10: "S5-S", 11: "S1 without ICAL",
    12: "S2 without ICAL", 13: "S3 without ICAL", 14: "S4 without ICAL", 15: "RFC", 16: "test", 17: "EN S3",
    18: "AN S1", 19: "AN S2", 20: "AN S3", 21: "AN S4", 22: "AN S5-N", 23: "AN S5-S", 24: "AN S6",
    25: "S5-N without ICAL", 26: "S5-S without ICAL", 27: "S6 without ICAL", 31: "EN S3 without ICAL", 32: "EW",
    33: "AN S1 without ICAL", 34: "AN S3 without ICAL", 35: "AN S6 without ICAL", 37: "NC S1", 38: "NC S2",
    39: "NC S3", 40: "NC S4", 41: "NC S5-N", 42: "NC S5-S", 43: "NC S6", 44: "NC EW", 45: "NC IW", 46: "NC WV",
}  # fmt: skip
"""Measurement modes by event control code (table 3.2-4)."""


SWATHS: Mapping[int, str] = {
    0: "S1", 1: "S2", 2: "S3", 3: "S4", 4: "S5-N", 5: "S5-S", 6: "S6", 10: "IW1", 11: "IW2", 12: "IW3",
    13: "EW1", 14: "EW2", 15: "EW3", 16: "EW4", 17: "EW5", 18: "WV1", 19: "WV2",
}  # fmt: skip
"""Swaths by number."""


@dataclass(frozen=True)
class Derived:
    """A physical value made of codes."""

    value: Callable[[Mapping[str, Values]], Values]
    unit: str
    meaning: str


def sequence_count(heads: Octets) -> NDArray[np.uint16]:
    """The 14-bit sequence counts of packets (n), of which the first octets are given (uint8, n × at least 4).

    Source: CCSDS 133.0-B-2, 4.1.3.4.3.
    """
    return _unsigned(heads, 2, 2).astype(np.uint16) & np.uint16(0x3FFF)


def times(heads: Octets, length: Integers) -> NDArray[np.datetime64]:
    """UTC of packets (n), ``datetime64[ns]``; ``NaT`` for packets without a secondary header.

    ``heads``: the first octets (uint8, n × at least 12), ``length`` (n): octets of each packet. The time code is the
    first thing in the secondary header of every Sentinel-1 packet: GPS seconds (32 bits) and fractions (16 bits)
    (3.2.1).
    """
    found = np.full(length.size, np.datetime64("NaT", "ns"))
    timed = np.flatnonzero((length >= _TIME_END) & (heads[:, 0] & 0x08 != 0))
    chosen = heads[timed]
    found[timed] = gps_to_utc(_unsigned(chosen, PRIMARY_HEADER, 4), _unsigned(chosen, PRIMARY_HEADER + 4, 2))
    return found


def gps_to_utc(coarse: Integers, fine: Integers) -> NDArray[np.datetime64]:
    """UTC (``datetime64[ns]``) of GPS seconds since 1980-01-06T00:00:00 and the 16-bit code of the fraction.

    All of n values. The fraction is that of the middle of the instrument's tick, (code + ½) · 2⁻¹⁶ s (3.2.1.2), rounded
    down to nanoseconds.
    A leap second itself, which ``datetime64`` cannot express, becomes the second after it, as in POSIX.
    """
    midnights = np.array(_LEAP_SECONDS, "datetime64[s]") - _GPS_EPOCH
    inserted = midnights.astype(np.int64) + np.arange(len(_LEAP_SECONDS))
    seconds = coarse - np.searchsorted(inserted, coarse)
    nanoseconds = (2 * fine + 1) * 1_000_000_000 // (1 << 17)
    epoch = _GPS_EPOCH.astype("datetime64[ns]")
    return np.asarray(epoch + (seconds * 1_000_000_000 + nanoseconds).astype("timedelta64[ns]"))


def is_sar(heads: Octets, length: Integers) -> bool:
    """Whether these are SAR packets: all are long enough for the header, and over 90 % carry its sync marker (3.2.2).

    ``heads``: the first octets (uint8, n × at least 16), ``length`` (n): octets of each packet.
    """
    if length.size == 0 or length.min() < SAR_HEADER:
        return False
    marked = _unsigned(heads, PRIMARY_HEADER + 6, 4) == SYNC_MARKER
    return bool(marked.mean() > 0.9)


def fields(heads: Octets) -> dict[str, Values]:
    """The fields of the secondary header of SAR packets (uint8, n × 68): codes, and physical values made of them.

    By name, each of n values; for types, units and meaning see ``FIELDS`` and ``DERIVED``, whose values are float64.
    """
    codes = {name: _code(heads, field) for name, field in FIELDS.items()}
    wide = {name: code.astype(np.float64) for name, code in codes.items() if name.endswith("_code")}
    return {**codes, **{name: derived.value(wide) for name, derived in DERIVED.items()}}


def mode(ecc_number: int) -> str:
    """The name of a measurement mode, given its event control code."""
    return MODES.get(ecc_number, f"mode {ecc_number}")


def swath(number: int) -> str:
    """The name of a swath, given its number."""
    return SWATHS.get(number, f"swath{number}")


def _unsigned(heads: Octets, octet: int, width: int) -> Integers:
    value = np.zeros(len(heads), np.int64)
    for n in range(width):
        value = value << 8 | heads[:, octet + n]
    return value


def _code(heads: Octets, field: Field) -> Values:
    value = _unsigned(heads, PRIMARY_HEADER + field.octet, field.width)
    return (value >> field.shift & field.mask).astype(field.dtype)


def _seconds(code: Values) -> Values:
    return code / REFERENCE_FREQUENCY


def _signed(code: Values) -> Values:
    """Sign and magnitude in 16 bits: bit 15 set is positive."""
    return np.where(code >= 0x8000, code - 0x8000, -code)


def _ramp_rate(code: Mapping[str, Values]) -> Values:
    return _signed(code["tx_ramp_rate_code"]) * REFERENCE_FREQUENCY**2 / 2**21


def _start_frequency(code: Mapping[str, Values]) -> Values:
    offset = _signed(code["tx_pulse_start_frequency_code"]) * REFERENCE_FREQUENCY / 2**14
    return _ramp_rate(code) / (4 * REFERENCE_FREQUENCY) + offset


DERIVED: Mapping[str, Derived] = {
    "rx_gain": Derived(lambda code: code["rx_gain_code"] * -0.5, "dB", "receiver gain"),
    "tx_ramp_rate": Derived(_ramp_rate, "Hz s-1", "transmit pulse ramp rate"),
    "tx_pulse_start_frequency": Derived(_start_frequency, "Hz", "transmit pulse start frequency"),
    "tx_pulse_length": Derived(lambda code: _seconds(code["tx_pulse_length_code"]), "s", "transmit pulse length"),
    "pri": Derived(lambda code: _seconds(code["pri_code"]), "s", "pulse repetition interval"),
    "swst": Derived(lambda code: _seconds(code["swst_code"]), "s", "sampling window start time after the pulse"),
    "swl": Derived(lambda code: _seconds(code["swl_code"]), "s", "sampling window length"),
}
"""Physical values by name (3.2.5.5 to 3.2.5.12)."""
