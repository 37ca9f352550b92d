"""CQL2 on the real catalog: random filters over random items find what the ``cql2`` library says they find."""

from __future__ import annotations

import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import cql2
import pytest

from tests.conftest import Platform
from tests.integration.callers import Callers, calling, collection, item

OWNER = f"filters{uuid4().hex[:8]}"
FULL = f"{OWNER}_c"
SEED, ITEMS, FILTERS = 21_065, 90, 400
NAMES = ("alpha", "Beta", "BETA", "éclair", "Eclair", "a%b", "a_b", "axb", "it's", "", "10", "9", "ü")
PATTERNS = ("a%", "a\\%b", "a\\_b", "a_b", "%ta", "%", "_", "", "BETA", "it's", "é%", "1%")
NUMBERS = (-3, 0, 1, 2, 5, 9, 10.5, 50, 100)
TAGS = ("a", "b", "c")
ALWAYS = {"id", "collection", "datetime", "geometry", "start_datetime", "end_datetime"}
OF_SPANS = (
    *("t_after", "t_before", "t_contains", "t_disjoint", "t_during", "t_equals", "t_finishedBy", "t_finishes"),
    *("t_intersects", "t_meets", "t_metBy", "t_overlappedBy", "t_overlaps", "t_startedBy", "t_starts"),
)

Json = dict[str, Any]


class Made:
    """Random items and filters."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def item(self, number: int) -> Json:
        """An item of about five of these properties; each may be missing."""
        pick = self.random
        properties = {
            "name": pick.choice(NAMES),
            "platform": pick.choice(NAMES),
            "eo:cloud_cover": pick.choice(NUMBERS),
            "sat:absolute_orbit": pick.choice((1, 2, 9, 10, 100)),
            "count": pick.choice(NUMBERS),
            "flag": pick.choice((True, False)),
            "tags": pick.sample(TAGS, pick.randint(0, 3)),
        }
        kept = {name: value for name, value in properties.items() if pick.random() > 0.15}
        box = self.box()
        place = {"geometry": polygon(box), "bbox": box}
        when = {"datetime": self.moment()} if pick.random() < 0.3 else self.span()
        return item(f"q{number:03}", FULL, properties={**kept, **when}, **place)

    def box(self) -> list[float]:
        west, south, size = self.random.uniform(-20, 15), self.random.uniform(-20, 15), self.random.uniform(0.5, 15)
        return [west, south, west + size, south + size]

    def moment(self) -> str:
        return f"2024-{self.random.randint(1, 12):02}-{self.random.randint(1, 28):02}T00:00:00Z"

    def span(self) -> Json:
        start, end = self.months()
        return {"datetime": start, "start_datetime": start, "end_datetime": end}

    def months(self) -> list[str]:
        """Begin and end, of few moments, so that spans meet and begin and end together."""
        return [f"2024-{month:02}-01T00:00:00Z" for month in sorted(self.random.sample(range(1, 7), 2))]

    def filter(self, depth: int = 3) -> Json:
        """A condition, or some under and, or, not."""
        kind = self.random.choice(("and", "or", "not", "", "")) if depth else ""
        if not kind:
            return self.condition()
        return {"op": kind, "args": [self.filter(depth - 1) for _ in range(1 if kind == "not" else 2)]}

    def condition(self) -> Json:
        makers = (
            self.compared,
            self.compared,
            self.matched,
            self.listed,
            self.tagged,
            self.placed,
            self.timed,
            self.sums,
        )
        return self.random.choice(makers)()

    def compared(self) -> Json:
        pick = self.random
        text = pick.random() < 0.4
        names = ("name", "platform", "id") if text else ("eo:cloud_cover", "sat:absolute_orbit", "count")
        known: Any = {"property": pick.choice(names)}
        choice = pick.random()
        if choice < 0.1:
            return {"op": "isNull", "args": [{"property": pick.choice((*names, "nothing"))}]}
        if choice < 0.2:
            return {"op": "=", "args": [{"property": "flag"}, pick.choice((True, False))]}
        if choice < 0.4:
            bounds = sorted(pick.sample(NAMES, 2)) if text else sorted(pick.sample(NUMBERS, 2))
            return {"op": "between", "args": [known, *bounds]}
        sides = [known, pick.choice(NAMES if text else NUMBERS)]
        return {"op": pick.choice(("=", "<>", "<", "<=", ">", ">=")), "args": sides[:: pick.choice((1, -1))]}

    def sums(self) -> Json:
        """Numbers that are calculated, on one side at least."""
        pick = self.random
        if pick.random() < 0.2:
            return {"op": "between", "args": [self.sum(2), *sorted(pick.sample(NUMBERS, 2))]}
        sides = [self.sum(2), pick.choice((self.sum(0), self.sum(1)))]
        return {"op": pick.choice(("=", "<>", "<", "<=", ">", ">=")), "args": sides[:: pick.choice((1, -1))]}

    def sum(self, depth: int) -> Any:
        """A sum, difference, product or quotient; without depth a number or a property."""
        pick = self.random
        if not depth:
            known: Any = {"property": pick.choice(("eo:cloud_cover", "sat:absolute_orbit", "count"))}
            return pick.choice((known, known, pick.choice(NUMBERS)))
        operation = pick.choice("+-*/")
        divisor = pick.choice((2, 3, 4)) if operation == "/" else self.sum(pick.randrange(depth))
        return {"op": operation, "args": [self.sum(pick.randrange(depth)), divisor]}

    def matched(self) -> Json:
        pick = self.random
        known: Any = {"property": pick.choice(("name", "platform"))}
        operation = pick.choice(("like", "="))
        text: Any = pick.choice(PATTERNS if operation == "like" else NAMES)
        for function in pick.sample(("casei", "accenti"), pick.randint(0, 2)):
            known, text = {"op": function, "args": [known]}, {"op": function, "args": [text]}
        return {"op": operation, "args": [known, text]}

    def listed(self) -> Json:
        pick = self.random
        name, values = pick.choice((("name", NAMES), ("eo:cloud_cover", NUMBERS), ("count", NUMBERS)))
        return {"op": "in", "args": [{"property": name}, pick.sample(values, pick.randint(1, 4))]}

    def tagged(self) -> Json:
        pick = self.random
        operation = pick.choice(("a_equals", "a_contains", "a_containedBy", "a_overlaps"))
        sides = [{"property": "tags"}, pick.sample(TAGS, pick.randint(1, 3))]
        return {"op": operation, "args": sides[:: pick.choice((1, -1))]}

    def placed(self) -> Json:
        names = ("intersects", "contains", "within", "disjoint", "overlaps", "touches", "equals")
        sides = [{"property": "geometry"}, polygon(self.box())]
        return {"op": f"s_{self.random.choice(names)}", "args": sides[:: self.random.choice((1, -1))]}

    def timed(self) -> Json:
        pick = self.random
        if pick.random() < 0.5:
            spans: list[Json] = [{"interval": [{"property": "start_datetime"}, {"property": "end_datetime"}]}]
            spans.append({"interval": self.months()})
            return {"op": pick.choice(OF_SPANS), "args": spans[:: pick.choice((1, -1))]}
        operation = pick.choice(("t_after", "t_before", "t_equals", "t_disjoint", "t_intersects", "t_during"))
        start, end = sorted((self.moment(), self.moment()))
        if operation == "t_during" or pick.random() < 0.5:
            return {"op": operation, "args": [{"property": "datetime"}, {"interval": [start, end]}]}
        return {"op": operation, "args": [{"property": "datetime"}, {"timestamp": start}]}


def polygon(box: list[float]) -> Json:
    west, south, east, north = box
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return {"type": "Polygon", "coordinates": [ring]}


def verdict(condition: Json, document: Json) -> bool | None:
    """What a filter says of an item: true, false, or nothing, where a property is missing (OGC 21-065r2, 7.6)."""
    operation, arguments = condition["op"], condition["args"]
    if operation in ("and", "or", "not"):
        said = [verdict(argument, document) for argument in arguments]
        if operation == "not":
            return None if said[0] is None else not said[0]
        decides = operation == "or"
        return decides if decides in said else None if None in said else not decides
    if operation != "isNull" and not named(arguments) <= ALWAYS | set(document["properties"]):
        return None
    found: bool = cql2.Expr(condition).matches(with_span(document))
    return found


def with_span(document: Json) -> Json:
    """The same item; what is of one moment begins and ends then."""
    moment = document["properties"]["datetime"]
    return {**document, "properties": {"start_datetime": moment, "end_datetime": moment, **document["properties"]}}


def named(value: Any) -> set[str]:
    """The properties that a condition names."""
    if isinstance(value, list):
        return {name for each in value for name in named(each)}
    if not isinstance(value, dict):
        return set()
    return {value["property"]} if "property" in value else named(list(value.values()))


@pytest.fixture(scope="module")
def items() -> list[Json]:
    made = Made(SEED)
    return [made.item(number) for number in range(ITEMS)]


@pytest.fixture(scope="module")
def callers(platform: Platform, items: list[Json]) -> Iterator[Callers]:
    with calling(platform) as callers:
        assert callers.ask(OWNER, "POST", "/catalog/collections", json=collection(FULL)).status_code == 201
        body = {"items": {each["id"]: each for each in items}}
        made = callers.ask(OWNER, "POST", f"/catalog/collections/{FULL}/bulk_items", json=body)
        assert made.status_code == 200, made.text
        yield callers
        callers.ask(OWNER, "DELETE", f"/catalog/collections/{FULL}?force=true")


def test_filters_find_what_the_library_says(callers: Callers, items: list[Json]) -> None:
    made = Made(SEED + 1)
    filters = [made.filter() for _ in range(FILTERS)]

    def found(condition: Json) -> list[str]:
        body = {"collections": [FULL], "filter": condition, "filter-lang": "cql2-json", "limit": ITEMS}
        answer = callers.ask(OWNER, "POST", "/catalog/search", json=body)
        assert answer.status_code == 200, (condition, answer.text)
        return sorted(each["id"] for each in answer.json()["features"])

    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(found, filters))
    for condition, answer in zip(filters, answers, strict=True):
        assert answer == [each["id"] for each in items if verdict(condition, each)], condition
    assert sum(0 < len(answer) < ITEMS for answer in answers) > FILTERS / 2  # they tell items apart


@pytest.mark.parametrize("operation", ["%", "div", "^", "pg_sleep", "buffer"])
def test_what_cannot_be_evaluated_is_refused_by_name(callers: Callers, operation: str) -> None:
    condition = {"op": "=", "args": [{"op": operation, "args": [{"property": "count"}, 2]}, 1]}
    answer = callers.ask(OWNER, "POST", "/catalog/search", json={"filter": condition, "filter-lang": "cql2-json"})
    assert answer.status_code == 400, answer.text
    assert repr(operation) in answer.json()["detail"]
