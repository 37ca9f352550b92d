"""Subscriptions: who wants to be told of products that come, change or go, and where."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal
from uuid import UUID, uuid4

from pydantic import BaseModel, ConfigDict, Field, HttpUrl, SecretStr

from rs_server.simulators import odata
from rs_server.simulators.model import Edm, Entity, EntityType, Primitive
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
    },
    collections=("SubscriptionEvent",),
    enumerations={"Status": "SubscriptionStatus"},
    optional=("LastNotificationDate", "NotificationEpUsername", "Priority", "StageOrder"),
    hidden=("NotificationEpPassword",),
    indexed=("SubmissionDate",),
)

STATUSES = ("running", "paused", "cancelled")
RUNNING = odata.Compare("Status", "eq", "running")

type Event = Literal["created", "modified", "deleted"]
type Status = Literal["running", "paused", "cancelled"]


class SubscriptionRequest(BaseModel):
    """The body of a new subscription."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    filter: str = Field("", alias="FilterParam")
    endpoint: HttpUrl = Field(alias="NotificationEndpoint")
    username: str | None = Field(None, alias="NotificationEpUsername")
    password: SecretStr | None = Field(None, alias="NotificationEpPassword")
    status: Status = Field("running", alias="Status")
    events: frozenset[Event] = Field(frozenset({"created"}), alias="SubscriptionEvent", min_length=1)
    stage_order: bool | None = Field(None, alias="StageOrder")
    priority: int | None = Field(None, alias="Priority", ge=1, le=100)


class SubscriptionChange(BaseModel):
    """What may be changed of one."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    status: Status = Field(alias="Status")


@dataclass(frozen=True)
class Subscriptions:
    """The subscriptions of a station. What changes of one is a new span of it."""

    station: Station

    @property
    def _all(self) -> EntitySet:
        return self.station.store.sets["Subscriptions"]

    def add(self, asked: SubscriptionRequest) -> UUID:
        """A new one; returns its key. Raises ``FilterError`` or ``OverQuota``."""
        wanted(asked.filter, self.station.files.type)
        now = self.station.now()
        if asked.status == "running":
            self.station.limits.subscription(self._all.count(RUNNING, now))
        key = uuid4()
        values: dict[str, Primitive] = {
            "Id": key,
            "Status": asked.status,
            "FilterParam": asked.filter,
            "Priority": asked.priority,
            "StageOrder": asked.stage_order,
            "SubmissionDate": now,
            "NotificationEndpoint": str(asked.endpoint),
            "NotificationEpUsername": asked.username,
            "NotificationEpPassword": asked.password.get_secret_value() if asked.password else None,
        }
        events = {"SubscriptionEvent": sorted(asked.events), "SubscriptionType": "push"}
        self._all.put([Entity(SUBSCRIPTION, values, extra=events, appears=now)])
        return key

    def change(self, key: UUID, status: Status) -> None:
        """Pause, resume or cancel one; ``KeyError``: there is none. A cancelled one stays cancelled."""
        found = self._all.entity(key, self.station.now())
        if found is None:
            raise KeyError(key)
        if found.values["Status"] != "cancelled":
            self._change(found, Status=status)

    def told(self, key: UUID, at: datetime) -> None:
        """Note that its owner was told something."""
        found = self._all.entity(key, at)
        if found is not None:
            self._change(found, LastNotificationDate=at)

    def running(self, at: datetime) -> list[Entity]:
        """Those whose owners are to be told."""
        return self._all.entities(RUNNING, at)

    def _change(self, found: Entity, **changes: Primitive) -> None:
        assert isinstance(found.id, UUID)
        now = self.station.now()
        self._all.end(found.id, now)
        self._all.put([replace(found, values={**found.values, **changes}, appears=now)])


def events_of(subscription: Entity) -> list[str]:
    """What its owner wants to be told of."""
    found: Any = subscription.extra["SubscriptionEvent"]
    return list(found)


def wanted(filter_param: str, of: EntityType) -> odata.Expression | None:
    """Which products a subscription is about; clients write the filter with and without its name."""
    text = filter_param.rpartition("$filter=")[2].strip()
    return odata.parse(text, of) if text else None
