"""Rows of several sources as one sequence: newest or oldest first, each source going on from where it was left.

Every source gives its rows in the order of one moment, so the first of each decide which is next. A page remembers for
each source the last row that was taken from it; a page further on costs what the first one costs.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

_LATER_THAN_ALL = float("inf")

Position = Sequence[Any]  # a place in a source, in the types of JSON; only the source reads it


@dataclass(frozen=True, slots=True)
class Hit:
    """A row of a source: its moment (microseconds since 1970), the place after it, and what its item is made of."""

    source: str
    moment: int | None
    position: Position
    row: Any


@dataclass(frozen=True, slots=True)
class Places:
    """Where each source was left, and which ones were left out because they failed."""

    at: Mapping[str, Position] = field(default_factory=dict)
    failed: frozenset[str] = frozenset()

    def after(self, taken: Sequence[Hit], failed: frozenset[str]) -> Places:
        """The places after these rows."""
        return Places({**self.at, **{hit.source: hit.position for hit in taken}}, self.failed | failed)

    def as_json(self) -> dict[str, Any]:
        """For a token."""
        return {"at": dict(self.at), "failed": sorted(self.failed)}

    @classmethod
    def from_json(cls, stored: Mapping[str, Any]) -> Places:
        """From a token."""
        return cls(stored["at"], frozenset(stored["failed"]))


def first(found: Sequence[Sequence[Hit]], count: int, *, descending: bool) -> list[Hit]:
    """The first rows of all sources together; of equal moments in the order of the sources' names.

    Rows without a moment come before all others, and last where it goes down, as OData has it.
    """

    def key(hit: Hit) -> tuple[float, str]:
        moment = -_LATER_THAN_ALL if hit.moment is None else hit.moment
        return (-moment if descending else moment, hit.source)

    return list(islice(heapq.merge(*found, key=key), count))
