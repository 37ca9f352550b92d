"""The connections that stac-fastapi-pgstac works with, and what their errors mean to a caller."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Literal

import asyncpg
import orjson
import structlog
from fastapi import FastAPI, Request
from psycopg.conninfo import conninfo_to_dict
from stac_fastapi.pgstac.db import translate_pgstac_errors

from rs_server.errors import BadInput, NotFound, Unavailable
from rs_server.settings import DatabaseSettings

log = structlog.get_logger(__name__)

ACQUIRE_TIMEOUT_S = 4.0  # connecting takes its time on a busy machine

_PARAMETERS = {
    "host": "host",
    "port": "port",
    "user": "user",
    "password": "password",
    "dbname": "database",
    "sslmode": "ssl",
}
_BROKEN = (
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.QueryCanceledError,
    asyncpg.TooManyConnectionsError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # what the driver stumbles over when its connection goes in the middle
)
_IN_THE_WAY = (asyncpg.DeadlockDetectedError, asyncpg.SerializationError, asyncpg.LockNotAvailableError)
# What the database says about a search it cannot evaluate, e.g. a text compared with a number.
_NOT_EVALUABLE = (asyncpg.DataError, asyncpg.SyntaxOrAccessError, asyncpg.RaiseError, asyncpg.InternalServerError)


class Contended(Unavailable):
    """Writers got into each other's way, and this one was made to give up; another attempt will do."""


@asynccontextmanager
async def open_connections(app: FastAPI, settings: DatabaseSettings) -> AsyncIterator[None]:
    """Give the catalog application its pools, and close them at the end; does not wait for the server to be there.

    Reads have connections of their own, which can write nothing: many writers do not make them wait, and no filter,
    whatever it smuggles in, changes anything.
    """
    async with (
        _pool(settings, default_transaction_read_only="on", plan_cache_mode="force_custom_plan") as reading,
        _pool(settings) as writing,
    ):
        app.state.pools = {"r": reading, "w": writing}
        app.state.get_connection = connection
        yield


@asynccontextmanager
async def _pool(settings: DatabaseSettings, **session: str) -> AsyncIterator[Any]:
    pool = await asyncpg.create_pool(
        **_place(settings.dsn.get_secret_value()),
        min_size=0,
        max_size=settings.pool_max,
        max_inactive_connection_lifetime=0,
        init=_speak_json,
        server_settings={
            "search_path": "pgstac,public",
            "application_name": "rs-catalog",
            "statement_timeout": str(settings.statement_timeout_ms),
            "jit": "off",  # a search over many partitions looks costly, and is not worth compiling …
            "max_parallel_workers_per_gather": "0",  # … nor starting processes for: each learns all partitions first
            **session,
        },
    )
    try:
        yield pool
    finally:
        await pool.close()


def _place(dsn: str) -> dict[str, Any]:
    """Where the database is, in asyncpg's words: it reads URLs only, where libpq also reads ``host=… port=…``."""
    known = conninfo_to_dict(dsn)
    return {ours: known[theirs] for theirs, ours in _PARAMETERS.items() if known.get(theirs) is not None}


@asynccontextmanager
async def connection(
    request: Request,
    readwrite: Literal["r", "w"] = "r",
) -> AsyncIterator[Any]:
    """A connection of the pool for reading, or of that for writing."""
    with _meaning(), translate_pgstac_errors():
        async with request.app.state.pools[readwrite].acquire(timeout=ACQUIRE_TIMEOUT_S) as conn:
            yield conn


@contextmanager
def _meaning() -> Iterator[None]:
    try:
        yield
    except _IN_THE_WAY as error:
        raise Contended("others are writing at the same place", hint="try again in a few seconds") from error
    except (*_BROKEN, TimeoutError) as error:
        raise Unavailable("the catalog's database does not answer", hint="try again in a few seconds") from error
    except asyncpg.CheckViolationError as error:  # items lie in one partition for each collection
        if error.constraint_name is not None:  # a span that another writer has just drawn for the partition
            raise Contended("others are writing at the same place", hint="try again in a few seconds") from error
        raise NotFound("the collection does not exist") from error
    except _NOT_EVALUABLE as error:
        log.info("search_refused", reason=str(error))  # the text may quote the database's inside: not for the caller
        raise BadInput("the catalog cannot evaluate this request", hint="check types and names in it") from error


async def _speak_json(conn: Any) -> None:
    for kind in ("json", "jsonb"):
        await conn.set_type_codec(kind, encoder=orjson.dumps, decoder=orjson.loads, schema="pg_catalog")
