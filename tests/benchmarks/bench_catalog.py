"""Measures the catalog against bare stac-fastapi-pgstac on the same database, in the same run, turn about.

``python tests/benchmarks/bench_catalog.py [reads] [bulk] [growth]`` (default: all). Both servers are processes of
their own; the callers are eight connections. A caller of ours holds roles on 60 of 500 collections of 50 owners, bare
lets anybody at everything. Figures are medians over rounds; on a busy machine believe the ratios only. The installation
is taken away at the end, unless ``RS_BENCH_HOME`` names its folder: the next run finds its million items there.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import yaml
from psycopg.conninfo import conninfo_to_dict

RS = Path(sys.prefix) / "bin" / "rs"
CONNECTIONS = 8
ROUNDS = 5
SEARCHES = 350
KINDS = ("place", "place and time", "time", "a collection, time, filter", "a collection", "an id", "filter and order")
SEED = 20_241_114
OWNERS, COLLECTIONS, READABLE, ITEMS = 50, 500, 60, 10_000
BULK = 10_000
LIMITS = {"GET item": 160, "bbox search": 40, "limit=100": 24}
BANDS = ("B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12")


@dataclass(frozen=True)
class Server:
    """A running server, and what its callers send with each request."""

    url: str
    headers: dict[str, str]


Ask = tuple[str, str, Any]  # method, path, body


class Caller:
    """One HTTP/1.1 connection, with as little work of its own as can be: both cores are the servers'."""

    def __init__(self, server: Server) -> None:
        self._place = urlsplit(server.url)
        self._head = "".join(f"{name}: {value}\r\n" for name, value in server.headers.items())
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, method: str, path: str, body: Any = None) -> bytes:
        """Send a request; the answer's body, or an error unless it is a good one."""
        if self._streams is None:
            self._streams = await asyncio.open_connection(self._place.hostname, self._place.port, limit=1 << 26)
        reader, writer = self._streams
        content = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        lines = f"{method} {self._place.path}{path} HTTP/1.1\r\nHost: {self._place.netloc}\r\n{self._head}"
        lines += f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
        writer.write(lines.encode() + content)
        await writer.drain()
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        size = int(head.partition("content-length:")[2].partition("\r\n")[0])
        answer = await reader.readexactly(size)
        if not head.startswith(("http/1.1 2", "http/1.1 3")):
            raise AssertionError(f"{method} {path}: {head.splitlines()[0]} {answer[:500]!r}")
        return answer


def main(wanted: Sequence[str]) -> None:
    """Measure, and print each figure as it is known."""
    with _installation() as small:
        _measure(small, set(wanted) or {"reads", "bulk", "growth"})


@contextmanager
def _installation(kept: str | None = None) -> Iterator[Path]:
    """A database and an object storage, in a folder of their own that is taken away at the end, or kept."""
    home = Path(kept or tempfile.mkdtemp(prefix="rs-bench-"))
    try:
        _rs(home, "up", "-d", "--free-ports", "--only", "postgres,s3")
        yield home
    finally:
        _rs(home, "down")
        if not kept:
            shutil.rmtree(home, ignore_errors=True)


def _measure(home: Path, wanted: set[str]) -> None:
    sys.path[:0] = [str(Path(__file__).parents[2])]
    from tests.identity import Issuer
    from tests.serving import issuing

    chosen = random.Random(SEED)
    collections = [f"owner{owner:02}_c{number}" for owner in range(OWNERS) for number in range(COLLECTIONS // OWNERS)]
    readable = sorted(chosen.sample(collections, READABLE))
    dsn = _filled(home, collections)
    issuer = Issuer()
    roles = [f"rs_catalog_{name.replace('_', ':', 1)}_read" for name in readable]
    with issuing(issuer) as access, _ours(home, access) as ours, _bare(dsn) as bare:
        claims = issuer.claims("carol", roles)
        token = issuer.signed({**claims, "exp": claims["iat"] + 36_000})
        servers = {
            "bare": Server(bare, {}),
            "ours": Server(f"{ours}/catalog", {"Authorization": f"Bearer {token}"}),
        }
        if "reads" in wanted:
            asyncio.run(_reads(servers, readable, chosen))
        if "bulk" in wanted:
            own = issuer.signed({**issuer.claims("bulk"), "exp": claims["iat"] + 36_000})
            writer = Server(f"{ours}/catalog", {"Authorization": f"Bearer {own}"})
            asyncio.run(_bulk(writer, dsn, chosen))
        if "growth" in wanted:
            with _installation(os.environ.get("RS_BENCH_HOME")) as large:
                _grow(_filled(large, collections), 1_000_000)
                with _ours(large, access) as grown:
                    both = {
                        "10000": servers["ours"],
                        "1000000": Server(f"{grown}/catalog", servers["ours"].headers),
                    }
                    asyncio.run(_growth(both, readable, chosen))


def _filled(home: Path, collections: list[str]) -> str:
    """The address of the installation's database, with ``ITEMS`` items unless they are there."""
    environment = {**os.environ, "RSPY_SETTINGS": str(home / "config" / "server.yaml")}
    subprocess.run([sys.executable, "-m", "rs_server.migrate"], env=environment, check=True, capture_output=True)
    dsn: str = _values(home)["database"]["dsn"]
    with psycopg.connect(dsn) as conn:
        there = conn.execute("SELECT 1 FROM pgstac.collections WHERE id = %s", [collections[0]]).fetchone()
    if not there:
        _fill(dsn, collections, random.Random(SEED))
    return dsn


def _values(home: Path) -> dict[str, Any]:
    values: dict[str, Any] = yaml.safe_load((home / "config" / "server.yaml").read_text())
    return values


# --- reads: requests per second -------------------------------------------------------------------------------------


async def _reads(servers: dict[str, Server], readable: list[str], chosen: random.Random) -> None:
    kinds = {"GET item": _item, "bbox search": _bbox, "limit=100": _hundred}
    for kind, make in kinds.items():
        rates: dict[str, list[float]] = {"bare": [], "ours": []}
        await _same_answers(servers, make, readable, chosen)
        for _ in range(ROUNDS):
            for name, server in servers.items():
                asks = [make(name, readable, chosen) for _ in range(LIMITS[kind])]
                rates[name].append(len(asks) / await _timed(server, asks))
        ours, bare = statistics.median(rates["ours"]), statistics.median(rates["bare"])
        _say(f"{kind}: ours", ours, "/s")
        _say(f"{kind}: bare", bare, "/s")
        _say(f"{kind}: ours / bare", ours / bare, "x")


def _item(_server: str, readable: list[str], chosen: random.Random) -> Ask:
    collection = chosen.choice(readable)
    return "GET", f"/collections/{collection}/items/{collection.replace('_', '-')}-{chosen.randrange(20):07}", None


def _bbox(server: str, readable: list[str], chosen: random.Random) -> Ask:
    west, south = chosen.uniform(-170, 160), chosen.uniform(-80, 70)
    return "POST", "/search", {"bbox": [west, south, west + 5, south + 5], **_narrowing(server, readable)}


def _hundred(server: str, readable: list[str], chosen: random.Random) -> Ask:
    return "POST", "/search", {"limit": 100, **_narrowing(server, readable)}


def _narrowing(server: str, readable: list[str]) -> dict[str, Any]:
    """Bare is told what ours finds out for itself, so that both answer the same."""
    return {"collections": readable} if server == "bare" else {}


async def _same_answers(servers: dict[str, Server], make: Any, readable: list[str], chosen: random.Random) -> None:
    state = chosen.getstate()
    found = []
    for name, server in servers.items():
        chosen.setstate(state)
        answer = json.loads(await Caller(server).ask(*make(name, readable, chosen)))
        features = answer.get("features", [answer])
        found.append([(each["id"], each["properties"], each["geometry"]) for each in features])
    assert found[0] == found[1]


async def _timed(server: Server, asks: Sequence[Ask]) -> float:
    """Seconds until all of them are answered, by ``CONNECTIONS`` callers."""
    waiting = iter(asks)

    async def work() -> None:
        caller = Caller(server)
        for ask in waiting:
            await caller.ask(*ask)

    begin = time.perf_counter()
    await asyncio.gather(*(work() for _ in range(CONNECTIONS)))
    return time.perf_counter() - begin


# --- bulk: seconds for 10 000 items ---------------------------------------------------------------------------------


async def _bulk(server: Server, dsn: str, chosen: random.Random) -> None:
    seconds: dict[str, list[float]] = {"bulk_items": [], "pypgstac load": []}
    for number in range(3):
        ways: dict[str, Callable[[str, list[dict[str, Any]]], Awaitable[float]]] = {
            "bulk_items": lambda name, items: _post(server, name, items),
            "pypgstac load": lambda _name, items: _load(dsn, items),
        }
        for way, load in ways.items():
            name = f"bulk_{way.split()[0].replace('_', '')}{number}"
            await Caller(server).ask("POST", "/collections", _collection(name))
            items = [_document(name, serial, chosen, assets=False) for serial in range(BULK)]
            seconds[way].append(await load(name, items))
    for way, taken in seconds.items():
        _say(f"{BULK} items by {way}", min(taken), "s")
    _say("bulk_items / pypgstac load", min(seconds["bulk_items"]) / min(seconds["pypgstac load"]), "x")


async def _post(server: Server, name: str, items: list[dict[str, Any]]) -> float:
    body = json.dumps({"items": {item["id"]: item for item in items}}).encode()
    begin = time.perf_counter()
    answer = json.loads(await Caller(server).ask("POST", f"/collections/{name}/bulk_items", body))
    assert answer["success"] == BULK
    return time.perf_counter() - begin


async def _load(dsn: str, items: list[dict[str, Any]]) -> float:
    with tempfile.NamedTemporaryFile("w", suffix=".ndjson") as file:
        file.writelines(f"{json.dumps(item)}\n" for item in items)
        file.flush()
        command = ["pypgstac", "load", "items", file.name, "--dsn", dsn, "--method", "insert"]
        begin = time.perf_counter()
        process = await asyncio.create_subprocess_exec(
            str(Path(sys.prefix) / "bin" / command[0]), *command[1:], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        output, _ = await process.communicate()
        assert process.returncode == 0, output
        return time.perf_counter() - begin


# --- growth: p95 of mixed searches at 10⁴ and at 10⁶ items ---------------------------------------------------------


async def _growth(servers: dict[str, Server], readable: list[str], chosen: random.Random) -> None:
    asks = [_mixed(number, readable, chosen) for number in range(SEARCHES)]
    rounds: dict[str, list[list[float]]] = {name: [] for name in servers}
    for _ in range(ROUNDS):
        for name, server in servers.items():
            rounds[name].append(await _each(server, asks))
    best = {name: [min(taken) for taken in zip(*found[1:], strict=True)] for name, found in rounds.items()}
    p95 = {name: statistics.quantiles(taken, n=20)[-1] for name, taken in best.items()}
    for name, seconds in p95.items():
        _say(f"mixed searches at {name} items: p95", seconds * 1e3, "ms")
        for kind, of_kind in _kinds(best[name]).items():
            _say(f"  at {name}, {kind}: median", statistics.median(of_kind) * 1e3, "ms")
    small, large = p95.values()
    _say("p95 at 1000000 / at 10000", large / small, "x")


def _kinds(taken: Sequence[float]) -> dict[str, Sequence[float]]:
    return {kind: taken[number :: len(KINDS)] for number, kind in enumerate(KINDS)}


def _mixed(number: int, readable: list[str], chosen: random.Random) -> Ask:
    month, collection = chosen.randrange(1, 12), chosen.choice(readable)
    when = {"datetime": f"2024-{month:02}-01T00:00:00Z/2024-{month:02}-08T00:00:00Z"}
    bbox = _bbox("ours", readable, chosen)[2]
    cloudless = {"filter": {"op": "<", "args": [{"property": "eo:cloud_cover"}, 50]}}
    searches: tuple[dict[str, Any], ...] = (
        bbox,
        {**bbox, **when},
        when,
        {"collections": [collection], **when, **cloudless},
        {"collections": [collection], "limit": 20},
        {"ids": [f"{collection.replace('_', '-')}-{chosen.randrange(20):07}"]},
        {"collections": [collection], **cloudless, "sortby": [{"field": "datetime", "direction": "asc"}]},
    )
    return "POST", "/search", searches[number % len(searches)]


async def _each(server: Server, asks: Sequence[Ask]) -> list[float]:
    """Seconds for each, one after the other."""
    caller, taken = Caller(server), []
    for ask in asks:
        begin = time.perf_counter()
        await caller.ask(*ask)
        taken.append(time.perf_counter() - begin)
    return taken


def _grow(dsn: str, total: int) -> None:
    """Bring the database to so many items, as copies of those there with other times and places."""
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute("SET search_path TO pgstac, public")
        (now,) = conn.execute("SELECT count(*) FROM items WHERE collection LIKE 'owner%'").fetchone() or (0,)
        if total > now:
            conn.execute("ALTER TABLE items DISABLE TRIGGER items_after_insert_trigger")  # the spans stay as they are
            conn.execute(
                "INSERT INTO items (id, geometry, collection, datetime, end_datetime, content) "
                "SELECT i.id || '-' || n, ST_Translate(geometry, (random() - 0.5) * 20, (random() - 0.5) * 20), "
                "i.collection, d, d, content - 'assets' "
                "FROM items i JOIN (SELECT collection, min(datetime) AS low, max(datetime) AS high FROM items "
                "GROUP BY 1) span USING (collection), generate_series(2, %(copies)s) n, "
                "LATERAL (SELECT low + random() * n / n * (high - low) AS d) t WHERE i.collection LIKE 'owner%%'",
                {"copies": total // ITEMS},
            )
            conn.execute("ALTER TABLE items ENABLE TRIGGER items_after_insert_trigger")
        conn.execute("VACUUM ANALYZE")


# --- the two servers and their database -----------------------------------------------------------------------------


@contextmanager
def _ours(home: Path, access: dict[str, Any]) -> Iterator[str]:
    port = _free_port()
    url = f"http://127.0.0.1:{port}"
    settings = {
        **_values(home),
        "access": {**access, "requests_at_once": 10_000_000},
        "stations": {},
        "port": port,
        "public_url": url,
        "log_level": "warning",
    }
    place = home / "bench.yaml"
    place.write_text(yaml.safe_dump(settings))
    with _running("rs_server.app:from_environment", port, {"RSPY_SETTINGS": str(place)}, "/health"):
        yield url


@contextmanager
def _bare(dsn: str) -> Iterator[str]:
    place, port = conninfo_to_dict(dsn), _free_port()
    variables = {
        "PGUSER": place["user"],
        "PGPASSWORD": place["password"],
        "PGHOST": place["host"],
        "PGPORT": place["port"],
        "PGDATABASE": place["dbname"],
    }
    with _running("stac_fastapi.pgstac.app:create_app", port, {k: str(v) for k, v in variables.items()}, "/_mgmt/ping"):
        yield f"http://127.0.0.1:{port}"


@contextmanager
def _running(app: str, port: int, variables: dict[str, str], probe: str) -> Iterator[None]:
    command = [sys.executable, "-m", "uvicorn", app, "--port", str(port), "--log-level", "warning", "--factory"]
    with subprocess.Popen(
        command, env={**os.environ, **variables}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            asyncio.run(_ready(Server(f"http://127.0.0.1:{port}", {}), probe))
            yield
        finally:
            process.terminate()


async def _ready(server: Server, probe: str) -> None:
    for _ in range(300):
        try:
            await Caller(server).ask("GET", probe)
        except (OSError, asyncio.IncompleteReadError):
            await asyncio.sleep(0.2)
        else:
            return
    raise AssertionError(f"{server.url} does not answer")


def _fill(dsn: str, collections: list[str], chosen: random.Random) -> None:
    with psycopg.connect(dsn, autocommit=True) as conn:
        conn.execute("SET search_path TO pgstac, public")
        for name in collections:
            conn.execute("SELECT create_collection(%s::jsonb)", [json.dumps(_collection(name))])
            items = [_document(name, serial, chosen) for serial in range(ITEMS // len(collections))]
            conn.execute("SELECT create_items(%s::jsonb)", [json.dumps(items)])
        conn.execute("VACUUM ANALYZE")


def _collection(name: str) -> dict[str, Any]:
    return {
        "id": name,
        "type": "Collection",
        "stac_version": "1.1.0",
        "description": name,
        "license": "other",
        "links": [],
        "extent": {"spatial": {"bbox": [[-180, -90, 180, 90]]}, "temporal": {"interval": [[None, None]]}},
    }


def _document(collection: str, serial: int, chosen: random.Random, *, assets: bool = True) -> dict[str, Any]:
    """An item of about the size of a Sentinel-2 one."""
    west, south = chosen.uniform(-170, 165), chosen.uniform(-80, 75)
    item_id = f"{collection.replace('_', '-')}-{serial:07}"
    ring = [[west, south], [west + 1, south], [west + 1, south + 1], [west, south + 1], [west, south]]
    moment = f"2024-{chosen.randrange(1, 13):02}-{chosen.randrange(1, 28):02}T{chosen.randrange(24):02}"
    moment += f":{chosen.randrange(60):02}:{chosen.randrange(60):02}.{chosen.randrange(1000):03}Z"
    bands = [
        {
            "href": f"s3://rs-data/x/{collection}/{item_id}/{band}.tif",
            "type": "image/tiff; application=geotiff",
            "title": band,
            "roles": ["data"],
            "file:size": chosen.randrange(10**6, 10**8),
            "eo:bands": [{"name": band, "center_wavelength": 0.49}],
        }
        for band in BANDS
    ]
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": ["https://stac-extensions.github.io/eo/v1.1.0/schema.json"],
        "id": item_id,
        "collection": collection,
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "bbox": [west, south, west + 1, south + 1],
        "properties": {
            "datetime": moment,
            "platform": chosen.choice(["sentinel-2a", "sentinel-2b"]),
            "constellation": "sentinel-2",
            "instruments": ["msi"],
            "gsd": 10,
            "eo:cloud_cover": round(chosen.uniform(0, 100), 2),
            "sat:relative_orbit": chosen.randrange(1, 144),
            "sat:absolute_orbit": chosen.randrange(1, 60_000),
            "processing:level": "L1C",
            "product:type": "S02MSIL1C",
            **({} if assets else {"bands": bands}),
        },
        "assets": {band["title"]: band for band in bands} if assets else {},
        "links": [],
    }


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _rs(home: Path, *arguments: str) -> None:
    environment = {**os.environ, "RS_HOME": str(home)}
    subprocess.run([RS, *arguments], env=environment, check=True, capture_output=True, text=True)


def _say(name: str, value: float, unit: str) -> None:
    sys.stdout.write(f"{name:<48} {value:9.2f} {unit}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
