"""Packets come back whole, in order and flagged, over frames and files, whatever frames are lost."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from tests.unit.processing.decoding import apid, assert_accounted, assert_same, by_apid, decoded, found, gaps
from tests.unit.processing.downlink import (
    IDLE_APID,
    ZONE,
    VirtualChannel,
    cadus,
    cut,
    idle_frame,
    packet,
    random_packets,
)

SEEDS = range(12)


@pytest.mark.parametrize("seed", SEEDS)
def test_packets_come_back_however_the_channel_is_cut(seed: int) -> None:
    generator = np.random.default_rng(seed)
    sent = random_packets(generator, 80)
    writer = VirtualChannel(1, counter=(1 << 24) - 10)
    writer.write(sent)
    stream = cadus(writer.frames).reshape(-1)
    result = decoded(cut(stream, generator, 1 + 3 * seed))
    assert found(result) == by_apid(sent)
    assert result.packets.interruptions == result.packets.frames_missing == result.packets.dropped_octets == 0
    assert_accounted(result, stream.size)


@pytest.mark.parametrize("seed", SEEDS)
def test_virtual_channels_do_not_disturb_one_another(seed: int) -> None:
    generator = np.random.default_rng(seed)
    writers, sent = [], []
    for number, apids in ((1, (10,)), (2, (20, 21)), (17, (30,))):
        packets = random_packets(generator, 30, apids)
        writer = VirtualChannel(number, counter=int(generator.integers(1 << 24)))
        writer.write(packets)
        writers.append(writer.frames)
        sent += packets
    mixed = []
    while any(writers):
        some = [frames for frames in writers if frames]
        mixed.append(some[int(generator.integers(len(some)))].pop(0))
        if generator.random() < 0.1:
            mixed.append(idle_frame(len(mixed)))
    result = decoded(cut(cadus(mixed).reshape(-1), generator, 3))
    assert found(result) == by_apid(sent)


@pytest.mark.parametrize("seed", SEEDS)
def test_lost_frames_cost_the_packets_in_them_and_flag_the_next(seed: int) -> None:
    generator = np.random.default_rng(seed)
    sent = random_packets(generator, 120)
    writer = VirtualChannel(1)
    writer.write(sent)
    lost = {int(n) for n in np.flatnonzero(generator.random(len(writer.frames)) < 0.06)}
    there = [one for n, one in enumerate(writer.frames) if n not in lost]
    stream = cadus(there).reshape(-1)
    result = decoded(cut(stream, generator, 5))
    survivors = [n for n in range(len(sent)) if not lost & set(range(writer.spans[n][0], writer.spans[n][1] + 1))]
    assert found(result) == by_apid([sent[n] for n in survivors])
    assert_accounted(result, stream.size)
    inner = range(min(set(range(len(writer.frames))) - lost), max(set(range(len(writer.frames))) - lost))
    assert result.packets.frames_missing == len(lost & set(inner))
    for number in found(result):
        own = [writer.spans[n] for n in survivors if apid(sent[n]) == number]
        lost_before = [any(before[1] < n < after[0] for n in lost) for before, after in itertools.pairwise(own)]
        assert gaps(result, number) == [False, *lost_before]


def test_packets_longer_than_many_frames_and_than_a_file() -> None:
    generator = np.random.default_rng(1)
    sent = [packet(5, n, generator.integers(0, 256, 65_536, np.uint8).tobytes()) for n in range(4)]
    writer = VirtualChannel(1)
    writer.write(sent)
    stream = cadus(writer.frames).reshape(-1)
    result = decoded(np.split(stream, np.arange(10_000, stream.size, 10_000)))
    assert found(result) == {5: sent}


def test_a_primary_header_may_lie_across_frames() -> None:
    for split in range(1, 6):
        sent = [packet(5, 0, bytes(ZONE - 6 - split)), packet(5, 1, bytes(100)), packet(5, 2, bytes(50))]
        writer = VirtualChannel(1)
        writer.write(sent)
        assert found(decoded([cadus(writer.frames).reshape(-1)])) == {5: sent}


def test_one_octet_packets() -> None:
    sent = [packet(5, n % (1 << 14), bytes([n % 256])) for n in range(5000)]
    writer = VirtualChannel(1)
    writer.write(sent)
    assert found(decoded([cadus(writer.frames).reshape(-1)])) == {5: sent}


def test_idle_packets_are_counted_and_left() -> None:
    sent = [packet(5, 0, bytes(10)), packet(IDLE_APID, 0, bytes(1760)), packet(5, 1, bytes(1760))]
    writer = VirtualChannel(1)
    writer.write(sent)
    result = decoded([cadus(writer.frames).reshape(-1)])
    assert found(result) == {5: [sent[0], sent[2]]}
    assert (result.packets.packets, result.packets.idle_packets) == (2, 2)
    assert result.packets.idle_octets == len(writer.frames) * ZONE - len(sent[0]) - len(sent[2])


def test_the_channel_may_begin_and_end_in_a_packet() -> None:
    sent = [packet(5, n, bytes([n]) * 5000) for n in range(6)]
    writer = VirtualChannel(1)
    writer.write(sent)
    stream = cadus(writer.frames[1:-2]).reshape(-1)
    result = decoded([stream])
    assert found(result) == {5: sent[1:5]}
    assert result.packets.interruptions == result.packets.frames_missing == 0
    assert gaps(result, 5) == [False] * 4
    assert_accounted(result, stream.size)


def test_a_packet_through_a_hopeless_frame_is_kept_and_flagged() -> None:
    sent = [packet(5, n, bytes([n]) * 5000) for n in range(3)]
    writer = VirtualChannel(1)
    writer.write(sent)
    damaged = cadus(writer.frames)
    assert writer.spans[1] == (2, 5)
    damaged[4, 100:600] ^= 0xFF  # carries nothing but the middle of the second packet
    result = decoded([damaged.reshape(-1)])
    kept = found(result)[5]
    assert [one[:6] for one in kept] == [one[:6] for one in sent]
    assert [one == other for one, other in zip(kept, sent, strict=True)] == [True, False, True]
    assert result.by_virtual_channel[1].packets.uncorrectable.tolist() == [False, True, False]
    assert_accounted(result, damaged.size)


def test_no_packet_header_is_read_from_a_hopeless_frame() -> None:
    sent = [packet(5, n, bytes([n]) * 5000) for n in range(4)]
    writer = VirtualChannel(1)
    writer.write(sent)
    damaged = cadus(writer.frames)
    assert writer.spans[2][0] == writer.spans[1][1] == 5
    damaged[5, 1000:1500] ^= 0xFF  # the second packet ends here, the third one begins
    result = decoded([damaged.reshape(-1)])
    assert [one[:4] for one in found(result)[5]] == [sent[n][:4] for n in (0, 1, 3)]
    assert result.by_virtual_channel[1].packets.uncorrectable.tolist() == [False, True, False]
    assert gaps(result, 5) == [False, False, True]
    assert_accounted(result, damaged.size)


def test_a_hopeless_frame_with_a_wrong_counter_is_not_placed() -> None:
    sent = [packet(5, n, bytes([n]) * 5000) for n in range(3)]
    writer = VirtualChannel(1)
    writer.write(sent)
    damaged = cadus(writer.frames)
    damaged[4, 4:600] ^= 0xFF
    result = decoded([damaged.reshape(-1)])
    assert found(result) == {5: [sent[0], sent[2]]}
    assert (result.packets.frames_unusable, result.packets.frames_missing) == (1, 1)
    assert_accounted(result, damaged.size)


def test_mended_frames_flag_their_packets() -> None:
    sent = [packet(5, n, bytes([n]) * 5000) for n in range(3)]
    writer = VirtualChannel(1)
    writer.write(sent)
    damaged = cadus(writer.frames)
    damaged[4, 100:120] ^= 0xFF
    result = decoded([damaged.reshape(-1)])
    assert found(result) == {5: sent}
    assert result.by_virtual_channel[1].packets.corrected.tolist() == [False, True, False]


def test_a_pointer_that_contradicts_a_packet_drops_it() -> None:
    sent = [packet(5, n, bytes([n]) * 5000) for n in range(4)]
    writer = VirtualChannel(1)
    writer.write(sent)
    lying = bytearray(writer.frames[2])
    lying[6:8] = (0x7FF).to_bytes(2)  # says that no packet starts, while the first one ends here
    writer.frames[2] = bytes(lying)
    stream = cadus(writer.frames).reshape(-1)
    result = decoded([stream])
    assert found(result) == {5: sent[2:]}
    assert result.packets.interruptions == 1
    assert_accounted(result, stream.size)


@pytest.mark.parametrize("seed", SEEDS)
def test_every_octet_is_accounted_for_whatever_happened(seed: int) -> None:
    generator = np.random.default_rng(seed)
    writer = VirtualChannel(1)
    writer.write(random_packets(generator, 100))
    sent = cadus(writer.frames)
    for n in np.flatnonzero(generator.random(len(sent)) < 0.2):
        at = int(generator.integers(0, 1900))
        sent[n, at : at + int(generator.integers(1, 400))] ^= 0xA5
    stream = sent.reshape(-1)
    for _ in range(6):
        at = int(generator.integers(0, stream.size - 5000))
        stream = np.delete(stream, slice(at, at + int(generator.integers(1, 5000))))
    whole = decoded(stream)
    assert_accounted(whole, stream.size)
    for pieces in (2, 9, 40):
        again = decoded(cut(stream, generator, pieces), int(generator.integers(1, 40_000)))
        assert found(again) == found(whole)
        assert_same(again, whole)


def test_nothing_in_nothing_out() -> None:
    result = decoded([])
    assert result.by_virtual_channel == {}
    assert result.frames.octets == 0
