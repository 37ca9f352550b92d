"""Composes the server: mounts the services that the settings name, and is the only place that picks adapters."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

from fastapi import Depends, FastAPI

from rs_server import errors, memory, telemetry, tracing
from rs_server.access import app as access_service
from rs_server.access.authentication import Access, open_access
from rs_server.access.changes import open_changes
from rs_server.access.gate import Gate
from rs_server.bodies import bounded_body
from rs_server.bounds import Bounds
from rs_server.catalog import app as catalog_service
from rs_server.catalog import credentials as storage_service
from rs_server.catalog.connections import open_connections
from rs_server.catalog.figures import Figures as CatalogFigures
from rs_server.discovery import app as discovery_service
from rs_server.dpr import app as dpr_service
from rs_server.frontend import docs, health
from rs_server.frontend.address import PublicAddress
from rs_server.frontend.health import Check
from rs_server.needs import NEEDS
from rs_server.processes import app as processes_service
from rs_server.processes import events
from rs_server.resources import Resources, open_resources
from rs_server.settings import Settings, load
from rs_server.staging import app as staging_service
from rs_server.staging.figures import Figures as StagingFigures
from rs_server.stations import app as stations_service
from rs_server.stations.kinds import KINDS

TITLE = "RS-Python"
DESCRIPTION = "Search stations, stage sessions, process them, publish products: one server, one login."


def from_environment() -> FastAPI:
    """The server of the settings file that ``RSPY_SETTINGS`` names."""
    settings = load()
    telemetry.configure_logging(settings.log_level)
    telemetry.configure_metrics()
    tracing.configure("rs-server", settings.telemetry.collector)
    app = create_app(settings)
    memory.settle()
    return app


def create_app(settings: Settings) -> FastAPI:
    """The server. Its lifespan opens and closes everything that the services share."""
    metrics = telemetry.Metrics()
    mounted = _mounted(settings)
    app = FastAPI(
        title=TITLE,
        description=DESCRIPTION,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        dependencies=[Depends(bounded_body)],
        lifespan=partial(_lifespan, settings=settings, mounted=mounted, metrics=metrics),
    )
    errors.install(app)
    health.install(app, metrics)
    docs.install(app, settings, NEEDS)
    if "catalog" in settings.services:
        app.include_router(storage_service.create_router())
    if "processes" in settings.services:
        app.include_router(staging_service.create_router())
        app.include_router(processes_service.create_router(settings.public_url))
        app.include_router(dpr_service.create_router(settings.public_url))
    for prefix, service in mounted.items():
        app.mount(prefix, service)
    app.add_middleware(Bounds, most_bytes=settings.most_body_bytes)
    app.add_middleware(telemetry.RequestLog, metrics=metrics)  # sees the scope that routers write their route into
    app.add_middleware(PublicAddress, public_url=settings.public_url)
    app.add_middleware(Gate, metrics=metrics)
    return app


def _mounted(settings: Settings) -> dict[str, FastAPI]:
    """The services that are applications of their own, by prefix."""
    apps: dict[str, FastAPI] = {}
    if "auth" in settings.services:
        apps["/auth"] = access_service.create_app(settings)
    if "stations" in settings.services:
        apps |= {f"/{name}": stations_service.create_app(kind, settings) for name, kind in KINDS.items()}
    if "catalog" in settings.services:
        apps["/catalog"] = catalog_service.create_app(settings)
    if "stations" in settings.services:
        apps["/stations"] = discovery_service.create_app(settings, apps.get("/catalog"))
    return apps


@asynccontextmanager
async def _lifespan(
    _app: FastAPI, *, settings: Settings, mounted: dict[str, FastAPI], metrics: telemetry.Metrics
) -> AsyncIterator[dict[str, Any]]:
    """Open what the services share; each finds it in the state of its requests."""
    async with AsyncExitStack() as stack:
        resources = await stack.enter_async_context(open_resources(settings))
        staging_figures = StagingFigures(resources.database)
        changes = await stack.enter_async_context(open_changes(settings.database))
        job_changes = await stack.enter_async_context(events.open_changes(settings.database))
        access = await stack.enter_async_context(open_access(settings.access, resources.database, changes))
        for each in (*resources.metrics, access.metrics):
            metrics.registry.register(each)
            stack.callback(metrics.registry.unregister, each)
        if catalog := mounted.get("/catalog"):
            await stack.enter_async_context(open_connections(catalog, settings.database))
        yield {
            "settings": settings,
            "database": resources.database,
            "stations": resources.stations,
            "orders": resources.orders,
            "storage": resources.storage,
            "credentials": resources.credentials,
            "jobs": resources.jobs,
            "staging": resources.staging,
            "subscriptions": resources.subscriptions,
            "figures": staging_figures,
            "scraped": (staging_figures, CatalogFigures(resources.database)),
            "dpr": resources.dpr,
            "changes": job_changes,
            "access": access,
            "authenticator": access.authenticator,
            "checks": partial(_checks, settings, resources, access),
        }


def _checks(settings: Settings, resources: Resources, access: Access) -> tuple[Check, ...]:
    """What ``/ready`` asks: a station that is down, or no worker, leaves the server ready for everything else."""
    stations = resources.stations.names if "stations" in settings.services else ()
    settled = [Check("settings of stations", resources.stations.settled, needed=False)] if stations else []
    return (
        *settled,
        Check("database", partial(health.tables_there, resources.database)),
        Check("identity", access.authenticator.ready),
        Check("storage", resources.storage.ping),
        Check("worker", partial(health.worker_there, resources.database), needed=False),
        *(Check(f"station {name}", partial(resources.stations.ping, name), needed=False) for name in stations),
    )
