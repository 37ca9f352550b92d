"""Subscriptions: who wants to be told of products that come, change or go, and how.

A *push* subscription has its owner called; a *pull* subscription keeps a queue that its owner reads, and takes from by
acknowledging: a notification, and all before it.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal, Self
from uuid import UUID, uuid4, uuid5

import orjson
from pydantic import BaseModel, ConfigDict, Field, HttpUrl, SecretStr, model_validator

from rs_server.simulators import odata
from rs_server.simulators.clock import micros
from rs_server.simulators.model import Edm, Entity, EntityType, Primitive
from rs_server.simulators.query import Order, Query
from rs_server.simulators.station import Station
from rs_server.simulators.store import EntitySet

SUBSCRIPTION = EntityType(
    "Subscription",
    {
        "Id": Edm.GUID,
        "Status": Edm.STRING,
        "FilterParam": Edm.STRING,
        "Priority": Edm.INT64,
        "StageOrder": Edm.BOOLEAN,
        "SubmissionDate": Edm.INSTANT,
        "LastNotificationDate": Edm.INSTANT,
        "NotificationEndpoint": Edm.STRING,
        "NotificationEpUsername": Edm.STRING,
        "NotificationEpPassword": Edm.STRING,
        "SubscriptionType": Edm.STRING,
        "Client": Edm.STRING,
    },
    collections=("SubscriptionEvent",),
    enumerations={"Status": "SubscriptionStatus", "SubscriptionType": "SubscriptionType"},
    optional=("LastNotificationDate", "NotificationEndpoint", "NotificationEpUsername", "Priority", "StageOrder"),
    hidden=("NotificationEpPassword", "Client"),
    indexed=("SubmissionDate",),
)
NOTIFICATION = EntityType(
    "Notification",
    {
        "Id": Edm.GUID,
        "SubscriptionId": Edm.GUID,
        "SubscriptionEvent": Edm.STRING,
        "ProductId": Edm.GUID,
        "ProductName": Edm.STRING,
        "NotificationDate": Edm.INSTANT,
        "AckId": Edm.STRING,
        "Number": Edm.INT64,  # they are read in this order
    },
    hidden=("Id", "Number"),
    indexed=("Number", "SubscriptionId"),
)
QUEUE = "Notifications"
"""Where those are that wait to be read; an entity set that clients do not see by itself."""

STATUSES = ("running", "paused", "cancelled")
TYPES = ("push", "pull")
MOST_READ, MOST_QUEUED = 20, 100_000
RUNNING = odata.Compare("Status", "eq", "running")

type Event = Literal["created", "modified", "deleted"]
type Status = Literal["running", "paused", "cancelled"]


class SubscriptionRequest(BaseModel):
    """The body of a new subscription."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    filter: str = Field("", alias="FilterParam")
    type: Literal["push", "pull"] | None = Field(None, alias="SubscriptionType")
    endpoint: HttpUrl | None = Field(None, alias="NotificationEndpoint")
    username: str | None = Field(None, alias="NotificationEpUsername")
    password: SecretStr | None = Field(None, alias="NotificationEpPassword")
    status: Status = Field("running", alias="Status")
    events: frozenset[Event] = Field(frozenset({"created"}), alias="SubscriptionEvent", min_length=1)
    stage_order: bool | None = Field(None, alias="StageOrder")
    priority: int | None = Field(None, alias="Priority", ge=1, le=100)

    @model_validator(mode="after")
    def _told_somewhere(self) -> Self:
        if self.kind == "push" and self.endpoint is None:
            raise ValueError("a push subscription needs a NotificationEndpoint")
        if self.kind == "pull" and self.endpoint is not None:
            raise ValueError("a pull subscription has no NotificationEndpoint")
        return self

    @property
    def kind(self) -> str:
        """As it says; if it does not, an endpoint means that it is called."""
        return self.type or ("pull" if self.endpoint is None else "push")


class SubscriptionChange(BaseModel):
    """What may be changed of one."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    status: Status = Field(alias="Status")


@dataclass(frozen=True)
class Subscriptions:
    """The subscriptions that a client has at a station. What changes of one is a new span of it."""

    station: Station
    client: str

    @property
    def _all(self) -> EntitySet:
        return self.station.store.sets["Subscriptions"]

    def add(self, asked: SubscriptionRequest) -> UUID:
        """A new one; returns its key. Raises ``FilterError`` or ``OverQuota``."""
        wanted(asked.filter, self.station.files.type)
        now = self.station.now()
        if asked.status == "running":
            mine = odata.And((RUNNING, odata.Compare("Client", "eq", self.client)))
            self.station.limits.subscription(self.client, self._all.count(mine, now))
        key = uuid4()
        values: dict[str, Primitive] = {
            "Id": key,
            "Status": asked.status,
            "FilterParam": asked.filter,
            "Priority": asked.priority,
            "StageOrder": asked.stage_order,
            "SubmissionDate": now,
            "NotificationEndpoint": str(asked.endpoint) if asked.endpoint else None,
            "NotificationEpUsername": asked.username,
            "NotificationEpPassword": asked.password.get_secret_value() if asked.password else None,
            "SubscriptionType": asked.kind,
            "Client": self.client,
        }
        events = {"SubscriptionEvent": sorted(asked.events)}
        self._all.put([Entity(SUBSCRIPTION, values, extra=events, appears=now)])
        return key

    def change(self, key: UUID, status: Status) -> None:
        """Pause, resume or cancel one; ``KeyError``: there is none. A cancelled one stays cancelled."""
        found = self._mine(key)
        if found.values["Status"] != "cancelled":
            _change(self.station, found, Status=status)

    def read(self, key: UUID, top: int) -> list[str]:
        """The oldest notifications that wait, as JSON; ``KeyError``: there is no such queue."""
        wait = Query(filter=_of(self._pulled(key)), order=(Order("Number"),))
        page = self._queue.page(wait, min(top, MOST_READ), self.station.now())
        return [row.document for row in page.rows]

    def acknowledge(self, key: UUID, ack_id: str) -> tuple[int, int]:
        """Take a notification out of the queue, and all before it; how many those were, and how many still wait.

        ``KeyError``: there is no such queue; ``ValueError``: none of that id waits in it.
        """
        found, now = self._pulled(key), self.station.now()
        last = self._queue.entities(odata.And((_of(found), odata.Compare("AckId", "eq", ack_id))), now)
        if not last:
            raise ValueError(f"no notification {ack_id!r} waits")
        until = odata.Compare("Number", "le", last[0].values["Number"])
        read = self._queue.entities(odata.And((_of(found), until)), now)
        for one in read:
            assert isinstance(one.id, UUID)
            self._queue.end(one.id, now)
        _change(self.station, found, LastNotificationDate=now)
        return len(read), self._queue.count(_of(found), now)

    @property
    def _queue(self) -> EntitySet:
        return self.station.store.sets[QUEUE]

    def _mine(self, key: UUID) -> Entity:
        found = self._all.entity(key, self.station.now())
        if found is None or found.values["Client"] != self.client:
            raise KeyError(key)
        return found

    def _pulled(self, key: UUID) -> Entity:
        """One with a queue; that of a cancelled one is gone."""
        found = self._mine(key)
        if found.values["SubscriptionType"] != "pull" or found.values["Status"] == "cancelled":
            raise KeyError(key)
        return found


def running(station: Station, at: datetime) -> list[Entity]:
    """The subscriptions of all clients whose owners are to be told."""
    return station.store.sets["Subscriptions"].entities(RUNNING, at)


def told(station: Station, key: UUID, at: datetime) -> None:
    """Note that the owner of a push subscription was told something."""
    found = station.store.sets["Subscriptions"].entity(key, at)
    if found is not None:
        _change(station, found, LastNotificationDate=at)


def queue(station: Station, subscription: Entity, number: int, at: datetime, told: Mapping[str, Any]) -> None:
    """Have a notification wait for the owner of a pull subscription; of too many, the oldest is forgotten.

    ``told`` is the product. Of all that came at one moment, ``number`` says the how many-th it is.
    """
    waiting, now = station.store.sets[QUEUE], station.now()
    assert isinstance(subscription.id, UUID)
    key = uuid5(subscription.id, f"{micros(at)} {number}")
    values: dict[str, Primitive] = {
        "Id": key,
        "SubscriptionId": subscription.id,
        "SubscriptionEvent": told["event"],
        "ProductId": UUID(told["product"]["Id"]),
        "ProductName": told["product"]["Name"],
        "NotificationDate": at,
        "AckId": base64.urlsafe_b64encode(key.bytes).decode(),
        "Number": micros(at) * 1000 + number,
    }
    extra: dict[str, Any] = {"@odata.context": "$metadata#Notification/$entity"}
    if told["event"] != "deleted":
        extra["value"] = {"@odata.context": "$metadata#Products/$entity", **told["product"]}
    waiting.put([Entity(NOTIFICATION, values, extra=extra, appears=at)])
    if waiting.count(_of(subscription), now) > MOST_QUEUED:
        oldest = waiting.page(Query(filter=_of(subscription), order=(Order("Number"),)), 1, now)
        waiting.end(_key_of(orjson.loads(oldest.rows[0].document)["AckId"]), now)


def _key_of(ack_id: str) -> UUID:
    return UUID(bytes=base64.urlsafe_b64decode(ack_id))


def _of(subscription: Entity) -> odata.Expression:
    return odata.Compare("SubscriptionId", "eq", subscription.id)


def _change(station: Station, found: Entity, **changes: Primitive) -> None:
    assert isinstance(found.id, UUID)
    now, every = station.now(), station.store.sets["Subscriptions"]
    every.end(found.id, now)
    every.put([replace(found, values={**found.values, **changes}, appears=now)])


def events_of(subscription: Entity) -> list[str]:
    """What its owner wants to be told of."""
    found: Any = subscription.extra["SubscriptionEvent"]
    return list(found)


def wanted(filter_param: str, of: EntityType) -> odata.Expression | None:
    """Which products a subscription is about; clients write the filter with and without its name."""
    text = filter_param.rpartition("$filter=")[2].strip()
    return odata.parse(text, of) if text else None
