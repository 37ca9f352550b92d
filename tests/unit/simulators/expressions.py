"""Random filters and entities, and filters as text again."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import shapely
from hypothesis import strategies as st

from rs_server.simulators import archive, odata, products
from rs_server.simulators.model import Edm, Entity, Primitive, text

TYPE = archive.PRIP_PRODUCT
BEGIN = datetime(2024, 11, 14, tzinfo=UTC)

# Few values, so that many of them meet.
texts = st.sampled_from(["", "a", "A", "ab", "b'a", "a%b", "_", "ü", "a\nb", "S1A", "S1A_IW", "z"])
integers = st.integers(-2, 2) | st.just(2**62)
doubles = st.sampled_from([-1.5, 0.0, 0.5, 1.0, 2.5e10])
moments = st.integers(0, 5).map(lambda n: BEGIN + timedelta(hours=n % 3, milliseconds=500 * (n // 3)))
booleans = st.booleans()
areas = st.tuples(st.integers(-3, 3), st.integers(-3, 3), st.integers(1, 4)).map(
    lambda at: shapely.box(at[0], at[1], at[0] + at[2], at[1] + at[2])
)
literals: dict[Edm, st.SearchStrategy[Any]] = {
    Edm.STRING: texts,
    Edm.INT64: integers | doubles,
    Edm.BOOLEAN: booleans,
    Edm.INSTANT: moments,
    Edm.GUID: st.integers(0, 3).map(lambda n: UUID(int=n)),
    Edm.DOUBLE: integers | doubles,
}
CASTS = {name: edm for name, edm in odata.ATTRIBUTE_CASTS.items() if edm is not Edm.BOOLEAN}
OPERATORS = ("eq", "ne", "gt", "ge", "lt", "le")


@st.composite
def comparisons(draw: st.DrawFn, path: str, edm: Edm) -> odata.Expression:
    form = draw(st.integers(0, 5))
    if form == 0:
        return odata.In(path, tuple(draw(st.lists(literals[edm], min_size=1, max_size=3))))
    if form == 1 and edm is Edm.STRING:
        return odata.TextMatch(draw(st.sampled_from(("contains", "startswith", "endswith"))), path, draw(texts))
    if form == 2:
        return odata.Compare(path, draw(st.sampled_from(("eq", "ne"))), None)
    return odata.Compare(path, draw(st.sampled_from(OPERATORS)), draw(literals[edm]))


@st.composite
def attribute_terms(draw: st.DrawFn) -> odata.Expression:
    name = odata.Compare("Name", "eq", draw(st.sampled_from(["one", "two", "none"])))
    value = draw(comparisons("Value", draw(st.sampled_from(list(CASTS.values())))))
    return odata.AnyOf("Attributes", odata.And((name, value)))


properties = st.sampled_from(list(TYPE.properties.items())).flatmap(lambda one: comparisons(*one))
leaves = properties | attribute_terms() | areas.map(odata.Intersects) | booleans.map(odata.Constant)


def _joined(inner: st.SearchStrategy[odata.Expression]) -> st.SearchStrategy[odata.Expression]:
    several = st.lists(inner, min_size=2, max_size=3).map(tuple)
    return several.map(odata.And) | several.map(odata.Or) | inner.map(odata.Not)


filters: st.SearchStrategy[odata.Expression] = st.recursive(leaves, _joined, max_leaves=6)


@st.composite
def entities(draw: st.DrawFn) -> list[Entity]:
    return [draw(_entities(number)) for number in range(draw(st.integers(1, 6)))]


@st.composite
def _entities(draw: st.DrawFn, number: int) -> Entity:
    whole = {**literals, Edm.INT64: integers}
    values = {name: draw(st.none() | whole[edm]) for name, edm in TYPE.properties.items()}
    one_value: st.SearchStrategy[Any] = texts | integers | doubles | moments
    named = draw(st.dictionaries(st.sampled_from(["one", "two"]), one_value, max_size=2))
    return Entity(
        TYPE,
        {**values, "Id": UUID(int=number)},
        related={"Attributes": products.attributes(named)},
        footprint=draw(st.none() | areas),
    )


# --- as text ----------------------------------------------------------------------------------------------------------


def written(expression: odata.Expression, variable: str = "") -> str:  # noqa: PLR0911 - one return for each form
    """The text of a filter; inside a lambda every name stands behind its variable."""
    match expression:
        case odata.And(terms):
            return " and ".join(f"({written(term, variable)})" for term in terms)
        case odata.Or(terms):
            return " or ".join(f"({written(term, variable)})" for term in terms)
        case odata.Not(term):
            return f"not ({written(term, variable)})"
        case odata.AnyOf(navigation, term):
            return f"{navigation}/{_cast(term)}/any(att:{written(term, f'att/{_cast(term)}/')})"
        case odata.Constant(value):
            return str(value).lower()
        case odata.Intersects(area):
            return f"OData.CSC.Intersects(area=geography'SRID=4326;{area.wkt}')"
        case odata.Compare(path, operator, value):
            return f"{_name(path, variable)} {operator} {_literal(value)}"
        case odata.In(path, values):
            return f"{_name(path, variable)} in ({','.join(map(_literal, values))})"
        case odata.TextMatch(function, path, part):
            return f"{function}({_name(path, variable)},{_literal(part)})"


def _name(path: str, variable: str) -> str:
    if not variable:
        return path
    return f"att/{path}" if path == "Name" else f"{variable}{path}"


def _cast(term: odata.Expression) -> str:
    """The cast under which the values of a lambda can be compared with what it compares them with."""
    assert isinstance(term, odata.And)
    match term.terms[1]:
        case odata.Compare(_, _, value):
            found = value
        case odata.In(_, values):
            found = values[0]
        case _:
            found = ""
    fitting = {str: "String", int: "Integer", float: "Double", datetime: "DateTimeOffset", type(None): "String"}
    return f"OData.CSC.{fitting[type(found)]}Attribute"


def _literal(value: Primitive) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case str():
            return f"'{value.replace("'", "''")}'"
        case datetime():
            return text(value)
        case _:
            return str(value)
