"""The record of who did what: one log line and one row for each event; neither is ever changed or holds a secret."""

from __future__ import annotations

import structlog
from psycopg.types.json import Jsonb

from rs_server.access.policy import Principal
from rs_server.database import Database

log = structlog.get_logger("audit")


async def record(
    database: Database, who: Principal, action: str, object_: str, result: str = "done", /, **details: str | int
) -> None:
    """Note that ``who`` did ``action`` (e.g. ``item.create``) to ``object_`` (e.g. ``alice_s1-l0/ID``)."""
    log.info(action, login=who.login, subject=who.subject, object=object_, result=result, via=who.via, **details)
    request_id = structlog.contextvars.get_contextvars().get("request_id")
    async with database.connection() as conn:
        await conn.execute(
            "INSERT INTO rs.audit (login, subject, action, object, result, request_id, details) "
            "VALUES (%s, %s, %s, %s, %s, %s, %s)",
            [who.login, who.subject, action, object_, result, request_id, Jsonb({"via": who.via, **details})],
        )
