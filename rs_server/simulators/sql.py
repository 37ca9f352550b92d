"""A filter as a condition of SQL, with every value of it as a parameter.

What is null equals null alone and is neither greater nor less than anything. SQL's third truth value counts as false,
which is why ``not`` is ``IS NOT TRUE``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, TypeGuard
from uuid import UUID

import shapely

from rs_server.simulators import odata
from rs_server.simulators.clock import micros
from rs_server.simulators.model import EntityType, Primitive, text

type Value = str | int | float | bytes | None

FEW = 10_000
"""So many that fit are looked up and then sorted; of more, enough are met soon on the way through the dates."""

_COMPARATORS: Mapping[odata.Operator, str] = {"eq": "=", "ne": "<>", "gt": ">", "ge": ">=", "lt": "<", "le": "<="}
_RANGE = ("gt", "ge", "lt", "le")
_LAST = chr(0x10FFFF)


@dataclass(frozen=True)
class Condition:
    """Text of SQL, and the values of its question marks."""

    sql: str
    values: tuple[Value, ...] = ()


@dataclass(frozen=True)
class Table:
    """Where the entities of a type are, and where those that are related to them."""

    name: str
    type: EntityType
    related: Mapping[str, Table]

    def __str__(self) -> str:
        return quoted(self.name)


@dataclass(frozen=True)
class Context:
    """What a condition is about: a table under an alias, at a moment. ``count`` answers a query with a number."""

    table: Table
    alias: str
    now: int
    count: Callable[[Condition], int]
    all: bool = False  # all that fit are wanted, in no order
    sorted_by: str = ""  # else in the order of this property, if of any

    def few(self, some: Condition) -> bool:
        """Whether so few fit that they are looked up first; ``some`` counts them, and stops when there are more."""
        return self.all or self.count(some) <= FEW

    def column(self, path: str) -> str:
        """A property as SQL writes it."""
        return f"{self.alias}.{quoted(path)}"


def quoted(name: str) -> str:
    """A name of ours as SQL writes it."""
    return f'"{name}"'


def visible(alias: str, now: int) -> Condition:
    """What is there at a moment."""
    return Condition(f"{alias}.appears <= ? AND {alias}.vanishes > ?", (now, now))


def stored(value: Primitive) -> Value:
    """A value as the columns hold it."""
    match value:
        case datetime():
            return micros(value)
        case UUID():
            return str(value)
        case bool():
            return int(value)
        case _:
            return value


def as_text(value: Primitive) -> str:
    """A value as text: what a client compares that takes everything for text."""
    match value:
        case datetime():
            return text(value)
        case bool():
            return str(value).lower()
        case _:
            return str(value)


def condition(expression: odata.Expression, at: Context) -> Condition:  # noqa: PLR0911 - one return for each form
    """The filter about the entities of a context."""
    match expression:
        case odata.And(terms):
            return _all_of(terms, at)
        case odata.Or(terms):
            return _joined(" OR ", [condition(term, at) for term in terms])
        case odata.Not(term):
            inner = condition(term, at)
            return Condition(f"({inner.sql}) IS NOT TRUE", inner.values)
        case odata.AnyOf(navigation, term):
            return _any(navigation, term, at)
        case odata.Intersects(area):
            return _intersects(area, at)
        case odata.Constant(value):
            return Condition("1" if value else "0")
        case odata.Compare() | odata.In() | odata.TextMatch():
            return _value(expression, at) if at.table.type.shared else _property(expression, at)


def whole(expression: odata.Expression, at: Context) -> Condition:
    """The filter of a query: what of it finds few is looked up first."""
    return condition(expression, at) if isinstance(expression, odata.And) else _all_of((expression,), at)


def _all_of(terms: tuple[odata.Expression, ...], at: Context) -> Condition:
    """All of the terms; ranges of an indexed property are looked up if few are in them, and else met on the way."""
    ranges = [term for term in terms if _is_range(term, at)]
    kept = [_range(term, at) if term in ranges else condition(term, at) for term in terms]
    looked_up = [found for found in _lookups(ranges, terms, at) if at.few(found[0])]
    return _joined(" AND ", [*(inside for _, inside in looked_up), *kept])


def _is_range(term: odata.Expression, at: Context) -> TypeGuard[odata.Compare]:
    if at.all or not isinstance(term, odata.Compare) or term.operator not in _RANGE:
        return False
    return term.path in at.table.type.indexed and term.path not in ("PublicationDate", at.sorted_by)


def _range(term: odata.Compare, at: Context) -> Condition:
    """A plus keeps SQLite from the index: of many that fit, those at the begin of the order are found otherwise."""
    return _compared(f"+{at.column(term.path)}", term.operator, stored(term.value))


def _lookups(
    ranges: Sequence[odata.Compare], terms: Sequence[odata.Expression], at: Context
) -> Iterator[tuple[Condition, Condition]]:
    """What is looked up first, if few fit: a query that counts them up to there, and the condition."""
    for path in dict.fromkeys(term.path for term in ranges):
        inside = [_compared(quoted(path), term.operator, stored(term.value)) for term in ranges if term.path == path]
        yield _lookup(str(at.table), _joined(" AND ", inside), at)
    compared = [term for term in terms if isinstance(term, odata.Compare) and isinstance(term.value, datetime)]
    begins, ends = at.table.type.lasts or ("", "")
    before = [stored(term.value) for term in compared if term.path == begins and term.operator in ("lt", "le")]
    after = [stored(term.value) for term in compared if term.path == ends and term.operator in ("gt", "ge")]
    if before and after and not at.all:
        overlap = Condition("begins <= ? AND ends >= ?", (before[0], after[0]))
        yield _lookup(quoted(f"{at.table.name}/spans"), overlap, at)


def _lookup(table: str, inside: Condition, at: Context) -> tuple[Condition, Condition]:
    some = f"SELECT count(*) FROM (SELECT 1 FROM {table} WHERE {inside.sql} LIMIT {FEW + 1})"
    rows = f"{at.alias}.row IN (SELECT row FROM {table} WHERE {inside.sql})"
    return Condition(some, inside.values), Condition(rows, inside.values)


def _joined(word: str, parts: Sequence[Condition]) -> Condition:
    return Condition(f"({word.join(part.sql for part in parts)})", tuple(v for part in parts for v in part.values))


def _property(term: odata.Compare | odata.In | odata.TextMatch, at: Context) -> Condition:
    column = at.column(term.path)
    match term:
        case odata.Compare(_, operator, value):
            return _compared(column, operator, stored(value))
        case odata.In(_, values):
            return Condition(f"{column} IN ({_marks(values)})", tuple(stored(value) for value in values))
        case odata.TextMatch("startswith", path, part) if path in at.table.type.indexed:
            return _started(path, part, at)
        case odata.TextMatch():
            return _matched(column, term.function, term.part)


def _started(path: str, part: str, at: Context) -> Condition:
    """By the property's index if few start so, looked up before all else; a plus keeps SQLite from it."""
    some, inside = _lookup(str(at.table), _matched(quoted(path), "startswith", part), at)
    if at.few(some):
        return inside
    return _matched(f"+{at.column(path)}", "startswith", part)


def _compared(column: str, operator: odata.Operator, value: Value) -> Condition:
    if operator == "ne" or value is None:
        return Condition(f"{column} IS {'NOT ' if operator == 'ne' else ''}?", (value,))
    return Condition(f"{column} {_COMPARATORS[operator]} ?", (value,))


def _matched(column: str, function: odata.TextFunction, part: str) -> Condition:
    match function:
        case "contains":
            return Condition(f"instr({column}, ?) > 0", (part,))
        case "startswith":  # as a range, which an index can find
            return Condition(f"({column} >= ? AND {column} < ?)", (part, part + _LAST))
        case "endswith":
            return Condition(f"({column} IS NOT NULL AND (? = '' OR substr({column}, -length(?)) = ?))", (part,) * 3)


def _marks(values: tuple[Any, ...]) -> str:
    return ", ".join("?" * len(values))


# --- attributes: their values have no type of their own ---------------------------------------------------------------


def _value(term: odata.Compare | odata.In | odata.TextMatch, at: Context) -> Condition:
    if term.path != "Value":
        return _property(term, at)
    match term:
        case odata.Compare(_, operator, value):
            return _value_compared(operator, value, at)
        case odata.In(_, values):
            parts = [_value_compared("eq", value, at) for value in values]
            return Condition(f"({' OR '.join(p.sql for p in parts)})", tuple(v for p in parts for v in p.values))
        case odata.TextMatch():
            return _matched(at.column("text"), term.function, term.part)


def _value_compared(operator: odata.Operator, value: Primitive, at: Context) -> Condition:
    """Numbers and moments among themselves as such, all else as text."""
    sign, as_words = _COMPARATORS[operator], at.column("text")
    if value is None:
        return _compared(as_words, operator, None)
    kinds = _NUMERIC_KINDS.get(type(value))
    if kinds is None:
        return Condition(f"{as_words} {sign} ?", (as_text(value),))
    kind, number = at.column("ValueType"), at.column("number")
    return Condition(  # each half by an index of its own
        f"({kind} IN ({kinds}) AND {number} {sign} ? OR {kind} NOT IN ({kinds}) AND {as_words} {sign} ?)",
        (stored(value), as_text(value)),
    )


_NUMERIC_KINDS: Mapping[type, str] = {
    int: "'Integer', 'Double'",
    float: "'Integer', 'Double'",
    datetime: "'DateTimeOffset'",
}


# --- what is related --------------------------------------------------------------------------------------------------


def _any(navigation: str, term: odata.Expression, at: Context) -> Condition:
    table = at.table.related[navigation]
    inner = condition(term, replace(at, table=table, alias="r"))
    if table.type.shared:
        return _any_shared(table, inner, at)
    there = visible("r", at.now)
    link = relation(at.table, navigation, at.alias, "r")
    return Condition(
        f"EXISTS (SELECT 1 FROM {table} r WHERE {link} AND {there.sql} AND {inner.sql})",
        (*there.values, *inner.values),
    )


def relation(table: Table, navigation: str, owner: str, related: str) -> str:
    """How an entity and those related to it find each other."""
    joins = table.type.joins.get(navigation)
    if joins is None:
        return f"{related}.owner = {owner}.row"
    return " AND ".join(f"{related}.{quoted(name)} = {owner}.{quoted(name)}" for name in joins)


def _any_shared(table: Table, inner: Condition, at: Context) -> Condition:
    """By the few attributes that fit: from them to their products if those are few, else from each product to them."""
    fitting = f"SELECT r.row FROM {table} r WHERE {inner.sql}"
    links = quoted(f"{table.name}/links")
    some = Condition(
        f"SELECT count(*) FROM (SELECT 1 FROM {links} WHERE shared IN ({fitting}) LIMIT {FEW + 1})", inner.values
    )
    if at.few(some):
        return Condition(f"{at.alias}.row IN (SELECT owner FROM {links} WHERE shared IN ({fitting}))", inner.values)
    return Condition(
        f"EXISTS (SELECT 1 FROM {links} l WHERE l.owner = {at.alias}.row AND l.shared IN ({fitting}))", inner.values
    )


def linked(wanted: odata.AnyOf, at: Context) -> Condition | None:
    """A query that counts the owners of what fits by links alone, at whatever time; None if it lies elsewhere."""
    table = at.table.related[wanted.navigation]
    if not table.type.shared:
        return None
    inner = condition(wanted.term, replace(at, table=table, alias="r"))
    fitting = f"SELECT r.row FROM {table} r WHERE {inner.sql}"
    links = quoted(f"{table.name}/links")
    return Condition(f"SELECT count(DISTINCT owner) FROM {links} WHERE shared IN ({fitting})", inner.values)


def _intersects(area: shapely.Geometry, at: Context) -> Condition:
    """By the boxes around the footprints, then exactly."""
    west, south, east, north = area.bounds
    boxes = quoted(f"{at.table.name}/boxes")
    return Condition(
        f"({at.alias}.row IN (SELECT row FROM {boxes} WHERE west <= ? AND east >= ? AND south <= ? AND north >= ?)"
        f" AND intersects({at.alias}.footprint, ?))",
        (east, west, north, south, shapely.to_wkb(area)),
    )
