"""Filters evaluated in Python, entity by entity: what the store's SQL must agree with."""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import shapely

from rs_server.simulators import odata
from rs_server.simulators.model import Entity, Primitive, text

OPERATORS: Mapping[str, Callable[[Any, Any], bool]] = {
    name: getattr(operator, name) for name in ("eq", "ne", "gt", "ge", "lt", "le")
}
TEXT_FUNCTIONS: Mapping[str, Callable[[str, str], bool]] = {
    "contains": operator.contains,
    "startswith": str.startswith,
    "endswith": str.endswith,
}


def matches(expression: odata.Expression, entity: Entity) -> bool:  # noqa: PLR0911 - one return for each form
    """Whether the filter holds for the entity."""
    match expression:
        case odata.And(terms):
            return all(matches(term, entity) for term in terms)
        case odata.Or(terms):
            return any(matches(term, entity) for term in terms)
        case odata.Not(term):
            return not matches(term, entity)
        case odata.AnyOf(navigation, term):
            return any(matches(term, related) for related in entity.related.get(navigation, ()))
        case odata.Constant(value):
            return value
        case odata.Intersects(area):
            return entity.footprint is not None and bool(shapely.intersects(entity.footprint, area))
        case odata.Compare(path, name, wanted):
            return holds(name, entity.values.get(path), wanted)
        case odata.In(path, wanted_ones):
            return any(holds("eq", entity.values.get(path), wanted) for wanted in wanted_ones)
        case odata.TextMatch(function, path, part):
            found = entity.values.get(path)
            return found is not None and TEXT_FUNCTIONS[function](as_text(found), part)


def holds(name: str, value: Primitive, wanted: Primitive) -> bool:
    """What is null equals null alone, and is neither greater nor less than anything."""
    if value is None or wanted is None:
        return name in ("eq", "ne") and ((value is wanted) is (name == "eq"))
    if not comparable(value, wanted):  # an attribute compared through another cast, as clients do
        value, wanted = as_text(value), as_text(wanted)
    return OPERATORS[name](value, wanted)


def comparable(value: Primitive, wanted: Primitive) -> bool:
    numbers = (int, float)
    return type(value) is type(wanted) or (type(value) in numbers and type(wanted) in numbers)


def as_text(value: Primitive) -> str:
    if isinstance(value, datetime):
        return text(value)
    return str(value).lower() if isinstance(value, bool) else str(value)
