"""Auxiliary files are chosen by the rules of the task table, whatever a search answers."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rs_client.processing.tasktable import Adf, Select
from rs_server.dpr.selection import Span, ask, best, moment, span, why
from rs_server.errors import BadInput
from tests.unit.dpr.session import adf, item

AROUND = span([item()])
EARLY = adf("AUX_RESORB", "11-14T09:58:21", "11-14T13:15:51", "11-14T13:44:02")
COVERS = adf("AUX_RESORB", "11-14T11:36:55", "11-14T14:54:25", "11-14T15:32:35")
NEWER = adf("AUX_RESORB", "11-14T13:15:41", "11-14T16:33:11", "11-14T17:02:36")
PARTLY = adf("AUX_RESORB", "11-14T14:31:00", "11-14T17:00:00", "11-14T19:00:00")
OTHER_TYPE = adf("AUX_POEORB", "11-13T00:00:00", "11-16T00:00:00", "11-20T00:00:00")
OTHER_PLATFORM = {**NEWER, "properties": {**NEWER["properties"], "platform": "sentinel-1b"}}


def asked(select: Select = Select.LATEST_VALID, margin_s: tuple[float, float] = (0, 0)) -> Any:
    return ask(Adf(title="Orbit", product_type="AUX_RESORB", select=select, margin_s=margin_s), AROUND)


@pytest.mark.parametrize(
    ("select", "margin_s", "found", "chosen"),
    [
        (Select.LATEST_VALID, (0, 0), [EARLY, COVERS, NEWER, PARTLY], NEWER),
        (Select.LATEST_VALID, (0, 0), [EARLY, COVERS, PARTLY], COVERS),
        (Select.LATEST_VALID, (4600, 0), [COVERS, NEWER], COVERS),  # NEWER begins 75 minutes before the session
        (Select.LATEST_VALID, (0, 1300), [COVERS, NEWER], NEWER),
        (Select.LATEST_VALID, (0, 0), [EARLY, PARTLY, OTHER_TYPE, OTHER_PLATFORM], None),
        (Select.LATEST_CREATED, (0, 0), [COVERS, PARTLY, NEWER], PARTLY),
        (Select.CLOSEST, (0, 0), [EARLY, COVERS, NEWER, PARTLY], NEWER),
        (Select.LATEST_VALID, (0, 0), [], None),
    ],
)
def test_the_rules(select: Select, margin_s: tuple[float, float], found: list[Any], chosen: Any) -> None:
    assert best(asked(select, margin_s), found) == chosen


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(0, 23), st.integers(0, 23), st.integers(10, 28)),
        max_size=8,
        unique_by=lambda each: each[2],
    )
)
def test_the_latest_valid_is_what_brute_force_finds(files: list[tuple[int, int, int]]) -> None:
    found = [
        adf("AUX_RESORB", f"11-14T{begin:02}:00:00", f"11-14T{end:02}:59:59", f"11-{day}T00:00:00")
        for begin, end, day in files
    ]
    covering = [day for begin, end, day in files if begin <= 14 <= end]
    chosen = best(asked(), found)
    assert (chosen and moment(chosen["properties"]["created"]).day) == (max(covering) if covering else None)


def test_the_choice_is_explained() -> None:
    told = why(asked(), NEWER, 2)
    assert told.startswith("latest-valid: the newest of those that are valid all the while; one of 2 that fit")
    assert NEWER["properties"]["created"] in told


def test_quotes_in_values_stay_values() -> None:
    adf_ = Adf(title="x", product_type="A' OR platform <> '")
    found = ask(adf_, Span(AROUND.start, AROUND.end, "sentinel-1a"))
    assert best(found, [NEWER]) is None


def test_a_span_needs_a_time_and_one_platform() -> None:
    later = {**item(), "properties": {**item()["properties"], "end_datetime": "2024-11-14T15:00:00Z"}}
    assert span([item(), later]).end == moment("2024-11-14T15:00:00Z")
    with pytest.raises(BadInput, match="does not tell when"):
        span([{"id": "x", "properties": {"platform": "sentinel-1a"}}])
    with pytest.raises(BadInput, match="not of one platform: sentinel-1a, sentinel-1c"):
        span([item(), {**item(), "properties": {**item()["properties"], "platform": "sentinel-1c"}}])
