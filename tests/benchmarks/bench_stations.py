"""Measures what our STAC side of the stations costs beside a plain client that reads the same OData rows.

Run ``python tests/benchmarks/bench_stations.py``. Every figure is a ratio, or stands beside the one it is compared
with: both are taken in the same run, in turns, and the median of several counts.
"""

from __future__ import annotations

import asyncio
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, MutableMapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import orjson
import psutil  # type: ignore[import-untyped]  # its types are a package of their own
import uvicorn
from fastapi import FastAPI
from pydantic import SecretStr

from rs_server import memory
from rs_server.access.policy import Principal
from rs_server.settings import Settings, StationCollectionSettings, StationSettings
from rs_server.stations.app import create_app
from rs_server.stations.client import open_stations
from rs_server.stations.kinds import KINDS

SESSIONS, PAGE = 1_000, 100
PRODUCTS = 1_000_000
HELD = 20_000  # rows that the canned station really has
CALLERS = 32
SEARCHES = 10  # of each of them in a round
ROUNDS = 7


def main() -> None:
    """Measure everything, and print each figure as it is known."""
    with _both("cadip", SESSIONS) as (station, ours):
        asyncio.run(_sessions(station, ours))
    with _both("auxip", PRODUCTS) as (station, ours):
        asyncio.run(_first_page(station, ours))
        asyncio.run(_concurrent(station, ours))
        asyncio.run(_residual(ours))


# --- what is measured -------------------------------------------------------------------------------------------------


async def _sessions(station: Server, ours: Server) -> None:
    """1 000 sessions with 38 000 files, in pages of 100."""
    plain_s, ours_s, first_s, last_s = [], [], [], []
    async with _http(station) as direct, _http(ours) as stac:
        for _ in range(ROUNDS):
            begin = time.process_time()
            rows = await _plain_pages(direct)
            plain_s.append(time.process_time() - begin)
            begin = ours.cpu_s()
            took = await _stac_pages(stac)
            ours_s.append(ours.cpu_s() - begin)
            first_s.append(took[0])
            last_s.append(took[-1])
        assert rows == SESSIONS
    plain, mine = statistics.median(plain_s), statistics.median(ours_s)
    _say("sessions: CPU of a plain client", plain, "s")
    _say("sessions: CPU of our server", mine, "s")
    _say("sessions: ratio", mine / plain, "x")
    _say("sessions: page 10 to page 1", statistics.median(last_s) / statistics.median(first_s), "x")


async def _plain_pages(http: httpx.AsyncClient) -> int:
    """The same rows as the plain client reads them: fetched, parsed and counted."""
    found, position = 0, ""
    while True:
        query = f"$filter={position}&" if position else ""
        options = f"$orderby=PublicationDate desc&$top={PAGE}&$expand=Files,QualityInfo"
        answer = await http.get(f"/odata/v1/Sessions?{query}{options}")
        rows = orjson.loads(answer.content)["value"]
        if not rows:
            return found
        found += len(rows)
        position = f"PublicationDate lt {rows[-1]['PublicationDate']}"


async def _stac_pages(http: httpx.AsyncClient) -> list[float]:
    """All pages of our search; the seconds that each took."""
    took: list[float] = []
    url: str | None = f"/search?limit={PAGE}"
    seen = 0
    while url is not None:
        begin = time.perf_counter()
        answer = await http.get(url)
        took.append(time.perf_counter() - begin)
        page = orjson.loads(answer.raise_for_status().content)
        seen += len(page["features"])
        assert all(len(item["assets"]) == 38 for item in page["features"])
        url = next((link["href"] for link in page["links"] if link["rel"] == "next"), None)
    assert seen == SESSIONS
    return took


async def _first_page(station: Server, ours: Server) -> None:
    """Ten products among a million: how much longer than the station's own answer."""
    direct_s, stac_s = [], []
    async with _http(station) as direct, _http(ours) as stac:
        for _ in range(200):
            direct_s.append(await _timed(direct, _FIRST_PRODUCTS))
            stac_s.append(await _timed(stac, "/search?limit=10"))
    _say("first page of products: station, p50", 1e3 * statistics.median(direct_s), "ms")
    _say("first page of products: ours, p50", 1e3 * statistics.median(stac_s), "ms")
    _say("first page of products: added, p50", 1e3 * (statistics.median(stac_s) - statistics.median(direct_s)), "ms")


async def _concurrent(station: Server, ours: Server) -> None:
    """Searches of 32 callers at once."""
    plain, mine, before = [], [], ours.memory_mb()
    plain_cpu, our_cpu = [], []
    async with _http(station) as direct, _http(ours) as stac:
        for _ in range(ROUNDS):
            begin = time.process_time()
            plain.append(await _throughput(direct, _FIRST_PRODUCTS))
            plain_cpu.append(time.process_time() - begin)
            begin = ours.cpu_s()
            mine.append(await _throughput(stac, "/search?limit=10"))
            our_cpu.append(ours.cpu_s() - begin)
    _say(f"{CALLERS} callers: plain", statistics.median(plain), "/s")
    _say(f"{CALLERS} callers: ours", statistics.median(mine), "/s")
    _say(f"{CALLERS} callers: throughput", statistics.median(mine) / statistics.median(plain), "x")
    each = 1e3 / (CALLERS * SEARCHES)
    _say(f"{CALLERS} callers: CPU of a plain client, each", each * min(plain_cpu), "ms")
    _say(f"{CALLERS} callers: CPU of our server, each", each * min(our_cpu), "ms")
    _say(f"{CALLERS} callers: memory grew by", ours.memory_mb() - before, "MB")


async def _residual(ours: Server) -> None:
    """A filter that no station can evaluate: how many rows are read and checked each second."""
    async with _http(ours) as stac:
        rates = [HELD / await _timed(stac, "/search?filter=casei(id)='nothing'") for _ in range(ROUNDS)]
    _say("filter evaluated here: rows", statistics.median(rates), "/s")


_FIRST_PRODUCTS = "/odata/v1/Products?$orderby=PublicationDate desc,Id desc&$top=11&$expand=Attributes"


async def _timed(http: httpx.AsyncClient, url: str) -> float:
    begin = time.perf_counter()
    orjson.loads((await http.get(url)).raise_for_status().content)
    return time.perf_counter() - begin


async def _throughput(http: httpx.AsyncClient, url: str) -> float:
    async def caller() -> None:
        for _ in range(SEARCHES):
            await _timed(http, url)

    begin = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(CALLERS)))
    return CALLERS * SEARCHES / (time.perf_counter() - begin)


# --- the two sides ----------------------------------------------------------------------------------------------------


class Server:
    """A process that serves."""

    def __init__(self, process: subprocess.Popen[str], url: str) -> None:
        self.url = url
        self._process = psutil.Process(process.pid)

    def cpu_s(self) -> float:
        """CPU seconds that it used so far."""
        times = self._process.cpu_times()
        return float(times.user + times.system)

    def memory_mb(self) -> float:
        """Resident memory."""
        return float(self._process.memory_info().rss) / 1e6


@contextmanager
def _both(kind: str, rows: int) -> Iterator[tuple[Server, Server]]:
    here = Path(__file__)
    with (
        _running(str(here.with_name("canned_station.py")), kind, str(rows)) as station,
        _running(str(here), kind, station.url) as ours,
    ):
        ours.url += f"/{kind}"
        yield station, ours


@contextmanager
def _running(script: str, *arguments: str) -> Iterator[Server]:
    """A script of ours that takes a port, says when it is ready, and serves until killed."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    kind, *rest = arguments
    process = subprocess.Popen([sys.executable, script, kind, str(port), *rest], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline().strip() == "ready"
        yield Server(process, f"http://127.0.0.1:{port}")
    finally:
        process.kill()
        process.wait()


def _http(server: Server) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=server.url, timeout=60, trust_env=False)


class _Anyone:
    """An authenticator that lets one user do everything."""

    async def authenticate(self, headers: Mapping[str, str], address: str) -> Principal:
        return Principal(login="bench", everything=True)


def serve(kind: str, port: int, station_url: str) -> None:
    """Our service of one kind in front of a station, until killed."""
    url = f"http://127.0.0.1:{port}"
    station = StationSettings.model_validate(
        {
            "kind": kind,
            "url": f"{station_url}/odata/v1",
            "collections": {"all": StationCollectionSettings(title="All")},
            "scan_rows": 2 * HELD,
        }
    )
    settings = Settings(public_url=url, secret=SecretStr("bench"), stations={"bench": station})

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[MutableMapping[str, Any]]:
        async with open_stations(settings.stations, public_url=url) as stations:
            yield {"stations": stations, "authenticator": _Anyone()}

    app = FastAPI(lifespan=lifespan)
    app.mount(f"/{kind}", create_app(KINDS[kind], settings))
    config = uvicorn.Config(app, port=port, log_config=None, access_log=False)
    memory.settle()
    _Announced(config).run()


class _Announced(uvicorn.Server):
    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        sys.stdout.write("ready\n")
        sys.stdout.flush()


def _say(name: str, value: float, unit: str) -> None:
    sys.stdout.write(f"{name:<45} {value:9.2f} {unit}\n")
    sys.stdout.flush()


_MODES: Mapping[int, Callable[[], None]] = {
    1: main,
    4: lambda: serve(sys.argv[1], int(sys.argv[2]), sys.argv[3]),
}

if __name__ == "__main__":
    _MODES[len(sys.argv)]()
