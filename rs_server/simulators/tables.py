"""The tables of a station's store, and how entities are written into them."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import orjson
import shapely

from rs_server.simulators import sql
from rs_server.simulators.clock import FOREVER, micros
from rs_server.simulators.model import Edm, Entity, EntityType, Primitive, to_json
from rs_server.simulators.sql import Table, quoted

_COLUMNS = {Edm.INT64: "INTEGER", Edm.INSTANT: "INTEGER", Edm.BOOLEAN: "INTEGER", Edm.DOUBLE: "REAL"}
_ORDERED = (Edm.INSTANT, Edm.INT64, Edm.BOOLEAN)
_TO_PAGE = ("Id", "appears", "vanishes")
_SHARED_KEPT = 200_000

CHANGING: Mapping[str, str] = {"appears": "appears > 0", "vanishes": f"vanishes < {FOREVER}"}
"""What makes a row one that comes, or one that goes: few are, and only they are indexed by when."""


def tables_of(types: Mapping[str, EntityType]) -> dict[str, Table]:
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


def with_own(table: Table) -> Iterator[Table]:
    """A set's table, and those of what belongs to its entities."""
    yield table
    yield from (found for name, found in table.related.items() if name not in table.type.joins)


def shared_of(table: Table) -> list[str]:
    """The navigations to shared entities. Each owner keeps their JSON, so that showing them costs no look-up."""
    return [name for name, target in table.related.items() if target.type.shared]


def parts(table: Table) -> Iterator[str]:
    """All tables of the database that make up one of ours."""
    yield table.name
    if table.type.shared:
        yield f"{table.name}/links"
    if table.type.footprint:
        yield f"{table.name}/boxes"
    if table.type.lasts:
        yield f"{table.name}/spans"


def create(database: sqlite3.Connection, top: Table) -> None:
    """Make the tables of a set, where they are not there."""
    for table in with_own(top):
        for statement in _shared_table(table) if table.type.shared else _plain_table(table):
            database.execute(statement)
    for _, statement in indexes(top):
        database.execute(statement)


def indexes(top: Table) -> Iterator[tuple[str, str]]:
    """By what clients search a set, and what belongs to it: the name and the statement of each index."""
    for table in with_own(top):
        if table.type.shared:
            links = quoted(f"{table.name}/links")
            name = f"{table.name}/links by shared"
            yield name, f"CREATE INDEX IF NOT EXISTS {quoted(name)} ON {links} (shared, owner)"
            name = f"{table.name} by number"
            where = "WHERE number IS NOT NULL"
            yield name, f"CREATE INDEX IF NOT EXISTS {quoted(name)} ON {table} (Name, number, ValueType) {where}"
        else:
            yield from _indexes(table)


def _indexes(table: Table) -> Iterator[tuple[str, str]]:
    for name, changing in CHANGING.items():
        index, statement = _index(table, name)
        yield index, f"{statement} WHERE {changing}"
    for name in table.type.indexed:
        yield _index(table, name, *_beside(table.type, name))
    if "PublicationDate" in table.type.indexed:  # once more, but thin: what is counted and skipped is read sooner
        index, thin = f"{table.name} in order", ", ".join(map(quoted, ("PublicationDate", *_TO_PAGE)))
        yield index, f"CREATE INDEX IF NOT EXISTS {quoted(index)} ON {table} ({thin})"


def _beside(schema: EntityType, name: str) -> Iterator[str]:
    """What an index holds beside what it is about: all that a page needs before it looks at the rows themselves.

    By the date of publication nearly everything is ordered, so that its index decides on filters by other dates and
    numbers as well, and what is true, or false, is in that order.
    """
    if schema.properties[name] not in _ORDERED:
        return
    if schema.properties[name] is Edm.BOOLEAN:
        yield "PublicationDate"
    yield from _TO_PAGE
    if name == "PublicationDate":
        yield from (other for other, edm in schema.properties.items() if edm in _ORDERED and other != name)


def _plain_table(table: Table) -> Iterator[str]:
    schema = table.type
    columns = [f"{quoted(name)} {_COLUMNS.get(edm, 'TEXT')}" for name, edm in schema.properties.items()]
    span = ("row INTEGER PRIMARY KEY", "appears INTEGER NOT NULL", "vanishes INTEGER NOT NULL", "owner INTEGER")
    shown = ("document TEXT NOT NULL", "footprint BLOB", *(f"{quoted(name)} TEXT" for name in shared_of(table)))
    yield f"CREATE TABLE IF NOT EXISTS {table} ({', '.join((*span, *columns, *shown))})"
    yield _index(table, "owner" if schema.key is None else "Id")[1]
    if schema.footprint:
        yield (
            f"CREATE VIRTUAL TABLE IF NOT EXISTS {quoted(f'{table.name}/boxes')} "
            "USING rtree(row, west, east, south, north)"
        )
    if schema.lasts:
        yield f"CREATE VIRTUAL TABLE IF NOT EXISTS {quoted(f'{table.name}/spans')} USING rtree(row, begins, ends)"


def _shared_table(table: Table) -> Iterator[str]:
    links = quoted(f"{table.name}/links")
    columns = "row INTEGER PRIMARY KEY, Name TEXT, ValueType TEXT, text TEXT, number REAL"
    yield f"CREATE TABLE IF NOT EXISTS {table} ({columns})"
    yield _index(table, "Name", "text", "ValueType")[1]
    yield (
        f"CREATE TABLE IF NOT EXISTS {links} (owner INTEGER, shared INTEGER, PRIMARY KEY (owner, shared)) WITHOUT ROWID"
    )


def _index(table: Table, *columns: str) -> tuple[str, str]:
    """The name of an index, and the statement that makes it."""
    listed, name = ", ".join(map(quoted, columns)), f"{table.name} by {columns[0]}"
    return name, f"CREATE INDEX IF NOT EXISTS {quoted(name)} ON {table} ({listed})"


@dataclass(frozen=True)
class _Shared:
    """Where a shared entity is, and its JSON."""

    row: int
    document: str


class Writer:
    """Writes rows, each with what belongs to it."""

    def __init__(self, database: sqlite3.Connection) -> None:
        self._database = database
        self._shared: dict[tuple[Primitive, ...], _Shared] = {}  # those that were met

    def insert(self, table: Table, entity: Entity, owner: int | None = None) -> None:
        """An entity, and what belongs to it; what is in another set is put there by itself.

        One with the same key that appears at the same time is replaced.
        """
        appears = micros(entity.appears) if entity.appears else 0
        vanishes = micros(entity.vanishes) if entity.vanishes else FOREVER
        if table.type.key is not None:
            self._replace(table, str(entity.id), appears)
        area = shapely.to_wkb(entity.footprint) if entity.footprint is not None else None
        head = (appears, vanishes, owner, orjson.dumps(to_json(entity)).decode(), area)
        columns = (sql.stored(entity.values.get(name)) for name in table.type.properties)
        shared = {
            name: [self._shared_one(table.related[name], one) for one in entity.related.get(name, ())]
            for name in shared_of(table)
        }
        shown = (",".join(one.document for one in found) for found in shared.values())
        row = self._database.execute(_insertion(table), (*head, *columns, *shown)).lastrowid
        assert row is not None
        if entity.footprint is not None:
            self._insert_box(table, row, entity.footprint)
        if table.type.lasts:
            self._insert_span(table, row, *(sql.stored(entity.values.get(name)) for name in table.type.lasts))
        for name, found in shared.items():
            self._link(table.related[name], row, found)
        for name, related in entity.related.items():
            if name not in shared and name not in table.type.joins:
                for one in related:
                    self.insert(table.related[name], one, row)

    def remove(self, table: Table, row: int) -> None:
        """Take out a row with all that belongs to it: a later one may get its number."""
        for name in parts(table):
            self._database.execute(f"DELETE FROM {quoted(name)} WHERE row = ?", (row,))
        for related in with_own(table):
            if related.type.shared:
                self._database.execute(f"DELETE FROM {quoted(f'{related.name}/links')} WHERE owner = ?", (row,))
            elif related is not table:
                self._database.execute(f"DELETE FROM {related} WHERE owner = ?", (row,))

    def clear(self, table: Table) -> None:
        """Take out everything."""
        for one in with_own(table):
            for name in parts(one):
                self._database.execute(f"DELETE FROM {quoted(name)}")
        self._shared.clear()

    def _replace(self, table: Table, key: str, appears: int) -> None:
        found = self._database.execute(f'SELECT row FROM {table} WHERE "Id" = ? AND appears = ?', (key, appears))
        there = found.fetchone()
        if there is not None:
            self.remove(table, there[0])

    def _insert_box(self, table: Table, row: int, shape: shapely.Geometry) -> None:
        west, south, east, north = shape.bounds
        boxes = quoted(f"{table.name}/boxes")
        self._database.execute(f"INSERT INTO {boxes} VALUES (?, ?, ?, ?, ?)", (row, west, east, south, north))

    def _insert_span(self, table: Table, row: int, begins: sql.Value, ends: sql.Value) -> None:
        """An open one overlaps nothing that is asked for; one that ends before it begins is one as well."""
        if isinstance(begins, int) and isinstance(ends, int):
            spans = quoted(f"{table.name}/spans")
            span = (row, min(begins, ends), max(begins, ends))
            self._database.execute(f"INSERT INTO {spans} VALUES (?, ?, ?)", span)

    def _link(self, table: Table, owner: int, related: Iterable[_Shared]) -> None:
        links = quoted(f"{table.name}/links")
        rows = sorted((owner, one.row) for one in related)
        self._database.executemany(f"INSERT OR IGNORE INTO {links} VALUES (?, ?)", rows)

    def _shared_one(self, table: Table, entity: Entity) -> _Shared:
        """An entity that may be there already, and was perhaps met before."""
        known = (table.name, *(entity.values[name] for name in ("Name", "ValueType", "Value")))
        found = self._shared.get(known)
        if found is None:
            if len(self._shared) >= _SHARED_KEPT:
                self._shared.clear()
            found = _Shared(self._find_shared(table, entity), orjson.dumps(to_json(entity)).decode())
            self._shared[known] = found
        return found

    def _find_shared(self, table: Table, entity: Entity) -> int:
        value = entity.values["Value"]
        known = (entity.values["Name"], sql.as_text(value), entity.values["ValueType"])
        there = self._database.execute(
            f"SELECT row FROM {table} WHERE Name = ? AND text = ? AND ValueType = ?", known
        ).fetchone()
        if there is not None:
            return int(there[0])
        stored = sql.stored(value)
        number = stored if isinstance(stored, int | float) else None
        made = self._database.execute(
            f"INSERT INTO {table} (Name, text, ValueType, number) VALUES (?, ?, ?, ?)", (*known, number)
        )
        assert made.lastrowid is not None
        return made.lastrowid


def _insertion(table: Table) -> str:
    names = ("appears", "vanishes", "owner", "document", "footprint", *table.type.properties, *shared_of(table))
    return f"INSERT INTO {table} ({', '.join(map(quoted, names))}) VALUES ({', '.join('?' * len(names))})"
