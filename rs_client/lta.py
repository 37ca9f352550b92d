"""Long-term archives (ESA-EOPG-EOPGC IF-2): products that may have to be ordered from tape to be fetched."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar

import pystac

from rs_client import display
from rs_client.asyncstac import AsyncStation
from rs_client.errors import Invalid
from rs_client.flow import Flow, Server
from rs_client.prip import PRODUCT_WORDS
from rs_client.stac import StationClient

_ORDERS = "/lta/orders"


@dataclass(frozen=True, slots=True)
class Order:
    """An order of a product at an archive: where it stands, and what the server tells beside (``document``).

    ``status`` goes from ``waiting``, ``sending``, ``queued`` and ``in_progress`` to ``completed``, ``failed`` or
    ``cancelled``; ``estimated``, with its zone, is when the archive expects it to be ready.
    """

    id: str
    status: str
    item: str
    estimated: datetime | None = None
    document: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Order:
        """Read the server's record of an order."""
        estimated = document.get("estimated")
        return cls(
            id=str(document["id"]),
            status=str(document.get("status", "")),
            item=str(document.get("item", "")),
            estimated=datetime.fromisoformat(estimated) if estimated else None,
            document=document,
        )

    def _repr_html_(self) -> str:
        return display.orders([self])


class OrderList(list[Order]):
    """Orders, shown as a table."""

    def __repr__(self) -> str:
        return display.orders_text(self)

    def _repr_html_(self) -> str:
        return display.orders(self)


class LtaClient(StationClient):
    """The products of every archive you may read; search as with PRIP, ``order`` what lies on tape."""

    PATH: ClassVar[str] = "/lta"
    WORDS: ClassVar[Mapping[str, str]] = PRODUCT_WORDS
    _USES: ClassVar[Sequence[tuple[str, str]]] = (
        ("have what lies on tape made ready", "s.lta.order(item)"),
        ("your orders", "s.lta.orders()"),
    )

    def order(self, item: pystac.Item) -> Order:
        """Ask the archive to make a product ready; the same order is found again if there is one.

        Raises ``Invalid`` for an item without a collection or one that needs no order, ``NotFound`` for one that the
        archive does not have.
        """
        http = self.session.http
        return http.run(ordered(http.server, item))

    def orders(self, limit: int = 100) -> OrderList:
        """Your orders, the newest first; at most ``limit`` of them (1 to 1000)."""
        http = self.session.http
        return http.run(orders_of(http.server, limit))

    def order_status(self, order_id: str) -> Order:
        """Where an order stands; ``NotFound`` if it is not yours."""
        http = self.session.http
        return http.run(order_at(http.server, order_id))

    def cancel_order(self, order_id: str) -> Order:
        """Want it no more; it goes on as long as somebody else wants it.

        Raises ``NotFound`` if it is not yours, ``Conflict`` if it is over.
        """
        http = self.session.http
        return http.run(cancelled(http.server, order_id))


class AsyncLtaClient(AsyncStation):
    """The products of every archive you may read, for asyncio; raises as ``LtaClient``."""

    KIND: ClassVar[type[StationClient]] = LtaClient

    async def order(self, item: pystac.Item) -> Order:
        """Order a product; see ``LtaClient.order``. ``Invalid`` for an item without a collection."""
        return await self.session.http.run(ordered(self.session.http.server, item))

    async def orders(self, limit: int = 100) -> OrderList:
        """Your orders, the newest first; at most ``limit`` of them (1 to 1000)."""
        return await self.session.http.run(orders_of(self.session.http.server, limit))

    async def order_status(self, order_id: str) -> Order:
        """Where an order stands; ``NotFound`` if it is not yours."""
        return await self.session.http.run(order_at(self.session.http.server, order_id))

    async def cancel_order(self, order_id: str) -> Order:
        """Want it no more; see ``LtaClient.cancel_order``."""
        return await self.session.http.run(cancelled(self.session.http.server, order_id))


def ordered(server: Server, item: pystac.Item) -> Flow[Order]:
    """Order a product. Raises as ``LtaClient.order``: ``Invalid`` for an item without a collection."""
    if item.collection_id is None:
        raise Invalid(f"item {item.id} says of no collection that it is in it", hint="take it from a search")
    body = {"collection": item.collection_id, "item": item.id}
    return Order.of((yield from server.post_once(_ORDERS, body)))


def orders_of(server: Server, limit: int) -> Flow[OrderList]:
    """The caller's orders, the newest first."""
    return OrderList(Order.of(document) for document in (yield from server.get(_ORDERS, limit=limit))["orders"])


def order_at(server: Server, order_id: str) -> Flow[Order]:
    """One order. Raises as ``LtaClient.order_status``."""
    return Order.of((yield from server.get(f"{_ORDERS}/{order_id}")))


def cancelled(server: Server, order_id: str) -> Flow[Order]:
    """An order that is wanted no more. Raises as ``LtaClient.cancel_order``."""
    return Order.of((yield from server.delete(f"{_ORDERS}/{order_id}")))
