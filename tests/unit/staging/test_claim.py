"""Whose turn it is: fair between users, bounded by station and user, and no connection idle that somebody may have."""

from collections import Counter
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rs_server.staging.claim import Busy, Limits, Line, choose, lanes, widened

OPEN = Limits(100, 100)


def line(job: int, owner: str, station: str = "sgs", priority: int = 50) -> Line:
    return Line(UUID(int=job), owner, station, priority)


def busy(job: int, owner: str, connections: int, station: str = "sgs") -> Busy:
    return Busy(UUID(int=job), owner, station, connections)


@pytest.mark.parametrize(
    ("lines", "at_work", "limits", "free", "given"),
    [
        pytest.param([], [], OPEN, 4, {}, id="nobody waits"),
        pytest.param([line(1, "a")], [], OPEN, 4, {1: 4}, id="alone"),
        pytest.param([line(1, "a")], [], Limits(2, 9), 4, {1: 2}, id="the station's limit"),
        pytest.param([line(1, "a"), line(2, "b")], [], Limits(9, 1), 4, {1: 1, 2: 1}, id="the user's limit"),
        pytest.param([line(1, "a"), line(2, "b")], [], OPEN, 4, {1: 2, 2: 2}, id="two users"),
        pytest.param([line(n, "a") for n in (1, 2, 3)] + [line(4, "b")], [], OPEN, 4, {1: 1, 2: 1, 4: 2}, id="by user"),
        pytest.param([line(1, "a"), line(2, "b")], [busy(1, "a", 4)], OPEN, 4, {2: 4}, id="who has none comes first"),
        pytest.param([line(1, "a"), line(2, "a", priority=90)], [], OPEN, 2, {2: 2}, id="one's own priorities"),
        pytest.param([line(1, "a", priority=90), line(2, "b")], [], OPEN, 2, {1: 1, 2: 1}, id="not over others"),
        pytest.param([line(1, "a"), line(2, "a")], [busy(1, "a", 3)], OPEN, 2, {2: 2}, id="a small job of one's own"),
        pytest.param([line(1, "a", "mti")], [], OPEN, 2, {}, id="a closed station"),
    ],
)
def test_shares(lines: list[Line], at_work: list[Busy], limits: Limits, free: int, given: dict[int, int]) -> None:
    chosen = choose(lines, at_work, {"sgs": limits}, free)
    assert {job.int: number for (job, _), number in chosen.items()} == given


@given(
    st.lists(
        st.tuples(st.integers(1, 9), st.sampled_from("abc"), st.sampled_from(["x", "y"])), unique=True, max_size=12
    ),
    st.integers(0, 12),
    st.integers(1, 8),
    st.integers(1, 4),
)
@settings(max_examples=60, deadline=None)
def test_limits_hold_and_nothing_is_left_idle(
    waiting: list[tuple[int, str, str]], free: int, most: int, of_user: int
) -> None:
    lines = [line(ord(owner) * 100 + job, owner, station) for job, owner, station in waiting]
    limits = {"x": Limits(most, of_user), "y": Limits(2, 2)}
    chosen = choose(lines, [], limits, free)
    owner_of = {each.job: each.owner for each in lines}
    used, users = Counter[str](), Counter[tuple[str, str]]()
    for (job, station), number in chosen.items():
        used[station] += number
        users[station, owner_of[job]] += number
    assert used.total() <= free
    assert all(number <= limits[station].downloads for station, number in used.items())
    assert all(number <= limits[station].user_downloads for (station, _), number in users.items())
    idle = free - used.total()
    could = any(
        used[each.station] < limits[each.station].downloads
        and users[each.station, each.owner] < limits[each.station].user_downloads
        for each in lines
    )
    assert not (idle and could)


MB = 1024 * 1024


@pytest.mark.parametrize(
    ("sizes", "connections", "shape"),
    [
        ([], 4, []),
        ([50 * MB], 4, [(1, 3)]),
        ([50 * MB, 50 * MB], 4, [(1, 2), (1, 2)]),
        ([5 * MB], 4, [(1, 1)]),
        ([50 * MB] * 9, 4, [(1, 1)] * 4),
        ([1000] * 64, 4, [(6, 1)] * 4),
        ([1000] * 6, 4, [(2, 1)] * 3),
        ([1000] * 2 + [50 * MB], 2, [(1, 1), (1, 1)]),
    ],
)
def test_small_files_share_a_connection_and_a_large_one_has_several(
    sizes: list[int], connections: int, shape: list[tuple[int, int]]
) -> None:
    made = lanes(dict(enumerate(sizes)), connections, 3, 32 * MB)
    assert [(len(lane.files), lane.width) for lane in made] == shape
    files = [file for lane in made for file in lane.files]
    assert len(files) == len(set(files))


@pytest.mark.parametrize(
    ("running", "free", "more"),
    [
        ({}, 4, []),
        ({1: 1}, 4, [1]),
        ({1: 2, 2: 1}, 1, [2]),
        ({1: 2, 2: 1}, 4, [2]),  # the station serves four at a time
        ({1: 3}, 4, []),  # and three of one file
        ({1: 1, 2: 1}, 4, [1, 2]),
        ({1: 1, 2: 1}, 0, []),
    ],
)
def test_files_under_way_get_the_connections_that_nobody_waits_for(
    running: dict[int, int], free: int, more: list[int]
) -> None:
    busy = {file: Busy(UUID(int=file), "ann", "x", connections) for file, connections in running.items()}
    assert widened(busy, list(busy.values()), {"x": Limits(4, 4, 3)}, free) == more
    assert widened(busy, list(busy.values()), {"x": Limits(4, sum(running.values()), 3)}, free) == []
    assert widened(busy, list(busy.values()), {}, free) == []
