"""A channel of files: what is missing between them, what came down twice, and what no partition may change."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import dask
import numpy as np
import pytest
import xarray as xr

from rs_client.processing import stores
from rs_client.processing.channel import Block, Channel, Segment, decode
from rs_client.processing.product import Session, assemble
from rs_client.processing.s1_l0 import INPUT, OUTPUT, SentinelOneLevelZero, cadu_block
from tests.unit.processing.decoding import assert_accounted, assert_same, decoded, found
from tests.unit.processing.downlink import Octets, VirtualChannel, cadus, packet
from tests.unit.processing.session import SAR, Small, small


def channel(number: int, files: dict[int, Octets]) -> Channel:
    return Channel(number, [Block(block, xr.Variable(("octet",), octets)) for block, octets in sorted(files.items())])


def frames(how_many: int = 12) -> tuple[list[bytes], list[bytes]]:
    sent = [packet(5, n, bytes([n]) * 1770) for n in range(how_many)]  # a packet a frame
    writer = VirtualChannel(1)
    writer.write(sent)
    assert len(writer.frames) == how_many
    return sent, writer.frames


def test_no_frame_reaches_over_a_missing_file() -> None:
    sent, made = frames()
    stream = cadus(made).reshape(-1)
    # Files are cut within frames 3 and 7; without the middle one, the pieces of both must not become one frame.
    cuts = [3 * 2044 + 1000, 7 * 2044 + 1000]
    first, _, third = np.split(stream, cuts)
    result = decode(channel(1, {1: first, 3: third}))
    assert result.channel.missing == [2]
    assert found(result) == {5: [*sent[:3], *sent[8:]]}
    assert result.frames.good == len(made) - 5
    assert result.frames.bad == 0
    assert result.frames.skipped_octets == 1000 + (2044 - 1000)
    assert result.packets.frames_missing == 5
    assert_accounted(result, first.size + third.size)


def test_files_that_follow_one_another_have_no_border() -> None:
    sent, made = frames()
    stream = cadus(made).reshape(-1)
    first, second, third = np.split(stream, [5000, 9000])
    result = decode(channel(1, {1: first, 2: second, 3: third}))
    assert result.channel.missing == []
    assert found(result) == {5: sent}


def test_segments_cover_the_channel_and_end_at_barriers() -> None:
    files = {1: np.zeros(50_000, np.uint8), 2: np.zeros(10_000, np.uint8), 5: np.zeros(30_001, np.uint8)}
    segments = channel(1, files).segments(20_000)
    assert segments == [
        Segment(0, 20_000, first=True, last=False),
        Segment(20_000, 40_000, first=False, last=False),
        Segment(40_000, 60_000, first=False, last=True),
        Segment(60_000, 80_000, first=True, last=False),
        Segment(80_000, 90_001, first=False, last=True),
    ]
    assert channel(1, {}).segments() == []


def test_a_slip_just_before_a_segment_moves_its_first_frame() -> None:
    _, made = frames(40)
    stream = cadus(made).reshape(-1)
    stream[20 * 2044 : 20 * 2044 + 4] = 0  # the marker is damaged where the second segment begins
    whole = decoded(stream)
    assert whole.frames.good == 40
    assert_same(decoded(stream, 20 * 2044), whole)


@pytest.fixture(scope="module")
def sent() -> Small:
    return small()


def product(channels: dict[int, Octets]) -> xr.DataTree:
    results = [decode(channel(number, {1: octets})) for number, octets in channels.items()]
    return assemble("NAME", Session("S"), results)


def bodies(tree: xr.DataTree, apid: int) -> list[bytes]:
    group = tree[f"apid_{apid:04d}"].to_dataset()
    data, offset = group["data"].values, group["offset"].values
    return [data[start:stop].tobytes() for start, stop in pairwise(offset)]


def test_packets_on_both_channels_stand_there_once(sent: Small) -> None:
    once = product({1: sent.channels[1]})
    twice = product({1: sent.channels[1], 2: sent.channels[1]})
    assert bodies(twice, SAR) == bodies(once, SAR)
    assert set(twice[f"apid_{SAR}"].to_dataset()["channel"].values.tolist()) == {1}
    count = twice.attrs["quality"]["groups"][f"apid_{SAR}"]
    assert (count["packets"], count["duplicates"]) == (30, 30)
    assert count["duplicate_octets"] == count["octets"]


def test_of_two_copies_the_whole_one_stays(sent: Small) -> None:
    spoiled = sent.channels[1].copy()
    frame = spoiled[4 * 2044 : 5 * 2044]
    frame[1000:1400] ^= 0xFF
    tree = product({1: spoiled, 2: sent.channels[1]})
    assert bodies(tree, SAR) == bodies(product({1: sent.channels[1]}), SAR)
    group = tree[f"apid_{SAR}"].to_dataset()
    assert not group["frame_uncorrectable"].values.any()
    assert {1, 2} == set(group["channel"].values.tolist())


def test_packets_that_only_look_alike_both_stay() -> None:
    alike = [packet(5, 7, bytes(6) + bytes([n]) * 50, timed=True) for n in (1, 2)]
    writer = VirtualChannel(1)
    writer.write(alike)
    tree = product({1: cadus(writer.frames).reshape(-1)})
    assert bodies(tree, 5) == alike
    assert tree.attrs["quality"]["groups"]["apid_0005"]["duplicates"] == 0


def test_data_takes_point_at_their_packets(sent: Small) -> None:
    group = product(sent.channels)[f"apid_{SAR}"]
    assert set(group.children) == {"take_0006E741_mode_00"}
    take = group["take_0006E741_mode_00"]
    assert take.to_dataset()["packet"].values.tolist() == list(range(60))
    assert take.attrs["octets"] == group["data"].size
    assert take.attrs["start_datetime"].startswith("2024-11-14T14:30:44")


def store(sent: Small, folder: Path, segment: int | None = None) -> dict[str, bytes]:
    """The bytes of a product, made in segments of some size."""
    blocks = [cadu_block(octets, *place) for place, octets in sent.files().items()]
    made = SentinelOneLevelZero().run({INPUT: blocks}, name="NAME", segment=segment)[OUTPUT]
    stores.write(made, folder.as_uri(), None)
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_product_is_the_same_whatever_the_segments_and_threads(sent: Small, tmp_path: Path) -> None:
    with dask.config.set(scheduler="synchronous"):
        expected = store(sent, tmp_path / "whole")
    assert len(expected) > 50
    for n, segment in enumerate((1, 30_011)):
        with dask.config.set(scheduler="threads", num_workers=1 + 3 * n):
            assert store(sent, tmp_path / str(n), segment=segment) == expected


def test_what_is_lazy_reads_only_what_it_needs(sent: Small) -> None:
    read: list[int] = []

    class Counting(Channel):
        def read(self, start: int, stop: int) -> Octets:
            read.append(stop - start)
            return super().read(start, stop)

    octets = xr.Variable(("octet",), sent.channels[1])
    tree = assemble("NAME", Session("S"), [decode(Counting(1, [Block(1, octets)]))])
    read.clear()
    assert tree[f"apid_{SAR}"]["time"].size == 30
    assert read == []
    assert tree["apid_1054"].to_dataset()["data"].values.size > 0
    assert sum(read) < sent.channels[1].size / 2
