"""A station: what it holds, who may come in, what is wrong with it, and what happened to it so far."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from random import Random
from uuid import UUID, uuid5

from rs_server.simulators import deletions
from rs_server.simulators.clock import Clock
from rs_server.simulators.faults import Faults
from rs_server.simulators.limits import Limits
from rs_server.simulators.model import Entity, EntityType
from rs_server.simulators.redirects import Presigner
from rs_server.simulators.requestlog import RequestLog
from rs_server.simulators.scenario import Scenario
from rs_server.simulators.store import Derive, EntitySet, Store
from rs_server.simulators.tokens import TokenIssuer


@dataclass(frozen=True)
class StationKind:
    """What stations of a kind have in common.

    ``types`` are their entity sets, ``inner`` those that clients do not see by themselves; ``files`` names the one
    whose entities can be downloaded, ``deleted`` the one that tells what was deleted. ``fill`` puts in what a station
    always holds, ``play`` what a scenario adds, and ``another`` makes the n-th further entity published at a moment, as
    entity sets and what comes into them.
    """

    name: str
    types: Mapping[str, EntityType]
    files: str
    fill: Callable[[Station], None]
    another: Callable[[Station, datetime, int], Mapping[str, Iterable[Entity]]]
    play: Callable[[Station], None] = lambda _: None
    derive: Mapping[str, Derive] = field(default_factory=dict)
    deleted: str | None = None
    inner: Mapping[str, EntityType] = field(default_factory=dict)


@dataclass
class Station:
    """Everything that requests, the admin API and scenarios act on."""

    kind: StationKind
    store: Store
    clock: Clock
    tokens: TokenIssuer
    faults: Faults
    limits: Limits
    presigner: Presigner
    log: RequestLog
    scenario: Scenario
    seed: int
    scale: float
    page_size: int
    other_url: str | None = None
    state: Path | None = None  # where sessions that were added are kept
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def now(self) -> datetime:
        """The station's time."""
        return self.clock.now()

    @property
    def files(self) -> EntitySet:
        """What can be downloaded."""
        return self.store.sets[self.kind.files]

    def put(self, name: str, entities: Iterable[Entity]) -> None:
        """Add entities, which go at their eviction dates if the scenario says so."""
        self.store.put(name, map(self._evicted, entities))

    def _evicted(self, entity: Entity) -> Entity:
        eviction = entity.values.get("EvictionDate")
        if not self.scenario.eviction or not isinstance(eviction, datetime):
            return entity
        return replace(entity, vanishes=min(eviction, entity.vanishes or eviction))

    def publish(self, count: int, late: timedelta = timedelta()) -> None:
        """New entities appear now; their publication dates lie as far back as said."""
        now = self.now()
        date = (now - late).replace(microsecond=0)
        for _ in range(count):
            for name, entities in self.kind.another(self, date, next(self._numbers)).items():
                self.put(name, (_appearing(entity, date, now) for entity in entities))

    def republish(self, name: str, key: UUID) -> None:
        """Publish an entity once more, now: the same in all but its key."""
        found = self.store.sets[name].entity(key, self.now())
        if found is not None:
            twin = uuid5(key, f"again {next(self._numbers)}")
            self.put(name, [_appearing(replace(found, values={**found.values, "Id": twin}), self.now(), self.now())])

    def evict(self, pattern: str) -> int:
        """The files of such names are gone from now on; returns how many went."""
        return sum(self.files.end(key, self.now()) for key in self.files.named(pattern, self.now()))

    def delete(self, pattern: str, cause: str) -> int:
        """The products of such names are deleted, which the station tells; returns how many there were."""
        now, keys = self.now(), self.files.named(pattern, self.now())
        for key in keys:
            product = self.files.entity(key, now)
            assert product is not None
            self.files.end(key, now)
            if self.kind.deleted is not None:
                self.store.put(self.kind.deleted, [deletions.deletion(product, now, cause)])
        return len(keys)

    def lies(self, product: Entity) -> bool:
        """Whether a product that is shown as online is not; one that was ordered is."""
        share = self.scenario.orders.online_lies
        dice = Random(f"{self.scenario.seed}/{product.id}")  # noqa: S311 - repeatable on purpose
        return product.appears is None and dice.random() < share

    def offline(self, key: UUID) -> bool:
        """Whether a product must be ordered before it can be downloaded."""
        product = self.files.entity(key, self.now())
        if product is None or "Online" not in product.values:
            return False
        return product.values["Online"] is not True or self.lies(product)

    def play(self, scenario: Scenario) -> None:
        """Behave as a scenario says from now on. What the station holds stays; the scenario's sessions are added."""
        self.scenario = scenario
        self.faults.seed = scenario.seed
        self.faults.replace(scenario.faults)
        self.limits.quotas, self.limits.special = scenario.quotas, scenario.client_quotas
        self.clock.set(at=scenario.clock.start, speed=scenario.clock.speed)
        if scenario.clock.skew_s is not None:
            self.clock.skew(scenario.clock.skew_s)
        self.kind.play(self)


def _appearing(entity: Entity, date: datetime, now: datetime) -> Entity:
    return replace(entity, values={**entity.values, "PublicationDate": date}, appears=now)
