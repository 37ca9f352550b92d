"""Keeps what this process remembers of the access tables true: the database tells when one of them changes.

Whoever remembers something reads ``version`` first and believes it as long as the version stays; while the database
cannot be listened to there is no version, and nothing is remembered.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import NoReturn

import psycopg
import structlog
from psycopg import AsyncConnection

from rs_server.settings import DatabaseSettings

log = structlog.get_logger(__name__)

CHANNEL = "rs_access"
ALIVE_S = 10.0  # a connection that says nothing is asked after this time whether it lives
RETRY_S = 1.0


class Changes:
    """A number that grows with each change."""

    def __init__(self) -> None:
        self._count = 0
        self._listening = False

    @property
    def version(self) -> int | None:
        """What stays the same until something changes; None while that could not be noticed."""
        return self._count if self._listening else None

    def happened(self) -> None:
        """Something has changed; who changes it says so at once, the others are told by the database."""
        self._count += 1

    async def follow(self, dsn: str) -> NoReturn:
        """Listen to the database for ever; a connection that is lost is made again."""
        while True:
            with suppress(psycopg.OperationalError):
                await self._listen(dsn)
            if self._listening:
                log.warning("changes_unheard", hint="nothing is remembered until the database can be listened to")
            self._listening = False
            await asyncio.sleep(RETRY_S)

    async def _listen(self, dsn: str) -> None:
        async with await AsyncConnection.connect(dsn, autocommit=True, connect_timeout=5) as conn:
            await conn.execute(f"LISTEN {CHANNEL}")
            self.happened()  # whatever was missed
            self._listening = True
            while True:
                async for _ in conn.notifies(timeout=ALIVE_S):
                    self.happened()
                await conn.execute("SELECT 1")


@asynccontextmanager
async def open_changes(settings: DatabaseSettings) -> AsyncIterator[Changes]:
    """Follow the changes of this database until the end; does not wait for the database to be there."""
    changes = Changes()
    following = asyncio.create_task(changes.follow(settings.dsn.get_secret_value()))
    try:
        yield changes
    finally:
        following.cancel()
        with suppress(asyncio.CancelledError):
            await following
