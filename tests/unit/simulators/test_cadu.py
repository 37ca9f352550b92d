"""The downlink is conformant: independent decoders read back what was generated, and ranges are slices of the whole."""

from __future__ import annotations

import io
import random
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import ccsdspy.utils  # type: ignore[import-untyped]  # ships no types
import numpy as np
import pytest
import sentinel1decoder.constants as names
from sentinel1decoder.l0decoder import Level0Decoder
from sentinel1decoder.utilities import read_subcommed_data
from spacepackets.ccsds import SpacePacketHeader  # type: ignore[import-untyped]  # ships no types

from rs_server.simulators import cadu, packets
from tests.unit.simulators import codec, downlink

SENSED = datetime(2024, 11, 14, 14, 24, 44, 18_000, tzinfo=UTC)
FRAMES = 700  # two whole cycles and a part


def channel(number: int = 1, *, of: int = 2, frames: int = FRAMES, seed: int = 5) -> cadu.Channel:
    take = packets.DataTake(packets.gps_time(SENSED), 452_417, number, of)
    return cadu.Channel(seed, "S1A_20241114143038056552", take, frames)


def whole(of: cadu.Channel) -> bytes:
    return cadu.read(of, 0, of.size)


@pytest.fixture(scope="module")
def both() -> list[bytes]:
    return [whole(channel(1)), whole(channel(2))]


def by_apid(data: bytes) -> dict[int, list[bytes]]:
    found: dict[int, list[bytes]] = defaultdict(list)
    for stream in downlink.packets(data).values():
        for packet in stream:
            found[downlink.apid(packet)].append(packet)
    return found


def merged(data: list[bytes], apid: int) -> list[bytes]:
    every = [packet for one in data for packet in by_apid(one)[apid]]
    return sorted(every, key=lambda packet: (downlink.time(packet), downlink.sequence(packet)))


# --- frames --------------------------------------------------------------------------------------------------------


def test_frame_headers(both: list[bytes]) -> None:
    for number, data in enumerate(both, start=1):
        found = downlink.frames(data)
        assert {(frame.version, frame.spacecraft) for frame in found} == {(1, 0x1A)}
        assert {frame.vcid for frame in found} == {number, 16 + number, 63}
        assert all(frame.pointer == 0x7FE for frame in found if frame.vcid == 63)


def test_each_virtual_channel_counts_its_own_frames_without_a_gap(both: list[bytes]) -> None:
    for data in both:
        counts: dict[int, list[int]] = defaultdict(list)
        for frame in downlink.frames(data):
            counts[frame.vcid].append(frame.count)
        for mine in counts.values():
            assert mine == [(mine[0] + n) % 2**24 for n in range(len(mine))]


def test_frame_counts_wrap_at_24_bits() -> None:
    of = channel(frames=40)
    first = downlink.frames(whole(of))[0].count
    cycles = (2**24 - first) // 309  # the cycle in which virtual channel 1 wraps
    late = channel(frames=(cycles + 1) * cadu.CYCLE_FRAMES)
    counts = [frame.count for frame in downlink.frames(cadu.cycle_bytes(late, cycles)) if frame.vcid == 1]
    assert max(counts) == 2**24 - 1
    assert min(counts) == 0


def test_every_code_block_is_eight_valid_codewords(both: list[bytes]) -> None:
    for data in both:
        # the first frames, an ancillary one, an idle one, the second cycle, the last
        for frame in (0, 1, 100, 311, 312, 400, FRAMES - 1):
            for codeword in downlink.codewords(data[frame * 2044 : (frame + 1) * 2044]):
                assert codec.check(codeword)


def test_idle_frames_are_those_that_are_not_counted_as_data(both: list[bytes]) -> None:
    for number, data in enumerate(both, start=1):
        assert sum(frame.vcid != 63 for frame in downlink.frames(data)) == cadu.data_frames(channel(number))


# --- ranges --------------------------------------------------------------------------------------------------------


def test_any_range_is_the_slice_of_the_whole(both: list[bytes]) -> None:
    of, data, chance = channel(1), both[0], random.Random(11)
    for _ in range(60):
        start, stop = sorted(chance.choices(range(of.size + 1), k=2))
        assert cadu.read(of, start, stop) == data[start:stop]
    assert cadu.read(of, 17, 17) == b""


def test_far_into_a_channel_of_full_size_costs_no_more() -> None:
    of = channel(frames=2_821_742)
    end = cadu.read(of, of.size - 2044, of.size)
    assert len(end) == 2044
    with pytest.raises(ValueError, match="octets"):
        cadu.read(of, of.size - 1, of.size + 1)


def test_bytes_depend_on_the_seed_and_on_nothing_else(both: list[bytes]) -> None:
    cadu.cycle_bytes.cache_clear()
    assert whole(channel(1)) == both[0]
    assert whole(channel(1, seed=6)) != both[0]
    assert both[0] != both[1]


@pytest.mark.parametrize("frames", [1, 9, 11, 100, 101, 102, 250, 309, 311, 312, 313, 333])
def test_a_channel_of_any_length_ends_with_a_whole_packet(frames: int) -> None:
    of = channel(frames=frames)
    found = by_apid(whole(of))  # asserts that the last packet of each virtual channel is whole
    assert (len(found[packets.SAR_APID]), len(found[packets.ANCILLARY_APID])) == cadu.packet_counts(of)
    sar, ancillary = (frames >= 11, frames > 100)
    assert bool(found[packets.SAR_APID]) is sar
    assert bool(found[packets.ANCILLARY_APID]) is ancillary


# --- packets -------------------------------------------------------------------------------------------------------


def test_packets_cross_frames_and_idle_packets_lie_between(both: list[bytes]) -> None:
    found = by_apid(both[0])
    assert set(found) == {packets.SAR_APID, packets.ANCILLARY_APID, packets.IDLE_APID}
    assert {len(packet) for packet in found[packets.SAR_APID]} == {708, 16_468, 17_668, 18_548}
    assert all(len(packet) % 4 == 0 for packet in found[packets.SAR_APID])
    assert {301, 44, 777} <= {len(packet) for packet in found[packets.IDLE_APID]}


@pytest.mark.parametrize("apid", [packets.SAR_APID, packets.ANCILLARY_APID])
def test_the_channels_merge_by_time_into_one_run_of_sequence_counts(both: list[bytes], apid: int) -> None:
    run = merged(both, apid)
    first = 16_000 if apid == packets.SAR_APID else 0
    pairs = len(by_apid(both[1])[apid])
    assert [downlink.sequence(packet) for packet in run[: 2 * pairs]] == [(first + n) % 2**14 for n in range(2 * pairs)]
    assert len({downlink.time(packet) for packet in run}) == len(run) // 2


def test_sequence_counts_wrap_at_14_bits() -> None:
    counts = [downlink.sequence(packet) for packet in by_apid(whole(channel(of=1, frames=312 * 12)))[packets.SAR_APID]]
    assert counts == [(16_000 + n) % 2**14 for n in range(34 * 12)]
    assert 0 in counts


def test_times_start_with_the_data_take_and_follow_the_pulse_interval(both: list[bytes]) -> None:
    times = [downlink.time(packet) for packet in by_apid(both[0])[packets.SAR_APID]]
    started = datetime(1980, 1, 6, tzinfo=UTC) + timedelta(seconds=times[0] / 2**16 - packets.LEAP_SECONDS)
    assert abs(started - SENSED) < timedelta(microseconds=20)
    steps = np.diff(times) / 2**16
    assert steps.min() > 0.000_57
    assert steps.max() < 0.000_71


def test_spacepackets_reads_the_primary_headers(both: list[bytes]) -> None:
    for stream in downlink.packets(both[0]).values():
        for packet in stream:
            header = SpacePacketHeader.unpack(packet)
            assert (header.ccsds_version, header.packet_type, header.seq_flags) == (0, 0, 3)
            assert (header.apid, header.seq_count) == (downlink.apid(packet), downlink.sequence(packet))
            assert header.data_len + 7 == len(packet)
            assert header.sec_header_flag is (header.apid != packets.IDLE_APID)


def test_ccsdspy_finds_no_packet_missing_in_the_merged_channels(both: list[bytes]) -> None:
    until_wrap = merged(both, packets.SAR_APID)[:120]
    table = ccsdspy.utils.read_primary_headers(io.BytesIO(b"".join(until_wrap)))  # would warn, and a warning fails
    assert (table["CCSDS_APID"] == packets.SAR_APID).all()
    assert (table["CCSDS_SEQUENCE_COUNT"] == np.arange(16_000, 16_120)).all()
    assert (table["CCSDS_PACKET_LENGTH"] == [len(packet) - 7 for packet in until_wrap]).all()


@pytest.mark.parametrize("number", [1, 2])
def test_sentinel1decoder_reads_the_headers_we_meant(
    both: list[bytes], number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # the decoder writes a log where it stands
    raw = tmp_path / "channel.dat"
    raw.write_bytes(b"".join(by_apid(both[number - 1])[packets.SAR_APID]))
    headers = Level0Decoder(str(raw)).decode_metadata()
    for name, values in (constant_fields(number) | running_fields(number, len(headers))).items():
        np.testing.assert_allclose(headers[name], np.asarray(values), err_msg=name)
    bandwidth = headers[names.TX_RAMP_RATE_FIELD_NAME] * headers[names.TX_PULSE_LEN_FIELD_NAME]
    np.testing.assert_allclose(headers[names.TX_PULSE_START_FREQ_FIELD_NAME], -bandwidth / 2, rtol=0.01)


def constant_fields(number: int) -> dict[str, Any]:
    return {
        names.PID_FIELD_NAME: 65,
        names.PCAT_FIELD_NAME: 12,
        names.SYNC_FIELD_NAME: 0x352EF853,
        names.DATA_TAKE_ID_FIELD_NAME: 452_417,
        names.ECC_NUM_FIELD_NAME: 8,
        names.RX_CHAN_ID_FIELD_NAME: number - 1,
        names.BAQ_MODE_FIELD_NAME: 0,
        names.RX_GAIN_FIELD_NAME: -4.0,
        names.POLARIZATION_FIELD_NAME: 7,
        names.ERROR_FLAG_FIELD_NAME: 0,
        names.INSTRUMENT_CONFIG_ID_FIELD_NAME: 7,
    }


def running_fields(number: int, count: int) -> dict[str, Any]:
    own = np.arange(count)
    overall = own * 2 + number - 1
    pulses = (packets.pulses() * 3)[:count]
    tick = 1 / names.F_REF
    return {
        names.PRI_COUNT_FIELD_NAME: own,
        names.SPACE_PACKET_COUNT_FIELD_NAME: overall,
        names.PACKET_SEQUENCE_COUNT_FIELD_NAME: (16_000 + overall) % 2**14,
        names.SUBCOM_ANC_DATA_WORD_INDEX_FIELD_NAME: overall % 64 + 1,
        names.NUM_QUADS_FIELD_NAME: [pulse.quads for pulse in pulses],
        names.SWATH_NUM_FIELD_NAME: [pulse.swath.number for pulse in pulses],
        names.SIGNAL_TYPE_FIELD_NAME: [pulse.signal for pulse in pulses],
        names.RANGE_DEC_FIELD_NAME: [pulse.swath.range_decimation for pulse in pulses],
        names.RANK_FIELD_NAME: [pulse.swath.rank for pulse in pulses],
        names.PRI_FIELD_NAME: [pulse.swath.interval_ticks * tick for pulse in pulses],
        names.SWST_FIELD_NAME: [pulse.swath.window_start_ticks * tick for pulse in pulses],
        names.SWL_FIELD_NAME: [pulse.swath.window_ticks * tick for pulse in pulses],
        names.TX_PULSE_LEN_FIELD_NAME: [pulse.swath.pulse_ticks * tick for pulse in pulses],
    }


def test_sentinel1decoder_decodes_the_echoes(
    both: list[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    raw = tmp_path / "raw.dat"
    raw.write_bytes(b"".join(by_apid(both[0])[packets.SAR_APID]))
    decoder = Level0Decoder(str(raw))
    headers = decoder.decode_metadata()
    for swath in packets.swaths():
        chosen = (headers[names.SWATH_NUM_FIELD_NAME] == swath.number) & (headers[names.SIGNAL_TYPE_FIELD_NAME] == 0)
        echoes = decoder.decode_packets(headers[chosen])
        assert echoes.shape[1] == 2 * swath.quads
        assert 60 < echoes.real.std() < 68
        assert 60 < echoes.imag.std() < 68
        assert abs(echoes.mean()) < 1


def test_the_sub_commutated_words_of_both_channels_give_the_orbit(
    both: list[bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    raw = tmp_path / "merged.dat"
    raw.write_bytes(b"".join(merged(both, packets.SAR_APID)))
    orbit = read_subcommed_data(Level0Decoder(str(raw)).decode_metadata())
    assert len(orbit) >= 2
    position = orbit[[names.X_POS_FIELD_NAME, names.Y_POS_FIELD_NAME, names.Z_POS_FIELD_NAME]].to_numpy()
    velocity = orbit[[names.X_VEL_FIELD_NAME, names.Y_VEL_FIELD_NAME, names.Z_VEL_FIELD_NAME]].to_numpy()
    elapsed = np.diff(orbit[names.POD_SOLN_DATA_TIMESTAMP_FIELD_NAME])[:, None]
    np.testing.assert_allclose(np.linalg.norm(position, axis=1), 7_070_990, rtol=1e-9)
    np.testing.assert_allclose(np.diff(position, axis=0), velocity[:-1] * elapsed, atol=0.1)
    assert abs(orbit[names.POD_SOLN_DATA_TIMESTAMP_FIELD_NAME][0] - packets.gps_time(SENSED) / 2**16) < 0.001


def test_ancillary_packets_carry_the_state_vector(both: list[bytes]) -> None:
    for packet in by_apid(both[1])[packets.ANCILLARY_APID]:
        vector = np.frombuffer(packet[12:60], ">f8")
        assert abs(np.linalg.norm(vector[:3]) - 7_070_990) < 1
        assert 7_000 < np.linalg.norm(vector[3:]) < 8_000
