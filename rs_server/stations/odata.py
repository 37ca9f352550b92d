"""A filter in normal form in, an OData ``$filter`` out: the only place where OData text is built.

What comes out may let more entities through than the filter does, never fewer; each answer is checked again with the
filter itself. Two rules keep it so. A comparison is left out where the station's value does not stand for the item's
(``PREFIX`` matches, order of texts, values found in several ways), and where a term of an ``or`` is left out, the whole
``or`` is. Terms left out are told, because they are what makes a search read many rows.

Standard: OData 4.01 URL conventions §5.1.1, as ESA's CSC interface documents narrow it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import permutations
from typing import Any

from rs_server.stations import geometry
from rs_server.stations.filters import (
    NUMBERS,
    All,
    AnyOf,
    Array,
    Compare,
    Comparison,
    Constant,
    Filter,
    IsNull,
    Leaf,
    Like,
    Ref,
    Spatial,
    Value,
)
from rs_server.stations.instants import Instant, micros
from rs_server.stations.model import Match, Property, ValueType, as_is

Predicate = str | bool  # OData text; True is everything, False nothing

OPERATORS: dict[Comparison, str] = {"=": "eq", "<>": "ne", "<": "lt", "<=": "le", ">": "gt", ">=": "ge"}

_LONGEST_LIST = 3
_LISTED = frozenset({ValueType.TEXT, ValueType.INTEGER})

_GUID = re.compile(r"[0-9a-fA-F]{8}-([0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}")
_WILDCARDS = re.compile(r"(?<!\\)(?:\\\\)*[%_]")
_ESCAPE = re.compile(r"\\(.)")


@dataclass(frozen=True, slots=True)
class Pushed:
    """What a station is asked: a ``$filter``, True for everything, False for nothing; and the terms it is not asked.

    ``exact`` if an entity passes the ``$filter`` whenever its item passes the filter, and the other way round too.
    """

    filter: Predicate
    left_out: tuple[Leaf, ...] = ()
    exact: bool = True


@dataclass(frozen=True, slots=True)
class SortKey:
    """One key of the order of rows, by its path in the station's entity."""

    by: Property
    descending: bool = False

    @property
    def path(self) -> str:
        """Where the station keeps the value."""
        return self.by.sources[0]

    def comparable(self, value: Any) -> Any:
        """A value as it stands there, so that it compares with those of other places; None stays None."""
        if value is None:
            return None
        if self.by.type is ValueType.INSTANT:
            return micros(value)
        return float(value) if self.by.type in NUMBERS else value


def compared(left: Sequence[Any], right: Sequence[Any], descending: Sequence[bool]) -> int:
    """Which values of the sort keys come first (negative: the left ones); ``descending``: which keys go down.

    No value comes before all others, and last where the key goes down, as OData has it.
    """
    for a, b, falls in zip(left, right, descending, strict=True):
        if a != b:
            before = b is not None and (a is None or a < b)
            return 1 if before is falls else -1
    return 0


def push(found: Filter, *, lists: bool = False) -> Pushed:
    """The strongest ``$filter`` that no entity of the answer fails; with ``lists`` the station understands ``in``."""
    match found:
        case bool():
            return Pushed(found)
        case All(terms):
            parts = [push(term, lists=lists) for term in terms]
            return Pushed(_and([part.filter for part in parts]), _left_out(parts), _exact(parts))
        case AnyOf(terms):
            parts = [push(term, lists=lists) for term in terms]
            texts = _with_lists(terms, parts) if lists else [part.filter for part in parts]
            return Pushed(_or(texts), _left_out(parts), _exact(parts))
        case leaf:
            pushed = _leaf(leaf)
            return Pushed(pushed, (leaf,) if pushed is True else (), exact=_is_exact(leaf, pushed))


def both(*filters: Predicate) -> Predicate:
    """Filters that must all hold."""
    return _and(filters)


def any_equal(path: str, values: Sequence[str], *, lists: bool = False) -> str:
    """A text property has one of these values."""
    if lists and len(values) > 1:
        return f"{path} in ({','.join(literal(ValueType.TEXT, value) for value in values)})"
    return " or ".join(f"{path} eq {literal(ValueType.TEXT, value)}" for value in values)


def order_by(keys: Sequence[SortKey], *, id_descending: bool) -> str:
    """The ``$orderby`` that makes rows come in a total order."""
    direction = {False: "asc", True: "desc"}
    parts = [f"{key.path} {direction[key.descending]}" for key in keys]
    return ",".join([*parts, f"Id {direction[id_descending]}"])


def after(keys: Sequence[SortKey], values: Sequence[Any], tie: Predicate) -> Predicate:
    """Rows that come after one with these values; ``tie`` decides among rows equal in all of them."""
    found = tie
    for key, value in reversed(list(zip(keys, values, strict=True))):
        equal = f"{key.path} eq {raw_literal(key.by.type, value)}"
        found = _or([_beyond(key, value), _and([equal, found])])
    return found


def flipped(keys: Sequence[SortKey]) -> tuple[SortKey, ...]:
    """The opposite order."""
    return tuple(SortKey(key.by, not key.descending) for key in keys)


def is_key(value: str) -> str:
    """The entity of this key; a few stations have keys that are no GUIDs."""
    return f"Id eq {literal(ValueType.GUID if _GUID.fullmatch(value) else ValueType.TEXT, value)}"


def beyond_id(value: str, *, descending: bool) -> str:
    """Rows whose key comes after this one."""
    return f"Id {'lt' if descending else 'gt'} {literal(ValueType.GUID, value)}"


def literal(type_: ValueType, value: Value) -> str:
    """A value as OData writes it; nothing that a caller sends can end the literal early."""
    match type_, value:
        case ValueType.GUID, str() if _GUID.fullmatch(value):
            return value
        case ValueType.TEXT, str():
            return "'" + value.replace("'", "''") + "'"
        case ValueType.BOOLEAN, bool():
            return str(value).lower()
        case ValueType.INSTANT, Instant():
            return str(value)
        case ((ValueType.INTEGER | ValueType.DOUBLE), (int() | float())):
            return str(int(value)) if float(value).is_integer() else repr(float(value))
    raise ValueError(f"{value!r} is not a {type_.value}")


def raw_literal(type_: ValueType, value: Any) -> str:
    """A value as the station itself wrote it, read back from a paging token."""
    if value is None:
        return "null"
    if type_ is ValueType.INSTANT:
        return literal(type_, Instant.of(str(value)))
    return literal(type_, int(value) if type_ in NUMBERS else value)


def _beyond(key: SortKey, value: Any) -> Predicate:
    """Rows further along this key. An absent value sorts before all others (OData 4.01 §11.2.6.2)."""
    if value is None:
        return False if key.descending else f"{key.path} ne null"
    further = f"{key.path} {'lt' if key.descending else 'gt'} {raw_literal(key.by.type, value)}"
    if key.descending and (key.by.otherwise or not key.by.required):
        return _or([further, f"{key.path} eq null"])
    return further


def _with_lists(terms: Sequence[Filter], parts: Sequence[Pushed]) -> list[Predicate]:
    """What is pushed of the terms of an ``or``, the equalities of one property as one ``in``."""
    found: list[Predicate] = []
    groups: dict[str, tuple[Property, list[str]]] = {}
    for term, part in zip(terms, parts, strict=True):
        listed = _listable(term) if isinstance(part.filter, str) else None
        if listed is None:
            found.append(part.filter)
            continue
        property_, text = listed
        groups.setdefault(property_.stac, (property_, []))[1].append(text)
    return [*found, *(_in(property_, texts) for property_, texts in groups.values())]


def _listable(term: Filter) -> tuple[Property, str] | None:
    """The property and the literal of an equality that asks one source for one value."""
    match term:
        case Compare("=", Ref(property_), Constant(value)) if property_.type in _LISTED and not property_.local:
            plain = property_.match is Match.EXACT and not (
                property_.also or property_.spellings or property_.otherwise
            )
            if not plain or len(property_.sources) > 1:
                return None
            if property_.type is ValueType.INTEGER:
                return property_, literal(ValueType.INTEGER, value)
            encoded = _encoded(property_, str(value))
            return (property_, literal(ValueType.TEXT, encoded[0])) if encoded else None
    return None


def _in(property_: Property, texts: Sequence[str]) -> str:
    (source,), type_ = property_.sources, property_.type
    test = f" in ({','.join(texts)})" if len(texts) > 1 else f" eq {texts[0]}"  # many stations refuse a list of one
    return _attribute(source, type_, f" and att/{_cast(type_)}/Value{test}") if source[0] == "@" else f"{source}{test}"


def _left_out(parts: Sequence[Pushed]) -> tuple[Leaf, ...]:
    return tuple(leaf for part in parts for leaf in part.left_out)


def _exact(parts: Sequence[Pushed]) -> bool:
    return all(part.exact for part in parts)


def _is_exact(leaf: Leaf, pushed: Predicate) -> bool:
    """Whether the station's answer to a term is the term's own: it asks the property itself, for values as they are.

    Texts of a property that is decoded are not: two of them may read as one value.
    """
    match leaf:
        case Compare(op, Ref(property_), _):
            plain = property_.match is Match.EXACT and not property_.also and not property_.spellings
            required = property_.required and not property_.otherwise
            there = required or property_.sources[0].startswith("@")  # what is absent differs, for a station
            decoded = property_.decode is not as_is  # but back again it was the same, or it would not be asked for
            if decoded and (op != "=" or property_.type is not ValueType.TEXT):
                return False
            return pushed is not True and plain and (op != "<>" or there)
        case IsNull(Ref(property_), _):
            return pushed is not True and property_.decode is as_is
        case _:
            return False


def _and(terms: Sequence[Predicate]) -> Predicate:
    if False in terms:
        return False
    kept = [term for term in terms if isinstance(term, str)]
    return f"({' and '.join(kept)})" if len(kept) > 1 else kept[0] if kept else True


def _or(terms: Sequence[Predicate]) -> Predicate:
    if True in terms:
        return True
    kept = [term for term in terms if isinstance(term, str)]
    return f"({' or '.join(kept)})" if len(kept) > 1 else kept[0] if kept else False


def _leaf(leaf: Leaf) -> Predicate:
    match leaf:
        case Compare(op, Ref(property_), Constant(value)) if not property_.local:
            return _compare(property_, op, value)
        case Like(Ref(property_), Constant(str(pattern)), negated=False) if not property_.local:
            return _like(property_, pattern)
        case IsNull(Ref(property_), negated) if not property_.local:
            return _is_null(property_, negated=negated)
        case Spatial(op, _, shape, negated=False) if op != "s_disjoint":  # all others imply that they intersect
            return _or([_intersects(text) for text in geometry.asked_about(shape)])
        case Array("a_equals", Ref(property_), values, negated=False) if not property_.local:
            return _list_equals(property_, values)
        case _:
            return True


def _intersects(shape: str) -> str:
    return f"OData.CSC.Intersects(area=geography'SRID=4326;{shape}')"


def _list_equals(property_: Property, values: Sequence[str]) -> Predicate:
    """In whichever order the station writes the values; those of longer lists are not asked for."""
    if len(set(values)) > _LONGEST_LIST or property_.encode is as_is:
        return True
    texts = {str(property_.encode(list(order))) for order in permutations(sorted(set(values)))}
    return _or([_sources(property_, "=", (text,)) for text in sorted(texts)])


def _compare(property_: Property, op: Comparison, value: Value) -> Predicate:
    if property_.type is ValueType.GUID and (op != "=" or not _GUID.fullmatch(str(value))):
        return op != "="  # as texts GUIDs differ in upper and lower case, for a station they do not
    if property_.type is ValueType.INTEGER and isinstance(value, float):
        return _compare_integer(property_, op, value)
    if property_.type in (ValueType.TEXT, ValueType.GUID):
        return _compare_text(property_, op, str(value))
    return _sources(property_, op, (value,))


def _compare_integer(property_: Property, op: Comparison, value: float) -> Predicate:
    if value.is_integer():
        return _sources(property_, op, (int(value),))
    match op:
        case "=":
            return False
        case "<" | "<=":
            return _sources(property_, "<=", (math.floor(value),))
        case ">" | ">=":
            return _sources(property_, ">=", (math.ceil(value),))
        case "<>":
            return True


def _compare_text(property_: Property, op: Comparison, value: str) -> Predicate:
    """Texts are asked for equality alone: in which order a station sorts them is its own affair."""
    if op not in ("=", "<>"):
        return True
    if property_.spellings:
        texts = [text for text in property_.spellings(value) if property_.decode(text) == value]
        return _or([_sources(property_, "=", (text,)) for text in texts]) if op == "=" else True
    encoded = _encoded(property_, value)
    if encoded is None:  # no entity has this value
        return op == "<>"
    if property_.match is Match.PREFIX or property_.also:
        return _contains(property_, value, encoded) if op == "=" else True
    return _sources(property_, op, encoded)


def _encoded(property_: Property, value: str) -> tuple[str, ...] | None:
    """What the station calls a value, or None if none of its values reads as this one."""
    encoded = property_.encode(value)
    texts = encoded if isinstance(encoded, tuple) or encoded is None else (encoded,)
    derived = property_.match is Match.PREFIX and property_.encode is not as_is
    return texts if texts is None or derived or property_.decode(*texts) == value else None


def _contains(property_: Property, value: str, encoded: tuple[str, ...]) -> Predicate:
    if property_.also:
        elsewhere = f"contains({property_.also},{literal(ValueType.TEXT, value)})"
        return _or([_sources(property_, "=", encoded), elsewhere])
    return f"startswith({property_.sources[0]},{literal(ValueType.TEXT, encoded[0])})"


def _sources(property_: Property, op: Comparison, values: Sequence[Value]) -> Predicate:
    """A comparison of each source; a property of several differs as soon as one of them does."""
    join = _or if op == "<>" else _and
    type_ = ValueType.TEXT if property_.type is ValueType.LIST else property_.type
    found = join([_source(s, type_, op, v) for s, v in zip(property_.sources, values, strict=True)])
    if not property_.otherwise:
        return found
    instead = _source(property_.otherwise, type_, op, values[0])
    return _or([found, _and([f"{property_.sources[0]} eq null", instead])])


def _source(source: str, type_: ValueType, op: Comparison, value: Value) -> str:
    if not source.startswith("@"):
        return f"{source} {OPERATORS[op]} {literal(type_, value)}"
    return _attribute(source, type_, f" and att/{_cast(type_)}/Value {OPERATORS[op]} {literal(type_, value)}")


def _attribute(source: str, type_: ValueType, condition: str) -> str:
    name = literal(ValueType.TEXT, source.removeprefix("@"))
    return f"Attributes/{_cast(type_)}/any(att:att/Name eq {name}{condition})"


def _cast(type_: ValueType) -> str:
    return f"OData.CSC.{'Integer' if type_ is ValueType.INTEGER else type_.value}Attribute"


def _is_null(property_: Property, *, negated: bool) -> Predicate:
    """Absence of the source. A value that cannot be decoded is absent as well, so only its presence is asked."""
    if not negated and property_.decode is not as_is:
        return True
    if not negated and not property_.sources[0].startswith("@"):
        return f"{property_.sources[0]} eq null"
    present = _and([_present(source, property_.type) for source in property_.sources])
    return present if negated else f"not ({present})"


def _present(source: str, type_: ValueType) -> str:
    return _attribute(source, type_, "") if source.startswith("@") else f"{source} ne null"


def _like(property_: Property, pattern: str) -> Predicate:
    """The literal pieces of a pattern, which a matching text begins with, contains and ends with."""
    path = property_.also or property_.sources[0]
    encoded = property_.encode is not as_is or property_.spellings
    if property_.type is not ValueType.TEXT or encoded or path.startswith("@"):
        return True
    first, *others = [_ESCAPE.sub(r"\1", piece) for piece in _pieces(pattern)]
    anchored = not property_.also
    terms = [_text_function("startswith" if anchored else "contains", path, first)]
    terms += [_text_function("contains", path, piece) for piece in others]
    return _and(terms)


def _pieces(pattern: str) -> list[str]:
    """The pattern cut at each wildcard that is not escaped."""
    pieces, start = [], 0
    for found in _WILDCARDS.finditer(pattern):
        pieces.append(pattern[start : found.end() - 1])
        start = found.end()
    return [*pieces, pattern[start:]]


def _text_function(name: str, path: str, piece: str) -> Predicate:
    return f"{name}({path},{literal(ValueType.TEXT, piece)})" if piece else True
