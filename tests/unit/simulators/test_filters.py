"""Filters of any form: the parser reads what was written, the store's SQL finds what a plain evaluation finds."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rs_server.simulators import odata, sql
from rs_server.simulators.model import Entity
from rs_server.simulators.products import attributes
from rs_server.simulators.query import Order, Query
from rs_server.simulators.store import Store
from tests.unit.simulators import evaluate, expressions

NOW = datetime(2025, 1, 1, tzinfo=UTC)
bounded = settings(deadline=None, max_examples=25, suppress_health_check=[HealthCheck.too_slow])


@pytest.fixture(scope="module")
def store() -> Store:
    return Store({"Products": expressions.TYPE})


def keys(rows: Any) -> list[UUID]:
    return [row.key for row in rows]


@bounded
@given(expressions.filters)
def test_what_is_written_is_read(expression: odata.Expression) -> None:
    assert odata.parse(expressions.written(expression), expressions.TYPE) == expression


@bounded
@given(
    st.text(max_size=60)
    | st.lists(
        st.sampled_from(["Name", "eq", "'a'", "and", "or", "not", "(", ")", "in", ",", "any", "contains", "5", "2024"])
    ).map(" ".join)
)
def test_any_text_is_a_filter_or_is_refused_with_its_place(text: str) -> None:
    refused = refusal(text)
    assert refused is None or 0 <= refused.position <= len(text)


def refusal(text: str) -> odata.FilterError | None:
    """Why it is no filter, if it is none; whatever else goes wrong is an error."""
    try:
        odata.parse(text, expressions.TYPE)
    except odata.FilterError as refused:
        return refused
    return None


@pytest.mark.parametrize("few", [0, 10_000])
def test_the_store_finds_what_fits(store: Store, monkeypatch: pytest.MonkeyPatch, few: int) -> None:
    """Both ways to names and attributes: from the few that fit, and from each product."""
    monkeypatch.setattr(sql, "FEW", few)

    @bounded
    @given(expressions.entities(), expressions.filters)
    def agree(there: list[Entity], expression: odata.Expression) -> None:
        products = store.sets["Products"]
        products.clear()
        products.put(there)
        expected = [entity.id for entity in there if evaluate.matches(expression, entity)]
        page = products.page(Query(filter=expression, count=True), 100, NOW)
        assert keys(page.rows) == expected
        assert page.total == len(expected)

    agree()


@pytest.mark.parametrize("few", [0, 2, 10_000])
def test_ranges_of_dates_are_looked_up_or_met_on_the_way(
    store: Store, monkeypatch: pytest.MonkeyPatch, few: int
) -> None:
    """What begins within a time, or overlaps it, to the microsecond; by the date that is sorted by, and by others."""
    monkeypatch.setattr(sql, "FEW", few)
    moments = expressions.moments.flatmap(lambda at: st.integers(-1, 1).map(lambda us: at + timedelta(microseconds=us)))
    ranges = st.builds(
        odata.Compare,
        st.sampled_from(["ContentDate/Start", "ContentDate/End", "PublicationDate"]),
        st.sampled_from(["lt", "le", "gt", "ge"]),
        moments,
    )
    orders = st.lists(st.sampled_from(["PublicationDate", "ContentDate/Start"]), max_size=1)

    @bounded
    @given(expressions.entities(), st.lists(ranges, min_size=1, max_size=4), orders)
    def agree(there: list[Entity], terms: list[odata.Compare], order: list[str]) -> None:
        products = store.sets["Products"]
        products.clear()
        products.put(there)
        asked = odata.And(tuple(terms)) if len(terms) > 1 else terms[0]
        page = products.page(Query(filter=asked, order=tuple(map(Order, order)), count=True), 100, NOW)
        expected = [entity for entity in there if evaluate.matches(asked, entity)]
        for path in order:
            expected.sort(key=lambda entity: place(entity, path))
        assert keys(page.rows) == [entity.id for entity in expected]
        assert page.total == len(expected)

    agree()


def test_what_came_and_went_is_not_counted(store: Store) -> None:
    """Also where links alone tell how many there are: of what a common attribute describes."""
    products = store.sets["Products"]
    products.clear()

    def product(number: int, appears: datetime | None, vanishes: datetime | None) -> Entity:
        values = {**dict.fromkeys(expressions.TYPE.properties), "Id": UUID(int=number)}
        named = {"Attributes": attributes({"one": "a", "two": number})}
        return Entity(expressions.TYPE, values, related=named, appears=appears, vanishes=vanishes)

    hour = timedelta(hours=1)
    products.put([product(1, None, None), product(2, NOW, None), product(3, NOW + hour, None)])
    products.put([product(4, None, NOW), product(5, NOW - hour, NOW + hour), product(4, NOW + 2 * hour, None)])
    told: list[tuple[int, int]] = []
    for moment in (NOW - hour, NOW, NOW + hour, NOW + 2 * hour):
        counts = []
        for text in ("Value ge 'a'", "Value eq 'a'"):
            term = f"att/{text}".replace("att/", "att/OData.CSC.StringAttribute/")
            asked = odata.parse(
                f"Attributes/OData.CSC.StringAttribute/any(att:att/Name eq 'one' and {term})", expressions.TYPE
            )
            page = products.page(Query(filter=asked, count=True), 100, moment)
            assert page.total == len(page.rows)
            counts.append(len(page.rows))
        told.append((counts[0], counts[1]))
    assert told == [(3, 3), (3, 3), (3, 3), (4, 4)]


@bounded
@given(
    expressions.entities(),
    st.lists(
        st.sampled_from(list(expressions.TYPE.properties)).flatmap(
            lambda path: st.builds(Order, st.just(path), st.booleans())
        ),
        max_size=2,
    ),
    st.integers(1, 3),
    st.sampled_from([0, 10_000]),
)
def test_pages_are_the_sorted_whole_in_pieces(there: list[Entity], order: list[Order], size: int, few: int) -> None:
    """Both from the beginning, and deep ones from the end."""
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(sql, "FEW", few)
        assert_pages(there, order, size)


def assert_pages(there: list[Entity], order: list[Order], size: int) -> None:
    products = Store({"Products": expressions.TYPE}).sets["Products"]
    products.put(there)
    falling = bool(order) and order[-1].descending  # ties go the way of what is asked for last
    expected = sorted(there, key=lambda entity: str(entity.id), reverse=falling)
    for key in reversed(order):
        expected.sort(key=lambda entity: place(entity, key.path), reverse=key.descending)
    found: list[UUID] = []
    skip: int | None = 0
    while skip is not None:
        page = products.page(Query(order=tuple(order), skip=skip), size, NOW)
        found += keys(page.rows)
        skip = page.next_skip
    assert found == [entity.id for entity in expected]


def place(entity: Entity, path: str) -> tuple[bool, Any]:
    """Nothing comes before something; keys are sorted as the text they are."""
    value = entity.values[path]
    return value is not None, str(value) if isinstance(value, UUID) else value


def test_what_was_put_comes_back(store: Store) -> None:
    @bounded
    @given(expressions.entities())
    def same(there: list[Entity]) -> None:
        products = store.sets["Products"]
        products.clear()
        products.put(there)
        for before, after in zip(there, products.values(), strict=True):
            assert after.values == before.values
            assert after.footprint == before.footprint
            told = [
                {one.values["Name"]: one.values["Value"] for one in entity.related["Attributes"]}
                for entity in (before, after)
            ]
            assert told[0] == told[1]

    same()
