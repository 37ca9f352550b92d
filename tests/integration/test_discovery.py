"""One search over all stations and the catalog, on a running platform: everything real, and one of them down."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest
import yaml

from rs_server.stations import instants
from tests.conftest import Platform
from tests.integration.callers import Callers, calling, collection, item
from tests.integration.jobs import heal

OWNER = f"finder{uuid4().hex[:8]}"
FULL = f"{OWNER}_c1"
ROLES = [f"rs_{kind}_*_read" for kind in ("cadip", "auxip", "prip", "lta")]
MONTHS = "2024-06-01T00:00:00Z/2024-12-31T00:00:00Z"


@pytest.fixture(scope="module")
def callers(platform: Platform) -> Iterator[Callers]:
    values = yaml.safe_load((platform.home / "config" / "server.yaml").read_text())
    quick = {name: {**each, "pause_s": 0.5} for name, each in values["stations"].items()}
    with calling(platform, stations=quick) as callers:
        made = callers.ask(OWNER, "POST", "/catalog/collections", json=collection(FULL))
        assert made.status_code == 201, made.text
        for day in range(1, 29):
            mine = item(f"mine-{day}", FULL, properties=_properties(day))
            made = callers.ask(OWNER, "POST", f"/catalog/collections/{FULL}/items", json=mine)
            assert made.status_code == 201, made.text
        yield callers
        callers.ask(OWNER, "DELETE", f"/catalog/collections/{FULL}?force=true")


def _properties(day: int) -> dict[str, Any]:
    """Several of a time, some with a span around it, and not all with an end of their own or an orbit."""
    noon = f"2024-11-{day:02}T12:00:00"
    span = {"start_datetime": f"2024-11-{day:02}T10:00:00Z", "end_datetime": f"2024-11-{day:02}T14:00:00+01:00"}
    some = {"expires": f"2099-12-{day % 5 + 1:02}T00:00:00.500Z", "sat:absolute_orbit": 56552 - day % 3}
    kept = {name: value for n, (name, value) in enumerate(some.items()) if (day >> n) % 2}
    return {"datetime": f"{noon}Z" if day % 3 else "2024-11-14T14:30:44.018Z", **(span if day % 3 == 1 else {}), **kept}


def _search(callers: Callers, **parameters: Any) -> httpx.Response:
    asked = {"datetime": MONTHS, **parameters}
    headers = {"Prefer": "handling=lenient"} if asked.pop("lenient", False) else {}
    return callers.ask(OWNER, "POST", "/stations/search", roles=ROLES, json=asked, headers=headers)


def _pages(
    callers: Callers, limit: int, *, back: bool = False, lenient: bool = False, **parameters: Any
) -> list[list[dict[str, Any]]]:
    """All pages to the end, or those from the last but one back to the first."""
    page = _search(callers, limit=limit, lenient=lenient, **parameters).raise_for_status().json()
    forth, before = [page["features"]], list[list[dict[str, Any]]]()
    for rel, found in (("next", forth), ("prev", before)) if back else (("next", forth),):
        while beside := [link["body"] for link in page["links"] if link["rel"] == rel]:
            page = _search(callers, lenient=lenient, **beside[0]).raise_for_status().json()
            found.append(page["features"])
    return before if back else forth


@pytest.mark.parametrize("direction", ["asc", "desc"])
def test_the_way_back_shows_the_same_pages(callers: Callers, direction: str) -> None:
    order: dict[str, Any] = {"sortby": [{"field": "datetime", "direction": direction}]}
    assert _pages(callers, 9, back=True, **order) == _pages(callers, 9, **order)[-2::-1]


@pytest.mark.parametrize("direction", ["asc", "desc"])
def test_stations_and_catalog_come_as_one_sequence(callers: Callers, direction: str) -> None:
    order: dict[str, Any] = {"sortby": [{"field": "datetime", "direction": direction}]}
    whole = [each for page in _pages(callers, 1000, **order) for each in page]
    moments = [instants.micros(each["properties"]["datetime"]) for each in whole]
    assert moments == sorted(moments, reverse=direction == "desc")
    homes = {next(link["href"] for link in each["links"] if link["rel"] == "root").split("/")[3] for each in whole}
    assert {"cadip", "catalog"} <= homes
    assert len([each for each in whole if each["collection"] == FULL]) == 28
    pages = _pages(callers, 7, **order)
    assert {len(page) for page in pages[:-1]} <= {7}
    ids = [(each["collection"], each["id"]) for page in pages for each in page]
    assert ids == [(each["collection"], each["id"]) for each in whole]  # nothing lost, doubled or elsewhere


EVERYWHERE = None
SEVERAL: list[tuple[list[str] | None, list[tuple[str, str]]]] = [
    (EVERYWHERE, [("end_datetime", "desc"), ("id", "asc")]),
    (EVERYWHERE, [("eopf:origin_datetime", "desc"), ("created", "asc"), ("start_datetime", "asc")]),
    (EVERYWHERE, [("published", "asc"), ("properties.datetime", "desc")]),
    (EVERYWHERE, [("id", "desc")]),
    (["s1-sgs"], [("sat:absolute_orbit", "asc"), ("id", "desc")]),
    (["s1-sgs"], [("start_datetime", "desc"), ("sat:absolute_orbit", "desc")]),
    (["s1-aux"], [("expires", "asc"), ("datetime", "desc"), ("id", "asc")]),
    (["s1-aux"], [("datetime", "asc"), ("expires", "desc"), ("id", "desc")]),
    ([], [("expires", "desc"), ("sat:absolute_orbit", "asc"), ("id", "desc")]),
    ([], [("sat:absolute_orbit", "asc"), ("expires", "asc")]),
]


@pytest.mark.parametrize(("beside", "terms"), SEVERAL)
def test_several_sort_keys_forth_and_back(
    callers: Callers, beside: list[str] | None, terms: list[tuple[str, str]]
) -> None:
    order: dict[str, Any] = {"sortby": [{"field": name, "direction": direction} for name, direction in terms]}
    if beside is not None:
        order["collections"] = [FULL, *beside]
    whole = [each for page in _pages(callers, 1000, **order) for each in page]
    assert [_place(each) for each in whole] == _by_keys(whole, terms)
    assert {each["collection"] for each in whole} >= {FULL, *(beside or ())}
    pages = _pages(callers, 6, **order)
    assert [_place(each) for page in pages for each in page] == [_place(each) for each in whole]
    assert _pages(callers, 6, back=True, **order) == pages[-2::-1]


def _nested(levels: int) -> dict[str, Any]:
    """A condition of so many levels: of ``not``, and a comparison with an orbit."""
    term: dict[str, Any] = {"op": ">", "args": [{"property": "sat:absolute_orbit"}, 56550]}
    for _ in range(levels - 1):
        term = {"op": "not", "args": [term]}
    return term


@pytest.mark.parametrize(
    "condition",
    [
        {"op": ">", "args": [{"op": "/", "args": [{"property": "sat:absolute_orbit"}, 2]}, 28275.5]},
        _nested(15),
    ],
    ids=["calculated", "deep"],
)
@pytest.mark.parametrize("order", ["datetime", "sat:absolute_orbit"])
def test_a_filter_that_the_first_page_takes_all_pages_take(
    callers: Callers, condition: dict[str, Any], order: str
) -> None:
    asked: dict[str, Any] = {"filter": condition, "filter-lang": "cql2-json", "collections": [FULL, "s1-sgs"]}
    asked["sortby"] = [{"field": order, "direction": "desc"}]
    whole = [_place(each) for page in _pages(callers, 1000, **asked) for each in page]
    pages = _pages(callers, 2, **asked)
    assert [_place(each) for page in pages for each in page] == whole
    assert _pages(callers, 2, back=True, **asked) == pages[-2::-1]
    assert len({collection for collection, _ in whole}) == 2


def test_a_filter_too_deep_for_later_pages_is_refused_on_the_first(callers: Callers) -> None:
    refused = _search(callers, filter=_nested(17), limit=2, **{"filter-lang": "cql2-json", "collections": [FULL]})
    assert (refused.status_code, "more than 16 levels" in refused.json()["detail"]) == (400, True)


@pytest.mark.parametrize(
    ("origin", "status"),
    [("2024-11-02", 200), ("2024-11-02T00:00:00.1234567Z", 200), ("yesterday", 400), (5, 400)],
)
def test_odd_values_in_the_catalog_are_sorted_or_told(callers: Callers, origin: Any, status: int) -> None:
    """It takes any valid STAC; what PostgreSQL reads as a moment is not always one to others."""
    odd = item("odd", FULL, properties={"datetime": "2024-11-14T00:00:00Z", "eopf:origin_datetime": origin})
    callers.ask(OWNER, "POST", f"/catalog/collections/{FULL}/items", json=odd).raise_for_status()
    try:
        order: dict[str, Any] = {"sortby": [{"field": "eopf:origin_datetime"}], "collections": [FULL]}
        answer = _search(callers, limit=1000, **order)
        assert answer.status_code == status, answer.text
        if status == 200:
            assert [each["id"] for page in _pages(callers, 1, **order) for each in page] == [
                each["id"] for each in answer.json()["features"]
            ]
    finally:
        callers.ask(OWNER, "DELETE", f"/catalog/collections/{FULL}/items/odd").raise_for_status()


def test_what_a_source_cannot_sort_by_is_refused(callers: Callers) -> None:
    for term, source in (("updated", "station"), ("colour", "station")):
        refused = _search(callers, sortby=[{"field": "datetime"}, {"field": term}])
        assert refused.status_code == 400
        assert f"cannot sort by '{term}'" in refused.json()["detail"]
        assert source in refused.json()["detail"]
    refused = _search(callers, sortby=[{"field": "gsd"}], collections=[FULL])
    assert (refused.status_code, "the catalog cannot sort by 'gsd'" in refused.json()["detail"]) == (400, True)


def _place(item: dict[str, Any]) -> tuple[str, str]:
    return item["collection"], item["id"]


def _by_keys(items: list[dict[str, Any]], terms: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """The items sorted by what they show, those without a value first, and last going down."""
    found = list(items)
    for name, direction in reversed(terms):
        found.sort(key=lambda item: _shown(item, name.removeprefix("properties.")), reverse=direction == "desc")
    return [_place(each) for each in found]


def _shown(item: dict[str, Any], name: str) -> tuple[bool, Any]:
    properties = item["properties"]
    if name == "id":
        return True, properties.get("file:local_path", item["id"])
    spans = "start_datetime" in properties and "end_datetime" in properties
    name = "start_datetime" if name == "datetime" and spans else name
    value = properties.get(name, properties["datetime"] if name in ("start_datetime", "end_datetime") else None)
    return value is not None, instants.micros(value) if isinstance(value, str) else value


def test_a_station_that_is_down_is_named_or_left_out(platform: Platform, callers: Callers) -> None:
    platform.rs("station", "fault", "sgs", "--down")
    try:
        refused = _search(callers)
        assert refused.status_code == 503
        assert [each["source"] for each in refused.json()["failed"]] == ["cadip:sgs"]
        assert "sgs" in refused.json()["detail"]
        assert "handling=lenient" in refused.json()["hint"]
        lenient = _search(callers, lenient=True, limit=5)
        assert (lenient.status_code, lenient.headers["preference-applied"]) == (200, "handling=lenient")
        (warning,) = lenient.json()["warnings"]
        assert (warning["source"], warning["status"]) == ("cadip:sgs", 503)
        rows = [each for page in _pages(callers, 50, lenient=True) for each in page]
        assert len([each for each in rows if each["collection"] == FULL]) == 28
        assert not any(each["collection"] == "s1-sgs" for each in rows)
    finally:
        with httpx.Client(base_url=platform.url("rs-server"), headers=_key(platform), timeout=60) as alice:
            heal(platform, alice)
    # what the server of this test holds against the station is over as well
    assert any(each["collection"] == "s1-sgs" for page in _again(callers) for each in page)


def _again(callers: Callers) -> list[list[dict[str, Any]]]:
    """All pages, once the server asks the station again, which it left alone for a while."""
    end = time.monotonic() + 30
    while (answer := _search(callers)).status_code != 200:
        assert time.monotonic() < end, answer.text
        time.sleep(0.2)
    return _pages(callers, 1000)


def _key(platform: Platform) -> dict[str, str]:
    return {"x-api-key": platform.env("alice")["RS_API_KEY"]}
