"""Long-term archives (ESA-EOPG-EOPGC IF-2): products that may have to be ordered from tape to be fetched."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, ClassVar

import pystac

from rs_client import display
from rs_client.errors import Invalid
from rs_client.prip import PRODUCT_WORDS
from rs_client.stac import StationClient


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

    def order(self, item: pystac.Item) -> Order:
        """Ask the archive to make a product ready; the same order is found again if there is one.

        Raises ``Invalid`` for an item without a collection or one that needs no order, ``NotFound`` for one that the
        archive does not have.
        """
        if item.collection_id is None:
            raise Invalid(f"item {item.id} says of no collection that it is in it", hint="take it from a search")
        body = {"collection": item.collection_id, "item": item.id}
        return Order.of(self.session.http.post_once("/lta/orders", body))

    def orders(self, limit: int = 100) -> OrderList:
        """Your orders, the newest first; at most ``limit`` of them (1 to 1000)."""
        return OrderList(Order.of(document) for document in self.session.http.get("/lta/orders", limit=limit)["orders"])

    def order_status(self, order_id: str) -> Order:
        """Where an order stands; ``NotFound`` if it is not yours."""
        return Order.of(self.session.http.get(f"/lta/orders/{order_id}"))

    def cancel_order(self, order_id: str) -> Order:
        """Want it no more; it goes on as long as somebody else wants it.

        Raises ``NotFound`` if it is not yours, ``Conflict`` if it is over.
        """
        return Order.of(self.session.http.delete(f"/lta/orders/{order_id}"))
