"""The real session, as documented; its sizes at any scale; quality that agrees with the bytes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from rs_server.simulators import cadu, sessions
from rs_server.simulators.model import Entity, text, to_json
from tests.unit.simulators import downlink

REAL_SESSION = {
    "Id": "6894eb36-416e-469e-8788-9a0a2b8f3a8d",
    "SessionId": "S1A_20241114143038056552",
    "NumChannels": 2,
    "PublicationDate": "2024-11-14T14:31:11.032Z",
    "Satellite": "S1A",
    "StationUnitId": "04",
    "DownlinkOrbit": 56552,
    "AcquisitionId": "565521",
    "AntennaId": "TLR3",
    "FrontEndId": "DEM-KSPT-SENT-DFEP4",
    "Retransfer": False,
    "AntennaStatusOK": True,
    "FrontEndStatusOK": True,
    "PlannedDataStart": "2024-11-14T14:30:38.477Z",
    "PlannedDataStop": "2024-11-14T14:33:22.662Z",
    "DownlinkStart": "2024-11-14T14:30:44.018Z",
    "DownlinkStop": "2024-11-14T14:33:48.812Z",
    "DownlinkStatusOK": True,
    "DeliveryPushOK": True,
}
REAL_FILE = {
    "Id": "228b97bc-aa04-4036-8450-3106bc7684bb",
    "Name": "DCS_04_S1A_20241114143038056552_ch2_DSDB_00001.raw",
    "SessionId": "S1A_20241114143038056552",
    "Channel": 2,
    "BlockNumber": 1,
    "FinalBlock": False,
    "PublicationDate": "2024-11-14T14:31:26.576Z",
    "EvictionDate": "2024-11-21T14:30:00.000Z",
    "Size": 314571600,
    "Retransfer": False,
}


def built(scale: float) -> Entity:
    return sessions.build(sessions.real(), seed=1, scale=scale)


def sizes(files: Sequence[Entity], channel: int) -> list[int]:
    return [sessions.content(file.values).size for file in files if file.values["Channel"] == channel]


def test_the_real_session_is_as_documented() -> None:
    session = built(1.0)
    assert to_json(session) == REAL_SESSION
    assert list(to_json(session)) == list(REAL_SESSION)
    files = session.related["Files"]
    assert to_json(next(file for file in files if file.values["Channel"] == 2)) == REAL_FILE
    assert sizes(files, 1) == [314_571_600] * 18 + [105_351_848]
    assert sizes(files, 2) == [314_571_600] * 18 + [80_094_140]
    assert sum(sizes(files, 1) + sizes(files, 2)) == 11_510_023_588
    quality = to_json(session.related["QualityInfo"][0])
    assert (quality["AcquiredTFs"], quality["TotalChunks"], quality["TotalVolume"]) == (2_821_742, 19, 5_767_640_648)
    assert quality["DeliveryStart"] == "2024-11-14T14:31:26.646Z"
    assert quality["DeliveryStop"] == "2024-11-14T14:33:48.812Z"


def test_files_appear_in_order_while_the_pass_lasts() -> None:
    for channel in (1, 2):
        files = [file.values for file in built(0.002).related["Files"] if file.values["Channel"] == channel]
        assert [file["BlockNumber"] for file in files] == list(range(1, 20))
        assert [file["FinalBlock"] for file in files] == [False] * 18 + [True]
        published = [text(file["PublicationDate"]) for file in files if isinstance(file["PublicationDate"], datetime)]
        assert published == sorted(published)
        assert (published[0][:19], published[-1][:19]) == ("2024-11-14T14:31:26", "2024-11-14T14:33:48")


@pytest.mark.parametrize("scale", [1.0, 0.1234, 0.002, 0.0005, 1e-4, 1e-9])
def test_every_file_is_a_whole_number_of_cadus(scale: float) -> None:
    files = built(scale).related["Files"]
    for channel in (1, 2):
        assert all(size % 2044 == 0 and size >= 2044 for size in sizes(files, channel))


@pytest.mark.parametrize("scale", [0.0005, 1e-4, 1e-9])
def test_quality_agrees_with_the_bytes(scale: float) -> None:
    session = built(scale)
    for quality in session.related["QualityInfo"]:
        files = [file for file in session.related["Files"] if file.values["Channel"] == quality.values["Channel"]]
        data = b"".join(b"".join(one.read(0, one.size)) for one in (sessions.content(file.values) for file in files))
        frames = downlink.frames(data)
        assert quality.values["TotalVolume"] == len(data)
        assert quality.values["TotalChunks"] == len(files)
        assert quality.values["AcquiredTFs"] == len(frames)
        assert quality.values["DataTFs"] == sum(frame.vcid != 63 for frame in frames)
        downlink.packets(data)  # which asserts that packets run on from file to file


def test_a_file_is_its_stretch_of_the_channel() -> None:
    file = built(0.0005).related["Files"][20]
    content = sessions.content(file.values)
    whole = b"".join(content.read(0, content.size))
    assert b"".join(content.read(2045, 5000)) == whole[2045:5000]
    assert len(whole) == file.values["Size"] == 77 * cadu.CADU_SIZE


def test_another_session_after_the_model() -> None:
    plan = sessions.Plan("S1C", 4321, datetime(2026, 3, 1, 5, 6, 7, tzinfo=UTC), channels=1, chunks=1)
    session = sessions.build(plan, seed=1, scale=0.001)
    shown = to_json(session, expand=("Files",))
    assert shown["SessionId"] == "S1C_20260301050607004321"
    assert shown["NumChannels"] == 1
    (file,) = shown["Files"]
    assert file["Name"] == "DCS_04_S1C_20260301050607004321_ch1_DSDB_00001.raw"
    assert file["FinalBlock"] is True
    assert file["Id"] != REAL_FILE["Id"]


@pytest.mark.parametrize(
    ("moment", "orbit"),
    [
        ("2024-11-14T14:30:39Z", 56_552),
        ("2024-11-14T16:15:00Z", 56_553),
        ("2024-11-26T14:30:39Z", 56_727),
        ("1990-01-01T00:00:00Z", 1),
    ],
)
def test_orbits_count_on(moment: str, orbit: int) -> None:
    assert sessions.orbit_at(datetime.fromisoformat(moment)) == orbit
