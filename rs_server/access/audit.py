"""The record of who did what: one log line and one row for each event; neither is ever changed or holds a secret.

An action is ``<kind>.<verb>``, e.g. ``item.create``. The object of the kinds that are about a collection begins with
the collection's id: ``alice_s1-l0/ITEM``. So an owner finds everything that was done to a collection of theirs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import structlog
from psycopg import AsyncConnection
from psycopg.types.json import Jsonb

from rs_server.access.policy import Principal
from rs_server.database import Database, Row
from rs_server.telemetry import redact

log = structlog.get_logger("audit")

OF_COLLECTIONS = frozenset({"collection", "item", "asset", "grant"})


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that was done."""

    id: int
    at: datetime
    login: str
    subject: str
    action: str
    object: str
    collection: str | None
    result: str
    request_id: str | None
    trace_id: str | None
    details: dict[str, Any]


@dataclass(frozen=True, slots=True)
class Selection:
    """Which events; each field that is set leaves fewer."""

    concerning: str | None = None  # done to a collection of this user, or by them
    collection: str | None = None
    login: str | None = None
    action: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    before: int | None = None  # only events with a smaller id: the next page
    limit: int = 100


@dataclass(frozen=True, slots=True)
class Entry:
    """What is to be noted; where the object does not begin with its collection, the details say ``collection``."""

    who: Principal
    action: str
    object: str
    result: str = "done"
    details: Mapping[str, str | int] = field(default_factory=dict)


async def record(
    database: Database,
    who: Principal,
    action: str,
    object_: str,
    result: str = "done",
    /,
    **details: str | int,
) -> None:
    """Note that ``who`` did ``action`` to ``object_``, e.g. ``item.create`` to ``alice_s1-l0/ITEM``."""
    entry = Entry(who, action, object_, result, details=details)
    async with database.connection() as conn:
        await write(conn, entry)
    tell(entry)


async def write(conn: AsyncConnection[Row], entry: Entry) -> None:
    """Add the row within the caller's transaction; ``tell`` once that has come to a good end."""
    who, bound = entry.who, structlog.contextvars.get_contextvars()
    await conn.execute(
        "INSERT INTO rs.audit (login, subject, action, object, collection, result, request_id, trace_id, details) "
        "VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s)",
        [
            *(who.login, who.subject, entry.action, entry.object, _collection(entry), entry.result),
            *(bound.get("request_id"), bound.get("trace_id"), Jsonb(_details(entry))),
        ],
    )


async def noted(conn: AsyncConnection[Row], entry: Entry) -> bool:
    """Whether the same was put on record before: for what is to be noted once."""
    cursor = await conn.execute(
        "SELECT 1 FROM rs.audit WHERE object = %s AND action = %s LIMIT 1", [entry.object, entry.action]
    )
    return await cursor.fetchone() is not None


def tell(*entries: Entry) -> None:
    """Write the log lines."""
    for entry in entries:
        log.info(
            entry.action,
            login=entry.who.login,
            subject=entry.who.subject,
            object=entry.object,
            result=entry.result,
            **{"collection": _collection(entry), **_details(entry)},
        )


async def select(database: Database, wanted: Selection) -> list[Event]:
    """The events asked for, the newest first."""
    clauses = {
        "(split_part(collection, '_', 1) = %(concerning)s OR login = %(concerning)s)": wanted.concerning,
        "collection = %(collection)s": wanted.collection,
        "login = %(login)s": wanted.login,
        "action = %(action)s": wanted.action,
        "at >= %(since)s": wanted.since,
        "at < %(until)s": wanted.until,
        "id < %(before)s": wanted.before,
    }
    asked = [clause for clause, value in clauses.items() if value is not None]
    values = {name: getattr(wanted, name) for name in Selection.__slots__}
    async with database.connection() as conn:
        cursor = await conn.execute(
            "SELECT id, at, login, subject, action, object, collection, result, request_id, trace_id, details "  # noqa: S608
            f"FROM rs.audit WHERE {' AND '.join(asked) or 'true'} ORDER BY id DESC LIMIT %(limit)s",
            values,
        )
        return [Event(**row) for row in await cursor.fetchall()]


def _collection(entry: Entry) -> str | None:
    if entry.action.partition(".")[0] in OF_COLLECTIONS:
        return entry.object.partition("/")[0]
    return str(entry.details["collection"]) if "collection" in entry.details else None


def _details(entry: Entry) -> dict[str, Any]:
    return dict(redact(None, "", {"via": entry.who.via, **entry.details}))
