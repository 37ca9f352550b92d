"""Rows of several sources as one sequence, in the order of some sort keys, each source going on from where it was left.

Every source gives its rows in that order, so the first of each decide which is next. A page remembers for each source
the last row that was taken from it; a page further on costs what the first one costs, and so does the one before it.
"""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cmp_to_key
from itertools import islice
from typing import Any

from rs_server.stations.odata import compared

Position = Sequence[Any]  # a place in a source, in the types of JSON; only the source reads it


@dataclass(frozen=True, slots=True)
class Hit:
    """A row of a source: its values of the sort keys, the place after it, and what its item is made of.

    The values of one key compare with each other, whatever source they come from; None is no value.
    """

    source: str
    values: tuple[Any, ...]
    position: Position
    row: Any


class Side(StrEnum):
    """On which side of a place rows are wanted."""

    AFTER = "after"
    BEFORE = "before"
    UP_TO = "up to"  # before it, and the row there as well


Start = tuple[Side, Position]


@dataclass(frozen=True, slots=True)
class Places:
    """Where each source was left before a page, and which ones were left out because they failed.

    With ``back``, the page before that one is wanted: from there backwards, of the sources that have rows before it.
    """

    at: Mapping[str, Position] = field(default_factory=dict)
    failed: frozenset[str] = frozenset()
    back: Mapping[str, Start] | None = None

    def start(self, source: str) -> Start | None:
        """From where on a source is asked; None: from its first row on."""
        if self.back is not None:
            return self.back[source]
        return (Side.AFTER, self.at[source]) if source in self.at else None

    def asks(self, source: str) -> bool:
        """Whether a source may have something to say."""
        return source not in self.failed and (self.back is None or source in self.back)

    def around(self, found: Mapping[str, Sequence[Hit]], taken: Sequence[Hit], failed: frozenset[str]) -> Around:
        """The places of the pages beside this one."""
        failed = self.failed | failed
        number = Counter(hit.source for hit in taken)
        more = any(len(rows) > number[name] for name, rows in found.items())
        if self.back is not None:
            return Around(self._earlier(found, number, failed) if more else None, Places(self.at, failed))
        later = Places({**self.at, **{hit.source: hit.position for hit in taken}}, failed) if more else None
        return Around(Places(self.at, failed, self._before(found)) if self.at else None, later)

    def _before(self, found: Mapping[str, Sequence[Hit]]) -> dict[str, Start]:
        """Where the rows of the page before this one end: at this one's first rows, or at the last there are."""
        ends: dict[str, Start] = {name: (Side.UP_TO, self.at[name]) for name in found if name in self.at}
        return {name: (Side.BEFORE, rows[0].position) if (rows := found[name]) else end for name, end in ends.items()}

    def _earlier(self, found: Mapping[str, Sequence[Hit]], number: Mapping[str, int], failed: frozenset[str]) -> Places:
        """The page before one that was read backwards: of the sources that have more rows than were taken."""
        at, back = dict[str, Position](), dict[str, Start]()
        for name, rows in found.items():
            taken = number[name]
            if len(rows) > taken:
                at[name] = rows[taken].position
                back[name] = (Side.BEFORE, rows[taken - 1].position) if taken else (self.back or {})[name]
        return Places(at, failed, back)

    def as_json(self) -> dict[str, Any]:
        """For a token."""
        return {"at": dict(self.at), "failed": sorted(self.failed), "back": self.back}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Places:
        """From a token."""
        back = stored["back"]
        starts = None if back is None else {name: (Side(side), position) for name, (side, position) in back.items()}
        return cls(stored["at"], frozenset(stored["failed"]), starts)


@dataclass(frozen=True, slots=True)
class Around:
    """The pages beside a page; None where there is none."""

    before: Places | None
    after: Places | None


def taken_of(found: Sequence[Sequence[Hit]], count: int, *, descending: Sequence[bool], backwards: bool) -> list[Hit]:
    """The first rows of all sources together, or nearest first those before a place; in the order of the search.

    Of equal rows in the order of the sources' names.
    """

    def order(a: Hit, b: Hit) -> int:
        return compared(a.values, b.values, descending) or (a.source > b.source) - (a.source < b.source)

    taken = list(islice(heapq.merge(*found, key=cmp_to_key(order), reverse=backwards), count))
    return taken[::-1] if backwards else taken
