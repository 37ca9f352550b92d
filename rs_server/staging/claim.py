"""Whose turn it is: connections to stations are shared out fairly between users, then between the jobs of each."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from uuid import UUID, uuid4


@dataclass(frozen=True, slots=True)
class Line:
    """The files of one job that wait for one station."""

    job: UUID
    owner: str
    station: str
    priority: int


@dataclass(frozen=True, slots=True)
class Busy:
    """Connections in use for one job at one station."""

    job: UUID
    owner: str
    station: str
    connections: int


@dataclass(frozen=True, slots=True)
class Limits:
    """Most connections to a station, of one user among them, and of one file."""

    downloads: int
    user_downloads: int
    ranges: int = 1


SOON = timedelta(hours=6)  # files that their source takes away within this time are fetched before others
BEFORE_ALL = 101  # their priority: callers choose from 0 to 100
NO_STATION = Limits(64, 16)  # copies inside our own object storage


class _Use:
    """The connections in use, beside how many there may be."""

    def __init__(self, limits: Mapping[str, Limits], busy: Sequence[Busy]) -> None:
        self._limits = limits
        self._of_station, self._of_user = Counter[str](), Counter[tuple[str, str]]()
        for each in busy:
            self.take(each.station, each.owner, each.connections)

    def take(self, station: str, owner: str, connections: int = 1) -> None:
        self._of_station[station] += connections
        self._of_user[station, owner] += connections

    def may(self, station: str, owner: str) -> bool:
        """Whether a user may have one more; nobody may at a station without limits."""
        limit = self._limits.get(station)
        return (
            limit is not None
            and self._of_station[station] < limit.downloads
            and self._of_user[station, owner] < limit.user_downloads
        )


def choose(
    lines: Sequence[Line], busy: Sequence[Busy], limits: Mapping[str, Limits], free: int
) -> dict[tuple[UUID, str], int]:
    """How many connections each line gets, ``free`` at most; lines of a station without limits get none.

    The user with the fewest connections comes first; of one user's jobs those of the highest priority, and among equals
    the job with the fewest. So a user's share depends neither on how much she asked for nor on how urgent she calls it.
    """
    use, of_owner, of_job = _Use(limits, busy), Counter[str](), Counter[UUID]()
    given: Counter[tuple[UUID, str]] = Counter()
    for each in busy:
        of_owner[each.owner] += each.connections
        of_job[each.job] += each.connections
    possible = [line for line in lines if use.may(line.station, line.owner)]
    while possible and free > 0:
        line = min(possible, key=lambda line: (of_owner[line.owner], -line.priority, of_job[line.job]))
        given[line.job, line.station] += 1
        use.take(line.station, line.owner)
        of_owner[line.owner] += 1
        of_job[line.job] += 1
        free -= 1
        if not use.may(line.station, line.owner):
            possible = [line for line in possible if use.may(line.station, line.owner)]
    return dict(given)


def widened(running: Mapping[int, Busy], busy: Sequence[Busy], limits: Mapping[str, Limits], free: int) -> list[int]:
    """Which of the files under way (by id, with the connections of each) get one connection more, ``free`` at most.

    The narrowest come first. None has more connections than the station serves of one file.
    """
    use = _Use(limits, busy)
    chosen: list[int] = []
    for file, of in sorted(running.items(), key=lambda each: each[1].connections):
        if len(chosen) < free and use.may(of.station, of.owner) and of.connections < limits[of.station].ranges:
            chosen.append(file)
            use.take(of.station, of.owner)
    return chosen


SMALL_BYTES = 1024 * 1024
_BUNDLE_FILES = 6


@dataclass(frozen=True, slots=True)
class Lane:
    """Files that share a connection, one after the other; or one file that has ``width`` connections."""

    id: UUID
    files: tuple[int, ...]
    width: int = 1


def lanes(sizes: Mapping[int, int], connections: int, ranges: int, wide_from: int) -> list[Lane]:
    """Share waiting files (size by id, in order) out over connections.

    Small files share one, so that asking whose turn it is costs little. Where there are fewer files than connections,
    those of ``wide_from`` bytes or more get several, ``ranges`` at most.
    """
    small = [file for file, size in sizes.items() if size <= SMALL_BYTES]
    each = min(_BUNDLE_FILES, max(1, -(-len(small) // connections)))
    groups = [tuple(small[at : at + each]) for at in range(0, len(small), each)]
    groups += [(file,) for file, size in sizes.items() if size > SMALL_BYTES]
    groups = sorted(groups, key=lambda group: list(sizes).index(group[0]))[:connections]
    widths = dict.fromkeys(groups, 1)
    wide = [group for group in groups if sizes[group[0]] >= wide_from]
    for at in range(connections - len(groups)):
        group = wide[at % len(wide)] if wide else None
        if group and widths[group] < ranges:
            widths[group] += 1
    return [Lane(uuid4(), group, widths[group]) for group in groups]


def candidates(connections: int) -> int:
    """How many waiting files are worth looking at, to share that many connections out."""
    return connections * _BUNDLE_FILES


def lines_of_user(limits: Mapping[str, Limits], free: int) -> int:
    """How many lines of each user at each station are worth looking at, to share ``free`` connections out.

    All those that have connections already may come before the one whose turn it is.
    """
    return free + max((limit.user_downloads for limit in limits.values()), default=0)
