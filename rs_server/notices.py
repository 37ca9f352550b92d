"""Listens to what PostgreSQL notifies, through losses of the database."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import NoReturn, Protocol

import psycopg
import structlog
from psycopg import AsyncConnection

from rs_server.settings import DatabaseSettings

log = structlog.get_logger(__name__)

_ALIVE_S = 10.0  # a connection that says nothing is asked after this time whether it lives
_AGAIN_S = 1.0


class Listener(Protocol):
    """Who is told."""

    def connected(self) -> None:
        """From now on everything is heard; what was notified before may have been missed."""
        ...

    def heard(self, payload: str) -> None:
        """Somebody notified the channel."""
        ...

    def lost(self) -> None:
        """From now on nothing is heard."""
        ...


@asynccontextmanager
async def listening(settings: DatabaseSettings, channel: str, listener: Listener) -> AsyncIterator[None]:
    """Listen to a channel until the end; does not wait for the database to be there."""
    task = asyncio.create_task(_listen_for_ever(settings.dsn.get_secret_value(), channel, listener))
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _listen_for_ever(dsn: str, channel: str, listener: Listener) -> NoReturn:
    while True:
        try:
            await _listen(dsn, channel, listener)
        except psycopg.OperationalError as error:
            log.warning("not_listening", channel=channel, reason=str(error).partition("\n")[0])
        listener.lost()
        await asyncio.sleep(_AGAIN_S)


async def _listen(dsn: str, channel: str, listener: Listener) -> None:
    async with await AsyncConnection.connect(dsn, autocommit=True, connect_timeout=5) as conn:
        await conn.execute(f"LISTEN {channel}")
        listener.connected()
        while True:
            async for notice in conn.notifies(timeout=_ALIVE_S):
                listener.heard(notice.payload)
            await conn.execute("SELECT 1")
