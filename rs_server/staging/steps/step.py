"""What the phases of a step have in common: the job, the outside world, and what is said of an item."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol
from uuid import UUID

from psycopg import AsyncConnection

from rs_server.access.policy import Principal, Service
from rs_server.catalog.names import CollectionName
from rs_server.database import Row
from rs_server.errors import StationRefused
from rs_server.processes.references import Reference
from rs_server.processes.run import Run
from rs_server.settings import StagingSettings
from rs_server.staging import found as finding
from rs_server.staging.archive import Asked
from rs_server.staging.found import Finder, Found
from rs_server.staging.inputs import StagingRequest
from rs_server.staging.model import ItemState, NewItem, Order, StagedItem
from rs_server.staging.plan import Planned, Target, is_complete, transfers
from rs_server.staging.rows import StagingRows
from rs_server.staging.transfer import Reached, nowhere
from rs_server.stations.totals import Totals
from rs_server.storage.layout import Buckets
from rs_server.storage.stac import Place

BATCH = 200
MOST_ITEMS = 100_000
THERE = "it is in the collection already"
PLAN_S = 2.0  # after which planning leaves its place to others, and goes on when they had it
_LOOKUPS = 8
_TOLD_AGAIN_S = 600.0  # how often the log says that a job waits for the same thing still


class Catalog(finding.Catalog, Protocol):
    """What staging needs of the catalog."""

    async def has_collection(self, name: CollectionName) -> bool:
        """Whether there is such a collection."""
        ...

    async def ensure_collection(self, name: CollectionName, *, title: str) -> None:
        """Make a collection, unless it is there."""
        ...

    async def items(self, collection_id: str, item_ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Those of these items that are there."""
        ...

    async def lock(self, conn: AsyncConnection[Row], collection_id: str, item_ids: Sequence[str]) -> None:
        """Let nobody else change these items until a transaction ends."""
        ...

    async def publish(self, conn: AsyncConnection[Row], items: Sequence[Mapping[str, Any]]) -> None:
        """Publish items as part of a transaction."""
        ...


class Stations(finding.Stations, Protocol):
    """What staging needs of the stations."""

    async def totals(self, service: str, collection: str, item: Mapping[str, Any]) -> Totals:
        """A session's files, held against what the station says of each channel so far."""
        ...


class Ordering(Protocol):
    """Brings files back that are not at hand at their station."""

    async def ask(self, who: Principal, source: Reference, order: UUID | None, *, tried: bool) -> Asked:
        """How far the order of an item is, placed if there is none yet; an error when its files will not come.

        With ``tried`` it is not at hand, whatever its station says.
        """
        ...


@dataclass(frozen=True, slots=True)
class Surroundings:
    """The outside world that staging works on."""

    stations: Stations
    catalog: Catalog
    rows: StagingRows
    place: Place
    buckets: Buckets
    settings: StagingSettings = field(default_factory=StagingSettings)
    archive: Ordering | None = None
    reached: Reached = nowhere
    plan_s: float = PLAN_S

    @property
    def finder(self) -> Finder:
        """Where items come from."""
        return Finder(self.stations, self.catalog)


@dataclass(slots=True)
class Step:
    """One step of one job."""

    of: Surroundings
    run: Run
    request: StagingRequest
    target: CollectionName = field(init=False)

    def __post_init__(self) -> None:
        self.target = CollectionName.parse(self.request.collection)

    @property
    def patience_lost(self) -> bool:
        """Whether a station that does not answer is not waited for any longer."""
        return (datetime.now(UTC) - self.run.job.created).total_seconds() > self.of.settings.patience_s

    async def tell_why(self) -> None:
        """Say in the log what the job waits for, if it does."""
        if waiting := (await self.of.rows.progress(self.run.id)).waiting:
            await self.tell(waiting)

    async def tell(self, waiting: str) -> None:
        """Say in the log what the job waits for, but not until when, which is another at each look."""
        reason = waiting.partition(";")[0]
        await self.run.tell(reason if reason.startswith("waiting") else f"waiting: {reason}", _TOLD_AGAIN_S)

    async def set(self, item: StagedItem, state: ItemState, reason: str) -> None:
        """Note what has become of an item."""
        async with self.run.transaction() as conn:
            await self.of.rows.set_item(conn, item.id, state, reason)

    def transfers(self, source: Reference, document: Mapping[str, Any]) -> tuple[Planned, ...]:
        """The files of an item that are wanted, all of which are there."""
        station = self.of.finder.station_of(source)
        assets = frozenset(self.request.assets)
        return transfers(source, document, station, Target(self.target, str(self.run.id)), assets)

    def so_far(self, source: Reference, document: Mapping[str, Any]) -> tuple[Planned, ...]:
        """The files of a session that are there while it grows, and wanted."""
        wanted, assets = self.request.assets, document.get("assets") or {}
        there = {name: asset for name, asset in assets.items() if not wanted or name in wanted}
        station, target = self.of.finder.station_of(source), Target(self.target, str(self.run.id))
        return transfers(source, {**document, "assets": there}, station, target) if there else ()

    @property
    def order(self) -> Order:
        """For whom its files are carried."""
        return Order(self.run.id, self.run.who.login, self.request.priority)

    async def totals(self, source: Reference, document: Mapping[str, Any]) -> Totals:
        """What the station's own totals say of a session that looks complete."""
        try:
            return await self.of.stations.totals(source.service, source.collection, document)
        except StationRefused:  # it does not tell them
            return Totals()

    async def totals_of(self, found: Found | NewItem) -> Totals:
        """The same of an item that was found at a station, when it is a session that looks complete."""
        if isinstance(found, NewItem) or found[0].service == Service.CATALOG or not is_complete(found[1]):
            return Totals()
        return await self.totals(*found)


async def gathered[T](questions: Iterable[Awaitable[T]]) -> list[T]:
    """All answers, a few asked at a time; the first error ends it."""
    slots = asyncio.Semaphore(_LOOKUPS)

    async def answered(question: Awaitable[T]) -> T:
        async with slots:
            return await question

    tasks = [asyncio.ensure_future(answered(question)) for question in questions]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
