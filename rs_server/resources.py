"""Everything that the server and its workers keep open: opened in one place from the settings, closed at the end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

from prometheus_client.registry import Collector

from rs_server.access.policy import Principal
from rs_server.access.standing import Standing, open_standing
from rs_server.catalog.lifecycle import Rules
from rs_server.catalog.store import CatalogStore
from rs_server.database import Database, DatabaseMetrics, open_database
from rs_server.dpr.app import Dpr
from rs_server.dpr.execute import GatewayClusters
from rs_server.dpr.leftovers import Leftovers
from rs_server.dpr.process import Processing
from rs_server.dpr.process import World as ProcessingWorld
from rs_server.dpr.processors import processors
from rs_server.dpr.records import RecordRows
from rs_server.processes.jobs import Jobs
from rs_server.processes.model import Process
from rs_server.processes.queue import Queue, open_queue
from rs_server.settings import Settings, StationSettings, load
from rs_server.staging.archive import Archive
from rs_server.staging.carrier import Carrier
from rs_server.staging.claim import NO_STATION, Limits
from rs_server.staging.health import Health, Pace
from rs_server.staging.process import STAGING, Staging
from rs_server.staging.rows import StagingRows
from rs_server.staging.subscriptions import Subscriptions
from rs_server.staging.sweep import Sweeper
from rs_server.staging.transfer import Reached, World, nowhere
from rs_server.stations.client import Stations, open_stations
from rs_server.stations.orders import Orders
from rs_server.stations.renewal import Renewal
from rs_server.stations.turns import BookedTurns
from rs_server.storage.buckets import Storage, open_storage
from rs_server.storage.credentials import CredentialIssuer, key_maker
from rs_server.storage.layout import Buckets
from rs_server.storage.multipart import THREADS, Uploads, open_uploads
from rs_server.storage.stac import Place


@dataclass(frozen=True, slots=True)
class Resources:
    """What is open."""

    settings: Settings
    database: Database
    stations: Stations
    renewal: Renewal | None
    orders: Orders
    storage: Storage
    uploads: Uploads
    credentials: CredentialIssuer
    catalog: CatalogStore
    queue: Queue
    staging: Staging
    subscriptions: Subscriptions
    jobs: Jobs
    dpr: Dpr
    leftovers: Leftovers

    @property
    def metrics(self) -> tuple[Collector, ...]:
        """What this process counts, for a registry."""
        return self.stations.metrics, self.storage.metrics, DatabaseMetrics(self.database)


@asynccontextmanager
async def open_resources(settings: Settings, reached: Reached = nowhere) -> AsyncIterator[Resources]:
    """Open all of it. What is not there yet is no error, but for the database: the queue is in it.

    ``reached`` is told the points of the work of staging.
    """
    buckets = Buckets(settings.storage.bucket, settings.catalog.lifecycle)
    async with (
        open_database(settings.database) as database,
        open_stations(
            settings.stations,
            public_url=settings.public_url,
            issuer=settings.access.issuer,
            book=BookedTurns(database).book,
        ) as stations,
        _renewed(stations, settings.source) as renewal,
        open_storage(settings.storage, buckets.all) as storage,
        open_queue(settings.database) as queue,
        open_standing(settings.access, database) as standing,
    ):
        threads = ThreadPoolExecutor(THREADS, thread_name_prefix="uploads")
        uploads = open_uploads(settings.storage, threads, storage.metrics)
        credentials = CredentialIssuer(database, key_maker(settings.storage), settings.storage, buckets)
        catalog = CatalogStore(database, Rules(settings.catalog.lifecycle))
        place = Place(storage.bucket, storage.endpoint, storage.region, settings.public_url, settings.access.issuer)
        orders = Orders(database, stations, settings.orders)
        rows, archive = StagingRows(database, storage.bucket, settings.staging.grace_s), Archive(orders)
        staging = Staging(stations, catalog, rows, place, buckets, settings.staging, archive=archive, reached=reached)
        records, clusters = RecordRows(database), GatewayClusters(settings.dask)
        world = ProcessingWorld(
            *(clusters, storage.at, credentials, catalog, stations, records, place, buckets, settings.dask.limits)
        )
        processings = {processor.id: Processing(processor, world) for processor in processors()}
        jobs = Jobs(database, queue, processes(staging, processings.values()))
        try:
            yield Resources(
                settings=settings,
                database=database,
                stations=stations,
                renewal=renewal,
                orders=orders,
                storage=storage,
                uploads=uploads,
                credentials=credentials,
                catalog=catalog,
                queue=queue,
                staging=staging,
                subscriptions=_subscriptions(database, staging, jobs, standing),
                jobs=jobs,
                dpr=Dpr(processings, jobs, records),
                leftovers=Leftovers(database, clusters, credentials, storage.at, catalog, records),
            )
        finally:
            threads.shutdown(wait=False, cancel_futures=True)


@asynccontextmanager
async def _renewed(stations: Stations, source: Path | None) -> AsyncIterator[Renewal | None]:
    """Meanwhile the stations follow the file of the settings, if they come from one."""
    if source is None:
        yield None
        return
    renewal = Renewal(stations, source, lambda: load(source).stations)
    task = asyncio.create_task(renewal.follow())
    try:
        yield renewal
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


class OfStations[T](Mapping[str, T]):
    """A value of each station, made of its settings as they are at the moment."""

    def __init__(self, stations: Stations, make: Callable[[StationSettings], T], others: Mapping[str, T]) -> None:
        self._stations = stations
        self._make = make
        self._others = others

    def __getitem__(self, name: str) -> T:
        return self._others[name] if name in self._others else self._make(self._stations.settings[name])

    def __iter__(self) -> Iterator[str]:
        return iter({**self._stations.settings, **self._others})

    def __len__(self) -> int:
        return len({**self._stations.settings, **self._others})


def _limits(each: StationSettings) -> Limits:
    return Limits(each.downloads_at_once, each.user_downloads or each.downloads_at_once, each.ranges)


def processes(staging: Staging, processings: Iterable[Processing]) -> Iterable[Process[Any]]:
    """The processes that this server offers: one line for each kind."""
    yield staging.process()
    for processing in processings:
        yield processing.process()


def _subscriptions(database: Database, staging: Staging, jobs: Jobs, standing: Standing) -> Subscriptions:
    async def submit(who: Principal, inputs: Mapping[str, Any], key: str) -> UUID:
        job, _ = await jobs.submit(who, STAGING, inputs, key)
        return job.id

    return Subscriptions(database, staging.finder, staging.settings, submit, staging.target, standing.now)


def open_sweeper(resources: Resources) -> Sweeper:
    """What takes away the leftovers of staging."""
    return Sweeper(
        *(resources.staging.rows, resources.uploads.at, resources.storage.at, resources.catalog),
        grace_s=resources.settings.staging.grace_s,
    )


def open_carrier(resources: Resources) -> Carrier:
    """A worker's carrier."""
    stations, rows, staging = resources.stations, resources.staging.rows, resources.settings.staging
    paces = OfStations(stations, lambda each: Pace(each.downloads_per_s, each.bytes_per_s, each.user_bytes_per_s), {})
    health = Health(resources.database, paces)
    limits = OfStations(stations, _limits, {"": NO_STATION})
    world = World(
        *(resources.stations, health, resources.storage.at, resources.uploads.at, rows),
        part_bytes=staging.part_bytes,
        most_parts=resources.settings.storage.most_parts,
        reached=resources.staging.reached,
    )

    async def note(job: UUID) -> None:
        await resources.jobs.note(job, partial(rows.progress, job))

    return Carrier(rows, health, world, limits, staging, resources.jobs.wake, note)
