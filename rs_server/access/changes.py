"""Keeps what this process remembers of the access tables true: the database tells when one of them changes.

Whoever remembers something reads ``version`` first and believes it as long as the version stays; while the database
cannot be listened to there is no version, and nothing is remembered.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from rs_server.notices import listening
from rs_server.settings import DatabaseSettings

CHANNEL = "rs_access"


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

    def connected(self) -> None:
        """The database can be listened to; something may have been missed before."""
        self.happened()
        self._listening = True

    def heard(self, payload: str) -> None:  # noqa: ARG002 - which table it was does not matter
        """The database says that something has changed."""
        self.happened()

    def lost(self) -> None:
        """The database cannot be listened to."""
        self._listening = False


@asynccontextmanager
async def open_changes(settings: DatabaseSettings) -> AsyncIterator[Changes]:
    """Follow the changes of this database until the end; does not wait for the database to be there."""
    changes = Changes()
    async with listening(settings, CHANNEL, changes):
        yield changes
