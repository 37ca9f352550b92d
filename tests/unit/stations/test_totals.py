"""A session is held against what its station says of each channel, however that is written, or not said yet."""

from typing import Any

import pytest

from rs_server.stations.kinds import KINDS
from rs_server.stations.totals import Totals, against, sizes_of

CADIP = KINDS["cadip"]
FILE = {"cadip:channel": 1, "file:size": 10}
ONE = {"assets": {"a": FILE, "b": FILE}}
BOTH = {"assets": {"a": FILE, "b": {**FILE, "cadip:channel": 2}, "index": {}}}
UNREADABLE = "what the station says of its files cannot be read: "


def held(item: dict[str, Any], told: list[dict[str, Any]] | None) -> Totals:
    """The files of an item, held against what is told."""
    return against(CADIP, sizes_of(CADIP, item), told)


@pytest.mark.parametrize(
    ("told", "doubt"),
    [
        ({"Channel": 1, "TotalChunks": 2, "TotalVolume": 20}, None),
        ({"Channel": 1, "TotalChunks": "2", "TotalVolume": "20"}, None),
        ({"Channel": "1", "TotalChunks": "2", "TotalVolume": "20"}, None),
        ({"Channel": 1}, None),
        ({"Channel": 1, "TotalChunks": 3}, "channel 1: 2 of 3 files"),
        ({"Channel": "1", "TotalChunks": "3"}, "channel 1: 2 of 3 files"),
        ({"Channel": 1, "TotalVolume": 21}, "channel 1: 20 of 21 bytes"),
        ({"Channel": 1, "TotalChunks": 3, "TotalVolume": 30}, "channel 1: 2 of 3 files; channel 1: 20 of 30 bytes"),
    ],
)
def test_what_a_station_says_of_a_session_is_held_against_its_files(told: dict[str, Any], doubt: str | None) -> None:
    assert held(ONE, [told]).doubt == doubt
    assert held(ONE, [told]).untold is None


@pytest.mark.parametrize(
    ("told", "why"),
    [
        ({"Channel": "one"}, "ValueError(\"invalid literal for int() with base 10: 'one'\")"),
        ({"TotalChunks": 2}, "KeyError('Channel')"),
        ({"Channel": 1, "TotalChunks": []}, "TypeError"),
        ({"Channel": float("inf")}, "OverflowError"),
    ],
)
def test_what_cannot_be_read_is_held_against_the_session(told: dict[str, Any], why: str) -> None:
    found = held(ONE, [told])
    assert (found.doubt or "").startswith(UNREADABLE + why)
    assert found.untold is None


def test_a_channel_of_which_there_is_no_file_is_missed() -> None:
    told = [{"Channel": 1, "TotalChunks": 2}, {"Channel": 2, "TotalChunks": 1}]
    assert held(ONE, told) == Totals(("channel 2: 0 of 1 files",))


@pytest.mark.parametrize(
    ("told", "untold"),
    [
        (None, None),
        ([], "no totals of channel 1 and 2 came"),
        ([{"Channel": "2"}], "no totals of channel 1 came"),
        ([{"Channel": 2}, {"Channel": 1}], None),
    ],
)
def test_what_a_station_does_not_say_yet(told: list[dict[str, Any]] | None, untold: str | None) -> None:
    assert held(BOTH, told) == Totals(untold=untold)


def test_a_difference_and_what_is_not_said_yet_are_both_told() -> None:
    assert held(BOTH, [{"Channel": 1, "TotalChunks": 2}]) == Totals(
        ("channel 1: 1 of 2 files",), "no totals of channel 2 came"
    )


def test_what_has_no_series_has_no_totals() -> None:
    auxip = KINDS["auxip"]
    assert sizes_of(auxip, ONE) == {}
    assert against(auxip, {}, [{"Channel": 1, "TotalChunks": 3}]) == Totals()
