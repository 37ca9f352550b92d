"""A session is held against what its station says of each channel, however that is written, or not said yet."""

from typing import Any

import pytest

from rs_server.staging.totals import Totals, against

FILE = {"cadip:channel": 1, "file:size": 10}
SESSION = {"assets": {"a": FILE, "b": FILE}}
UNREADABLE = "its quality record cannot be read: "


@pytest.mark.parametrize(
    ("told", "doubt"),
    [
        ({"Channel": 1, "TotalChunks": 2, "TotalVolume": 20}, None),
        ({"Channel": 1, "TotalChunks": "2", "TotalVolume": "20"}, None),
        ({"Channel": "1", "TotalChunks": "2", "TotalVolume": "20"}, None),
        ({"Channel": 1}, None),
        ({"Channel": 1, "TotalChunks": 3}, "channel 1 has 2 files, and its quality record says 3"),
        ({"Channel": "1", "TotalChunks": "3"}, "channel 1 has 2 files, and its quality record says 3"),
        ({"Channel": 1, "TotalVolume": 21}, "channel 1 has 20 bytes, and its quality record says 21"),
        ({"Channel": 2, "TotalChunks": 1}, "channel 2 has 0 files, and its quality record says 1"),
        ({"Channel": "one"}, f"{UNREADABLE}ValueError(\"invalid literal for int() with base 10: 'one'\")"),
        ({"TotalChunks": 2}, f"{UNREADABLE}KeyError('Channel')"),
        ({"Channel": 1, "TotalChunks": []}, f"{UNREADABLE}TypeError"),
    ],
)
def test_what_a_station_says_of_a_session_is_held_against_its_files(told: dict[str, Any], doubt: str | None) -> None:
    found = against(SESSION, [told])
    assert (found.doubt or "")[: len(doubt or "")] == (doubt or "")
    assert (found.doubt is None) == (doubt is None)
    assert found.untold is None


@pytest.mark.parametrize(
    ("told", "untold"),
    [
        (None, None),
        ([], "no quality record of channel 1 and 2 came"),
        ([{"Channel": "2"}], "no quality record of channel 1 came"),
        ([{"Channel": 2}, {"Channel": 1}], None),
    ],
)
def test_what_a_station_does_not_say_yet(told: list[dict[str, Any]] | None, untold: str | None) -> None:
    both = {"assets": {"a": FILE, "b": {**FILE, "cadip:channel": 2}, "index": {}}}
    assert against(both, told) == Totals(untold=untold)


def test_a_doubt_comes_before_what_is_not_said_yet() -> None:
    both = {"assets": {"a": FILE, "b": {**FILE, "cadip:channel": 2}}}
    assert against(both, [{"Channel": 1, "TotalChunks": 2}]).untold is None
