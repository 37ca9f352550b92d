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
            mine = item(f"mine-{day}", FULL, properties={"datetime": f"2024-11-{day:02}T14:30:44.018Z"})
            made = callers.ask(OWNER, "POST", f"/catalog/collections/{FULL}/items", json=mine)
            assert made.status_code == 201, made.text
        yield callers
        callers.ask(OWNER, "DELETE", f"/catalog/collections/{FULL}?force=true")


def _search(callers: Callers, **parameters: Any) -> httpx.Response:
    asked = {"datetime": MONTHS, **parameters}
    headers = {"Prefer": "handling=lenient"} if asked.pop("lenient", False) else {}
    return callers.ask(OWNER, "POST", "/stations/search", roles=ROLES, json=asked, headers=headers)


def _pages(callers: Callers, limit: int, **parameters: Any) -> list[list[dict[str, Any]]]:
    found: list[list[dict[str, Any]]] = []
    asked: dict[str, Any] = {"limit": limit, **parameters}
    while True:
        page = _search(callers, **asked).raise_for_status().json()
        found.append(page["features"])
        following = [link for link in page["links"] if link["rel"] == "next"]
        if not following:
            return found
        asked = {**following[0]["body"], "lenient": parameters.get("lenient", False)}


@pytest.mark.parametrize("direction", ["asc", "desc"])
def test_the_way_back_shows_the_same_pages(callers: Callers, direction: str) -> None:
    order = {"sortby": [{"field": "datetime", "direction": direction}]}
    forward = _pages(callers, 9, **order)
    page = _search(callers, limit=9, **order).raise_for_status().json()
    while following := [link for link in page["links"] if link["rel"] == "next"]:
        page = _search(callers, **following[0]["body"]).raise_for_status().json()
    back = [page["features"]]
    while before := [link for link in page["links"] if link["rel"] == "prev"]:
        page = _search(callers, **before[0]["body"]).raise_for_status().json()
        back.append(page["features"])
    assert [[item["id"] for item in each] for each in reversed(back)] == [
        [item["id"] for item in each] for each in forward
    ]


@pytest.mark.parametrize("direction", ["asc", "desc"])
def test_stations_and_catalog_come_as_one_sequence(callers: Callers, direction: str) -> None:
    order = {"sortby": [{"field": "datetime", "direction": direction}]}
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
