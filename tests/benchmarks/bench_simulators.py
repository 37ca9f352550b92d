"""Measures how fast a simulated archive answers: pages of 1000 and of 20 products by each kind of filter.

Run ``python tests/benchmarks/bench_simulators.py [PRODUCTS]``; 100 000 if left out. It fills a file that it takes away
again. Each figure is of several answers of the application in this process, asked in turn: the median of the processor
time they took, and the median and the worst of the time that passed, which on a busy machine is that of others too.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx

from rs_server.simulators.app import TOKEN_PATH, create_app
from rs_server.simulators.settings import SimulatorSettings

ROUNDS = 15
GOAL_MS = 50
ATTRIBUTE = "Attributes/OData.CSC.{0}Attribute/any(att:att/Name eq '{1}' and att/OData.CSC.{0}Attribute/Value eq {2})"
AREA = "OData.CSC.Intersects(area=geography'SRID=4326;POLYGON((2 46,6 46,6 50,2 50,2 46))')"


def main() -> None:
    """Measure, and print a line a query."""
    products = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    with tempfile.TemporaryDirectory(prefix="rs-bench-") as folder:
        begin = time.process_time()
        app = create_app(_settings(products, Path(folder)))
        spent = time.process_time() - begin
        size = sum(file.stat().st_size for file in Path(folder).iterdir())
        each, megabytes = spent / products * 1e6, size / 1e6
        _say(f"{products} products written: {spent:.1f} s of the processor ({each:.0f} µs each), {megabytes:.0f} MB")
        asyncio.run(_measure(app, products))


async def _measure(app: Any, products: int) -> None:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://station") as client:
        form = {"grant_type": "client_credentials", "client_id": "client", "client_secret": "secret"}
        token = (await client.post(TOKEN_PATH, data=form)).raise_for_status().json()["access_token"]
        client.headers["Authorization"] = f"Bearer {token}"
        queries = _queries(await _deep(client, products), products)
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in queries}
        rows: dict[str, int] = {}
        for name in queries:  # what is asked for the first time
            times[f"{name} (first time)"] = [await _ask(client, queries[name], rows, name)]
        for _ in range(ROUNDS):
            for name, query in queries.items():
                times[name].append(await _ask(client, query, rows, name))
    _say(f"\n{'':<54} {'rows':>6} {'processor':>12} {'median':>12} {'worst':>12}")
    for name, found in times.items():
        processor = statistics.median(one for one, _ in found)
        passed = [one for _, one in found]
        mark = "" if processor <= GOAL_MS else f"  over {GOAL_MS} ms"
        figures = " ".join(f"{value:>9.1f} ms" for value in (processor, statistics.median(passed), max(passed)))
        _say(f"{name:<54} {rows[name.removesuffix(' (first time)')]:>6} {figures}{mark}")


async def _ask(
    client: httpx.AsyncClient, query: dict[str, str], rows: dict[str, int], name: str
) -> tuple[float, float]:
    """Milliseconds of one answer, of the processor and of the clock; how many rows it has is noted."""
    processor, begin = time.process_time(), time.perf_counter()
    answer = await client.get(f"/odata/v1/Products?{urlencode(query)}")
    spent = (time.process_time() - processor) * 1000, (time.perf_counter() - begin) * 1000
    rows[name] = len(answer.raise_for_status().json()["value"])
    return spent


async def _deep(client: httpx.AsyncClient, products: int) -> str:
    """The publication date in the middle of all."""
    query = {"$orderby": "PublicationDate", "$top": "1", "$skip": str(products // 2)}
    answer = await client.get(f"/odata/v1/Products?{urlencode(query)}")
    return str(answer.raise_for_status().json()["value"][0]["PublicationDate"])


def _queries(middle: str, products: int) -> dict[str, dict[str, str]]:
    by_date = {"$orderby": "PublicationDate asc"}
    thousand, twenty = {**by_date, "$top": "1000"}, {**by_date, "$top": "20"}
    after = f"PublicationDate gt {middle}"
    level1 = ATTRIBUTE.format("String", "productType", "'IW_SLC__1S'")
    orbit = ATTRIBUTE.format("Integer", "orbitNumber", "47000")
    nowhere = ATTRIBUTE.format("String", "productType", "'NONE'")
    return {
        "first page": thousand,
        "first page with attributes": {**thousand, "$expand": "Attributes"},
        "page from the middle, by date": {**thousand, "$filter": after, "$expand": "Attributes"},
        "page from the middle, by skipping": {**thousand, "$skip": str(products // 2)},
        "page from the middle with its count": {**thousand, "$filter": after, "$count": "true"},
        "newest 20": {"$orderby": "PublicationDate desc", "$top": "20", "$expand": "Attributes"},
        "a name": {"$filter": "Name eq 'S1A_no_such_product'", "$count": "true"},
        "names that start so": {**thousand, "$filter": "startswith(Name,'S1A_IW_SLC__1SDV_2023')"},
        "names that contain": {**twenty, "$filter": "contains(Name,'SLC')"},
        "an attribute of a sixth of them": {**thousand, "$filter": level1, "$expand": "Attributes"},
        "an attribute of few": {**thousand, "$filter": orbit, "$expand": "Attributes"},
        "an attribute of none": {**thousand, "$filter": nowhere, "$count": "true"},
        "an area": {**twenty, "$filter": AREA, "$expand": "Attributes"},
        "an area, an attribute and dates": {**twenty, "$filter": f"{AREA} and {level1} and {after}"},
    }


def _settings(products: int, folder: Path) -> SimulatorSettings:
    return SimulatorSettings.model_validate(
        {
            "kind": "prip",
            "port": 1,
            "client_id": "client",
            "client_secret": "secret",
            "admin_token": "admin",
            "scale": 1e-6,
            "state_dir": folder,
            "scenario": {"holdings": {"products": products}},
        }
    )


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
