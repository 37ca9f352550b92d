"""A simulated session's product, read by packages that have nothing to do with ours."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import ccsdspy.utils  # type: ignore[import-untyped]
import numpy as np
import pytest
import xarray as xr
from sentinel1decoder import Level0Decoder, constants
from spacepackets.ccsds.spacepacket import SpacePacketHeader  # type: ignore[import-untyped]

from rs_client.processing.product import Session
from rs_client.processing.quality import Told
from rs_client.processing.s1_l0 import INPUT, OUTPUT, SentinelOneLevelZero, cadu_block
from rs_server.simulators import cadu, packets, sessions

SCALE = 3e-4


@pytest.fixture(scope="module")
def product() -> xr.DataTree:
    """The real session's shape, its files some 46 frames long."""
    session = sessions.build(sessions.real(), seed=0, scale=SCALE)
    blocks = []
    for file in session.related["Files"]:
        content = sessions.content(file.values)
        octets = np.frombuffer(b"".join(content.read(0, content.size)), np.uint8)
        blocks.append(cadu_block(octets, int(str(file.values["Channel"])), int(str(file.values["BlockNumber"]))))
    told = tuple(Told.parse(one.values) for one in session.related["QualityInfo"])
    session_facts = Session(sessions.real().session_id, told=told)
    return SentinelOneLevelZero().run({INPUT: blocks}, name="L0", session=session_facts)[OUTPUT]


@pytest.fixture(scope="module", params=[packets.SAR_APID, packets.ANCILLARY_APID])
def group(product: xr.DataTree, request: pytest.FixtureRequest) -> xr.Dataset:
    return product[f"apid_{request.param:04d}"].to_dataset()


def bodies(group: xr.Dataset) -> list[bytes]:
    data, offset = group["data"].values, group["offset"].values
    return [data[start:stop].tobytes() for start, stop in pairwise(offset)]


def test_the_station_counted_the_same(product: xr.DataTree) -> None:
    assert product.attrs["quality"]["station"]["agrees"] is True


def test_every_packet_that_was_sent_is_there(product: xr.DataTree) -> None:
    plan = sessions.real()
    files = sessions.build(plan, seed=0, scale=SCALE).related["Files"]
    sent = [0, 0]
    for number in (1, 2):
        octets = sum(int(str(one.values["Size"])) for one in files if one.values["Channel"] == number)
        take = packets.DataTake(0, 1, number, 2)  # how many packets there are depends on the frames alone
        counts = cadu.packet_counts(cadu.Channel(0, plan.session_id, take, octets // cadu.CADU_SIZE))
        sent = [total + count for total, count in zip(sent, counts, strict=True)]
    assert [product[f"apid_{apid}"].sizes["packet"] for apid in (1052, 1054)] == sent
    frames, counted = product.attrs["quality"]["frames"], product.attrs["quality"]["packets"]
    assert (frames["bad"], frames["corrected"], frames["skipped_octets"]) == (0, 0, 0)
    assert (counted["interruptions"], counted["dropped_octets"]) == (0, 0)


# It tells of the one packet that the shorter channel did not send.
@pytest.mark.filterwarnings("ignore:Missing packets found:UserWarning")
def test_ccsdspy_cuts_the_octets_in_the_same_places(group: xr.Dataset, tmp_path: Path) -> None:
    path = tmp_path / "packets.bin"
    path.write_bytes(group["data"].values.tobytes())
    assert list(map(bytes, ccsdspy.utils.split_packet_bytes(str(path)))) == bodies(group)
    headers = ccsdspy.utils.read_primary_headers(str(path))
    assert np.array_equal(headers["CCSDS_SEQUENCE_COUNT"], group["sequence_count"].values)
    assert set(headers["CCSDS_APID"].tolist()) == {group.attrs["apid"]}


def test_spacepackets_reads_the_same_headers(group: xr.Dataset) -> None:
    for one, count in zip(bodies(group), group["sequence_count"].values.tolist(), strict=True):
        header = SpacePacketHeader.unpack(one)
        assert (header.apid, header.seq_count, header.packet_len) == (group.attrs["apid"], count, len(one))


def test_sentinel1decoder_reads_the_same_sar_packets(
    product: xr.DataTree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # it writes a log where it stands
    group = product["apid_1052"].to_dataset()
    path = tmp_path / "sar.dat"
    path.write_bytes(group["data"].values.tobytes())
    theirs = Level0Decoder(str(path)).decode_metadata()
    assert len(theirs) == group.sizes["packet"]
    for ours, name in (
        ("space_packet_count", constants.SPACE_PACKET_COUNT_FIELD_NAME),
        ("swath_number", constants.SWATH_NUM_FIELD_NAME),
        ("number_of_quads", constants.NUM_QUADS_FIELD_NAME),
        ("signal_type", constants.SIGNAL_TYPE_FIELD_NAME),
        ("pri", constants.PRI_FIELD_NAME),
        ("rx_channel_id", constants.RX_CHAN_ID_FIELD_NAME),
    ):
        np.testing.assert_allclose(group[ours].values, theirs[name].to_numpy(), rtol=1e-12, err_msg=ours)
