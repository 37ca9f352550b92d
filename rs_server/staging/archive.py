"""Files that an archive must bring back first: ordered once, waited for through restarts, fetched when they come."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from rs_server.access.policy import Principal
from rs_server.database import Database
from rs_server.errors import NotFound, StationRefused
from rs_server.processes.references import Reference
from rs_server.stations.orders import Order, Orders

_ENDED_BADLY = ("failed", "cancelled")


@dataclass(frozen=True, slots=True)
class Asked:
    """An order, and what it waits for in plain words; None when the files may be fetched, until they ``expire``."""

    order: UUID
    waiting: str | None
    expires: datetime | None = None


@dataclass(frozen=True, slots=True)
class Archive:
    """The orders of the stations, as staging needs them."""

    orders: Orders

    async def ask(self, who: Principal, source: Reference, order: UUID | None, *, tried: bool) -> Asked:
        """How far the order of an item is, which is placed if there is none yet.

        ``StationRefused`` when it came to nothing; an order of the same item by somebody else is joined. What was
        ``tried`` to be fetched, and is not there, is ordered even when its station says that it is.
        """
        found = await self._order(who, source, order, tried=tried)
        if found.status in _ENDED_BADLY:
            reason = found.reason or "no reason was told"
            raise StationRefused(found.station, f"the order of {source.item} is {found.status}: {reason}")
        return Asked(found.id, None if found.status == "completed" else _told(found), found.expires)

    async def _order(self, who: Principal, source: Reference, order: UUID | None, *, tried: bool) -> Order:
        if order is not None:
            try:
                found = await self.orders.get(who, order)
            except NotFound:  # it is not kept any more
                found = None
            if found is not None and not found.withdrawn:
                return found
        what = source.service, source.collection, source.item
        placed, _ = await self.orders.place(who, *what, by_hand=False, online="unbelieved" if tried else "believed")
        return placed


# Orders of jobs that have ended, of whose owner no other job waits for them.
_ABANDONED = """
    SELECT DISTINCT i.archive_order AS id, j.owner FROM rs.staging_items i JOIN rs.jobs j ON j.id = i.job
    WHERE i.archive_order IS NOT NULL AND j.status NOT IN ('accepted', 'running') AND NOT EXISTS (
        SELECT 1 FROM rs.staging_items other JOIN rs.jobs k ON k.id = other.job
        WHERE other.archive_order = i.archive_order AND k.owner = j.owner AND k.status IN ('accepted', 'running'))
    LIMIT 100
"""
_LEFT = """
    UPDATE rs.staging_items i SET archive_order = NULL FROM rs.jobs j
    WHERE i.archive_order = %s AND j.id = i.job AND j.owner = %s AND j.status NOT IN ('accepted', 'running')
"""


@dataclass(frozen=True, slots=True)
class Abandoned:
    """The orders of jobs that are over before their files have come."""

    database: Database
    orders: Orders

    async def withdraw(self) -> int:
        """Take back those that nobody else waits for; how many were looked at. An order that is completed stays so."""
        async with self.database.connection() as conn:
            found = await (await conn.execute(_ABANDONED)).fetchall()
        for row in found:
            await self.orders.withdraw(row["owner"], row["id"])
            async with self.database.connection() as conn:
                await conn.execute(_LEFT, [row["id"], row["owner"]])
        return len(found)


def _told(order: Order) -> str:
    when = f", expected at {order.estimated:%Y-%m-%d %H:%M} UTC" if order.estimated else ""
    why = f" ({order.reason})" if order.reason else ""
    return f"{order.item} is ordered from station {order.station}: {order.status.replace('_', ' ')}{why}{when}"
