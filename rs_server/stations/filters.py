"""A CQL2 filter, read against a station kind and brought to one normal form.

The normal form has no ``not``, ``in``, ``between`` or temporal operator: they are rewritten into comparisons joined by
``and`` and ``or``, exactly, also where a property is absent (a comparison with it is then neither true nor false).
A term that cannot be honoured is refused by name; nothing is ever left out of a filter.

Standard: OGC 21-065r2 (CQL2). A date stands for its whole day.
"""

from __future__ import annotations

import json
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import cql2

from rs_server.errors import BadInput, UnsupportedFilter
from rs_server.stations import geometry
from rs_server.stations.instants import AFTER_ALL, BEFORE_ALL, Instant, span
from rs_server.stations.model import Property, StationKind, ValueType, prop

LONGEST = 8_000  # characters of a filter
DEEPEST = 40  # levels of parentheses; the parser runs out of stack somewhere above 100
MOST_TERMS = 500  # leaves of the normal form

# What STAC clients ask of any collection; items that have no such property do not match (STAC common metadata).
ANYWHERE: Mapping[str, Property] = {
    each.stac: each
    for each in (
        prop("mission", ""),
        prop("platform", ""),
        prop("constellation", ""),
        prop("gsd", "", ValueType.DOUBLE),
        prop("eo:cloud_cover", "", ValueType.DOUBLE),
    )
}
FOOTPRINT = {"property": "geometry"}
COLLECTION = prop("collection", "", required=True)  # known for each item before the station is asked

Comparison = Literal["=", "<>", "<", "<=", ">", ">="]
Value = str | int | float | bool | Instant

INVERSE: dict[Comparison, Comparison] = {"=": "<>", "<>": "=", "<": ">=", ">=": "<", ">": "<=", "<=": ">"}
MIRRORED: dict[Comparison, Comparison] = {"=": "=", "<>": "<>", "<": ">", ">": "<", "<=": ">=", ">=": "<="}
EVALUATE: dict[Comparison, Callable[[Any, Any], Any]] = {
    "=": operator.eq,
    "<>": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}

# The operators of CQL2 on two spans of time, as comparisons of their starts and ends: s and e of the left one, S and E
# of the right one; comma is and, | is or.
TEMPORAL = {
    "t_after": "s>E",
    "t_before": "e<S",
    "t_contains": "s<S,e>E",
    "t_disjoint": "e<S|s>E",
    "t_during": "s>S,e<E",
    "t_equals": "s=S,e=E",
    "t_finishedby": "s<S,e=E",
    "t_finishes": "s>S,e=E",
    "t_intersects": "s<=E,e>=S",
    "t_meets": "e=S",
    "t_metby": "s=E",
    "t_overlappedby": "s>S,s<E,e>E",
    "t_overlaps": "s<S,e>S,e<E",
    "t_startedby": "s=S,e>E",
    "t_starts": "s=S,e<E",
}
SPATIAL = {  # each with the operator that says the same the other way round
    "s_contains": "s_within",
    "s_crosses": "s_crosses",
    "s_disjoint": "s_disjoint",
    "s_equals": "s_equals",
    "s_intersects": "s_intersects",
    "s_overlaps": "s_overlaps",
    "s_touches": "s_touches",
    "s_within": "s_contains",
}
ARRAYS = {
    "a_containedby": "a_contains",
    "a_contains": "a_containedby",
    "a_equals": "a_equals",
    "a_overlaps": "a_overlaps",
}
ARITHMETIC = frozenset({"+", "-", "*", "/", "%", "^", "div"})
FOLDING = frozenset({"casei", "accenti"})

TEXTS = frozenset({ValueType.TEXT, ValueType.GUID})
NUMBERS = frozenset({ValueType.INTEGER, ValueType.DOUBLE})


@dataclass(frozen=True, slots=True)
class Ref:
    """A property of the item."""

    property: Property


@dataclass(frozen=True, slots=True)
class Constant:
    """A literal value."""

    value: Value


@dataclass(frozen=True, slots=True)
class Day:
    """A date literal: each moment from the first to the last microsecond of the day. Gone in the normal form."""

    first: Instant
    last: Instant


@dataclass(frozen=True, slots=True)
class Call:
    """A function or arithmetic over scalars."""

    op: str
    args: tuple[Scalar, ...]


Scalar = Ref | Constant | Call


@dataclass(frozen=True, slots=True)
class Compare:
    """Two scalars compared."""

    op: Comparison
    left: Scalar
    right: Scalar


@dataclass(frozen=True, slots=True)
class Like:
    """A text matched with a pattern of ``%`` and ``_``; ``pattern`` may be folded like its subject."""

    subject: Scalar
    pattern: Scalar
    negated: bool = False


@dataclass(frozen=True, slots=True)
class IsNull:
    """Whether a property is absent."""

    subject: Ref
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Spatial:
    """How the footprint lies to a shape (GeoJSON)."""

    op: str
    subject: Ref
    shape: dict[str, Any]
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Array:
    """How a list of texts relates to another; both are taken as sets (OGC 21-065r2 §7.9)."""

    op: str
    subject: Ref
    values: tuple[str, ...]
    negated: bool = False


@dataclass(frozen=True, slots=True)
class All:
    """Every term holds."""

    terms: tuple[Filter, ...]


@dataclass(frozen=True, slots=True)
class AnyOf:
    """At least one term holds."""

    terms: tuple[Filter, ...]


Leaf = Compare | Like | IsNull | Spatial | Array
Filter = bool | Leaf | All | AnyOf


def parse(
    kind: StationKind,
    text: str | dict[str, Any],
    language: str,
    foreign: Mapping[str, Property] = ANYWHERE,
) -> Filter:
    """Read a filter in ``cql2-text`` or ``cql2-json``; ``BadInput`` or ``UnsupportedFilter`` name what is wrong.

    ``foreign`` are properties that items of this kind never have and that may be named all the same.
    """
    match language:
        case "cql2-text" if isinstance(text, str):
            expression = _parsed(cql2.parse_text, text)
        case "cql2-json":
            expression = _parsed(cql2.parse_json, text if isinstance(text, str) else json.dumps(text))
        case "cql2-text":
            raise BadInput("filter: cql2-text is a text, not an object", hint="set filter-lang to cql2-json")
        case _:
            raise BadInput(f"filter-lang {language!r} is not known", hint="use cql2-text or cql2-json")
    return read(kind, expression, foreign)


def read(kind: StationKind, expression: Any, foreign: Mapping[str, Property] = ANYWHERE) -> Filter:
    """The normal form of a CQL2-JSON expression."""
    found = _Reader(kind, foreign).filter(expression, negated=False)
    found = transform(found, lambda leaf: _without(leaf, kind))
    if len(leaves(found)) > MOST_TERMS:
        raise BadInput(f"the filter has more than {MOST_TERMS} terms")
    return found


def refs(node: Leaf | Scalar) -> Iterator[Ref]:
    """The properties that a term asks about."""
    match node:
        case Ref():
            yield node
        case Call(_, args):
            for arg in args:
                yield from refs(arg)
        case Compare(_, left, right):
            yield from refs(left)
            yield from refs(right)
        case Like(subject, _, _) | IsNull(subject, _) | Spatial(_, subject) | Array(_, subject):
            yield from refs(subject)


def conjunction(terms: Sequence[Filter]) -> Filter:
    """All of the terms, with constants folded."""
    kept = _flat(All, [term for term in terms if term is not True])
    return False if False in kept else (kept[0] if len(kept) == 1 else All(kept)) if kept else True


def disjunction(terms: Sequence[Filter]) -> Filter:
    """Any of the terms, with constants folded."""
    kept = _flat(AnyOf, [term for term in terms if term is not False])
    return True if True in kept else (kept[0] if len(kept) == 1 else AnyOf(kept)) if kept else False


def leaves(found: Filter) -> list[Leaf]:
    """The comparisons that a filter is made of."""
    match found:
        case bool():
            return []
        case All(terms) | AnyOf(terms):
            return [leaf for term in terms for leaf in leaves(term)]
        case leaf:
            return [leaf]


def transform(found: Filter, change: Callable[[Leaf], Filter]) -> Filter:
    """The filter with each leaf replaced."""
    match found:
        case bool():
            return found
        case All(terms):
            return conjunction([transform(term, change) for term in terms])
        case AnyOf(terms):
            return disjunction([transform(term, change) for term in terms])
        case leaf:
            return change(leaf)


def intersecting(kind: StationKind, shape: dict[str, Any]) -> Filter:
    """The footprint touches or overlaps the shape; entities without a footprint intersect nothing."""
    return Spatial("s_intersects", Ref(kind.by_name["geometry"]), shape) if kind.has_footprint else False


def one_of(property_: Property, values: Sequence[Value]) -> Filter:
    """The property has one of these values."""
    return disjunction([Compare("=", Ref(property_), Constant(value)) for value in values])


def within(kind: StationKind, first: Instant | None, last: Instant | None) -> Filter:
    """What the ``datetime`` parameter of STAC asks for: the item's moment or span of time touches the interval."""
    moment, end = Ref(kind.by_name["datetime"]), Ref(kind.by_name["end_datetime"])
    terms: list[Filter] = []
    if last is not None:
        terms.append(compare("<=", moment, Constant(last)))
    if first is not None:
        begun = compare(">=", moment, Constant(first))
        terms.append(disjunction([compare(">=", end, Constant(first)), conjunction([IsNull(end), begun])]))
    return conjunction(terms)


def _without(leaf: Leaf, kind: StationKind) -> Filter:
    """A term about a property that no item of the kind has: nothing is true of it, but that it is absent."""
    absent = any(
        ref.property is not COLLECTION and kind.find(ref.property.stac) is not ref.property for ref in refs(leaf)
    )
    if not absent:
        return leaf
    return isinstance(leaf, IsNull) and not leaf.negated


def _flat(kind: type[All | AnyOf], terms: Sequence[Filter]) -> tuple[Filter, ...]:
    found: list[Filter] = []
    for term in terms:
        found.extend(term.terms if isinstance(term, kind) else (term,))
    return tuple(found)


def _parsed(parser: Callable[[str], cql2.Expr], text: str) -> Any:
    if len(text) > LONGEST:
        raise BadInput(f"the filter is longer than {LONGEST} characters")
    if _depth(text) > DEEPEST:
        raise BadInput(f"the filter is nested deeper than {DEEPEST} levels")
    try:
        return parser(text).to_json()
    except cql2.ParseError as error:
        where = " ".join(str(error).split())
        raise BadInput(f"the filter cannot be read: {where}") from error


def _depth(text: str) -> int:
    """The most parentheses or brackets open at once; those inside quotes count too, which errs on the safe side."""
    level = deepest = 0
    for character in text:
        if character in "([{":
            level += 1
            deepest = max(deepest, level)
        elif character in ")]}":
            level -= 1
    return deepest


class _Reader:
    """Turns CQL2-JSON into the normal form, over the properties of one kind."""

    def __init__(self, kind: StationKind, foreign: Mapping[str, Property]) -> None:
        self.kind = kind
        self._foreign = foreign
        self._relations = {
            **dict.fromkeys(TEMPORAL, self._temporal),
            **dict.fromkeys(SPATIAL, self._spatial),
            **dict.fromkeys(ARRAYS, self._array),
        }

    def filter(self, node: Any, *, negated: bool) -> Filter:
        match node:
            case bool():
                return node is not negated
            case {"property": str()}:
                return self._compare("=", node, True, negated=negated)  # noqa: FBT003 - CQL2: a boolean property alone
            case {"op": str(op), "args": list(args)}:
                return self._operator(op.lower(), args, negated=negated)
        raise UnsupportedFilter(f"filter: {_text(node)} is neither true nor false")

    def _operator(self, op: str, args: list[Any], *, negated: bool) -> Filter:
        match op, args:
            case (("and" | "or"), [_, *_]):
                join = conjunction if (op == "and") is not negated else disjunction
                return join([self.filter(arg, negated=negated) for arg in args])
            case "not", [inner]:
                return self.filter(inner, negated=not negated)
            case (("=" | "<>" | "<" | "<=" | ">" | ">="), [left, right]):
                return self._compare(op, left, right, negated=negated)
            case "between" | "in" | "like" | "isnull", [subject, *rest]:
                return self._test(op, subject, rest, negated=negated)
            case _, [left, right] if op in self._relations:
                return self._relations[op](op, left, right, negated=negated)
        raise UnsupportedFilter(f"filter: the operator {op!r} with {len(args)} arguments cannot be evaluated here")

    def _test(self, op: str, subject: Any, rest: list[Any], *, negated: bool) -> Filter:
        match op, rest:
            case "between", [low, high] | [[low, high]]:  # the second is how drafts of CQL2 had it
                bounds: tuple[tuple[Comparison, Any], ...] = ((">=", low), ("<=", high))
                terms = [self._compare(each, subject, bound, negated=negated) for each, bound in bounds]
                return disjunction(terms) if negated else conjunction(terms)
            case "in", [list(options)]:
                terms = [self._compare("=", subject, option, negated=negated) for option in options]
                return conjunction(terms) if negated else disjunction(terms)
            case "like", [pattern]:
                return self._like(subject, pattern, negated=negated)
            case "isnull", []:
                return self._is_null(subject, negated=negated)
        raise UnsupportedFilter(f"filter: {op!r} has the wrong number of arguments")

    def _compare(self, op: Comparison, left: Any, right: Any, *, negated: bool) -> Filter:
        a, b = self._operand(left), self._operand(right)
        if isinstance(a, (Constant, Day)) and not isinstance(b, Constant):
            a, b, op = b, a, MIRRORED[op]
        if _type(a) is ValueType.INSTANT:
            b = _as_time(b)
        if isinstance(a, Day) or not _comparable(op, a, b):
            raise UnsupportedFilter(f"filter: {_text(left)} {op} {_text(right)} compares different types")
        return compare(INVERSE[op] if negated else op, a, b)

    def _like(self, subject: Any, pattern: Any, *, negated: bool) -> Filter:
        value, wanted = self._scalar(subject), self._scalar(pattern)
        if isinstance(value, Constant) or _type(value) not in TEXTS or not _is_pattern(wanted):
            raise UnsupportedFilter(
                f"filter: {_text(subject)} like {_text(pattern)}: like compares text with a pattern"
            )
        return Like(value, wanted, negated)

    def _is_null(self, subject: Any, *, negated: bool) -> Filter:
        if subject == FOOTPRINT and not self.kind.has_footprint:
            return not negated
        ref = self._scalar(subject)
        if not isinstance(ref, Ref):
            raise UnsupportedFilter(f"filter: isNull asks about a property, not {_text(subject)}")
        return _null(ref, negated=negated)

    def _temporal(self, op: str, left: Any, right: Any, *, negated: bool) -> Filter:
        (start, end), (other_start, other_end) = self._span(left), self._span(right)
        bounds = {"s": start, "e": end, "S": other_start, "E": other_end}
        inner, outer = (disjunction, conjunction) if negated else (conjunction, disjunction)
        ways = [way.split(",") for way in TEMPORAL[op].split("|")]
        return outer([inner([_bound(term, bounds, negated=negated) for term in way]) for way in ways])

    def _span(self, node: Any) -> tuple[Scalar, Scalar]:
        """Start and end of a temporal operand."""
        match node:
            case {"interval": [first, last]}:
                start = Constant(BEFORE_ALL) if first == ".." else self._span(first)[0]
                return start, Constant(AFTER_ALL) if last == ".." else self._span(last)[1]
        match _as_time(self._operand(node)):
            case Day(first, last):
                return Constant(first), Constant(last)
            case Ref() | Constant() as moment if _type(moment) is ValueType.INSTANT:
                return moment, moment
        raise UnsupportedFilter(f"filter: {_text(node)} is not a time")

    def _spatial(self, op: str, left: Any, right: Any, *, negated: bool) -> Filter:
        """Without footprints every comparison of the geometry is neither true nor false: no item matches."""
        asked = op
        if left != FOOTPRINT:
            op, left, right = SPATIAL[op], right, left
        if left != FOOTPRINT or not isinstance(right, dict) or not {"type", "bbox"} & right.keys():
            raise UnsupportedFilter(f"filter: {asked} compares the property geometry with a shape")
        if not self.kind.has_footprint:
            return False
        return Spatial(op, Ref(self.kind.by_name["geometry"]), _shape(asked, right), negated)

    def _array(self, op: str, left: Any, right: Any, *, negated: bool) -> Filter:
        if isinstance(left, list):
            op, left, right = ARRAYS[op], right, left
        match self._scalar(left), right:
            case Ref(property_) as ref, list() if property_.type is ValueType.LIST and _texts(right):
                return Array(op, ref, tuple(right), negated)
        raise UnsupportedFilter(f"filter: {op} compares a property that is a list of texts with such a list")

    def _operand(self, node: Any) -> Scalar | Day:
        match node:
            case {"timestamp": str(text)} | {"date": str(text)}:
                return _time(text)
        return self._scalar(node)

    def _scalar(self, node: Any) -> Scalar:
        match node:
            case bool() | int() | float() | str():
                return Constant(node)
            case {"property": str(name)}:
                return Ref(self._property(name))
            case {"op": str(op), "args": list(args)} if op.lower() in ARITHMETIC | FOLDING:
                return self._call(op.lower(), args)
        raise UnsupportedFilter(f"filter: {_text(node)} cannot be evaluated here")

    def _call(self, op: str, args: list[Any]) -> Call:
        values = tuple(self._scalar(arg) for arg in args)
        wanted, count = (TEXTS, 1) if op in FOLDING else (NUMBERS, 2)
        if len(values) != count or any(_type(value) not in wanted for value in values):
            raise UnsupportedFilter(f"filter: {op} cannot be applied to {', '.join(map(_text, args))}")
        return Call(op, values)

    def _property(self, name: str) -> Property:
        found = COLLECTION if name == "collection" else self.kind.find(name)
        if found is None:
            found = self._foreign.get(name.removeprefix("properties."))
        if found is None:
            raise UnsupportedFilter(
                f"filter: {self.kind.name} items have no property {name!r}", hint="see the queryables", term=name
            )
        return found


def compare(op: Comparison, left: Scalar, right: Scalar | Day) -> Filter:
    """A comparison, decided at once where it can be; a day stands for each of its moments."""
    match left, right:
        case _, Day(first, last):
            return _compare_day(op, left, Constant(first), Constant(last))
        case Constant(a), Constant(b):
            return bool(EVALUATE[op](a, b))
        case Ref(), Constant(Instant() as bound) if bound in (BEFORE_ALL, AFTER_ALL):
            lies = "<" if bound == AFTER_ALL else ">"
            return _null(left, negated=True) if op in (lies, f"{lies}=", "<>") else False
        case Constant(), Ref() | Call():
            return compare(MIRRORED[op], right, left)
        case _, Ref() | Constant() | Call():
            return Compare(op, left, right)


def _compare_day(op: Comparison, left: Scalar, first: Constant, last: Constant) -> Filter:
    match op:
        case "=":
            return conjunction([compare(">=", left, first), compare("<=", left, last)])
        case "<>":
            return disjunction([compare("<", left, first), compare(">", left, last)])
        case "<" | ">=":
            return compare(op, left, first)
        case "<=" | ">":
            return compare(op, left, last)


def _bound(term: str, bounds: dict[str, Scalar], *, negated: bool) -> Filter:
    """One comparison of the table of temporal operators."""
    op: Any = term[1:-1]
    return compare(INVERSE[op] if negated else op, bounds[term[0]], bounds[term[-1]])


def _null(ref: Ref, *, negated: bool) -> Filter:
    return negated if ref.property.required else IsNull(ref, negated)


def _as_time(scalar: Scalar | Day) -> Scalar | Day:
    """A plain text that stands where a time belongs is read as one."""
    match scalar:
        case Constant(str(text)):
            return _time(text)
    return scalar


def _time(text: str) -> Constant | Day:
    try:
        first, last = span(text)
    except ValueError as error:
        raise UnsupportedFilter(f"filter: {text!r} is neither a date nor a moment in time (RFC 3339)") from error
    return Constant(first) if first == last else Day(first, last)


def _type(scalar: Scalar | Day) -> ValueType:
    match scalar:
        case Ref(property_):
            return property_.type
        case Call(op, _):
            return ValueType.TEXT if op in FOLDING else ValueType.DOUBLE
        case Day() | Constant(Instant()):
            return ValueType.INSTANT
        case Constant(bool()):
            return ValueType.BOOLEAN
        case Constant(str()):
            return ValueType.TEXT
        case Constant():
            return ValueType.DOUBLE


def _comparable(op: Comparison, left: Scalar, right: Scalar | Day) -> bool:
    a, b = _type(left), _type(right)
    ordered = not (ValueType.BOOLEAN in (a, b) and op not in ("=", "<>"))
    if not {a, b}.isdisjoint((ValueType.LIST, ValueType.GEOMETRY)):
        return False
    return ordered and (a is b or {a, b} <= TEXTS or {a, b} <= NUMBERS)


def _shape(op: str, node: dict[str, Any]) -> dict[str, Any]:
    try:
        return geometry.checked(geometry.area(node["bbox"]) if "bbox" in node else node)
    except (ValueError, TypeError, IndexError) as error:
        raise BadInput(f"filter: the shape of {op} cannot be used: {error}") from error


def _texts(values: list[Any]) -> bool:
    return all(isinstance(value, str) for value in values)


def _is_pattern(scalar: Scalar) -> bool:
    match scalar:
        case Constant(str()):
            return True
        case Call("casei" | "accenti", (inner,)):
            return _is_pattern(inner)
    return False


def _text(node: Any) -> str:
    text = json.dumps(node, ensure_ascii=False)
    return text if len(text) < 100 else f"{text[:97]}..."
