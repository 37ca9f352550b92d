"""Tells subscribers and those who ordered what happened since it last looked: calls them, or fills their queues."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import httpx
import orjson
import structlog

from rs_server.simulators import odata, subscriptions
from rs_server.simulators.limits import OverQuota
from rs_server.simulators.model import Entity, text
from rs_server.simulators.orders import NotPossible, OrderRequest, Orders
from rs_server.simulators.station import Station
from rs_server.simulators.subscriptions import events_of, wanted

EVERY_S = 0.2
_TIMEOUT_S = 10

_log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Message:
    """One notification: where, as whom, and what."""

    url: str
    login: httpx.BasicAuth | None
    body: dict[str, Any]


@dataclass
class Notifier:
    """Follows a station's clock. An owner who does not answer is not told again, as with the real ones."""

    station: Station
    client: httpx.AsyncClient
    seen: datetime = field(init=False)

    def __post_init__(self) -> None:
        self.seen = self.station.now()

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            await asyncio.sleep(EVERY_S)
            await self.look()

    async def look(self) -> None:
        """Tell everyone what happened since the last look."""
        since, now = self.seen, self.station.now()
        self.seen = now
        if now > since:
            for message in [*self._about_products(since, now), *self._about_orders(since, now)]:
                await self._send(message)

    def _about_products(self, since: datetime, now: datetime) -> Iterator[Message]:
        if "Subscriptions" not in self.station.store.sets:
            return
        for one in subscriptions.running(self.station, now):
            for number, (event, product) in enumerate(self._events(one, since, now)):
                assert isinstance(one.id, UUID)
                if one.values["SubscriptionType"] == "pull":
                    subscriptions.queue(self.station, one, number, now, {"event": event, "product": product})
                    continue
                subscriptions.told(self.station, one.id, now)
                yield _message(
                    one,
                    {
                        "SubscriptionId": str(one.id),
                        "SubscriptionEvent": event,
                        "ProductId": product["Id"],
                        "ProductName": product["Name"],
                        "NotificationDate": text(now),
                    },
                )

    def _events(self, subscription: Entity, since: datetime, now: datetime) -> Iterator[tuple[str, dict[str, Any]]]:
        asked = events_of(subscription)
        expression = wanted(str(subscription.values["FilterParam"] or ""), self.station.files.type)
        for row, new in self.station.files.appeared(since, now, expression):
            product, event = orjson.loads(row.document), "created" if new else "modified"
            if event in asked:
                yield event, product
            if new and subscription.values["StageOrder"]:
                self._order(UUID(product["Id"]), subscription)
        if "deleted" in asked:
            yield from (("deleted", orjson.loads(row.document)) for row in self.station.files.gone(since, now))

    def _order(self, product: UUID, subscription: Entity) -> None:
        """Order what comes in and is offline, as the subscription wants; what cannot be ordered stays as it is."""
        asked = OrderRequest.model_validate({"Priority": subscription.values["Priority"] or 50})
        if "Orders" in self.station.store.sets and self.station.offline(product):
            with contextlib.suppress(NotPossible, OverQuota):
                Orders(self.station, str(subscription.values["Client"])).place(product, asked)

    def _about_orders(self, since: datetime, now: datetime) -> Iterator[Message]:
        orders = self.station.store.sets.get("Orders")
        ended = odata.And((_ENDED, odata.Compare("NotificationEndpoint", "ne", None)))
        for row, _ in orders.appeared(since, now, ended) if orders is not None else ():
            assert orders is not None
            order = orders.entity(row.key, now)
            if order is not None:
                yield _message(order, orjson.loads(row.document))

    async def _send(self, message: Message) -> None:
        try:
            answer = await self.client.post(
                message.url, json=message.body, auth=message.login or httpx.USE_CLIENT_DEFAULT, timeout=_TIMEOUT_S
            )
            answer.raise_for_status()
        except httpx.HTTPError as error:
            _log.warning("a notification was not taken", url=message.url, error=type(error).__name__)


_ENDED = odata.In("Status", ("completed", "failed", "cancelled"))


def _message(owner: Entity, body: dict[str, Any]) -> Message:
    values = owner.values
    name, secret = values["NotificationEpUsername"], str(values["NotificationEpPassword"] or "")
    login = httpx.BasicAuth(str(name), secret) if name is not None else None
    return Message(str(values["NotificationEndpoint"]), login, body)
