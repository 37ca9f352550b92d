"""What is searched together: each station that the caller may read, and the catalog (``catalog.py``)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from rs_server.discovery.merge import Hit, Side, Start
from rs_server.stations.client import Stations
from rs_server.stations.model import StationKind
from rs_server.stations.paging import Cursor
from rs_server.stations.search import SearchRequest

_AFTER_ALL = "\uffff"  # no collection's name comes after it


class Source(Protocol):
    """One of them."""

    @property
    def name(self) -> str:
        """Its name in tokens and warnings."""
        ...

    async def hits(self, count: int, start: Start | None) -> list[Hit]:
        """Its first rows after a place, or those before one, nearest first."""
        ...

    async def items(self, hits: Sequence[Hit]) -> list[dict[str, Any]]:
        """The items of some of its rows."""
        ...


@dataclass(frozen=True, slots=True)
class StationSource:
    """The collections of one station."""

    station: str
    kind: StationKind
    collections: tuple[str, ...]
    request: SearchRequest
    stations: Stations

    @property
    def name(self) -> str:
        """Kind and name of the station."""
        return f"{self.kind.name}:{self.station}"

    async def hits(self, count: int, start: Start | None) -> list[Hit]:
        """Its first rows after a place, or those before one, nearest first."""
        asked = replace(self.request, cursor=_cursor(start), limit=count)
        rows = await self.stations.rows(self.kind.name, asked, self.collections)
        cursors = [row.cursor(asked.order, backwards=False) for row in rows]
        return [
            Hit(self.name, self._values(cursor), (cursor.values, cursor.collection, cursor.id), row)
            for cursor, row in zip(cursors, rows, strict=True)
        ]

    async def items(self, hits: Sequence[Hit]) -> list[dict[str, Any]]:
        """The items of some of its rows."""
        return await self.stations.features(self.kind.name, [hit.row for hit in hits])

    def _values(self, cursor: Cursor) -> tuple[Any, ...]:
        keys = self.request.order
        return tuple(key.comparable(value) for key, value in zip(keys, cursor.values, strict=True))


def _cursor(start: Start | None) -> Cursor | None:
    """The place as a station's search has it."""
    if start is None:
        return None
    side, (values, collection, item_id) = start
    if side is Side.UP_TO:
        return Cursor(tuple(values), _AFTER_ALL, "", backwards=True)
    return Cursor(tuple(values), collection, item_id, backwards=side is Side.BEFORE)
