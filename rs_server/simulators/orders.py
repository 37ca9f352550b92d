"""Orders at an archive: a product that is offline is queued, fetched, online for some days, and offline again.

An order's whole life is written down when it is placed, as spans of the station's time; cancelling it cuts them off.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from random import Random
from uuid import UUID, uuid5

from pydantic import BaseModel, ConfigDict, Field, HttpUrl, SecretStr

from rs_server.simulators import odata
from rs_server.simulators.model import Edm, Entity, EntityType, Primitive
from rs_server.simulators.station import Station
from rs_server.simulators.store import EntitySet

ORDER = EntityType(
    "Order",
    {
        "Id": Edm.GUID,
        "Status": Edm.STRING,
        "StatusMessage": Edm.STRING,
        "OrderSize": Edm.INT64,
        "SubmissionDate": Edm.INSTANT,
        "EstimatedDate": Edm.INSTANT,
        "CompletedDate": Edm.INSTANT,
        "EvictionDate": Edm.INSTANT,
        "Priority": Edm.INT64,
        "NotificationEndpoint": Edm.STRING,
        "NotificationEpUsername": Edm.STRING,
        "NotificationEpPassword": Edm.STRING,
        "ProductId": Edm.GUID,
        "Client": Edm.STRING,
    },
    enumerations={"Status": "JobStatus"},
    optional=("EstimatedDate", "CompletedDate", "EvictionDate", "NotificationEndpoint", "NotificationEpUsername"),
    hidden=("NotificationEpPassword", "ProductId", "Client"),
    indexed=("SubmissionDate", "ProductId"),
)

STATUSES = ("queued", "in_progress", "completed", "failed", "cancelled")
OPEN = ("queued", "in_progress")
_MESSAGES: Mapping[str, str] = {
    "queued": "request is queued",
    "in_progress": "request is under processing",
    "completed": "requested product is available",
    "failed": "the product could not be read from the archive",
    "cancelled": "request was cancelled",
}


class NotPossible(Exception):
    """An order that makes no sense now; the text says why."""


class OrderRequest(BaseModel):
    """The body of an order."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    priority: int = Field(50, alias="Priority", ge=1, le=100)
    notification_endpoint: HttpUrl | None = Field(None, alias="NotificationEndpoint")
    notification_username: str | None = Field(None, alias="NotificationEpUsername")
    notification_password: SecretStr | None = Field(None, alias="NotificationEpPassword")


@dataclass(frozen=True)
class Orders:
    """The orders that a client has at a station."""

    station: Station
    client: str

    def place(self, product_id: UUID, asked: OrderRequest) -> UUID:
        """Order a product; returns the order's key. Raises ``KeyError``, ``NotPossible`` or ``OverQuota``."""
        now = self.station.now()
        products = self.station.store.sets["Products"]
        product = products.entity(product_id, now)
        if product is None:
            raise KeyError(product_id)
        if product.values["Online"] is True and not self.station.lies(product):
            raise NotPossible("the product is online; download it")
        mine = odata.And((odata.Compare("Client", "eq", self.client), odata.In("Status", OPEN)))
        same = odata.And((odata.Compare("ProductId", "eq", product_id), mine))
        for placed in self._orders.entities(same, now):
            return UUID(str(placed.id))  # ordering twice is ordering once
        self.station.limits.order(self.client, self._orders.count(mine, now))
        return self._write(product, asked, now)

    def cancel(self, order_id: UUID) -> None:
        """Stop an order that is open. Raises ``KeyError`` or ``NotPossible``."""
        now = self.station.now()
        order = self._orders.entity(order_id, now)
        if order is None or order.values["Client"] != self.client:
            raise KeyError(order_id)
        if order.values["Status"] not in OPEN:
            raise NotPossible(f"the order is {order.values['Status']}")
        product_id = order.values["ProductId"]
        assert isinstance(product_id, UUID)
        self._orders.end(order_id, now)
        self._orders.put([_state(order, "cancelled", now, None)])
        self._offline_again(product_id, now)
        self._online_for_others(product_id, now)

    def product_of(self, order_id: UUID) -> UUID | None:
        """Which product an order is about."""
        order = self._orders.entity(order_id, self.station.now())
        mine = order is not None and order.values["Client"] == self.client
        found = order.values["ProductId"] if order is not None and mine else None
        return found if isinstance(found, UUID) else None

    @property
    def _orders(self) -> EntitySet:
        return self.station.store.sets["Orders"]

    def _write(self, product: Entity, asked: OrderRequest, now: datetime) -> UUID:
        """Write down what will become of an order, and of its product."""
        life = self.station.scenario.orders
        key = uuid5(UUID(str(product.id)), f"order of {now.isoformat()} by {self.client}")
        begins = now + timedelta(seconds=life.queued_s)
        ends = begins + timedelta(seconds=life.work_s)
        gone = ends + timedelta(seconds=life.online_s)
        fails = Random(f"{self.station.scenario.seed}/{key}").random() < life.failing  # noqa: S311 - repeatable
        values: dict[str, Primitive] = {
            "Id": key,
            "OrderSize": product.values["ContentLength"],
            "SubmissionDate": now,
            "EstimatedDate": ends + timedelta(seconds=life.estimate_off_s),
            "Priority": asked.priority,
            "NotificationEndpoint": str(asked.notification_endpoint) if asked.notification_endpoint else None,
            "NotificationEpUsername": asked.notification_username,
            "NotificationEpPassword": asked.notification_password.get_secret_value()
            if asked.notification_password
            else None,
            "ProductId": product.values["Id"],
            "Client": self.client,
        }
        order = Entity(ORDER, values)
        drifted = replace(order, values={**values, "EstimatedDate": _moved(values, life.estimate_drift_s)})
        last = _state(drifted, "failed" if fails else "completed", ends, None)
        if not fails:
            last = replace(last, values={**last.values, "CompletedDate": ends, "EvictionDate": gone})
            self._online_for(product, ends, gone)
        self._orders.put([_state(order, "queued", now, begins), _state(drifted, "in_progress", begins, ends), last])
        return key

    def _online_for(self, product: Entity, start: datetime, stop: datetime) -> None:
        products = self.station.store.sets["Products"]
        assert isinstance(product.id, UUID)
        products.end(product.id, start)
        online = {**product.values, "Online": True, "ModificationDate": start}
        products.put(
            [
                replace(product, appears=start, vanishes=stop, values=online),
                replace(product, appears=stop, vanishes=None, values={**product.values, "ModificationDate": stop}),
            ]
        )

    def _offline_again(self, product_id: UUID, now: datetime) -> None:
        """The product stays as it is now, whatever had been planned for it."""
        products = self.station.store.sets["Products"]
        product = products.entity(product_id, now)
        assert product is not None
        products.end(product_id, now)
        products.put([replace(product, appears=now, vanishes=None)])

    def _online_for_others(self, product_id: UUID, now: datetime) -> None:
        """What other clients have ordered and will get is online for them when their time comes."""
        product = self.station.store.sets["Products"].entity(product_id, now)
        assert product is not None
        wanted = odata.And((odata.Compare("ProductId", "eq", product_id), odata.Compare("Status", "eq", "completed")))
        for order in self._orders.of_all_times(wanted):
            gone = order.values["EvictionDate"]
            if order.appears is not None and order.appears > now and isinstance(gone, datetime):
                self._online_for(product, order.appears, gone)


def _moved(values: Mapping[str, Primitive], seconds: float) -> datetime:
    """The estimated date, so much later."""
    estimated = values["EstimatedDate"]
    assert isinstance(estimated, datetime)
    return estimated + timedelta(seconds=seconds)


def _state(order: Entity, status: str, start: datetime, stop: datetime | None) -> Entity:
    """The order with a status, from a moment until another."""
    told: dict[str, Primitive] = {"Status": status, "StatusMessage": _MESSAGES[status]}
    return replace(order, values={**order.values, **told}, appears=start, vanishes=stop)
