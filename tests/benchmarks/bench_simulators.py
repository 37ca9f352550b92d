"""Measures how fast simulated stations answer: pages of 1000 and of 20 rows by each kind of filter, for all four kinds.

Run ``python tests/benchmarks/bench_simulators.py [ROWS [KIND…]]``; 100 000 rows of each kind if left out. Rows are
products, at a CADIP station files (38 of them a session). It fills files that it takes away again; of more than 200
000 products, most are copies that the database makes (``copies.py``). A million takes one to three minutes a kind,
and 6 GB. Each figure is of several answers of the application in this process, asked in turn: the least and the
median of the processor time they took, and the median of the time that passed, which on a busy machine is that of
others too. Memory is what the process has more than before the station was opened: filled, and after all questions.
Each kind has a process of its own.
"""

from __future__ import annotations

import asyncio
import gc
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
import psutil  # type: ignore[import-untyped]  # its types are a package of their own

from rs_server.simulators.app import TOKEN_PATH, create_app
from rs_server.simulators.kinds import KINDS
from rs_server.simulators.settings import SimulatorSettings

sys.path.insert(0, str(Path(__file__).parents[2]))
from tests.benchmarks.copies import multiply  # the path comes first

ROUNDS = 11
GOAL_MS = 50
FILES_OF_A_SESSION = 38
COPIED_FROM, COPIED = 200_000, 20_000
ATTRIBUTE = "Attributes/OData.CSC.{0}Attribute/any(att:att/Name eq '{1}' and att/OData.CSC.{0}Attribute/Value eq {2})"
AREA = "OData.CSC.Intersects(area=geography'SRID=4326;POLYGON((2 46,6 46,6 50,2 50,2 46))')"
THOUSAND = {"$orderby": "PublicationDate asc", "$top": "1000"}
TWENTY = {"$orderby": "PublicationDate asc", "$top": "20"}

type Options = dict[str, str]
type Question = tuple[str, Options]  # an entity set, and the options of the query


def main() -> None:
    """Measure, and print a line a query."""
    rows = int(sys.argv[1]) if len(sys.argv) > 1 else 100_000
    kinds = sys.argv[2:] or list(KINDS)
    if len(kinds) > 1:
        for kind in kinds:
            subprocess.run([sys.executable, __file__, str(rows), kind], check=True)
        return
    with tempfile.TemporaryDirectory(prefix="rs-bench-") as folder:
        _kind(kinds[0], rows, Path(folder))


def _kind(kind: str, rows: int, folder: Path) -> None:
    """One kind of station with so many rows."""
    before, begin = _memory(), time.process_time()
    times = 1 if kind == "cadip" or rows <= COPIED_FROM else rows // COPIED
    made = rows // times
    app = create_app(_settings(kind, made, folder))
    spent = time.process_time() - begin
    size = sum(file.stat().st_size for file in folder.iterdir()) / 1e6
    filled = _memory() - before
    _say(
        f"\n{kind}, {made} rows: {spent:.1f} s of the processor to fill ({spent / made * 1e6:.0f} µs each), "
        f"{size:.0f} MB on disk, {filled:.0f} MB of memory"
    )
    del app
    gc.collect()
    if times > 1:
        begin = time.perf_counter()
        (store,) = folder.glob("*.sqlite")
        multiply(store, times)
        _say(f"{times} times that: {time.perf_counter() - begin:.0f} s, {store.stat().st_size / 1e6:.0f} MB on disk")
    begin = time.process_time()
    app = create_app(_settings(kind, made, folder))
    _say(f"opened again: {time.process_time() - begin:.2f} s of the processor")
    asyncio.run(_measure(app, kind, rows))
    _say(f"memory after all: {_memory() - before:.0f} MB")


def _memory() -> float:
    """What this process has, in MB."""
    return float(psutil.Process().memory_info().rss) / 1e6


async def _measure(app: Any, kind: str, rows: int) -> None:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://station") as client:
        form = {"grant_type": "client_credentials", "client_id": "client", "client_secret": "secret"}
        token = (await client.post(TOKEN_PATH, data=form)).raise_for_status().json()["access_token"]
        client.headers["Authorization"] = f"Bearer {token}"
        middle = await _deep(client, "Files" if kind == "cadip" else "Products", rows)
        questions = _sessions(middle, rows) if kind == "cadip" else _products(kind, middle, rows)
        times: dict[str, list[tuple[float, float]]] = {name: [] for name in questions}
        found: dict[str, int] = {}
        for name in questions:  # what is asked for the first time
            times[f"{name} (first time)"] = [await _ask(client, questions[name], found, name)]
        for _ in range(ROUNDS):
            for name, question in questions.items():
                times[name].append(await _ask(client, question, found, name))
    _say(f"{'':<54} {'rows':>6} {'best':>12} {'median':>12} {'passed':>12}")
    for name, taken in times.items():
        processor = [one for one, _ in taken]
        figures = (min(processor), statistics.median(processor), statistics.median(one for _, one in taken))
        mark = "" if figures[0] <= GOAL_MS else f"  over {GOAL_MS} ms"
        shown = " ".join(f"{value:>9.1f} ms" for value in figures)
        _say(f"{name:<54} {found[name.removesuffix(' (first time)')]:>6} {shown}{mark}")


async def _ask(client: httpx.AsyncClient, question: Question, rows: dict[str, int], name: str) -> tuple[float, float]:
    """Milliseconds of one answer, of the processor and of the clock; how many rows it has is noted."""
    entity_set, options = question
    processor, begin = time.process_time(), time.perf_counter()
    answer = await client.get(f"/odata/v1/{entity_set}?{urlencode(options)}")
    spent = (time.process_time() - processor) * 1000, (time.perf_counter() - begin) * 1000
    rows[name] = len(answer.raise_for_status().json()["value"])
    return spent


async def _deep(client: httpx.AsyncClient, entity_set: str, rows: int) -> str:
    """The publication date in the middle of all."""
    query = {"$orderby": "PublicationDate", "$top": "1", "$skip": str(rows // 2)}
    answer = await client.get(f"/odata/v1/{entity_set}?{urlencode(query)}")
    return str(answer.raise_for_status().json()["value"][0]["PublicationDate"])


def _pages(middle: str, rows: int, whole: Options) -> dict[str, Options]:
    """What all kinds are asked; ``whole`` asks for what belongs to a row."""
    after = f"PublicationDate gt {middle}"
    return {
        "first page": THOUSAND,
        "first page with all that belongs to it": {**THOUSAND, **whole},
        "first page with its count": {**THOUSAND, "$count": "true"},
        "page from the middle, by date": {**THOUSAND, "$filter": after, **whole},
        "page from the middle, by skipping": {**THOUSAND, "$skip": str(rows // 2)},
        "last page, by skipping": {**THOUSAND, "$skip": str(rows - 1000)},
        "page from the middle with its count": {**THOUSAND, "$filter": after, "$count": "true"},
        "newest 20": {"$orderby": "PublicationDate desc", "$top": "20", **whole},
        "page in no order": {"$top": "1000"},
    }


def _sessions(middle: str, rows: int) -> dict[str, Question]:
    after = f"PublicationDate gt {middle}"
    files: dict[str, Options] = {
        **_pages(middle, rows, {}),
        "those of a session": {**THOUSAND, "$filter": "SessionId eq 'S1A_20241114143038056552'", "$count": "true"},
        "a name": {"$filter": "Name eq 'S1A_no_such_file'", "$count": "true"},
        "names that contain": {**TWENTY, "$filter": "contains(Name,'_ch2_')"},
        "a channel, not sent again": {**THOUSAND, "$filter": "Channel eq 2 and Retransfer eq false"},
        "final blocks after a date": {**THOUSAND, "$filter": f"FinalBlock eq true and {after}"},
        "ordered by size": {"$orderby": "Size desc", "$top": "1000"},
    }
    hundred = {"$orderby": "PublicationDate asc", "$top": "100"}
    sessions: dict[str, Options] = {
        "sessions, first page": THOUSAND,
        "sessions with quality": {**THOUSAND, "$expand": "QualityInfo"},
        "26 sessions with 988 files": {**THOUSAND, "$expand": "Files,QualityInfo", "$top": "26"},
        "sessions by date": {**hundred, "$filter": f"Satellite eq 'S1A' and {after}"},
        "sessions of an orbit": {**hundred, "$filter": "DownlinkOrbit eq 5000", "$count": "true"},
        "sessions by orbit": {"$orderby": "DownlinkOrbit desc", "$top": "100"},
    }
    return {
        **{name: ("Files", options) for name, options in files.items()},
        **{name: ("Sessions", options) for name, options in sessions.items()},
    }


def _products(kind: str, middle: str, rows: int) -> dict[str, Question]:
    whole, after = {"$expand": "Attributes"}, f"PublicationDate gt {middle}"
    if kind == "auxip":
        often = ATTRIBUTE.format("String", "productType", "'AUX_CAL'")
        seldom = ATTRIBUTE.format("DateTimeOffset", "processingDate", "2021-01-02T00:00:00Z")
        start = "S1A_AUX_CAL_V2020"
    else:
        often = ATTRIBUTE.format("String", "productType", "'IW_SLC__1S'")
        seldom = ATTRIBUTE.format("Integer", "orbitNumber", "47000")
        start = "S1A_IW_SLC__1SDV_2023"
    nowhere = ATTRIBUTE.format("String", "productType", "'NONE'")
    begun = f"(startswith(Name,'{start}') or startswith(Name,'S3A')) and {after}"
    valid = f"ContentDate/Start lt {middle} and ContentDate/End gt {middle}"
    begins = f"ContentDate/Start ge {middle[:8]}01T00:00:00Z and ContentDate/Start lt {middle}"
    asked: dict[str, Options] = {
        **_pages(middle, rows, whole),
        "a name": {"$filter": "Name eq 'S1A_no_such_product'", "$count": "true"},
        "names that start so": {**THOUSAND, "$filter": f"startswith(Name,'{start}')"},
        "names that start so or so, after a date": {**THOUSAND, "$filter": begun},
        "names that contain": {**TWENTY, "$filter": "contains(Name,'SLC') or contains(Name,'CAL')"},
        "an attribute of many": {**THOUSAND, "$filter": often, **whole},
        "an attribute of many with its count": {**THOUSAND, "$filter": often, "$count": "true"},
        "an attribute of few": {**THOUSAND, "$filter": seldom, **whole},
        "an attribute of none": {**THOUSAND, "$filter": nowhere, "$count": "true"},
        "many but for few, after a date": {**THOUSAND, "$filter": f"{often} and not ({seldom}) and {after}"},
        "valid at a moment": {**THOUSAND, "$filter": valid},
        "begun within weeks": {**THOUSAND, "$filter": begins},
        "begun within years": {**THOUSAND, "$filter": begins.replace(middle[:4], "2022", 1)},
        "ordered by validity": {"$orderby": "ContentDate/Start desc", "$top": "1000"},
        "ordered by its end": {"$orderby": "ContentDate/End desc", "$top": "1000"},
        "ordered by length": {"$orderby": "ContentLength desc", "$top": "1000"},
        "evicted after a date": {**THOUSAND, "$filter": f"EvictionDate gt {middle}"},
    }
    if kind != "auxip":
        asked |= {
            "an area": {**TWENTY, "$filter": AREA, **whole},
            "changed last": {"$orderby": "ModificationDate desc", "$top": "1000", **whole},
            "an area with its count": {**TWENTY, "$filter": AREA, "$count": "true"},
            "an area, an attribute and dates": {**TWENTY, "$filter": f"{AREA} and {often} and {after}"},
            "what is offline": {**THOUSAND, "$filter": "Online eq false"},
        }
    return {name: ("Products", options) for name, options in asked.items()}


def _settings(kind: str, rows: int, folder: Path) -> SimulatorSettings:
    holdings = {"sessions": rows // FILES_OF_A_SESSION} if kind == "cadip" else {"products": rows}
    return SimulatorSettings.model_validate(
        {
            "kind": kind,
            "port": 1,
            "client_id": "client",
            "client_secret": "secret",
            "admin_token": "admin",
            "scale": 1e-6,
            "state_dir": folder,
            "scenario": {"holdings": holdings},
        }
    )


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
