"""The account of a product against what the station counted."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from rs_client.processing.channel import Decoded, decode, in_memory
from rs_client.processing.quality import GroupCount, Told, report
from tests.unit.processing.downlink import VirtualChannel, cadus, idle_frame, packet


def made() -> Decoded:
    """Twelve frames: one idle, one mended, one hopeless; and seven octets before them."""
    writer = VirtualChannel(1)
    writer.write([packet(5, n, bytes(1770)) for n in range(11)])
    sent = cadus([*writer.frames, idle_frame(0)])
    sent[2, 100:110] ^= 0x55
    sent[5, 100:900] ^= 0x55
    sent[11, 100:110] ^= 0x55
    return decode(in_memory(1, np.append(np.zeros(7, np.uint8), sent.reshape(-1))))


SAID: dict[str, Any] = {
    "Channel": 1,
    "SessionId": "S",
    "AcquiredTFs": 12,
    "ErrorTFs": 3,
    "CorrectedTFs": 2,
    "UncorrectableTFs": 1,
    "DataTFs": 11,
    "ErrorDataTFs": 2,
    "CorrectedDataTFs": 1,
    "UncorrectableDataTFs": 1,
    "TotalChunks": 1,
    "TotalVolume": 12 * 2044 + 7,
}


def test_the_same_is_counted() -> None:
    station = report([made()], {}, [Told.parse(SAID)])["station"]
    assert station["agrees"] is True
    assert set(station["channels"]["1"]) == {
        "acquired_frames",
        "error_frames",
        "corrected_frames",
        "uncorrectable_frames",
        "data_frames",
        "error_data_frames",
        "corrected_data_frames",
        "uncorrectable_data_frames",
        "files",
        "octets",
    }


@pytest.mark.parametrize(
    ("change", "name", "difference"),
    [
        ({"AcquiredTFs": 13}, "acquired_frames", -1),
        ({"TotalVolume": 12 * 2044}, "octets", 7),
        ({"TotalChunks": 2}, "files", -1),
        ({"ErrorTFs": 0}, "error_frames", 3),
        ({"ErrorDataTFs": 3}, "error_data_frames", -1),
        ({"CorrectedDataTFs": 2}, "corrected_data_frames", -1),
        ({"UncorrectableDataTFs": 0}, "uncorrectable_data_frames", 1),
    ],
)
def test_every_difference_is_told(change: dict[str, Any], name: str, difference: int) -> None:
    station = report([made()], {}, [Told.parse({**SAID, **change})])["station"]
    assert station["agrees"] is False
    rows = station["channels"]["1"]
    assert {one: row["difference"] for one, row in rows.items() if row["difference"]} == {name: difference}


def test_channels_of_one_side_alone_are_no_agreement() -> None:
    unheard = report([made()], {}, [Told.parse(SAID), Told(channel=2, acquired_frames=4)])["station"]
    assert unheard["agrees"] is False
    assert unheard["channels"]["2"]["acquired_frames"] == {"station": 4, "found": 0, "difference": -4}
    untold = report([made()], {}, [Told(channel=2)])["station"]
    assert (untold["agrees"], untold["not_told"]) == (False, [1])


def test_without_a_word_of_the_station_there_is_no_comparison() -> None:
    account = report([made()], {"apid_0005": GroupCount(10, 100)})
    assert "station" not in account
    assert account["groups"]["apid_0005"]["octets"] == 100
    assert account["channels"]["1"]["files"] == 1
