"""What the owners of collections give to users and groups: rows, with an end date, that count from now on."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum

import psycopg

from rs_server.access import audit, policy
from rs_server.access.changes import Changes
from rs_server.access.policy import Principal, Right, Service
from rs_server.access.recent import Recent
from rs_server.database import Database, Row
from rs_server.errors import NotFound, Unavailable

REMEMBERED_CALLERS = 10_000
PATIENCE_S = 2.0
BELIEVED_S = 3600.0  # changes are noticed; this only lets go of who does not come any more


class ReaderKind(StrEnum):
    """Whom a grant is given to."""

    USER = "user"
    GROUP = "group"


@dataclass(frozen=True, slots=True)
class Reader:
    """Somebody who holds rights on a collection by its owner's leave; ``until`` None: until revoked."""

    kind: ReaderKind
    name: str
    rights: frozenset[Right]
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Given:
    """The role that a grant amounts to, and its end."""

    role: str
    until: datetime | None


class Grants:
    """The grants in the database. What a caller was given is read once and remembered until a grant changes."""

    def __init__(self, database: Database, changes: Changes) -> None:
        self._database = database
        self._changes = changes
        self._known: Recent[tuple[str, frozenset[str]], tuple[int, tuple[Given, ...]]] = Recent(
            size=REMEMBERED_CALLERS, max_age_s=BELIEVED_S
        )

    async def added(self, who: Principal) -> Principal:
        """The same caller with what owners gave to them or to their groups; not known without the database."""
        try:
            async with asyncio.timeout(PATIENCE_S):
                given = await self._given(who.login, who.groups)
        except (Unavailable, TimeoutError):  # who needs no grant, for instance at a station, is not held up
            return replace(who, granted=None)
        now = datetime.now(UTC)
        return replace(who, granted=frozenset(each.role for each in given if each.until is None or each.until > now))

    async def of(self, owner: str, collection: str) -> list[Reader]:
        """Who holds rights on a collection, by name; those whose time is over are not among them."""
        async with self._database.connection() as conn:
            cursor = await conn.execute(
                "SELECT kind, name, rights, until FROM rs.grants "
                "WHERE collection = %s AND (until IS NULL OR until > now()) ORDER BY kind DESC, name",
                [_id(owner, collection)],
            )
            return [_reader(row) for row in await cursor.fetchall()]

    async def give(self, who: Principal, owner: str, collection: str, readers: Sequence[Reader]) -> None:
        """Let each reader hold exactly the rights named; others keep theirs. ``NotFound`` without that collection."""
        full = _id(owner, collection)
        rows = [(full, each.kind, each.name, _texts(each.rights), each.until, who.login) for each in readers]
        entries = [_given_entry(who, full, each) for each in readers]
        try:
            async with self._database.connection() as conn:
                await conn.cursor().executemany(
                    "INSERT INTO rs.grants (collection, kind, name, rights, until, granted_by) "
                    "VALUES (%s, %s, %s, %s, %s, %s) ON CONFLICT (collection, kind, name) DO UPDATE SET "
                    "rights = excluded.rights, until = excluded.until, "
                    "granted = now(), granted_by = excluded.granted_by",
                    rows,
                )
                for entry in entries:
                    await audit.write(conn, entry)
        except psycopg.errors.ForeignKeyViolation as error:
            raise NotFound(f"collection {full} does not exist") from error
        self._changes.happened()
        audit.tell(*entries)

    async def revoke(self, who: Principal, owner: str, collection: str, kind: ReaderKind, name: str) -> None:
        """Take back what somebody was given; ``NotFound`` if that is nothing."""
        full = _id(owner, collection)
        entry = audit.Entry(who, "grant.revoke", f"{full}/{kind}/{name}")
        async with self._database.connection() as conn:
            cursor = await conn.execute(
                "DELETE FROM rs.grants WHERE collection = %s AND kind = %s AND name = %s", [full, kind, name]
            )
            if cursor.rowcount == 0:
                raise NotFound(f"the {kind} {name} was given nothing on collection {full}")
            await audit.write(conn, entry)
        self._changes.happened()
        audit.tell(entry)

    async def _given(self, login: str, groups: frozenset[str]) -> tuple[Given, ...]:
        version, asked = self._changes.version, (login, groups)
        known = self._known.get(asked)
        if known is not None and known[0] == version:
            return known[1]
        found = await self._read(login, groups)
        if version is not None:
            self._known.put(asked, (version, found))
        return found

    async def _read(self, login: str, groups: Collection[str]) -> tuple[Given, ...]:
        async with self._database.connection() as conn:
            cursor = await conn.execute(
                "SELECT collection, rights, until FROM rs.grants "
                "WHERE (until IS NULL OR until > now()) AND "
                "((kind = 'user' AND name = %s) OR (kind = 'group' AND name = ANY(%s)))",
                [login, sorted(groups)],
            )
            return tuple(given for row in await cursor.fetchall() for given in _as_roles(row))


def _as_roles(row: Row) -> Iterable[Given]:
    owner, _, collection = row["collection"].partition("_")
    resource = policy.collection_resource(owner, collection)
    for right in row["rights"]:
        yield Given(policy.role(Right(right), Service.CATALOG, resource), row["until"])


def _given_entry(who: Principal, full: str, reader: Reader) -> audit.Entry:
    until = reader.until.isoformat() if reader.until else "revoked"
    details = {"rights": " ".join(_texts(reader.rights)), "until": until}
    return audit.Entry(who, "grant.give", f"{full}/{reader.kind}/{reader.name}", details=details)


def _reader(row: Row) -> Reader:
    return Reader(ReaderKind(row["kind"]), row["name"], frozenset(map(Right, row["rights"])), row["until"])


def _id(owner: str, collection: str) -> str:
    """The collection's id in the catalog: an owner has no underscore."""
    return f"{owner}_{collection}"


def _texts(rights: Iterable[Right]) -> list[str]:
    """In the order they are always told."""
    held = set(rights)
    return [str(right) for right in policy.SHARED_RIGHTS if right in held]
