"""The counters of the running server, by the names that dashboards and alerts know them by."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable

import httpx
from prometheus_client.parser import text_string_to_metric_families

from tests.conftest import Platform
from tests.integration.callers import collection, item
from tests.integration.jobs import caller, some_collection

NAMES = {
    "http_requests_total",
    "http_request_duration_seconds_bucket",
    "station_requests_total",
    "station_request_duration_seconds_bucket",
    "station_bytes_total",
    "station_circuit_state",
    "staging_jobs",
    "staging_oldest_pending_seconds",
    "catalog_items_total",
    "apikey_checks_total",
    "authz_denied_total",
    "jwks_refresh_total",
    "db_pool_in_use",
}
# Declared from the start, without a series before there is something to tell.
MAY_BE_EMPTY = {
    *("s3_errors_total", "staging_files_total", "staging_bytes_total", "staging_circuit_state"),
    "staging_transfers_running",
}
MOST_SERIES = 2000

Series = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def scraped(server: httpx.Client) -> Series:
    """What the server tells now, by name and labels."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(server.get("/metrics").text)
        for sample in family.samples
    }


def value(server: httpx.Client, name: str, **labels: str) -> float:
    """One figure; zero before there is one."""
    return scraped(server).get((name, tuple(sorted(labels.items()))), 0.0)


def grows(server: httpx.Client, what: Callable[[], object], name: str, **labels: str) -> bool:
    """Whether a figure is higher after something was done, or soon after."""
    before = value(server, name, **labels)
    what()
    end = time.monotonic() + 30
    while value(server, name, **labels) <= before:
        if time.monotonic() > end:
            return False
        time.sleep(0.5)
    return True


def test_callers_and_stations_are_counted(platform: Platform, server: httpx.Client) -> None:
    with caller(platform, "alice") as alice, caller(platform, "bob") as bob:
        name = some_collection()
        assert alice.post("/catalog/collections", json=collection(f"alice_{name}")).status_code == 201

        def search() -> None:
            assert alice.get("/cadip/search", params={"limit": 1, "ids": name}).status_code == 200

        def steal() -> None:
            assert bob.delete(f"/catalog/collections/alice_{name}").status_code in (403, 404)

        def guess() -> None:
            wrong = httpx.get(f"{alice.base_url}/jobs", headers={"x-api-key": "rsk_wrong"}, trust_env=False)
            assert wrong.status_code == 401

        assert grows(server, search, "apikey_checks_total", result="ok")
        assert grows(server, search, "station_requests_total", station="sgs", op="query", outcome="ok")
        assert grows(server, search, "http_requests_total", handler="/cadip/search", method="GET", status="200")
        assert grows(server, guess, "apikey_checks_total", result="refused")
        assert grows(server, steal, "authz_denied_total", reason="owner")
        for n in range(3):
            path = f"/catalog/collections/alice_{name}/items"
            assert alice.post(path, json=item(f"i{n}", f"alice_{name}")).status_code == 201
        end = time.monotonic() + 30
        while value(server, "catalog_items_total") < 3:
            assert time.monotonic() < end, "the items are not in the figures"
            time.sleep(0.5)
        alice.delete(f"/catalog/collections/alice_{name}")
    assert value(server, "station_circuit_state", station="sgs") == 0
    assert value(server, "jwks_refresh_total", result="ok") >= 1


def test_all_that_is_promised_is_there_once_and_in_bounds(server: httpx.Client) -> None:
    text = server.get("/metrics").text
    declared = Counter(line.split()[2] for line in text.splitlines() if line.startswith("# TYPE"))
    assert [name for name, times in declared.items() if times > 1] == []
    assert set(declared) >= MAY_BE_EMPTY
    series = scraped(server)
    assert {name for name, _ in series} >= NAMES
    assert [name for name in declared if name.startswith("rs_")] == []
    assert len(series) <= MOST_SERIES
    handlers = {dict(labels)["handler"] for name, labels in series if name == "http_requests_total"}
    assert [each for each in handlers if "alice" in each] == []
