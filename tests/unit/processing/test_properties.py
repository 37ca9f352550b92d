"""Whatever is sent and whatever is lost: the packets that are whole come back, and gaps are where they are."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rs_client.processing import reedsolomon
from rs_client.processing.reedsolomon import CLEAN, CORRECTED, UNCORRECTABLE
from tests.unit.processing.decoding import apid, assert_accounted, assert_same, by_apid, decoded, found, gaps
from tests.unit.processing.downlink import IDLE_APID, ZONE, Octets, VirtualChannel, cadus, cut, packet

bounded = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.too_slow], database=None)

sizes = st.one_of(
    st.integers(1, 40),
    st.sampled_from([ZONE - 8, ZONE - 7, ZONE - 6, ZONE - 5, 2 * ZONE - 6]),
    st.integers(1, 7000),
    st.just(65_536),
)
seeds = st.integers(0, 2**32 - 1)


@dataclass(frozen=True)
class Sent:
    """One virtual channel: its packets, and its frames."""

    packets: list[bytes]
    writer: VirtualChannel


@st.composite
def channels(draw: st.DrawFn, number: int = 1) -> Sent:
    """A random row of packets of three APIDs and idle ones, and the frames they are sent in."""
    rows = draw(st.lists(st.tuples(st.sampled_from([10, 20, 30, IDLE_APID]), sizes), min_size=1, max_size=25))
    generator = np.random.default_rng(draw(seeds))
    packets = [
        packet(one, n % (1 << 14), generator.integers(0, 256, size, np.uint8).tobytes())
        for n, (one, size) in enumerate(rows)
    ]
    writer = VirtualChannel(number, counter=draw(st.sampled_from([0, 5, (1 << 24) - 3])))
    writer.write(packets)
    return Sent(packets, writer)


@bounded
@given(sent=channels(), seed=seeds, size=st.integers(1, 300_000))
def test_packets_come_back(sent: Sent, seed: int, size: int) -> None:
    generator = np.random.default_rng(seed)
    stream = cadus(sent.writer.frames).reshape(-1)
    result = decoded(cut(stream, generator, int(generator.integers(1, 9))), size)
    assert found(result) == by_apid(sent.packets)
    assert_accounted(result, stream.size)


@bounded
@given(sent=channels(), loss=st.floats(0, 0.5), seed=seeds, size=st.integers(1, 300_000))
def test_under_loss_the_survivors_come_back_with_exact_gaps(sent: Sent, loss: float, seed: int, size: int) -> None:
    generator = np.random.default_rng(seed)
    lost = set(np.flatnonzero(generator.random(len(sent.writer.frames)) < loss).tolist())
    there = [one for n, one in enumerate(sent.writer.frames) if n not in lost]
    stream = cadus(there).reshape(-1)
    result = decoded(stream, size)
    whole = [n for n, (first, last) in enumerate(sent.writer.spans) if not lost & set(range(first, last + 1))]
    whole = [n for n in whole if n < len(sent.packets)]  # the last one fills up the last frame
    assert found(result) == by_apid([sent.packets[n] for n in whole])
    for number in found(result):
        spans = [sent.writer.spans[n] for n in whole if apid(sent.packets[n]) == number]
        expected = [any(before[1] < n < after[0] for n in lost) for before, after in pairwise(spans)]
        assert gaps(result, number) == [False, *expected]
    assert_accounted(result, stream.size)


@bounded
@given(sent=st.tuples(channels(1), channels(2)), seed=seeds)
def test_no_partition_changes_anything_whatever_happened(sent: tuple[Sent, Sent], seed: int) -> None:
    generator = np.random.default_rng(seed)
    stream = _disturbed(_mixed(sent, generator), generator)
    whole = decoded(stream)
    assert_accounted(whole, stream.size)
    for _ in range(3):
        pieces = cut(stream, generator, int(generator.integers(1, 20)))
        assert_same(decoded(pieces, int(generator.integers(1, 80_000))), whole)


def _mixed(sent: tuple[Sent, Sent], generator: np.random.Generator) -> Octets:
    """Frames of both virtual channels in random turns."""
    rows = [list(one.writer.frames) for one in sent]
    frames = []
    while any(rows):
        some = [row for row in rows if row]
        frames.append(some[int(generator.integers(len(some)))].pop(0))
    return cadus(frames).reshape(-1)


def _disturbed(stream: Octets, generator: np.random.Generator) -> Octets:
    """Octets lost, added and changed, false markers among them."""
    for _ in range(int(generator.integers(0, 12))):
        at, kind = int(generator.integers(0, max(1, stream.size))), int(generator.integers(0, 4))
        many = int(generator.integers(1, 3000))
        if kind == 0:
            stream = np.delete(stream, slice(at, at + many))
        elif kind == 1:
            stream = np.insert(stream, at, generator.integers(0, 256, many, np.uint8))
        elif kind == 2:
            stream = np.insert(stream, at, np.frombuffer(b"\x1a\xcf\xfc\x1d", np.uint8))
        else:
            stream[at : at + many] ^= generator.integers(1, 256, dtype=np.uint8)
    return stream


@bounded
@given(errors=st.lists(st.integers(0, 24), min_size=8, max_size=8), seed=seeds)
def test_sixteen_errors_are_mended_and_more_are_told(errors: list[int], seed: int) -> None:
    generator = np.random.default_rng(seed)
    sent = cadus([packet(5, 0, bytes(1778))])[0, 4:]
    received = sent.copy()
    for lane, many in enumerate(errors):
        for place in generator.choice(255, many, replace=False):
            received[place * 8 + lane] ^= generator.integers(1, 256, dtype=np.uint8)
    fared = reedsolomon.repair(received, np.zeros(1, np.int64), np.zeros(1, np.bool_)).tolist()
    if max(errors) <= reedsolomon.CORRECTABLE:
        assert fared == [CORRECTED if any(errors) else CLEAN]
        assert np.array_equal(received, sent)
    else:
        # Random words beyond the code's reach lie near another codeword once in 16! ≈ 2·10¹³ cases.
        assert fared == [UNCORRECTABLE]


@bounded
@given(start=st.integers(0, 2039), length=st.integers(1, 128), seed=seeds)
def test_bursts_over_128_octets_are_mended_wherever_they_fall(start: int, length: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    sent = cadus([packet(5, 0, generator.integers(0, 256, 1778, np.uint8).tobytes())])[0, 4:]
    received = sent.copy()
    burst = received[start : start + length]
    burst ^= generator.integers(1, 256, burst.size, np.uint8)
    fared = reedsolomon.repair(received, np.zeros(1, np.int64), np.zeros(1, np.bool_))
    assert fared.tolist() == [CORRECTED]
    assert np.array_equal(received, sent)
