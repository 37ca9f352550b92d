"""The process ``staging``: items of a station become items of the catalog, their files in our object storage."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Protocol

from pydantic import BaseModel, Field

from rs_server.access.guards import require, require_visible
from rs_server.access.policy import Principal, Right, Service, owns
from rs_server.catalog.names import CollectionName, resolve
from rs_server.errors import BadInput, NotFound, RsError
from rs_server.processes.model import Inputs, Outcome, Process, Progress
from rs_server.processes.references import ItemInputs, Reference, parse, read
from rs_server.processes.run import Run, Superseded
from rs_server.staging.plan import Plan, PlannedItem, Transfer, plan
from rs_server.staging.publish import catalog_item
from rs_server.staging.transfer import Sink, Source, carry
from rs_server.storage.stac import Place

PARALLEL = 4  # files at a time; three parts of memory each
_REPORT_EVERY_S = 0.5
_STATION_SERVICES = frozenset({Service.CADIP, Service.AUXIP, Service.PRIP, Service.LTA})


class StagingInputs(Inputs):
    """What to stage, and where to."""

    items: ItemInputs
    collection: str = Field(
        title="Collection",
        description="Collection of the catalog to publish in; a new one of the caller's own is made",
        min_length=1,
        max_length=200,
    )


class StagingRequest(BaseModel):
    """What was admitted: paths of station items, and the full id of the collection."""

    items: tuple[str, ...]
    collection: str


class Bucket(Sink, Protocol):
    """What staging needs of the object storage."""

    async def abort_uploads(self, prefix: str) -> int:
        """Take away what killed uploads left."""
        ...


class Catalog(Protocol):
    """What staging needs of the catalog."""

    async def has_collection(self, name: CollectionName) -> bool:
        """Whether there is such a collection."""
        ...

    async def ensure_collection(self, name: CollectionName, *, title: str) -> None:
        """Make a collection, unless it is there."""
        ...

    async def item(self, collection_id: str, item_id: str) -> dict[str, Any]:
        """An item; ``NotFound``."""
        ...

    async def upsert_item(self, item: dict[str, Any]) -> None:
        """Publish an item."""
        ...


@dataclass(slots=True)
class Tally:
    """What was carried so far."""

    bytes_total: int
    files_total: int
    bytes_done: int = 0
    files_done: int = 0

    def add(self, count: int) -> None:
        """Count bytes."""
        self.bytes_done += count

    @property
    def progress(self) -> Progress:
        """The same, for the job; the last percent is the publication."""
        percent = min(99, self.bytes_done * 99 // max(1, self.bytes_total))
        done = min(self.bytes_done, self.bytes_total)
        return Progress(percent, done, self.bytes_total, self.files_done, self.files_total)


@dataclass(frozen=True, slots=True)
class Staging:
    """The process, with the outside world that it works on."""

    stations: Source
    storage: Bucket
    catalog: Catalog
    place: Place
    parallel: int = field(default=PARALLEL)

    def process(self) -> Process[StagingInputs]:
        """The process as the engine takes it."""
        return Process(
            id="staging",
            title="Staging",
            description="Copies the files of station items into the object storage and publishes the items.",
            version="1.0.0",
            inputs=StagingInputs,
            outputs={"items": "The items published"},
            admit=self.admit,
            run=self.run,
        )

    async def admit(self, who: Principal, inputs: StagingInputs) -> StagingRequest:
        """Check with the caller's rights that all of it may be had, is there, and may be put where it shall go."""
        sources = read(inputs.items, self.place.public_url)
        target = resolve(inputs.collection, who)
        self._permit(who, sources, target)
        if not owns(who, target.owner) and not await self.catalog.has_collection(target):
            raise NotFound(f"collection {target.full} does not exist")
        await self._plan(sources, target)
        return StagingRequest(items=tuple(source.path for source in sources), collection=target.full)

    async def run(self, run: Run) -> Outcome:
        """Carry what is not there yet, then publish."""
        request = StagingRequest.model_validate(run.request)
        sources = tuple(parse(path, self.place.public_url, "items") for path in request.items)
        target = CollectionName.parse(request.collection)
        self._permit(run.who, sources, target)
        planned = await self._plan(sources, target)
        await run.say(f"staging {len(planned.transfers)} files, {planned.bytes_total} bytes")
        await self._carry(run, planned)
        return await self._publish(run, planned)

    def _permit(self, who: Principal, sources: Sequence[Reference], target: CollectionName) -> None:
        for source in sources:
            if source.service not in _STATION_SERVICES:
                raise BadInput(f"{source.path} is not an item of a station")
            service = Service(source.service)
            station = self.stations.station_of(source.service, source.collection)
            require_visible(who, service, station, f"item {source.path}")
            require(who, Right.DOWNLOAD, service, station)
        require(who, Right.WRITE, Service.CATALOG, target.resource)

    async def _plan(self, sources: Sequence[Reference], target: CollectionName) -> Plan:
        found = [
            (source, await self.stations.item(source.service, source.collection, source.item)) for source in sources
        ]
        return plan(found, target)

    async def _carry(self, run: Run, planned: Plan) -> None:
        if run.repeated:
            for item in planned.items:
                await self.storage.abort_uploads(item.prefix)
        tally = Tally(planned.bytes_total, len(planned.transfers))
        slots = asyncio.Semaphore(self.parallel)
        try:
            async with asyncio.TaskGroup() as group:
                telling = group.create_task(_tell(run, tally))
                carrying = [group.create_task(self._one(each, slots, tally)) for each in planned.transfers]
                await asyncio.gather(*carrying)
                telling.cancel()
        except* (RsError, Superseded) as errors:
            raise _first(errors) from None
        await run.settle(tally.progress)

    async def _one(self, transfer: Transfer, slots: asyncio.Semaphore, tally: Tally) -> None:
        async with slots:
            await carry(transfer, self.stations, self.storage, tally.add)
            tally.files_done += 1

    async def _publish(self, run: Run, planned: Plan) -> Outcome:
        target = planned.target
        await run.say(f"publishing in {target.full}")
        if owns(run.who, target.owner):
            await self.catalog.ensure_collection(target, title=target.name)
        for item in planned.items:
            before = await self._before(target, item)
            await self.catalog.upsert_item(catalog_item(item, target, self.place, datetime.now(UTC), before))
        paths = tuple(Reference("catalog", target.full, item.source.item).path for item in planned.items)
        return Outcome(f"staged {len(planned.transfers)} files, {planned.bytes_total} bytes", {"items": paths})

    async def _before(self, target: CollectionName, item: PlannedItem) -> dict[str, Any] | None:
        try:
            return await self.catalog.item(target.full, item.source.item)
        except NotFound:
            return None


async def _tell(run: Run, tally: Tally) -> None:
    while True:
        await asyncio.sleep(_REPORT_EVERY_S)
        await run.report(tally.progress)


def _first(errors: ExceptionGroup[Exception]) -> Exception:
    """The error that ended it all: the siblings of a failed transfer are only cancelled."""
    first = errors.exceptions[0]
    return _first(first) if isinstance(first, ExceptionGroup) else first
