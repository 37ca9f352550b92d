"""The ``$filter`` language of the Copernicus stations: text → a typed expression.

The grammar is closed (OData 4.01 as the CSC interface documents narrow it)::

    or         = and *("or" and)
    and        = unary *("and" unary)
    unary      = ["not"] primary
    primary    = "(" or ")" | "true" | "false" | text | any | area | comparison
    text       = ("contains" | "startswith" | "endswith") "(" path "," string ")"
    any        = collection "/" cast "/any(" variable ":" or ")"
    area       = "OData.CSC.Intersects(area=geography'SRID=4326;" WKT "')"
    comparison = path ("eq"|"ne"|"gt"|"ge"|"lt"|"le") literal | path "in" "(" literal *("," literal) ")"

Types are checked while parsing, so that evaluating cannot fail.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal
from uuid import UUID

import shapely

from rs_server.simulators.model import Edm, EntityType, Primitive

MAX_LENGTH = 8192
MAX_DEPTH = 64
MAX_TERMS = 200

type Operator = Literal["eq", "ne", "gt", "ge", "lt", "le"]
type TextFunction = Literal["contains", "startswith", "endswith"]
type Expression = Compare | In | TextMatch | Intersects | Constant | Not | And | Or | AnyOf


class FilterError(Exception):
    """A filter that cannot be honoured; ``position`` counts characters from 0."""

    def __init__(self, message: str, position: int) -> None:
        super().__init__(f"{message} (at position {position} of $filter)")
        self.position = position


@dataclass(frozen=True)
class Compare:
    """A property against a value."""

    path: str
    operator: Operator
    value: Primitive


@dataclass(frozen=True)
class In:
    """A property among values."""

    path: str
    values: tuple[Primitive, ...]


@dataclass(frozen=True)
class TextMatch:
    """Part of a text."""

    function: TextFunction
    path: str
    part: str


@dataclass(frozen=True)
class Intersects:
    """A footprint that has something in common with an area (longitude, latitude)."""

    area: shapely.Geometry


@dataclass(frozen=True)
class Constant:
    """Everything, or nothing."""

    value: bool


@dataclass(frozen=True)
class Not:
    """The opposite."""

    term: Expression


@dataclass(frozen=True)
class And:
    """All of them."""

    terms: tuple[Expression, ...]


@dataclass(frozen=True)
class Or:
    """One of them."""

    terms: tuple[Expression, ...]


@dataclass(frozen=True)
class AnyOf:
    """One of the related entities."""

    navigation: str
    term: Expression


def parse(source: str, schema: EntityType) -> Expression:
    """Parse a filter over entities of that type, or raise FilterError."""
    if len(source) > MAX_LENGTH:
        raise FilterError(f"the filter is longer than {MAX_LENGTH} characters", MAX_LENGTH)
    parser = _Parser(_tokens(source), schema)
    expression = parser.disjunction()
    parser.expect("end")
    return expression


_TEXT_FUNCTIONS = ("contains", "startswith", "endswith")

# --- tokens -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    position: int


_TOKEN = re.compile(
    r"""
    (?P<space>\s+)
  | (?P<geography>geography'[^']*')
  | (?P<string>'(?:[^']|'')*')
  | (?P<instant>\d{4}-\d\d-\d\dT\d\d:\d\d(?::\d\d(?:\.\d{1,12})?)?(?:Z|[+-]\d\d:\d\d))
  | (?P<guid>[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12})
  | (?P<double>-?\d+(?:\.\d+(?:[eE][+-]?\d+)?|[eE][+-]?\d+)(?![\w.]))
  | (?P<integer>-?\d{1,19}(?![\w.]))
  | (?P<enumeration>[A-Za-z_][\w.]*'(?:[^']|'')*')
  | (?P<name>[A-Za-z_][\w.]*(?:/[A-Za-z_][\w.]*)*)
  | (?P<mark>[(),:=])
    """,
    re.VERBOSE,
)


def _tokens(source: str) -> list[_Token]:
    found, position = [], 0
    while position < len(source):
        match = _TOKEN.match(source, position)
        if match is None or match.lastgroup is None:
            raise FilterError(f"unexpected {source[position]!r}", position)
        kind = match.group() if match.lastgroup == "mark" else match.lastgroup
        if kind != "space":
            found.append(_Token(kind, match.group(), position))
        position = match.end()
    return [*found, _Token("end", "the end", len(source))]


# --- parser -----------------------------------------------------------------------------------------------------------


class _Parser:
    """Recursive descent over the tokens; ``scope`` says which properties the current names mean."""

    def __init__(self, tokens: list[_Token], schema: EntityType) -> None:
        self.tokens = tokens
        self.at = 0
        self.depth = 0
        self.terms = 0
        self.scope = _Scope(schema)

    @property
    def next(self) -> _Token:
        return self.tokens[self.at]

    def take(self) -> _Token:
        token = self.next
        self.at += 1
        return token

    def expect(self, kind: str) -> _Token:
        if self.next.kind != kind:
            raise self.error(f"expected {kind!r}, found {self.next.text!r}")
        return self.take()

    def error(self, message: str, token: _Token | None = None) -> FilterError:
        return FilterError(message, (token or self.next).position)

    def word(self, *words: str) -> bool:
        return self.next.kind == "name" and self.next.text in words

    def disjunction(self) -> Expression:
        terms = self.chain("or", self.conjunction)
        return terms[0] if len(terms) == 1 else Or(terms)

    def conjunction(self) -> Expression:
        terms = self.chain("and", self.unary)
        return terms[0] if len(terms) == 1 else And(terms)

    def chain(self, word: str, operand: Callable[[], Expression]) -> tuple[Expression, ...]:
        terms = [operand()]
        while self.word(word):
            self.take()
            terms.append(operand())
        return tuple(terms)

    def unary(self) -> Expression:
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise self.error(f"nested deeper than {MAX_DEPTH}")
        expression = self.negation() if self.word("not") else self.primary()
        self.depth -= 1
        return expression

    def negation(self) -> Expression:
        self.take()
        return Not(self.unary())

    def primary(self) -> Expression:
        if self.next.kind == "(":
            self.take()
            inside = self.disjunction()
            self.expect(")")
            return inside
        return self.term()

    def term(self) -> Expression:
        self.terms += 1
        if self.terms > MAX_TERMS:
            raise self.error(f"more than {MAX_TERMS} terms")
        name = self.expect("name")
        if name.text in ("true", "false"):
            return Constant(name.text == "true")
        if self.next.kind != "(":
            return self.comparison(name)
        if name.text in _TEXT_FUNCTIONS:
            return self.text_match(name)
        if name.text == "OData.CSC.Intersects":
            return self.area(name)
        if name.text.endswith("/any"):
            return self.any_of(name)
        raise self.error(f"{name.text!r} is not a function of this service", name)

    def comparison(self, name: _Token) -> Expression:
        path, edm = self.property(name)
        verb = self.expect("name")
        if verb.text == "in":
            return In(path, self.list_of(edm))
        match verb.text:
            case "eq" | "ne" | "gt" | "ge" | "lt" | "le":
                return Compare(path, verb.text, self.literal(edm, null=verb.text in ("eq", "ne")))
        raise self.error(f"{verb.text!r} is not an operator", verb)

    def text_match(self, name: _Token) -> Expression:
        self.expect("(")
        target = self.expect("name")
        path, edm = self.property(target)
        if edm is not Edm.STRING:
            raise self.error(f"{name.text} needs a text, and {target.text} is {edm}", target)
        self.expect(",")
        part = _unquoted(self.expect("string").text)
        self.expect(")")
        match name.text:
            case "contains" | "startswith" | "endswith" as function:
                return TextMatch(function, path, part)
        raise self.error(f"{name.text!r} is not a function", name)

    def any_of(self, name: _Token) -> Expression:
        navigation = name.text.split("/")[0]
        target = self.scope.schema.navigations.get(navigation)
        if target is None:
            raise self.error(f"{self.scope.schema.name} has no collection {navigation!r}", name)
        self.expect("(")
        variable = self.expect("name").text
        self.expect(":")
        outer, self.scope = self.scope, _Scope(target, variable)
        term = self.disjunction()
        self.scope = outer
        self.expect(")")
        return AnyOf(navigation, term)

    def area(self, name: _Token) -> Expression:
        if not self.scope.schema.footprint:
            raise self.error(f"{self.scope.schema.name} has no footprint", name)
        self.expect("(")
        if not self.word("area"):
            raise self.error(f"expected 'area', found {self.next.text!r}")
        self.take()
        self.expect("=")
        literal = self.expect("geography")
        self.expect(")")
        try:
            return Intersects(_geography(literal.text))
        except ValueError as wrong:
            raise self.error(str(wrong), literal) from wrong

    def property(self, name: _Token) -> tuple[str, Edm]:
        found = self.scope.resolve(name.text)
        if found is None:
            raise self.error(f"{self.scope.schema.name} has no property {name.text!r}", name)
        return found

    def list_of(self, edm: Edm) -> tuple[Primitive, ...]:
        self.expect("(")
        values = [self.literal(edm)]
        while self.next.kind == ",":
            self.take()
            values.append(self.literal(edm))
        self.expect(")")
        return tuple(values)

    def literal(self, edm: Edm, *, null: bool = False) -> Primitive:
        token = self.take()
        if token.kind == "name" and token.text == "null" and null:
            return None
        value = self.value(token)
        if not _fits(value, edm):
            raise self.error(f"expected a literal of {edm}, found {token.text}", token)
        return UUID(value) if edm is Edm.GUID and isinstance(value, str) else value

    def value(self, token: _Token) -> Primitive:
        reader = _READERS.get(token.kind)
        if reader is not None:
            try:
                return reader(token.text)
            except (ValueError, OverflowError) as wrong:
                raise self.error(f"{token.text} is not a valid {token.kind}", token) from wrong
        if token.kind == "name" and token.text in ("true", "false"):
            return token.text == "true"
        raise self.error(f"expected a literal, found {token.text!r}", token)


class _Scope:
    """Which properties names mean: those of an entity type, inside a lambda behind its variable."""

    def __init__(self, schema: EntityType, variable: str | None = None) -> None:
        self.schema = schema
        self.variable = variable

    def resolve(self, name: str) -> tuple[str, Edm] | None:
        """The path and type that a name means. A cast says which type a value is compared as."""
        first, _, rest = name.partition("/")
        path = name if self.variable is None else rest if first == self.variable else ""
        cast, _, plain = path.rpartition("/")
        if self.schema.shared and cast in ATTRIBUTE_CASTS and plain == "Value":
            return plain, ATTRIBUTE_CASTS[cast]
        shown = self.schema.shown
        return (path, shown[path]) if path in shown else None


ATTRIBUTE_CASTS: Mapping[str, Edm] = {
    "OData.CSC.StringAttribute": Edm.STRING,
    "OData.CSC.IntegerAttribute": Edm.INT64,
    "OData.CSC.DoubleAttribute": Edm.DOUBLE,
    "OData.CSC.BooleanAttribute": Edm.BOOLEAN,
    "OData.CSC.DateTimeOffsetAttribute": Edm.INSTANT,
}


_AREAS = ("Point", "LineString", "Polygon")


def _geography(literal: str) -> shapely.Geometry:
    """The shape of ``geography'SRID=4326;…'``; ValueError says what is wrong with it."""
    reference, _, wkt = literal.removeprefix("geography'").removesuffix("'").rpartition(";")
    if reference not in ("", "SRID=4326"):
        raise ValueError(f"only SRID=4326 is understood, not {reference!r}")
    try:
        area = shapely.from_wkt(wkt)
    except shapely.GEOSException as wrong:
        raise ValueError(f"not a shape: {wrong}") from wrong
    if area is None or area.is_empty or area.geom_type not in _AREAS:
        raise ValueError("an area is a POINT, a LINESTRING or a POLYGON")
    if not area.is_valid:
        raise ValueError("the polygon is not valid")
    return area


def _enumeration(literal: str) -> str:
    """The member that ``OData.CSC.JobStatus'completed'`` names."""
    return _unquoted(literal[literal.index("'") :])


def _unquoted(quoted: str) -> str:
    return quoted[1:-1].replace("''", "'")


def _instant(stamp: str) -> datetime:
    """A moment; digits beyond microseconds are dropped."""
    trimmed = re.sub(r"(\.\d{6})\d+", r"\1", stamp)
    return datetime.fromisoformat(trimmed).astimezone(UTC)


_READERS: Mapping[str, Callable[[str], Primitive]] = {
    "string": _unquoted,
    "enumeration": _enumeration,
    "instant": _instant,
    "guid": UUID,
    "integer": int,
    "double": float,
}


def _fits(value: Primitive, edm: Edm) -> bool:
    match edm:
        case Edm.STRING:
            return isinstance(value, str)
        case Edm.BOOLEAN:
            return isinstance(value, bool)
        case Edm.INT64 | Edm.DOUBLE:
            return isinstance(value, int | float) and not isinstance(value, bool)
        case Edm.INSTANT:
            return isinstance(value, datetime)
        case Edm.GUID:  # clients write keys with and without quotes
            return isinstance(value, UUID) or (isinstance(value, str) and _is_guid(value))


def _is_guid(value: str) -> bool:
    try:
        UUID(value)
    except ValueError:
        return False
    return True
