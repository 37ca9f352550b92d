"""Files that an archive must bring back first: ordered once, waited for through restarts, fetched when they come."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from rs_server.access.policy import Principal
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

    async def ask(self, who: Principal, source: Reference, order: UUID | None) -> Asked:
        """How far the order of an item is, which is placed if there is none yet.

        ``StationRefused`` when it came to nothing; an order of the same item by somebody else is joined.
        """
        found = await self._order(who, source, order)
        if found.status in _ENDED_BADLY:
            reason = found.reason or "no reason was told"
            raise StationRefused(found.station, f"the order of {source.item} is {found.status}: {reason}")
        return Asked(found.id, None if found.status == "completed" else _told(found), found.expires)

    async def _order(self, who: Principal, source: Reference, order: UUID | None) -> Order:
        if order is not None:
            try:
                return await self.orders.get(who, order)
            except NotFound:  # it is not kept any more
                pass
        placed, _ = await self.orders.place(who, source.service, source.collection, source.item)
        return placed


def _told(order: Order) -> str:
    when = f", expected at {order.estimated:%Y-%m-%d %H:%M} UTC" if order.estimated else ""
    why = f" ({order.reason})" if order.reason else ""
    return f"{order.item} is ordered from station {order.station}: {order.status.replace('_', ' ')}{why}{when}"
