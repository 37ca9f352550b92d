"""Everything that the server and its workers keep open: opened in one place from the settings, closed at the end."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from rs_server.catalog.store import CatalogStore
from rs_server.database import Database, open_database
from rs_server.dpr.execute import GatewayClusters
from rs_server.dpr.process import Processing
from rs_server.dpr.processors import processors
from rs_server.processes.jobs import Jobs
from rs_server.processes.model import Process
from rs_server.processes.queue import Queue, open_queue
from rs_server.settings import Settings
from rs_server.staging.process import Staging
from rs_server.stations.client import Stations, open_stations
from rs_server.stations.orders import Orders
from rs_server.storage.buckets import Storage, open_storage
from rs_server.storage.credentials import CredentialIssuer, key_maker
from rs_server.storage.stac import Place


@dataclass(frozen=True, slots=True)
class Resources:
    """What is open."""

    settings: Settings
    database: Database
    stations: Stations
    orders: Orders
    storage: Storage
    credentials: CredentialIssuer
    catalog: CatalogStore
    queue: Queue
    jobs: Jobs


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
        offered = processes(settings, stations, storage, credentials, catalog)
        jobs = Jobs(database, queue, offered)
        orders = Orders(database, stations, settings.orders)
        yield Resources(settings, database, stations, orders, storage, credentials, catalog, queue, jobs)


def processes(
    settings: Settings,
    stations: Stations,
    storage: Storage,
    credentials: CredentialIssuer,
    catalog: CatalogStore,
) -> Iterable[Process[Any]]:
    """The processes that this server offers: one line for each kind."""
    place = Place(storage.bucket, storage.endpoint, storage.region, settings.public_url)
    clusters = GatewayClusters(settings.dask)
    yield Staging(stations, storage, catalog, place).process()
    for processor in processors():
        yield Processing(processor, clusters, storage, credentials, catalog, place).process()
