"""Our connections to PostgreSQL, for the tables beside pgstac's own."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

import psycopg
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from psycopg import AsyncConnection
from psycopg.rows import dict_row
from psycopg_pool import AsyncConnectionPool, PoolTimeout

from rs_server.errors import Unavailable
from rs_server.settings import DatabaseSettings

Row = dict[str, Any]

_WRITE_AGAIN_S = 0.5
_AWAY_S = 30.0
_FRESH_S = 0.5

# A process that was frozen in the middle of a transaction holds its locks against all others: the server ends it. And
# nobody waits for a lock much longer than that.
OPTIONS = "-c idle_in_transaction_session_timeout=5000 -c lock_timeout=10000"


class _Connection(AsyncConnection[Row]):
    """A connection that knows when it was last used."""

    used_at = 0.0

    @staticmethod
    async def check(conn: AsyncConnection[Row]) -> None:
        """Raise ``OperationalError`` when the server has gone; one just used is taken to be well, without asking."""
        if isinstance(conn, _Connection) and time.monotonic() - conn.used_at > _FRESH_S:
            await AsyncConnectionPool.check_connection(conn)

    @staticmethod
    async def returned(conn: AsyncConnection[Row]) -> None:
        """Note that the server was there a moment ago."""
        if isinstance(conn, _Connection):
            conn.used_at = time.monotonic()


class Database:
    """Connections whose failures are ours: a lost server reads ``Unavailable``, not a driver's traceback."""

    def __init__(self, pool: AsyncConnectionPool[AsyncConnection[Row]]) -> None:
        self._pool = pool

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[AsyncConnection[Row]]:
        """A connection in a transaction: committed at the end, rolled back on an error; rows come as dicts."""
        try:
            async with self._pool.connection() as conn:
                yield conn
        except (psycopg.OperationalError, psycopg.errors.IdleInTransactionSessionTimeout, PoolTimeout) as error:
            raise Unavailable("the database does not answer", hint="try again in a few seconds") from error

    @property
    def in_use(self) -> int:
        """How many connections are lent out at the moment."""
        stats = self._pool.get_stats()
        return stats["pool_size"] - stats["pool_available"]

    async def ping(self) -> None:
        """Raise ``Unavailable`` unless a query works."""
        async with self.connection() as conn:
            await conn.execute("SELECT 1")


class DatabaseMetrics(Collector):
    """How busy one process's connections are; a registry collects it."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def collect(self) -> Iterable[Metric]:
        """What a registry asks for."""
        yield GaugeMetricFamily("db_pool_in_use", "Connections to PostgreSQL in use", value=self._database.in_use)


@asynccontextmanager
async def open_database(settings: DatabaseSettings) -> AsyncIterator[Database]:
    """Open the pool, and close it at the end; does not wait for the server to be there."""
    pool: AsyncConnectionPool[AsyncConnection[Row]] = AsyncConnectionPool(
        settings.dsn.get_secret_value(),
        min_size=1,
        max_size=settings.pool_max,
        timeout=10,
        open=False,
        check=_Connection.check,
        reset=_Connection.returned,
        connection_class=_Connection,
        kwargs={"row_factory": dict_row, "options": OPTIONS},
    )
    await pool.open()
    try:
        yield Database(pool)
    finally:
        await pool.close()


async def persistently[T](write: Callable[[], Awaitable[T]]) -> T:
    """Write to the database, and bear with one that is away for a while: it may be restarting."""
    end = time.monotonic() + _AWAY_S
    while True:
        try:
            return await write()
        except Unavailable:
            if time.monotonic() > end:
                raise
        await asyncio.sleep(_WRITE_AGAIN_S)
