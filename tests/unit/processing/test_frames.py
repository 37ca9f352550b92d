"""Frames are found, verified and counted, whatever stands between them and however the octets are cut."""

from __future__ import annotations

import numpy as np
import pytest

from rs_client.processing.frames import (
    CADU_SIZE,
    ZONE_START,
    Coding,
    FrameCount,
    Frames,
    Lock,
    find_frames,
    pseudo_noise,
)
from rs_client.processing.reedsolomon import CORRECTED, UNCORRECTABLE, Basis, tables
from tests.unit.processing.decoding import assert_same, decoded
from tests.unit.processing.downlink import Octets, VirtualChannel, cadus, cut, idle_frame, random_packets

SEEDS = range(8)


def some_frames(generator: np.random.Generator, how_many: int = 30) -> list[bytes]:
    writer = VirtualChannel(3, counter=(1 << 24) - 5)
    writer.write(random_packets(generator, how_many))
    return writer.frames


def collect(stream: Octets, coding: Coding | None = None) -> tuple[Octets, Frames]:
    """The zones of all frames of a channel, and the frames."""
    octets = stream.copy()
    frames = find_frames(octets, Lock(), octets.size, last=True, coding=coding or Coding())
    return octets[frames.start[:, None] + np.arange(ZONE_START, ZONE_START + 1776)], frames


def expected_zones(frames: list[bytes]) -> Octets:
    return np.frombuffer(b"".join(one[8:] for one in frames), np.uint8).reshape(-1, 1776)


def test_frames_come_back() -> None:
    frames = some_frames(np.random.default_rng(0))
    zones, found = collect(cadus(frames).reshape(-1))
    assert np.array_equal(zones, expected_zones(frames))
    assert found.count == FrameCount(good=len(frames))
    assert found.counter.tolist() == [int.from_bytes(one[2:5]) for one in frames]
    assert set(found.virtual_channel.tolist()) == {3}


@pytest.mark.parametrize("seed", SEEDS)
def test_garbage_between_frames_is_skipped_and_counted(seed: int) -> None:
    generator = np.random.default_rng(seed)
    frames = some_frames(generator)
    sent, rubbish = [], 0
    for one in cadus(frames):
        if generator.random() < 0.3:
            piece = generator.integers(0, 256, int(generator.choice([1, 3, 2043, 2044, 2045, 9000])), np.uint8)
            # A whole CADU of garbage where one is due, before a good marker, would rightly count as a bad frame.
            piece = piece if piece.size != CADU_SIZE else piece[:-1]
            sent.append(piece)
            rubbish += piece.size
        sent.append(one)
    stream = np.concatenate(sent)
    zones, found = collect(stream)
    assert np.array_equal(zones, expected_zones(frames))
    assert found.count == FrameCount(good=len(frames), skipped_octets=rubbish)
    assert found.count.octets == stream.size


@pytest.mark.parametrize("seed", SEEDS)
def test_the_cut_never_changes_what_is_found(seed: int) -> None:
    generator = np.random.default_rng(seed)
    stream = cadus(some_frames(generator)).reshape(-1)
    for _ in range(40):  # slips, wrong octets, false markers, whole stretches gone
        at = int(generator.integers(0, stream.size - 3000))
        kind = generator.integers(0, 4)
        if kind == 0:
            stream = np.delete(stream, slice(at, at + int(generator.integers(1, 3000))))
        elif kind == 1:
            stream = np.insert(stream, at, generator.integers(0, 256, 100, np.uint8))
        elif kind == 2:
            stream[at : at + 4] = (0x1A, 0xCF, 0xFC, 0x1D)
        else:
            stream[at : at + 300] ^= 0xFF
    whole = decoded(stream)
    assert whole.frames.octets == stream.size
    for pieces in (2, 7, 60):
        assert_same(decoded(cut(stream, generator, pieces), int(generator.integers(1, 30_000))), whole)


def test_a_damaged_marker_between_good_ones_is_forgiven() -> None:
    frames = some_frames(np.random.default_rng(1))
    sent = cadus(frames)
    sent[5, :4] = 0
    zones, found = collect(sent.reshape(-1))
    assert found.count == FrameCount(good=len(frames))
    assert np.array_equal(zones, expected_zones(frames))


def test_a_frame_cut_short_costs_that_frame_alone() -> None:
    frames = some_frames(np.random.default_rng(2))
    sent = cadus(frames)
    stream = np.concatenate([sent[:7].reshape(-1), sent[7, :1500], sent[8:].reshape(-1)])
    zones, found = collect(stream)
    assert found.count == FrameCount(good=len(frames) - 1, skipped_octets=1500)
    assert np.array_equal(zones, np.delete(expected_zones(frames), 7, axis=0))


def test_octets_slipped_into_a_frame_cost_that_frame_alone() -> None:
    frames = some_frames(np.random.default_rng(3))
    stream = np.insert(cadus(frames).reshape(-1), 7 * CADU_SIZE + 900, [1, 2, 3])
    _, found = collect(stream)
    assert found.count == FrameCount(good=len(frames) - 1, bad=1, skipped_octets=3)


@pytest.mark.parametrize("where", [5, 8, 20, 100])
@pytest.mark.parametrize("frame", [7, -1])
def test_a_slip_is_not_mistaken_for_a_few_errors(where: int, frame: int) -> None:
    # Shifted by an octet or two, a codeword of this cyclic code is almost another one.
    frames = some_frames(np.random.default_rng(9))
    sent = list(cadus(frames))
    sent[frame] = np.insert(sent[frame], where, [0xAA, 0x55])
    _, found = collect(np.concatenate(sent))
    assert found.count == FrameCount(good=len(frames) - 1, bad=1, skipped_octets=2)
    assert not (found.fared == CORRECTED).any()


def test_a_truncated_last_file_leaves_its_last_frame() -> None:
    frames = some_frames(np.random.default_rng(4))
    stream = cadus(frames).reshape(-1)[:-700]
    _, found = collect(stream)
    assert found.count == FrameCount(good=len(frames) - 1, skipped_octets=CADU_SIZE - 700)


def test_idle_frames_are_counted_and_left() -> None:
    frames = some_frames(np.random.default_rng(5))
    mixed = [*frames[:4], idle_frame(0), idle_frame(1), *frames[4:], idle_frame(2)]
    zones, found = collect(cadus(mixed).reshape(-1))
    assert found.count == FrameCount(good=len(frames), fill=3)
    assert np.array_equal(zones, expected_zones(frames))


def test_mended_and_hopeless_frames_are_told_apart() -> None:
    frames = some_frames(np.random.default_rng(6))
    sent = cadus(frames)
    sent[2, 100:108] ^= 0x55
    sent[4, 200:500] ^= 0x55
    zones, found = collect(sent.reshape(-1))
    assert found.count == FrameCount(good=len(frames) - 2, corrected=1, bad=1)
    assert np.flatnonzero(found.fared == CORRECTED).tolist() == [2]
    assert np.flatnonzero(found.fared == UNCORRECTABLE).tolist() == [4]
    assert np.array_equal(np.delete(zones, 4, axis=0), np.delete(expected_zones(frames), 4, axis=0))


@pytest.mark.parametrize("size", [0, 1, 3, 4, 2043])
def test_less_than_a_frame_is_skipped(size: int) -> None:
    _, found = collect(cadus(some_frames(np.random.default_rng(7)))[0, :size])
    assert found.count == FrameCount(skipped_octets=size)


def test_nothing_but_noise_is_skipped() -> None:
    noise = np.random.default_rng(8).integers(0, 256, 500_000, np.uint8)
    _, found = collect(noise)
    assert found.count == FrameCount(skipped_octets=noise.size)


def test_the_pseudo_noise_is_that_of_the_standard() -> None:
    assert pseudo_noise()[:12].tobytes().hex() == "ff480ec09a0d70bc8e2c93ad"
    assert pseudo_noise().size == CADU_SIZE - 4
    assert np.array_equal(pseudo_noise()[255:510], pseudo_noise()[:255])


@pytest.mark.parametrize("randomised", [False, True])
@pytest.mark.parametrize("basis", Basis)
def test_what_stations_leave_in_the_frames(basis: Basis, randomised: bool) -> None:
    frames = some_frames(np.random.default_rng(7))
    sent = cadus(frames)
    expected = expected_zones(frames)
    if basis == Basis.CONVENTIONAL:  # the same codewords, every symbol in the other basis
        sent[:, 4:] = tables().from_dual[sent[:, 4:]]
        expected = tables().from_dual[expected]
    clean = sent.copy()
    if randomised:
        sent[:, 4:] ^= pseudo_noise()
    sent[3, 500:600] ^= 0x77
    zones, found = collect(sent.reshape(-1), Coding(basis, randomised=randomised))
    assert found.fared.tolist() == [CORRECTED if n == 3 else 0 for n in range(len(sent))]
    if basis == Basis.DUAL:
        assert np.array_equal(zones, expected)
    assert np.array_equal(zones, clean[:, ZONE_START : ZONE_START + 1776])


def test_the_pseudo_noise_is_a_codeword_that_only_the_version_gives_away() -> None:
    frames = some_frames(np.random.default_rng(7))
    sent = cadus(frames)
    sent[:, 4:] ^= pseudo_noise()
    _, found = collect(sent.reshape(-1))
    assert (found.count.good, found.count.foreign) == (len(frames), len(frames))
    assert collect(sent.reshape(-1), Coding(randomised=True))[1].count.foreign == 0


def test_frames_may_be_taken_as_they_are() -> None:
    frames = some_frames(np.random.default_rng(8))
    sent = cadus(frames)
    sent[3, 500:600] ^= 0x77
    zones, found = collect(sent.reshape(-1), Coding(verified=False))
    assert found.count == FrameCount(good=len(frames))
    assert np.flatnonzero((zones != expected_zones(frames)).any(axis=1)).tolist() == [3]
