"""The product holds every packet in order, what its headers say, and an account of every octet."""

from __future__ import annotations

import json
from itertools import pairwise

import numpy as np
import pytest
import xarray as xr

from rs_client.processing import packets as packet_rows
from rs_client.processing.errors import BadPayload, NothingFound
from rs_client.processing.product import Session
from rs_client.processing.s1_l0 import INPUT, OUTPUT, SentinelOneLevelZero, cadu_block
from tests.unit.processing.downlink import CADU, Octets, VirtualChannel, cadus, packet
from tests.unit.processing.session import ANCILLARY, SAR, Small, small

SESSION = Session("S1A_20241114143038056552", "sentinel-1a", "sentinel-1", 56552)


def make(files: dict[tuple[int, int], Octets]) -> xr.DataTree:
    blocks = [cadu_block(octets, *place) for place, octets in files.items()]
    return SentinelOneLevelZero().run({INPUT: blocks}, name="NAME", session=SESSION)[OUTPUT]


@pytest.fixture(scope="module")
def sent() -> Small:
    return small()


@pytest.fixture(scope="module")
def product(sent: Small) -> xr.DataTree:
    return make(sent.files())


def packets_in(product: xr.DataTree, apid: int) -> xr.Dataset:
    return product[f"apid_{apid:04d}"].to_dataset()


def cut_out(group: xr.Dataset) -> list[bytes]:
    data, offset = group["data"].values, group["offset"].values
    return [data[start:stop].tobytes() for start, stop in pairwise(offset)]


def test_both_channels_are_merged_by_time_then_sequence(sent: Small, product: xr.DataTree) -> None:
    assert set(product.children) == {"apid_1052", "apid_1054"}
    for apid, packets in sent.packets.items():
        group = packets_in(product, apid)
        assert cut_out(group) == packets
        assert group["channel"].values.tolist() == [1, 2] * (len(packets) // 2)
        assert np.all(np.diff(group["time"].values.astype(np.int64)) >= 0)
        for flag in ("out_of_sequence", "gap_before", "frame_corrected", "frame_uncorrectable"):
            assert not group[flag].values.any(), flag
    assert packets_in(product, SAR)["virtual_channel"].values[:4].tolist() == [1, 2, 1, 2]
    assert packets_in(product, ANCILLARY)["virtual_channel"].values[:4].tolist() == [17, 18, 17, 18]


def test_types_and_sizes_are_those_promised(sent: Small, product: xr.DataTree) -> None:
    group = packets_in(product, SAR)
    types = {"data": "uint8", "offset": "int64", "time": "datetime64[ns]", "sequence_count": "uint16"}
    types |= dict.fromkeys(("virtual_channel", "channel"), "uint8")
    types |= dict.fromkeys(("gap_before", "out_of_sequence", "frame_corrected", "frame_uncorrectable"), "bool")
    assert {name: str(group[name].dtype) for name in types} == types
    packets = len(sent.packets[SAR])
    assert (group.sizes["packet"], group.sizes["bound"]) == (packets, packets + 1)
    assert all(variable.attrs["long_name"] for variable in group.data_vars.values())


def test_header_fields_stand_in_sar_groups_alone(product: xr.DataTree) -> None:
    assert packets_in(product, SAR)["space_packet_count"].values.tolist() == list(range(60))
    assert packets_in(product, SAR)["swath_number"].values.tolist() == [10 + n % 3 for n in range(60)]
    assert packets_in(product, SAR)["pri"].attrs["units"] == "s"
    assert "swath_number" not in packets_in(product, ANCILLARY)


def test_a_missing_packet_puts_the_next_out_of_sequence(sent: Small) -> None:
    packets = [sent.packets[ANCILLARY][n] for n in (0, 1, 3, 4)]
    writer = VirtualChannel(17)
    writer.write(packets)
    group = packets_in(make({(1, 1): cadus(writer.frames).reshape(-1)}), ANCILLARY)
    assert group["out_of_sequence"].values.tolist() == [False, False, True, False]


def test_discovery(product: xr.DataTree) -> None:
    said = product.attrs["stac_discovery"]
    assert said["id"] == "NAME"
    properties = said["properties"]
    assert properties["platform"] == "sentinel-1a"
    assert properties["sat:absolute_orbit"] == 56552
    assert properties["product:type"] == "S1_L0"
    assert properties["processing:level"] == "L0"
    assert set(properties["processing:software"]) == {"rs-python", "eopf"}
    assert properties["eopf:datatake_id"] == "06E741"
    assert properties["start_datetime"] == "2024-11-14T14:30:44.000007Z"
    assert properties["end_datetime"] > properties["start_datetime"]
    assert all(value not in (None, "") for value in properties.values())
    json.dumps(product.attrs)


def test_quality_accounts_for_every_octet(sent: Small) -> None:
    files = sent.files()
    files[1, 2] = np.concatenate([files[1, 2], np.zeros(77, np.uint8)])
    files[2, 1] = files[2, 1].copy()
    files[2, 1][3 * CADU + 500 : 3 * CADU + 900] ^= 0x3C
    quality = make(files).attrs["quality"]
    assert quality["input_octets"] == sum(octets.size for octets in files.values())
    for account in (quality, *quality["channels"].values()):
        frames = account["frames"]
        whole = sum(frames[kind] for kind in ("good", "corrected", "bad", "fill"))
        assert account["input_octets"] == CADU * whole + frames["skipped_octets"]
    assert quality["channels"]["2"]["frames"]["bad"] == 1


@pytest.mark.parametrize("pieces", [1, 2, 11])
def test_the_same_octets_make_the_same_product(sent: Small, product: xr.DataTree, pieces: int) -> None:
    again = make(sent.files(pieces))
    for account in again.attrs["quality"]["channels"].values():
        assert account.pop("files") == pieces
        account["files"] = 3
    assert again.identical(product)


@pytest.mark.parametrize("sparse", [1, 1 << 40])
def test_octets_kept_are_those_read_again(sent: Small, sparse: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether the frames of a virtual channel are kept, or read and mended again, the packets are those sent."""
    monkeypatch.setattr(packet_rows, "SPARSE", sparse)
    files = {place: octets.copy() for place, octets in sent.files(1).items()}
    for octets in files.values():
        octets.reshape(-1, CADU)[:, 100:110] ^= 0xFF
    product = make(files)
    for apid in (SAR, ANCILLARY):
        group = packets_in(product, apid)
        assert cut_out(group) == sent.packets[apid]
        assert group["frame_corrected"].values.any()


def test_a_channel_alone_is_a_product_too(sent: Small) -> None:
    only = {place: octets for place, octets in sent.files().items() if place[0] == 2}
    group = packets_in(make(only), SAR)
    assert cut_out(group) == sent.packets[SAR][1::2]
    assert group["out_of_sequence"].values.tolist() == [False] + [True] * 29


def test_nothing_found() -> None:
    with pytest.raises(NothingFound, match="S1A_20241114143038056552 holds no space packet"):
        make({(1, 1): np.zeros(10_000, np.uint8)})


def test_blocks_may_come_in_any_order(sent: Small, product: xr.DataTree) -> None:
    assert make(dict(reversed(sent.files().items()))).identical(product)


def test_a_block_is_there_once(sent: Small) -> None:
    block = cadu_block(sent.channels[1], 1, 1)
    with pytest.raises(BadPayload, match="block 1 of channel 1 is there twice"):
        SentinelOneLevelZero().run({INPUT: [block, block]})


def test_packets_without_times_keep_their_order() -> None:
    packets = [packet(7, (16_382 + n) % (1 << 14), bytes([n]) * 50) for n in range(6)]
    writer = VirtualChannel(1)
    writer.write(packets)
    group = packets_in(make({(1, 1): cadus(writer.frames).reshape(-1)}), 7)
    assert cut_out(group) == packets
    assert np.isnat(group["time"].values).all()
    assert not group["out_of_sequence"].values.any()


def test_what_the_unit_tells_of_itself() -> None:
    unit = SentinelOneLevelZero("a")
    assert unit.get_mandatory_input_list() == ["cadu"]
    assert unit.get_mandatory_adf_list() == []
    assert unit.get_provided_output_list() == ["l0"]
    assert unit.get_available_modes() == ["default"]
