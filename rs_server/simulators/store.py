"""What a station holds, in SQLite: one table for each entity set, for what belongs to its entities, and for areas.

Every row is there for a span of the station's time. Whatever changes by itself (chunks that come in, orders that
complete, files that are evicted) is written down beforehand as rows with spans, and reading at a moment shows how it is
then: nothing runs in the background, and any speed of the clock shows the same.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType
from typing import Any
from uuid import UUID

import orjson
import shapely

from rs_server.simulators import odata, sql
from rs_server.simulators.clock import FOREVER, micros, moment
from rs_server.simulators.model import Content, Edm, Entity, EntityType, Primitive
from rs_server.simulators.query import ALL, Order, Query
from rs_server.simulators.sql import Condition, Table, quoted
from rs_server.simulators.tables import CHANGING, Writer, create, indexes, tables_of

_SETTINGS = ("synchronous = OFF", "temp_store = MEMORY", "cache_size = -65536")
_COUNTS_KEPT = 256

NOTHING: Mapping[str, Query] = MappingProxyType({})

type Derive = Callable[[Mapping[str, Any]], Content | None]


@dataclass(frozen=True)
class Row:
    """One entity as it is shown: its JSON, and the JSON of what is related to it."""

    document: str
    related: Mapping[str, str] = field(default_factory=dict)  # with commas between
    counts: Mapping[str, int] = field(default_factory=dict)  # how many are related in all, where that was asked

    @property
    def key(self) -> UUID:
        """The key of an entity that has one."""
        return UUID(orjson.loads(self.document)["Id"])

    def listed(self, navigation: str) -> list[dict[str, Any]]:
        """What is related to it."""
        found: list[dict[str, Any]] = orjson.loads(f"[{self.related[navigation]}]")
        return found

    @property
    def text(self) -> str:
        """All of it."""
        shown = "".join(
            (f',"{name}@odata.count":{self.counts[name]}' if name in self.counts else "") + f',"{name}":[{listed}]'
            for name, listed in self.related.items()
        )
        return f"{self.document[:-1]}{shown}}}"


@dataclass(frozen=True)
class Page:
    """The entities of one answer; how many match in all, if that was asked; where the next page starts, if any."""

    rows: tuple[Row, ...]
    total: int | None = None
    next_skip: int | None = None


class _Database(sqlite3.Connection):
    """Closed when nobody has it any more."""

    def __del__(self) -> None:
        self.close()


class EntitySet:
    """One set of a station's store."""

    def __init__(self, database: sqlite3.Connection, table: Table, writer: Writer, derive: Derive | None) -> None:
        self._database = database
        self._writer = writer
        self._derive = derive
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
                self._writer.insert(self.table, entity)
        self._changes += 1

    def clear(self) -> None:
        """Take everything out."""
        self._writer.clear(self.table)
        self._changes += 1

    def end(self, key: UUID, at: datetime) -> bool:
        """What has that key vanishes at a moment, and what would come later never does; whether there was any."""
        stamp, shown = micros(at), str(key)
        with self._database:
            self._database.execute("BEGIN")
            later = self._database.execute(
                f'SELECT row FROM {self.table} WHERE "Id" = ? AND appears >= ?', (shown, stamp)
            ).fetchall()
            for (row,) in later:
                self._writer.remove(self.table, row)
            ended = self._database.execute(
                f'UPDATE {self.table} SET vanishes = ? WHERE "Id" = ? AND vanishes > ?', (stamp, shown, stamp)
            )
        self._changes += 1
        return bool(later) or ended.rowcount > 0

    # --- reading

    def page(self, query: Query, page_size: int, now: datetime) -> Page:
        """Filter, sort, skip, take: in that order, whatever the order of the options."""
        first = query.order[0].path if query.order else ""
        where = self._where(query.filter, micros(now), sorted_by=first)
        wanted = page_size if query.top is None else min(query.top, page_size)
        found = self._numbers(query, where, wanted + 1, now)
        more = len(found) > wanted and (query.top is None or query.top > wanted)
        return Page(
            tuple(self._rows(found[:wanted], query.expand, micros(now))),
            self.count(query.filter, now) if query.count else None,
            query.skip + wanted if more else None,
        )

    def _numbers(self, query: Query, where: Condition, wanted: int, now: datetime) -> list[int]:
        """The rows of a page; they are looked at when it is known which. Deep ones are met sooner from the end."""
        skip, total = query.skip, self.count(query.filter, now) if query.skip > sql.FEW else 0
        from_end = skip > total // 2 > 0
        if from_end:
            wanted = max(0, min(wanted, total - skip))
            skip = max(0, total - skip - wanted)
        found = self._database.execute(
            f"SELECT row FROM {self.table} e WHERE {where.sql} "
            f"ORDER BY {_ordered(query.order, from_end=from_end)} LIMIT ? OFFSET ?",
            (*where.values, wanted, skip),
        )
        rows = [row for (row,) in found.fetchall()]
        return rows[::-1] if from_end else rows

    def count(self, expression: odata.Expression | None, now: datetime) -> int:
        """How many there are of what a filter describes; counted once until something is written, comes or goes."""
        total, changes, until = self._counts.get(expression, (0, -1, 0))
        if changes == self._changes and micros(now) < until:
            return total
        total = self._counted(expression, micros(now))
        if len(self._counts) >= _COUNTS_KEPT:
            self._counts.clear()
        self._counts[expression] = (total, self._changes, self._next_change(micros(now)))
        return total

    def _counted(self, expression: odata.Expression | None, now: int) -> int:
        """By the links of a shared value if that is all that is asked, less those who are not there at the moment."""
        links = sql.linked(expression, self._context(now)) if isinstance(expression, odata.AnyOf) else None
        if links is None:
            where = self._where(expression, now, everything=True)
            return self._number(Condition(f"SELECT count(*) FROM {self.table} e WHERE {where.sql}", where.values))
        assert expression is not None
        asked = sql.condition(expression, self._context(now))
        there = sql.visible("e", now)
        changes = " OR ".join(f"e.{changing}" for changing in CHANGING.values())
        absent = f"SELECT count(*) FROM {self.table} e WHERE ({changes}) AND NOT ({there.sql}) AND {asked.sql}"
        return self._number(links) - self._number(Condition(absent, (*there.values, *asked.values)))

    def _context(self, now: int, *, everything: bool = False, sorted_by: str = "") -> sql.Context:
        return sql.Context(self.table, "e", now, self._number, everything, sorted_by)

    def named(self, pattern: str, now: datetime) -> list[UUID]:
        """The keys of those whose name fits a shell pattern."""
        there = sql.visible("e", micros(now))
        found = self._database.execute(
            f'SELECT "Id" FROM {self.table} e WHERE "Name" GLOB ? AND {there.sql}',
            (pattern, *there.values),
        )
        return [UUID(key) for (key,) in found.fetchall()]

    def of_all_times(self, expression: odata.Expression) -> list[Entity]:
        """What was, is or will be, and a filter describes."""
        return self._entities(sql.condition(expression, self._context(0)))

    def ever(self, expression: odata.Expression) -> bool:
        """Whether there is, was or will be what a filter describes."""
        asked = sql.condition(expression, self._context(0))
        return bool(
            self._number(Condition(f"SELECT EXISTS (SELECT 1 FROM {self.table} e WHERE {asked.sql})", asked.values))
        )

    def row(self, key: UUID, now: datetime, expand: Mapping[str, Query] = NOTHING) -> Row | None:
        """The entity of that key."""
        there = sql.visible("e", micros(now))
        found = self._database.execute(
            f'SELECT row FROM {self.table} e WHERE e."Id" = ? AND {there.sql}', (str(key), *there.values)
        ).fetchall()
        return next(iter(self._rows([row for (row,) in found], expand, micros(now))), None)

    def content(self, key: UUID) -> Content | None:
        """The bytes of an entity, whether it is there now or not, as they follow from its properties."""
        if self._derive is None:
            return None
        hidden = self.type.hidden
        found = self._database.execute(
            f'SELECT document{_listed(hidden)} FROM {self.table} WHERE "Id" = ? LIMIT 1', (str(key),)
        ).fetchone()
        if found is None:
            return None
        document, *values = found
        return self._derive(orjson.loads(document) | dict(zip(hidden, values, strict=True)))

    def values(self) -> list[Entity]:
        """All entities of all times, as they were put there."""
        return self._entities(Condition("TRUE"))

    def entity(self, key: UUID, now: datetime) -> Entity | None:
        """The entity of that key, with all that clients do not see."""
        return next(iter(self.entities(odata.Compare("Id", "eq", key), now)), None)

    def entities(self, expression: odata.Expression | None, now: datetime) -> list[Entity]:
        """Those of a filter, with all that clients do not see."""
        where = self._where(expression, micros(now))
        return self._entities(where)

    def appeared(
        self, start: datetime, stop: datetime, expression: odata.Expression | None = None
    ) -> list[tuple[Row, bool]]:
        """What has appeared after a moment and until another, and whether nothing of its key was there before."""
        where = self._where(expression, micros(stop))
        found = self._database.execute(
            f'SELECT row, document, (SELECT min(appears) FROM {self.table} f WHERE f."Id" = e."Id") = e.appears '
            f"FROM {self.table} e WHERE e.{CHANGING['appears']} AND e.appears > ? AND {where.sql} "
            "ORDER BY e.appears, e.row",
            (micros(start), *where.values),
        )
        return [(Row(document), bool(new)) for _, document, new in found.fetchall()]

    def gone(self, start: datetime, stop: datetime) -> list[Row]:
        """What has vanished after a moment and until another, and did not come back."""
        there = sql.visible("f", micros(stop))
        found = self._database.execute(
            f"SELECT document FROM {self.table} e "
            f"WHERE e.{CHANGING['vanishes']} AND e.vanishes > ? AND e.vanishes <= ? "
            f'AND NOT EXISTS (SELECT 1 FROM {self.table} f WHERE f."Id" = e."Id" AND {there.sql})',
            (micros(start), micros(stop), *there.values),
        )
        return [Row(document) for (document,) in found.fetchall()]

    def _where(
        self, expression: odata.Expression | None, now: int, *, everything: bool = False, sorted_by: str = ""
    ) -> Condition:
        """What is there at a moment and fits a filter; ``everything``: all of it is wanted, in no order."""
        there = sql.visible("e", now)
        if expression is None:
            return there
        asked = sql.whole(expression, self._context(now, everything=everything, sorted_by=sorted_by))
        # SQLite looks in this order, and nearly everything is there: what is not asked for is passed by sooner so.
        return Condition(f"{asked.sql} AND {there.sql}", (*asked.values, *there.values))

    def _number(self, query: Condition) -> int:
        return int(self._database.execute(query.sql, query.values).fetchone()[0])

    def _next_change(self, now: int) -> int:
        """When something appears or vanishes next."""
        moments = (
            self._number(
                Condition(
                    f"SELECT coalesce(min({end}), {FOREVER}) FROM {self.table} WHERE {changing} AND {end} > ?", (now,)
                )
            )
            for end, changing in CHANGING.items()
        )
        return min(moments)

    def _rows(self, rows: list[int], expand: Mapping[str, Query], now: int) -> list[Row]:
        """The rows of those numbers, in that order, with what is related to them."""
        kept = [name for name in expand if self.table.related[name].type.shared]
        shown = {
            row: (document, shared)
            for row, document, *shared in self._database.execute(
                f"SELECT row, document{_listed(kept)} FROM {self.table} WHERE row IN (SELECT value FROM json_each(?))",
                (json.dumps(rows),),
            )
        }
        texts = dict[str, Mapping[int, str]]()
        for name, nested in expand.items():
            if name not in kept:
                texts[name] = self._related(name, nested.filter, rows, now)
                continue
            at = kept.index(name)
            texts[name] = {row: shared[at] for row, (_, shared) in shown.items()}
            if nested.filter is not None:
                texts[name] = self._fitting(name, nested.filter, texts[name], now)
        return [
            _arranged(shown[row][0], {name: (texts[name].get(row, ""), nested) for name, nested in expand.items()})
            for row in rows
        ]

    def _related(
        self, navigation: str, expression: odata.Expression | None, owners: list[int], now: int
    ) -> dict[int, str]:
        """What is related to those rows, fits a filter and lies in rows of its own, in one query."""
        table, there = self.table.related[navigation], sql.visible("r", now)
        link = sql.relation(self.table, navigation, "e", "r")
        asked = self._about(table, expression, now)
        rows = self._database.execute(
            f"SELECT e.row, r.document FROM {self.table} e JOIN {table} r ON {link} "
            f"WHERE e.row IN (SELECT value FROM json_each(?)) AND {there.sql} AND {asked.sql} ORDER BY e.row, r.row",
            (json.dumps(owners), *there.values, *asked.values),
        )
        found: dict[int, list[str]] = {}
        for owner, document in rows:
            found.setdefault(owner, []).append(document)
        return {owner: ",".join(documents) for owner, documents in found.items()}

    def _fitting(
        self, navigation: str, expression: odata.Expression, texts: Mapping[int, str], now: int
    ) -> dict[int, str]:
        """Of the shared entities that each row keeps as JSON, those that fit a filter."""
        table = self.table.related[navigation]
        asked = self._about(table, expression, now)
        links = quoted(f"{table.name}/links")
        fitting = set(
            self._database.execute(
                f"SELECT l.owner, r.Name, r.ValueType, r.text FROM {links} l JOIN {table} r ON r.row = l.shared "
                f"WHERE l.owner IN (SELECT value FROM json_each(?)) AND {asked.sql}",
                (json.dumps(list(texts)), *asked.values),
            )
        )
        found = {}
        for owner, text in texts.items():
            given = orjson.loads(f"[{text}]")
            kept = [g for g in given if (owner, g["Name"], g["ValueType"], sql.as_text(g["Value"])) in fitting]
            found[owner] = _joined(kept)
        return found

    def _about(self, table: Table, expression: odata.Expression | None, now: int) -> Condition:
        """A filter on what is related, which is called r."""
        if expression is None:
            return Condition("TRUE")
        return sql.condition(expression, replace(self._context(now), table=table, alias="r"))

    def _entities(self, where: Condition) -> list[Entity]:
        found = self._database.execute(
            f"SELECT row, appears, vanishes, document, footprint{_listed(self.type.hidden)} FROM {self.table} e "
            f"WHERE {where.sql} ORDER BY row",
            where.values,
        ).fetchall()
        return [self._entity(*columns) for columns in found]

    def _entity(
        self, row: int, appears: int, vanishes: int, document: str, area: bytes | None, *hidden: sql.Value
    ) -> Entity:
        owned = tuple(name for name in self.table.related if name not in self.type.joins)
        (shown,) = self._rows([row], dict.fromkeys(owned, ALL), appears)
        related = {
            name: tuple(_read(self.table.related[name].type, one) for one in shown.listed(name)) for name in owned
        }
        entity = _read(self.type, orjson.loads(document))
        secrets = {
            name: _typed(value, self.type.properties[name])
            for name, value in zip(self.type.hidden, hidden, strict=True)
        }
        return replace(
            entity,
            values={**entity.values, **secrets},
            related=related,
            footprint=shapely.from_wkb(area) if area is not None else None,
            appears=moment(appears) if appears else None,
            vanishes=moment(vanishes) if vanishes < FOREVER else None,
        )


class Store:
    """The entity sets of a station, in memory or in a file. ``derive`` makes contents from what is shown.

    ``types`` are the sets that clients see, ``inner`` those for the station itself.
    """

    def __init__(
        self,
        types: Mapping[str, EntityType],
        path: Path | None = None,
        derive: Mapping[str, Derive] | None = None,
        inner: Mapping[str, EntityType] | None = None,
    ) -> None:
        self._database = sqlite3.connect(
            path or ":memory:", check_same_thread=False, isolation_level=None, factory=_Database
        )
        for setting in _SETTINGS:
            self._database.execute(f"PRAGMA {setting}")
        self._path = path
        if self.filled:
            self._database.execute("PRAGMA journal_mode = WAL")
        self._database.create_function("intersects", 2, _intersects, deterministic=True)
        tables = tables_of({**types, **(inner or {})})
        for table in tables.values():
            create(self._database, table)
        self._tables = tables
        self.types = types
        writer, making = Writer(self._database), derive or {}
        self.sets = {name: EntitySet(self._database, table, writer, making.get(name)) for name, table in tables.items()}

    def put(self, name: str, entities: Iterable[Entity]) -> None:
        """Add entities to a set."""
        self.sets[name].put(entities)

    @property
    def filled(self) -> bool:
        """Whether all that a station always holds is in."""
        return bool(self._database.execute("PRAGMA user_version").fetchone()[0])

    @contextmanager
    def filling(self) -> Iterator[None]:
        """Much is put in at once, which then is all that a station always holds.

        What is searched by is indexed at the end, which is faster by far for many rows. A station that is killed
        meanwhile leaves a file that is not marked as filled, and is good for nothing.
        """
        if self._path is not None:
            self._database.execute("PRAGMA journal_mode = OFF")
        later = [statement for table in self._tables.values() for statement in indexes(table)]
        for name, _ in later:
            self._database.execute(f"DROP INDEX {quoted(name)}")
        yield
        self._database.execute("PRAGMA temp_store = FILE")  # where a million links are sorted
        for _, statement in later:
            self._database.execute(statement)
        self._database.execute("PRAGMA temp_store = MEMORY")
        self._database.execute("ANALYZE")  # so that the planner knows the tables
        self._database.execute("PRAGMA user_version = 1")
        if self._path is not None:
            self._database.execute("PRAGMA journal_mode = WAL")


# --- reading rows -----------------------------------------------------------------------------------------------------


def _arranged(document: str, related: Mapping[str, tuple[str, Query]]) -> Row:
    """A row with what is related to it, sorted, counted and cut as was asked; it is filtered already."""
    texts, counts = dict[str, str](), dict[str, int]()
    for name, (text, asked) in related.items():
        texts[name] = text
        if asked == replace(ALL, filter=asked.filter):
            continue
        found: list[dict[str, Any]] = orjson.loads(f"[{text}]")
        if asked.count:
            counts[name] = len(found)
        for key in reversed(asked.order):
            path = key.path.split("/")
            found.sort(key=lambda one: _nulls_first(_value_at(one, path)), reverse=key.descending)
        stop = None if asked.top is None else asked.skip + asked.top
        chosen = found[asked.skip : stop]
        if asked.select:
            chosen = [{n: v for n, v in one.items() if n in asked.select or n.startswith("@")} for one in chosen]
        texts[name] = _joined(chosen)
    return Row(document, texts, counts)


def _joined(documents: Iterable[dict[str, Any]]) -> str:
    return ",".join(orjson.dumps(one).decode() for one in documents)


def _value_at(document: Any, path: Iterable[str]) -> Any:
    for name in path:
        document = document.get(name) if isinstance(document, dict) else None
    return document


def _nulls_first(value: Any) -> tuple[bool, Any]:
    return value is not None, value


def _listed(names: Iterable[str]) -> str:
    """Further columns of a selection."""
    return "".join(f", {quoted(name)}" for name in names)


def _ordered(order: tuple[Order, ...], *, from_end: bool = False) -> str:
    """The key settles ties, so that paging loses nothing; nothing comes before something.

    Ties go the way of what was asked for last, so that an index in that order, read forth or back, is all it takes.
    """
    keys = (*order, Order("Id", descending=bool(order) and order[-1].descending))
    return ", ".join(f"e.{quoted(key.path)}{' DESC' if key.descending is not from_end else ''}" for key in keys)


def _read(schema: EntityType, given: dict[str, Any]) -> Entity:
    """An entity from its JSON, which is taken apart."""
    values: dict[str, Primitive] = {}
    for path, edm in schema.properties.items():
        if path not in schema.hidden:
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
    """A value from JSON, or from a column."""
    if value is None:
        return None
    match edm:
        case Edm.INSTANT:
            return datetime.fromisoformat(value) if isinstance(value, str) else moment(value)
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
