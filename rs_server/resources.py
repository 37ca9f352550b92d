"""Everything that the server and its workers keep open: opened in one place from the settings, closed at the end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from rs_server.catalog.store import CatalogStore
from rs_server.database import Database, open_database
from rs_server.dpr.app import Dpr
from rs_server.dpr.execute import GatewayClusters
from rs_server.dpr.leftovers import Leftovers
from rs_server.dpr.process import Processing, World
from rs_server.dpr.processors import processors
from rs_server.dpr.records import RecordRows
from rs_server.processes.jobs import Jobs
from rs_server.processes.model import Process
from rs_server.processes.queue import Queue, open_queue
from rs_server.settings import Settings
from rs_server.staging.process import Staging
from rs_server.stations.client import Stations, open_stations
from rs_server.storage.buckets import Storage, open_storage
from rs_server.storage.credentials import CredentialIssuer, key_maker
from rs_server.storage.stac import Place


@dataclass(frozen=True, slots=True)
class Resources:
    """What is open."""

    settings: Settings
    database: Database
    stations: Stations
    storage: Storage
    credentials: CredentialIssuer
    catalog: CatalogStore
    queue: Queue
    jobs: Jobs
    dpr: Dpr
    leftovers: Leftovers


@asynccontextmanager
async def open_resources(settings: Settings) -> AsyncIterator[Resources]:
    """Open all of it. What is not there yet is no error, but for the database: the queue is in it."""
    async with (
        open_database(settings.database) as database,
        open_stations(settings.stations, public_url=settings.public_url) as stations,
        open_storage(settings.storage) as storage,
        open_queue(settings.database) as queue,
    ):
        credentials = CredentialIssuer(database, key_maker(settings.storage), settings.storage)
        catalog = CatalogStore(database)
        place = Place(storage.bucket, storage.endpoint, storage.region, settings.public_url)
        records, clusters = RecordRows(database), GatewayClusters(settings.dask)
        world = World(clusters, storage, credentials, catalog, stations, records, place, settings.dask.limits)
        processings = {processor.id: Processing(processor, world) for processor in processors()}
        jobs = Jobs(database, queue, processes(Staging(stations, storage, catalog, place), processings.values()))
        yield Resources(
            settings,
            database,
            stations,
            storage,
            credentials,
            catalog,
            queue,
            jobs,
            Dpr(processings, jobs, records),
            Leftovers(database, clusters, credentials, storage, catalog, records),
        )


def processes(staging: Staging, processings: Iterable[Processing]) -> Iterable[Process[Any]]:
    """The processes that this server offers: one line for each kind."""
    yield staging.process()
    for processing in processings:
        yield processing.process()
