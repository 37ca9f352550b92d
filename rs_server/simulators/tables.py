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


def create(database: sqlite3.Connection, top: Table) -> None:
    """Make the tables of a set, where they are not there."""
    for table in with_own(top):
        for statement in _shared_table(table) if table.type.shared else _plain_table(table):
            database.execute(statement)


def _plain_table(table: Table) -> Iterator[str]:
    schema = table.type
    columns = [f"{quoted(name)} {_COLUMNS.get(edm, 'TEXT')}" for name, edm in schema.properties.items()]
    span = ("row INTEGER PRIMARY KEY", "appears INTEGER NOT NULL", "vanishes INTEGER NOT NULL", "owner INTEGER")
    shown = ("document TEXT NOT NULL", "footprint BLOB", *(f"{quoted(name)} TEXT" for name in shared_of(table)))
    yield f"CREATE TABLE IF NOT EXISTS {table} ({', '.join((*span, *columns, *shown))})"
    yield f"{_index(table, 'appears')} WHERE {CHANGING['appears']}"
    yield f"{_index(table, 'vanishes')} WHERE {CHANGING['vanishes']}"
    yield _index(table, "owner" if schema.key is None else "Id")
    for name in schema.indexed:
        dated = schema.properties[name] is Edm.INSTANT  # with all that a page needs before it looks at the rows
        yield _index(table, name, *(("Id", "appears", "vanishes") if dated else ()))
    if schema.footprint:
        yield (
            f"CREATE VIRTUAL TABLE IF NOT EXISTS {quoted(f'{table.name}/boxes')} "
            "USING rtree(row, west, east, south, north)"
        )


def _shared_table(table: Table) -> Iterator[str]:
    links = quoted(f"{table.name}/links")
    columns = "row INTEGER PRIMARY KEY, Name TEXT, ValueType TEXT, text TEXT, number REAL"
    yield f"CREATE TABLE IF NOT EXISTS {table} ({columns})"
    yield _index(table, "Name", "text", "ValueType")
    yield (
        f"CREATE TABLE IF NOT EXISTS {links} (owner INTEGER, shared INTEGER, PRIMARY KEY (owner, shared)) WITHOUT ROWID"
    )
    yield f"CREATE INDEX IF NOT EXISTS {quoted(f'{table.name}/links by shared')} ON {links} (shared, owner)"


def _index(table: Table, *columns: str) -> str:
    listed = ", ".join(map(quoted, columns))
    return f"CREATE INDEX IF NOT EXISTS {quoted(f'{table.name} by {columns[0]}')} ON {table} ({listed})"


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
        shared = (self._listed(table.related[name], entity.related.get(name, ())) for name in shared_of(table))
        row = self._database.execute(_insertion(table), (*head, *columns, *shared)).lastrowid
        assert row is not None
        if entity.footprint is not None:
            self._insert_box(table, row, entity.footprint)
        for name, related in entity.related.items():
            target = table.related[name]
            if target.type.shared:
                self._link(target, row, related)
            elif name not in table.type.joins:
                for one in related:
                    self.insert(target, one, row)

    def remove(self, table: Table, row: int) -> None:
        """Take out a row with all that belongs to it: a later one may get its number."""
        self._database.execute(f"DELETE FROM {table} WHERE row = ?", (row,))
        if table.type.footprint:
            self._database.execute(f"DELETE FROM {quoted(f'{table.name}/boxes')} WHERE row = ?", (row,))
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

    def _link(self, table: Table, owner: int, related: Iterable[Entity]) -> None:
        links = quoted(f"{table.name}/links")
        rows = [(owner, self._shared_one(table, entity).row) for entity in related]
        self._database.executemany(f"INSERT OR IGNORE INTO {links} VALUES (?, ?)", rows)

    def _listed(self, table: Table, related: Iterable[Entity]) -> str:
        """The JSON of shared entities, with commas between."""
        return ",".join(self._shared_one(table, entity).document for entity in related)

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
