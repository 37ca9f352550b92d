"""Headers against an independent decoder (`sentinel1decoder`), times against known moments."""

from __future__ import annotations

import numpy as np
import pytest
from sentinel1decoder import constants
from sentinel1decoder._headers import decode_primary_header, decode_secondary_header

from rs_client.processing import sentinel1
from rs_client.processing.reedsolomon import Integers, Octets
from tests.unit.processing.downlink import packet

# Our name of a field, and theirs.
NAMES = {
    "data_take_id": constants.DATA_TAKE_ID_FIELD_NAME,
    "ecc_number": constants.ECC_NUM_FIELD_NAME,
    "test_mode": constants.TEST_MODE_FIELD_NAME,
    "rx_channel_id": constants.RX_CHAN_ID_FIELD_NAME,
    "instrument_configuration_id": constants.INSTRUMENT_CONFIG_ID_FIELD_NAME,
    "subcommutated_index": constants.SUBCOM_ANC_DATA_WORD_INDEX_FIELD_NAME,
    "subcommutated_word": constants.SUBCOM_ANC_DATA_WORD_FIELD_NAME,
    "space_packet_count": constants.SPACE_PACKET_COUNT_FIELD_NAME,
    "pri_count": constants.PRI_COUNT_FIELD_NAME,
    "error_flag": constants.ERROR_FLAG_FIELD_NAME,
    "baq_mode": constants.BAQ_MODE_FIELD_NAME,
    "baq_block_length": constants.BAQ_BLOCK_LEN_FIELD_NAME,
    "range_decimation": constants.RANGE_DEC_FIELD_NAME,
    "rx_gain": constants.RX_GAIN_FIELD_NAME,
    "tx_ramp_rate": constants.TX_RAMP_RATE_FIELD_NAME,
    "tx_pulse_start_frequency": constants.TX_PULSE_START_FREQ_FIELD_NAME,
    "tx_pulse_length": constants.TX_PULSE_LEN_FIELD_NAME,
    "rank": constants.RANK_FIELD_NAME,
    "pri": constants.PRI_FIELD_NAME,
    "swst": constants.SWST_FIELD_NAME,
    "swl": constants.SWL_FIELD_NAME,
    "sas_ssb_flag": constants.SAS_SSB_FLAG_FIELD_NAME,
    "polarisation": constants.POLARIZATION_FIELD_NAME,
    "temperature_compensation": constants.TEMP_COMP_FIELD_NAME,
    "calibration_mode": constants.CAL_MODE_FIELD_NAME,
    "tx_pulse_number": constants.TX_PULSE_NUM_FIELD_NAME,
    "signal_type": constants.SIGNAL_TYPE_FIELD_NAME,
    "swap_flag": constants.SWAP_FLAG_FIELD_NAME,
    "swath_number": constants.SWATH_NUM_FIELD_NAME,
    "number_of_quads": constants.NUM_QUADS_FIELD_NAME,
}


def heads_of(packets: list[bytes]) -> tuple[Octets, Integers]:
    """The first octets of packets, as the core keeps them, and their lengths."""
    heads = [one[:68].ljust(68, b"\0") for one in packets]
    octets = np.frombuffer(b"".join(heads), np.uint8).reshape(-1, 68)
    return octets, np.array([len(one) for one in packets], np.int64)


def sar_packets(how_many: int) -> tuple[Octets, Integers]:
    """SAR packets whose headers hold anything."""
    generator = np.random.default_rng(7)
    packets = []
    for count in range(how_many):
        header = bytearray(generator.integers(0, 256, 62, np.uint8).tobytes())
        header[6:10] = sentinel1.SYNC_MARKER.to_bytes(4)
        user_data = bytes(4 * int(generator.integers(1, 50)))
        packets.append(packet(1052, count, bytes(header) + user_data, timed=True))
    return heads_of(packets)


def test_every_field_of_the_sar_header_is_that_of_another_decoder() -> None:
    heads, _ = sar_packets(200)
    ours = sentinel1.fields(heads)
    theirs = [decode_secondary_header(head[6:].tobytes()) for head in heads]
    assert set(ours) == set(NAMES) | {name for name in ours if name.endswith("_code")}
    for name, other in NAMES.items():
        np.testing.assert_allclose(ours[name], [each[other] for each in theirs], rtol=1e-12, err_msg=name)
    counts = [decode_primary_header(head[:6].tobytes())[constants.PACKET_SEQUENCE_COUNT_FIELD_NAME] for head in heads]
    assert sentinel1.sequence_count(heads).tolist() == counts


def test_times_are_those_of_another_decoder() -> None:
    heads, length = sar_packets(50)
    heads = heads.copy()
    heads[:, 6] = 0x50  # in 2022, after the last leap second
    theirs = [decode_secondary_header(head[6:].tobytes()) for head in heads]
    expected = [each[constants.COARSE_TIME_FIELD_NAME] - 18 + each[constants.FINE_TIME_FIELD_NAME] for each in theirs]
    since = sentinel1.times(heads, length) - np.datetime64("1980-01-06T00:00:00", "ns")
    np.testing.assert_allclose(since / np.timedelta64(1, "s"), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("gps", "utc"),
    [
        (0, "1980-01-06T00:00:00"),
        (46_828_799, "1981-06-30T23:59:59"),
        (46_828_801, "1981-07-01T00:00:00"),
        (1_000_000_000, "2011-09-14T01:46:25"),
        (1_119_744_015, "2015-06-30T23:59:59"),
        (1_119_744_017, "2015-07-01T00:00:00"),
        (1_167_264_016, "2016-12-31T23:59:59"),
        (1_167_264_018, "2017-01-01T00:00:00"),
        (1_415_629_862, "2024-11-14T14:30:44"),
    ],
)
def test_gps_seconds_as_utc(gps: int, utc: str) -> None:
    found = sentinel1.gps_to_utc(np.array([gps]), np.array([0]))
    half_a_tick = np.timedelta64(7629, "ns")
    assert found.dtype == np.dtype("datetime64[ns]")
    assert found[0] == np.datetime64(utc, "ns") + half_a_tick


def test_a_leap_second_becomes_the_second_after_it() -> None:
    found = sentinel1.gps_to_utc(np.array([1_167_264_017]), np.array([0]))
    assert found.astype("datetime64[s]")[0] == np.datetime64("2017-01-01T00:00:00")


def test_the_fraction_is_the_middle_of_a_tick() -> None:
    found = sentinel1.gps_to_utc(np.array([0, 0]), np.array([0x8000, 0xFFFF]))
    assert [int(one.astype(np.int64)) % 10**9 for one in found] == [500_007_629, 999_992_370]


def test_packets_without_a_secondary_header_have_no_time() -> None:
    packets = [packet(5, 0, bytes(20)), packet(5, 1, bytes(20), timed=True), packet(5, 2, bytes(3), timed=True)]
    found = sentinel1.times(*heads_of(packets))
    assert np.isnat(found).tolist() == [True, False, True]


def test_what_is_a_sar_packet() -> None:
    assert sentinel1.is_sar(*sar_packets(20))
    assert not sentinel1.is_sar(*heads_of([packet(5, 0, bytes(20), timed=True)]))
    assert not sentinel1.is_sar(*heads_of([packet(5, 0, bytes(200), timed=True)]))
    assert not sentinel1.is_sar(*heads_of([]))


def test_modes_have_names() -> None:
    assert [sentinel1.mode(code) for code in (8, 32, 9, 200)] == ["IW", "EW", "WV", "mode 200"]
