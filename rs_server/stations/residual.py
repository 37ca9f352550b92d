"""Whether an item fulfils a filter, decided here and exactly, whatever the station did with it.

The normal form goes back to CQL2 and is evaluated by the ``cql2`` package. Moments are handed over as microseconds
since 1970: the package compares two texts of one moment (``…44Z``, ``…44.000Z``) as different in some operators.
"""

from __future__ import annotations

from typing import Any

import cql2

from rs_server.stations import instants
from rs_server.stations.filters import (
    All,
    AnyOf,
    Array,
    Call,
    Compare,
    Constant,
    Filter,
    IsNull,
    Leaf,
    Like,
    Ref,
    Scalar,
    Spatial,
    leaves,
    refs,
)
from rs_server.stations.instants import Instant
from rs_server.stations.model import ValueType


class Check:
    """A filter ready to be asked of many items."""

    def __init__(self, found: Filter) -> None:
        asked = {ref.property for leaf in leaves(found) for ref in refs(leaf)}
        self._constant = found if isinstance(found, bool) else None
        self._expression = cql2.Expr(to_cql2(found)) if self._constant is None else None
        self._moments = [each.stac for each in asked if each.type is ValueType.INSTANT]
        self._others = [each.stac for each in asked if each.type is not ValueType.INSTANT]

    def matches(self, properties: dict[str, Any]) -> bool:
        """Whether the filter is true of an item's properties (its id and collection among them).

        What is neither true nor false, because a property is absent, does not match.
        """
        if self._expression is None:
            return self._constant is True
        values = {name: properties[name] for name in self._others if name in properties}
        for name in self._moments:
            if name in properties:
                values[name] = instants.micros(properties[name])
        answer: Any = self._expression.reduce(values).to_json()
        return answer is True


def to_cql2(found: Filter) -> Any:
    """CQL2-JSON of a normal form, moments as microseconds."""
    match found:
        case bool():
            return found
        case Compare(op, left, right):
            return {"op": op, "args": [_scalar(left), _scalar(right)]}
        case All(terms):
            return {"op": "and", "args": [to_cql2(term) for term in terms]}
        case AnyOf(terms):
            return {"op": "or", "args": [to_cql2(term) for term in terms]}
        case test:
            expression = _test(test)
            return {"op": "not", "args": [expression]} if test.negated else expression


def _test(of: Like | IsNull | Spatial | Array) -> dict[str, Any]:
    """A test, not negated."""
    match of:
        case Like(subject, pattern):
            return {"op": "like", "args": [_scalar(subject), _scalar(pattern)]}
        case IsNull(subject):
            return {"op": "isNull", "args": [_scalar(subject)]}
        case Spatial(op, subject, shape):
            return {"op": op, "args": [_scalar(subject), shape]}
        case Array(op, subject, values):
            return {"op": op, "args": [_scalar(subject), list(values)]}


def _scalar(scalar: Scalar) -> Any:
    match scalar:
        case Ref(property_):
            return {"property": property_.stac}
        case Call(op, args):
            return {"op": op, "args": [_scalar(arg) for arg in args]}
        case Constant(value):
            return value.us if isinstance(value, Instant) else value


def describe(leaf: Leaf) -> str:
    """A term as CQL2 text, for a message."""
    return str(cql2.Expr(_readable(to_cql2(leaf), leaf)).to_text())


def _readable(expression: Any, leaf: Leaf) -> Any:
    """Moments as text again."""
    match leaf:
        case Compare(_, _, Constant(Instant() as moment)):
            return {**expression, "args": [expression["args"][0], {"timestamp": str(moment)}]}
    return expression
