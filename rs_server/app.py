"""Composes the server: mounts the services that the settings name, and is the only place that picks adapters."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Any

from fastapi import FastAPI

from rs_server import errors, telemetry
from rs_server.access import app as access_service
from rs_server.access.apikeys import ApiKeys
from rs_server.access.authentication import open_access
from rs_server.catalog import app as catalog_service
from rs_server.catalog.connections import open_connections
from rs_server.database import open_database
from rs_server.frontend import docs, health
from rs_server.frontend.address import PublicAddress
from rs_server.frontend.health import Check
from rs_server.settings import Settings, load

TITLE = "RS-Python"
DESCRIPTION = "Search stations, stage sessions, process them, publish products: one server, one login."

# The only paths that answer without a login; a test holds every other route to one.
PUBLIC = docs.PUBLIC | health.PUBLIC | {"/auth/login", "/auth/logout"} | {"/catalog/api", "/catalog/api.html"}


def from_environment() -> FastAPI:
    """The server of the settings file that ``RSPY_SETTINGS`` names."""
    settings = load()
    telemetry.configure_logging(settings.log_level)
    return create_app(settings)


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
        lifespan=partial(_lifespan, settings=settings, mounted=mounted),
    )
    errors.install(app)
    health.install(app, metrics)
    docs.install(app, settings, PUBLIC)
    for prefix, service in mounted.items():
        app.mount(prefix, service)
    app.add_middleware(PublicAddress, public_url=settings.public_url)
    app.add_middleware(telemetry.RequestLog, metrics=metrics)
    return app


def _mounted(settings: Settings) -> dict[str, FastAPI]:
    """The services that are applications of their own, by prefix."""
    make: dict[str, tuple[str, Callable[[Settings], FastAPI]]] = {
        "auth": ("/auth", access_service.create_app),
        "catalog": ("/catalog", catalog_service.create_app),
    }
    return {make[name][0]: make[name][1](settings) for name in settings.services if name in make}


@asynccontextmanager
async def _lifespan(_app: FastAPI, *, settings: Settings, mounted: dict[str, FastAPI]) -> AsyncIterator[dict[str, Any]]:
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(open_database(settings.database))
        access = await stack.enter_async_context(open_access(settings.access, ApiKeys(database)))
        if "/catalog" in mounted:
            await stack.enter_async_context(open_connections(mounted["/catalog"], settings.database))
        checks = [
            Check("database", partial(health.tables_there, database)),
            Check("identity", access.authenticator.ready),
        ]
        yield {
            "settings": settings,
            "database": database,
            "access": access,
            "authenticator": access.authenticator,
            "checks": tuple(checks),
        }
