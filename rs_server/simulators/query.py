"""The query options of an OData request, understood."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from rs_server.simulators import odata
from rs_server.simulators.model import EntityType

NESTED = ("$filter", "$orderby", "$top", "$skip", "$count", "$expand", "$select")
OPTIONS = (*NESTED, "$format")
LONGEST_EXPAND = 8192


class BadQuery(Exception):
    """A query option that cannot be honoured."""


@dataclass(frozen=True)
class Order:
    """One sort key."""

    path: str
    descending: bool = False


@dataclass(frozen=True)
class Query:
    """What a request asks for, and of what is related to the entities, by navigation. ``top`` unset: everything."""

    filter: odata.Expression | None = None
    order: tuple[Order, ...] = ()
    top: int | None = None
    skip: int = 0
    count: bool = False
    expand: Mapping[str, Query] = field(default_factory=dict)
    select: tuple[str, ...] = ()


ALL = Query()


def parse(parameters: Mapping[str, str], schema: EntityType) -> Query:
    """Read the query options, or raise BadQuery or FilterError."""
    for name in parameters:
        if name.startswith("$") and name not in OPTIONS:
            raise BadQuery(f"{name} is not an option of this service")
    return _parsed(parameters, schema)


def _parsed(parameters: Mapping[str, str], schema: EntityType) -> Query:
    text = {name: parameters[name].strip() for name in OPTIONS if parameters.get(name, "").strip()}
    return Query(
        filter=odata.parse(text["$filter"], schema) if "$filter" in text else None,
        order=_order(text.get("$orderby", ""), schema),
        top=natural("$top", text["$top"]) if "$top" in text else None,
        skip=natural("$skip", text.get("$skip", "0")),
        count=_boolean("$count", text.get("$count", "false")),
        expand=_expand(text.get("$expand", ""), schema),
        select=_names("$select", text.get("$select", ""), _selectable(schema)),
    )


def _order(text: str, schema: EntityType) -> tuple[Order, ...]:
    return tuple(_sort_key(part.split(), schema) for part in text.split(",")) if text else ()


def _sort_key(words: list[str], schema: EntityType) -> Order:
    match words:
        case [path] | [path, "asc"] if path in schema.shown:
            return Order(path)
        case [path, "desc"] if path in schema.shown:
            return Order(path, descending=True)
    raise BadQuery(f"cannot order by {' '.join(words)!r}")


def _names(option: str, text: str, known: set[str]) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(",")) if text else ()
    for name in names:
        if name not in known:
            raise BadQuery(f"{option}: there is no {name!r}")
    return names


def _expand(text: str, schema: EntityType) -> Mapping[str, Query]:
    """``Files($select=Name;$top=5),QualityInfo``: what is related, with options of its own; a star is all of it.

    Standard: OData 4.01 URL conventions §5.1.3.
    """
    if len(text) > LONGEST_EXPAND:
        raise BadQuery(f"$expand is longer than {LONGEST_EXPAND} characters")
    parts = [part.strip() for part in _split(text, ",")] if text else []
    found: list[tuple[str, Query]] = []
    for part in parts:
        if part == "*":
            found += [(name, ALL) for name in schema.navigations if name not in dict(found)]
            continue
        name, bracket, rest = part.partition("(")
        target = schema.navigations.get(name.strip())
        if target is None:
            raise BadQuery(f"$expand: there is no {name.strip()!r}")
        if bracket and not rest.endswith(")"):
            raise BadQuery(f"$expand: {part!r} has no end")
        found.append((name.strip(), _nested(name.strip(), rest[:-1], target) if bracket else ALL))
    for name, times in Counter(name for name, _ in found).items():
        if times > 1:
            raise BadQuery(f"$expand: {name!r} is there {times} times")
    return dict(found)


def _nested(navigation: str, text: str, target: EntityType) -> Query:
    """The options between the parentheses; what is wrong with them is told with where they stand."""
    given: dict[str, str] = {}
    for part in _split(text, ";"):
        name, equals, value = (word.strip() for word in part.partition("="))
        if not equals or name not in NESTED:
            raise BadQuery(
                f"$expand: {name or part!r} is not an option of {navigation}(…), which are {', '.join(NESTED)}"
            )
        if name in given:
            raise BadQuery(f"$expand: {navigation} has {name} twice")
        given[name] = value
    try:
        return _parsed(given, target)
    except BadQuery as wrong:
        raise BadQuery(f"$expand={navigation}(…): {wrong}") from wrong


def _split(text: str, mark: str) -> Iterator[str]:
    """The parts between marks that stand outside of parentheses and quotes."""
    start = depth = 0
    quoted = False
    for at, character in enumerate(text):
        quoted ^= character == "'"
        depth += 0 if quoted else (character == "(") - (character == ")")
        if depth < 0:
            break
        if character == mark and not (quoted or depth):
            yield text[start:at]
            start = at + 1
    if quoted or depth:
        raise BadQuery(f"$expand: its quotes and parentheses do not match in {text!r}")
    yield text[start:]


def _selectable(schema: EntityType) -> set[str]:
    own = {path.split("/")[0] for path in schema.shown} | set(schema.collections)
    return own | {"Value"} if schema.shared else own


def natural(option: str, text: str) -> int:
    """A count that an option names, or BadQuery."""
    if not (text.isascii() and text.isdigit()) or len(text) > 9:
        raise BadQuery(f"{option} must be a natural number, not {text!r}")
    return int(text)


def _boolean(option: str, text: str) -> bool:
    if text not in ("true", "false"):
        raise BadQuery(f"{option} must be true or false, not {text!r}")
    return text == "true"
