"""Puts logins on record: each session once, and refused credentials counted by address and reason."""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import NoReturn

import structlog

from rs_server.access import audit
from rs_server.access.policy import Principal
from rs_server.access.recent import Recent
from rs_server.database import Database
from rs_server.errors import Unavailable

log = structlog.get_logger("audit")

LOGIN, REFUSED = "login", "login.refused"
FLUSH_S = 5.0
PATIENCE_S = 2.0
REMEMBERED_SESSIONS = 10_000
SESSION_S = 7 * 86_400.0  # no session lives longer
MOST_REASONS = 1000  # places and reasons between two flushes; the rest is counted as one

_NOBODY = Principal("")


class Logins:
    """What was seen of logins in this process."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._sessions: Recent[str, bool] = Recent(size=REMEMBERED_SESSIONS, max_age_s=SESSION_S)
        self._refused: Counter[tuple[str, str]] = Counter()

    async def seen(self, who: Principal, session: str) -> None:
        """Note a login when its session is seen for the first time; without the database, in the log only."""
        if self._sessions.get(session):
            return
        self._sessions.put(session, value=True)
        name = hashlib.sha256(session.encode()).hexdigest()[:16]
        entry = audit.Entry(who, LOGIN, f"session/{name}")
        try:
            async with asyncio.timeout(PATIENCE_S), self._database.connection() as conn:
                if await audit.noted(conn, entry):  # by another process, or before a restart
                    return
                await audit.write(conn, entry)
        except (Unavailable, TimeoutError):
            log.warning("login_not_in_the_table", login=who.login)
        audit.tell(entry)

    def refused(self, address: str, reason: str) -> None:
        """Note credentials that did not hold: a log line now, and a row that counts them a little later."""
        log.info(REFUSED, login="", subject="", object=address, result="refused", reason=reason)
        case = (address, reason)
        if case not in self._refused and len(self._refused) >= MOST_REASONS:
            case = ("many", "many reasons")
        self._refused[case] += 1

    async def flush(self) -> None:
        """Write the rows of what was refused since the last time."""
        counted, self._refused = self._refused, Counter()
        if not counted:
            return
        try:
            async with self._database.connection() as conn:
                for (address, reason), times in counted.items():
                    details: dict[str, str | int] = {"reason": reason, "times": times}
                    await audit.write(conn, audit.Entry(_NOBODY, REFUSED, address, "refused", details))
        except Unavailable:
            self._refused.update(counted)

    async def follow(self) -> NoReturn:
        """Flush from time to time, for ever."""
        while True:
            await asyncio.sleep(FLUSH_S)
            await self.flush()


@asynccontextmanager
async def open_logins(database: Database) -> AsyncIterator[Logins]:
    """Keep the record until the end."""
    logins = Logins(database)
    following = asyncio.create_task(logins.follow())
    try:
        yield logins
    finally:
        following.cancel()
        with suppress(asyncio.CancelledError):
            await following
        with suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_S):
                await logins.flush()
