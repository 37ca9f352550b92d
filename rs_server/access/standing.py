"""Who somebody is by now: for work that goes on long after they asked for it, with the rights that they hold then."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import httpx

from rs_server.access.changes import Changes
from rs_server.access.directory import Directory
from rs_server.access.grants import Grants
from rs_server.access.policy import Principal
from rs_server.database import Database
from rs_server.errors import Forbidden
from rs_server.settings import AccessSettings


@dataclass(frozen=True, slots=True)
class Standing:
    """Looks users up again; without a directory they keep what they held when they asked."""

    directory: Directory | None
    grants: Grants

    async def now(self, who: Principal) -> Principal:
        """The same user, within the same scopes, with the roles, groups and grants of this moment.

        Raises ``Forbidden`` for who may not log in any more, ``Unavailable`` when the directory does not answer.
        """
        if self.directory is None:
            return who
        user = await self.directory.user(who.subject)
        if user is None or not user.enabled:
            raise Forbidden(f"{who.login} may not log in any more")
        return await self.grants.added(replace(user.principal(who.via), scopes=who.scopes))


@asynccontextmanager
async def open_standing(settings: AccessSettings, database: Database) -> AsyncIterator[Standing]:
    """With the directory that the settings name."""
    grants = Grants(database, Changes())  # nobody listens: they are read each time
    async with httpx.AsyncClient(timeout=5, trust_env=False) as http:
        yield Standing(Directory(settings.directory, http) if settings.directory else None, grants)
