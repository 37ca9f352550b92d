"""The query options of an OData request, understood."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rs_server.simulators import odata
from rs_server.simulators.model import EntityType

OPTIONS = ("$filter", "$orderby", "$top", "$skip", "$count", "$expand", "$select", "$format")


class BadQuery(Exception):
    """A query option that cannot be honoured."""


@dataclass(frozen=True)
class Order:
    """One sort key."""

    path: str
    descending: bool = False


@dataclass(frozen=True)
class Query:
    """What a request asks for. ``top`` unset: everything."""

    filter: odata.Expression | None = None
    order: tuple[Order, ...] = ()
    top: int | None = None
    skip: int = 0
    count: bool = False
    expand: tuple[str, ...] = ()
    select: tuple[str, ...] = ()


def parse(parameters: Mapping[str, str], schema: EntityType) -> Query:
    """Read the query options, or raise BadQuery or FilterError."""
    for name in parameters:
        if name.startswith("$") and name not in OPTIONS:
            raise BadQuery(f"{name} is not an option of this service")
    text = {name: parameters[name].strip() for name in OPTIONS if parameters.get(name, "").strip()}
    return Query(
        filter=odata.parse(text["$filter"], schema) if "$filter" in text else None,
        order=_order(text.get("$orderby", ""), schema),
        top=natural("$top", text["$top"]) if "$top" in text else None,
        skip=natural("$skip", text.get("$skip", "0")),
        count=_boolean("$count", text.get("$count", "false")),
        expand=_names("$expand", text.get("$expand", ""), set(schema.navigations)),
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


def _selectable(schema: EntityType) -> set[str]:
    return {path.split("/")[0] for path in schema.shown} | set(schema.collections)


def natural(option: str, text: str) -> int:
    """A count that an option names, or BadQuery."""
    if not (text.isascii() and text.isdigit()) or len(text) > 9:
        raise BadQuery(f"{option} must be a natural number, not {text!r}")
    return int(text)


def _boolean(option: str, text: str) -> bool:
    if text not in ("true", "false"):
        raise BadQuery(f"{option} must be true or false, not {text!r}")
    return text == "true"
