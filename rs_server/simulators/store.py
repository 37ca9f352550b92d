"""What a station holds, in SQLite: one table for each entity set, for what belongs to its entities, and for areas.

Every row is there for a span of the station's time. Whatever changes by itself (chunks that come in, orders that
complete, files that are evicted) is written down beforehand as rows with spans, and reading at a moment shows how it is
then: nothing runs in the background, and any speed of the clock shows the same.
"""

from __future__ import annotations

import json
import sqlite3
import weakref
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from typing import Any
from uuid import UUID

import orjson
import shapely

from rs_server.simulators import odata, sql
from rs_server.simulators.clock import FOREVER, micros, moment
from rs_server.simulators.model import Content, Edm, Entity, EntityType, Primitive, to_json
from rs_server.simulators.query import Order, Query
from rs_server.simulators.sql import Condition, Table, quoted

_COLUMNS = {Edm.INT64: "INTEGER", Edm.INSTANT: "INTEGER", Edm.BOOLEAN: "INTEGER", Edm.DOUBLE: "REAL"}
_SETTINGS = ("journal_mode = WAL", "synchronous = OFF", "temp_store = MEMORY", "cache_size = -65536")
_COUNTS_KEPT = 256


@dataclass(frozen=True)
class Row:
    """One entity as it is shown: its JSON, and the JSON of what is related to it."""

    document: str
    related: Mapping[str, list[str]] = field(default_factory=dict)

    @property
    def key(self) -> UUID:
        """The key of an entity that has one."""
        return UUID(orjson.loads(self.document)["Id"])

    @property
    def text(self) -> str:
        """All of it."""
        shown = "".join(f',"{name}":[{",".join(rows)}]' for name, rows in self.related.items())
        return f"{self.document[:-1]}{shown}}}"


@dataclass(frozen=True)
class Page:
    """The entities of one answer; how many match in all, if that was asked; where the next page starts, if any."""

    rows: tuple[Row, ...]
    total: int | None = None
    next_skip: int | None = None


class EntitySet:
    """One set of a station's store."""

    def __init__(self, database: sqlite3.Connection, table: Table, contents: dict[str, Content]) -> None:
        self._database = database
        self._contents = contents
        self._counts: dict[odata.Expression | None, tuple[int, int, int]] = {}
        self._changes = 0
        self.table = table

    @property
    def type(self) -> EntityType:
        """What the entities are."""
        return self.table.type

    # --- writing

    def put(self, entities: Iterable[Entity]) -> None:
        """Add entities. One that is there with the same key and span is replaced."""
        with self._database:
            self._database.execute("BEGIN")
            for entity in entities:
                _insert(self._database, self.table, entity)
                if entity.content is not None:
                    self._contents[str(entity.id)] = entity.content
        self._changes += 1

    def clear(self) -> None:
        """Take everything out."""
        for table in _with_own(self.table):
            for name in _parts(table):
                self._database.execute(f"DELETE FROM {quoted(name)}")
        self._changes += 1

    def end(self, key: UUID, at: datetime) -> bool:
        """What has that key vanishes at a moment, and what would come later never does; whether there was any."""
        stamp, shown = micros(at), str(key)
        later = self._run('DELETE FROM {} WHERE "Id" = ? AND appears >= ?', shown, stamp)
        ended = self._run('UPDATE {} SET vanishes = ? WHERE "Id" = ? AND vanishes > ?', stamp, shown, stamp)
        self._changes += 1
        return later + ended > 0

    def _run(self, statement: str, *values: sql.Value) -> int:
        return self._database.execute(statement.format(self.table), values).rowcount

    # --- reading

    def page(self, query: Query, page_size: int, now: datetime) -> Page:
        """Filter, sort, skip, take: in that order, whatever the order of the options."""
        where = self._where(query.filter, micros(now))
        wanted = page_size if query.top is None else min(query.top, page_size)
        found = self._database.execute(
            f"SELECT row, document FROM {self.table} e WHERE {where.sql} "
            f"ORDER BY {_ordered(query.order)} LIMIT ? OFFSET ?",
            (*where.values, wanted + 1, query.skip),
        ).fetchall()
        more = len(found) > wanted and (query.top is None or query.top > wanted)
        return Page(
            tuple(self._rows(found[:wanted], query.expand, micros(now))),
            self.count(query.filter, now) if query.count else None,
            query.skip + wanted if more else None,
        )

    def count(self, expression: odata.Expression | None, now: datetime) -> int:
        """How many there are of what a filter describes; counted once until something is written, comes or goes."""
        total, changes, until = self._counts.get(expression, (0, -1, 0))
        if changes == self._changes and micros(now) < until:
            return total
        where = self._where(expression, micros(now))
        total = self._number(Condition(f"SELECT count(*) FROM {self.table} e WHERE {where.sql}", where.values))
        if len(self._counts) >= _COUNTS_KEPT:
            self._counts.clear()
        self._counts[expression] = (total, self._changes, self._next_change(micros(now)))
        return total

    def named(self, pattern: str, now: datetime) -> list[UUID]:
        """The keys of those whose name fits a shell pattern."""
        there = sql.visible("e", micros(now))
        found = self._database.execute(
            f'SELECT "Id" FROM {self.table} e WHERE "Name" GLOB ? AND {there.sql}',
            (pattern, *there.values),
        )
        return [UUID(key) for (key,) in found.fetchall()]

    def ever(self, expression: odata.Expression) -> bool:
        """Whether there is, was or will be what a filter describes."""
        asked = sql.condition(expression, sql.Context(self.table, "e", 0, self._number))
        return bool(
            self._number(Condition(f"SELECT EXISTS (SELECT 1 FROM {self.table} e WHERE {asked.sql})", asked.values))
        )

    def row(self, key: UUID, now: datetime, expand: tuple[str, ...] = ()) -> Row | None:
        """The entity of that key."""
        there = sql.visible("e", micros(now))
        found = self._database.execute(
            f'SELECT row, document FROM {self.table} e WHERE e."Id" = ? AND {there.sql}',
            (str(key), *there.values),
        ).fetchall()
        return next(iter(self._rows(found, expand, micros(now))), None)

    def content(self, key: UUID) -> Content | None:
        """The bytes of an entity."""
        return self._contents.get(str(key))

    def values(self) -> list[Entity]:
        """All entities of all times, as they were put there."""
        rows = self._database.execute(f"SELECT row, appears, vanishes, document FROM {self.table} ORDER BY row")
        return [self._entity(*row) for row in rows.fetchall()]

    def between(self, start: datetime, stop: datetime, expression: odata.Expression | None = None) -> list[Row]:
        """What has appeared after a moment and until another, and is still there."""
        where = self._where(expression, micros(stop))
        found = self._database.execute(
            f"SELECT row, document FROM {self.table} e WHERE e.appears > ? AND {where.sql} ORDER BY e.appears, e.row",
            (micros(start), *where.values),
        ).fetchall()
        return self._rows(found, (), micros(stop))

    def _where(self, expression: odata.Expression | None, now: int) -> Condition:
        there = sql.visible("e", now)
        if expression is None:
            return there
        asked = sql.condition(expression, sql.Context(self.table, "e", now, self._number))
        return Condition(f"{there.sql} AND {asked.sql}", (*there.values, *asked.values))

    def _number(self, query: Condition) -> int:
        return int(self._database.execute(query.sql, query.values).fetchone()[0])

    def _next_change(self, now: int) -> int:
        """When something appears or vanishes next."""
        moments = (
            self._number(Condition(f"SELECT coalesce(min({end}), {FOREVER}) FROM {self.table} WHERE {end} > ?", (now,)))
            for end in ("appears", "vanishes")
        )
        return min(moments)

    def _rows(self, found: list[tuple[int, str]], expand: tuple[str, ...], now: int) -> list[Row]:
        related = {name: self._related(name, [row for row, _ in found], now) for name in expand}
        return [
            Row(document, {name: by_owner.get(row, []) for name, by_owner in related.items()})
            for row, document in found
        ]

    def _related(self, navigation: str, owners: list[int], now: int) -> dict[int, list[str]]:
        """What is related to those rows, in one query."""
        table, among = self.table.related[navigation], json.dumps(owners)
        if table.type.shared:
            links = quoted(f"{table.name}/links")
            rows = self._database.execute(
                f"SELECT l.owner, r.document FROM {links} l JOIN {table} r ON r.row = l.shared "
                "WHERE l.owner IN (SELECT value FROM json_each(?)) ORDER BY l.owner, l.shared",
                (among,),
            )
        else:
            there = sql.visible("r", now)
            link = sql.relation(self.table, navigation, "e", "r")
            rows = self._database.execute(
                f"SELECT e.row, r.document FROM {self.table} e JOIN {table} r ON {link} "
                f"WHERE e.row IN (SELECT value FROM json_each(?)) AND {there.sql} ORDER BY e.row, r.row",
                (among, *there.values),
            )
        found: dict[int, list[str]] = {}
        for owner, document in rows:
            found.setdefault(owner, []).append(document)
        return found

    def _entity(self, row: int, appears: int, vanishes: int, document: str) -> Entity:
        owned = [name for name in self.table.related if name not in self.type.joins]
        related = {
            name: tuple(
                _read(self.table.related[name].type, one) for one in self._related(name, [row], appears).get(row, [])
            )
            for name in owned
        }
        entity = _read(self.type, document)
        return replace(
            entity,
            related=related,
            content=self._contents.get(str(entity.id)),
            appears=moment(appears) if appears else None,
            vanishes=moment(vanishes) if vanishes < FOREVER else None,
        )


class Store:
    """The entity sets of a station."""

    def __init__(self, types: Mapping[str, EntityType], path: Path | None = None) -> None:
        self._database = sqlite3.connect(path or ":memory:", check_same_thread=False, isolation_level=None)
        weakref.finalize(self, self._database.close)
        for setting in _SETTINGS:
            self._database.execute(f"PRAGMA {setting}")
        self._database.create_function("intersects", 2, _intersects, deterministic=True)
        tables = _tables(types)
        for table in tables.values():
            _create(self._database, table)
        self.types = types
        self._contents: dict[str, Content] = {}
        self.sets = {name: EntitySet(self._database, table, self._contents) for name, table in tables.items()}

    def put(self, name: str, entities: Iterable[Entity]) -> None:
        """Add entities to a set."""
        self.sets[name].put(entities)


# --- tables -----------------------------------------------------------------------------------------------------------


def _tables(types: Mapping[str, EntityType]) -> dict[str, Table]:
    """The table of each set; what is related lies in another set, or in a table of its own."""
    tables: dict[str, Table] = {}
    for name, schema in reversed(list(types.items())):  # a set may lead to one that is named after it
        sets = {found.type.name: found for found in tables.values()}
        related = {
            navigation: sets.get(target.name) or Table(f"{name}/{navigation}", target, {})
            for navigation, target in schema.navigations.items()
        }
        tables[name] = Table(name, schema, related)
    return {name: tables[name] for name in types}


def _with_own(table: Table) -> Iterator[Table]:
    """A set's table, and those of what belongs to its entities."""
    yield table
    yield from (found for name, found in table.related.items() if name not in table.type.joins)


def _parts(table: Table) -> Iterator[str]:
    """All tables of the database that make up one of ours."""
    yield table.name
    if table.type.shared:
        yield f"{table.name}/links"
    if table.type.footprint:
        yield f"{table.name}/boxes"


def _create(database: sqlite3.Connection, top: Table) -> None:
    for table in _with_own(top):
        for statement in _shared_table(table) if table.type.shared else _plain_table(table):
            database.execute(statement)


def _plain_table(table: Table) -> Iterator[str]:
    schema = table.type
    columns = [f"{quoted(name)} {_COLUMNS.get(edm, 'TEXT')}" for name, edm in schema.properties.items()]
    span = ("row INTEGER PRIMARY KEY", "appears INTEGER NOT NULL", "vanishes INTEGER NOT NULL", "owner INTEGER")
    shown = ("document TEXT NOT NULL", "footprint BLOB")
    yield f"CREATE TABLE IF NOT EXISTS {table} ({', '.join((*span, *shown, *columns))})"
    yield _index(table, "appears")
    yield _index(table, "vanishes")
    if schema.key is None:
        yield _index(table, "owner")
    else:
        yield _index(table, "Id")
    for name in schema.indexed:  # with all that a page or a count needs before it looks at the rows themselves
        yield _index(table, name, *(("Id",) if schema.key else ()), "appears", "vanishes")
    if schema.footprint:
        yield (
            f"CREATE VIRTUAL TABLE IF NOT EXISTS {quoted(f'{table.name}/boxes')} "
            "USING rtree(row, west, east, south, north)"
        )


def _shared_table(table: Table) -> Iterator[str]:
    links = quoted(f"{table.name}/links")
    columns = (
        "row INTEGER PRIMARY KEY, document TEXT NOT NULL UNIQUE, Name TEXT, ValueType TEXT, text TEXT, number REAL"
    )
    yield f"CREATE TABLE IF NOT EXISTS {table} ({columns})"
    yield _index(table, "Name", "text")
    yield (
        f"CREATE TABLE IF NOT EXISTS {links} (owner INTEGER, shared INTEGER, PRIMARY KEY (owner, shared)) WITHOUT ROWID"
    )
    yield f"CREATE INDEX IF NOT EXISTS {quoted(f'{table.name}/links by shared')} ON {links} (shared, owner)"


def _index(table: Table, *columns: str) -> str:
    listed = ", ".join(map(quoted, columns))
    return f"CREATE INDEX IF NOT EXISTS {quoted(f'{table.name} by {columns[0]}')} ON {table} ({listed})"


# --- rows -------------------------------------------------------------------------------------------------------------


def _insert(database: sqlite3.Connection, table: Table, entity: Entity, owner: int | None = None) -> None:
    """An entity, and what belongs to it; what is in another set is put there by itself."""
    appears = micros(entity.appears) if entity.appears else 0
    vanishes = micros(entity.vanishes) if entity.vanishes else FOREVER
    if table.type.key is not None:
        _replace(database, table, str(entity.id), appears)
    area = shapely.to_wkb(entity.footprint) if entity.footprint is not None else None
    values = (appears, vanishes, owner, orjson.dumps(to_json(entity)).decode(), area)
    row = database.execute(
        _insertion(table), (*values, *(sql.stored(entity.values.get(n)) for n in table.type.properties))
    )
    number = row.lastrowid
    assert number is not None
    if entity.footprint is not None:
        _insert_box(database, table, number, entity.footprint)
    for name, related in entity.related.items():
        target = table.related[name]
        if target.type.shared:
            _link(database, target, number, related)
        elif name not in table.type.joins:
            for one in related:
                _insert(database, target, one, number)


def _replace(database: sqlite3.Connection, table: Table, key: str, appears: int) -> None:
    there = database.execute(f'SELECT row FROM {table} WHERE "Id" = ? AND appears = ?', (key, appears)).fetchone()
    if there is None:
        return
    database.execute(f"DELETE FROM {table} WHERE row = ?", there)
    if table.type.footprint:
        database.execute(f"DELETE FROM {quoted(f'{table.name}/boxes')} WHERE row = ?", there)
    for related in _with_own(table):
        if related.type.shared:
            database.execute(f"DELETE FROM {quoted(f'{related.name}/links')} WHERE owner = ?", there)
        elif related is not table:
            database.execute(f"DELETE FROM {related} WHERE owner = ?", there)


def _insertion(table: Table) -> str:
    names = ("appears", "vanishes", "owner", "document", "footprint", *table.type.properties)
    return f"INSERT INTO {table} ({', '.join(map(quoted, names))}) VALUES ({', '.join('?' * len(names))})"


def _insert_box(database: sqlite3.Connection, table: Table, row: int, shape: shapely.Geometry) -> None:
    west, south, east, north = shape.bounds
    boxes = quoted(f"{table.name}/boxes")
    database.execute(f"INSERT INTO {boxes} VALUES (?, ?, ?, ?, ?)", (row, west, east, south, north))


def _link(database: sqlite3.Connection, table: Table, owner: int, related: Iterable[Entity]) -> None:
    links = quoted(f"{table.name}/links")
    for entity in related:
        document = orjson.dumps(to_json(entity)).decode()
        value = entity.values.get("Value")
        stored = sql.stored(value)
        number = stored if isinstance(stored, int | float) else None
        words = (document, entity.values["Name"], entity.values["ValueType"], sql.as_text(value), number)
        database.execute(
            f"INSERT INTO {table} (document, Name, ValueType, text, number) VALUES (?, ?, ?, ?, ?) "
            "ON CONFLICT DO NOTHING",
            words,
        )
        database.execute(
            f"INSERT OR IGNORE INTO {links} SELECT ?, row FROM {table} WHERE document = ?",
            (owner, document),
        )


def _ordered(order: tuple[Order, ...]) -> str:
    """The key settles ties, so that paging loses nothing; nothing comes before something."""
    keys = (*order, Order("Id"))
    return ", ".join(f"e.{quoted(key.path)}{' DESC' if key.descending else ''}" for key in keys)


def _read(schema: EntityType, document: str) -> Entity:
    """An entity from its JSON."""
    given: dict[str, Any] = orjson.loads(document)
    values: dict[str, Primitive] = {}
    for path, edm in schema.properties.items():
        values[path] = _typed(_taken(given, path.split("/")), edm)
    if schema.shared:
        values["Value"] = _typed(given.pop("Value", None), _KINDS[str(values["ValueType"])])
    return Entity(schema, values, extra={name: value for name, value in given.items() if value != {}})


_KINDS = {
    "String": Edm.STRING,
    "Integer": Edm.INT64,
    "Double": Edm.DOUBLE,
    "Boolean": Edm.BOOLEAN,
    "DateTimeOffset": Edm.INSTANT,
}


def _taken(given: dict[str, Any], path: list[str]) -> Any:
    for parent in path[:-1]:
        given = given.get(parent, {})
    return given.pop(path[-1], None)


def _typed(value: Any, edm: Edm) -> Primitive:
    if value is None:
        return None
    match edm:
        case Edm.INSTANT:
            return datetime.fromisoformat(value)
        case Edm.GUID:
            return UUID(value)
        case _:
            return value  # type: ignore[no-any-return]


def _intersects(footprint: bytes | None, area: bytes) -> bool:
    return footprint is not None and bool(shapely.intersects(_prepared(area), shapely.from_wkb(footprint)))


@lru_cache(maxsize=16)
def _prepared(area: bytes) -> shapely.Geometry:
    shape = shapely.from_wkb(area)
    shapely.prepare(shape)
    return shape
