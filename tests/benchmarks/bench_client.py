"""Measures the client: import, connect(), search against plain pystac-client, cluster to first result.

Run ``python tests/benchmarks/bench_client.py``. Each figure is the best of several; two sides of a ratio take turns.
The last one needs the hub and the gateway: it shares the installation that RS_TEST_HOME names, or starts one of its own
and takes it away again.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import yaml
from pystac_client import Client

import rs_client
from rs_client.auth import ApiKey
from rs_client.http import Http
from rs_client.session import RsClient

RS = Path(sys.prefix) / "bin" / "rs"
ITEMS, PAGE = 1000, 100
ROUNDS = 7
CLUSTER_ROUNDS = 3
IMPORT_S, CONNECT_S, SEARCH_RATIO, CLUSTER_RATIO = 0.4, 0.05, 1.1, 1.3

_SERVER = """
import json, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

answers = json.loads(sys.stdin.readline())

class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def answer(self):
        length = int(self.headers.get("Content-Length") or 0)
        asked = json.loads(self.rfile.read(length) or b"{}")
        path = urlsplit(self.path).path
        body = answers[f"{path}?{asked['token']}" if "token" in asked else path].replace("BASE", base).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = answer

    def log_message(self, *_):
        pass

server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
base = f"http://127.0.0.1:{server.server_address[1]}"
print(base, flush=True)
server.serve_forever()
"""

_OURS = """
import time, rs_client, distributed, dask_gateway
from rs_client.settings import Settings
from rs_client.cluster import open_cluster
begin = time.perf_counter()
with open_cluster(Settings.here(), 2) as cluster, cluster.get_client() as client:
    assert client.submit(sum, (1, 1)).result() == 2
    print(time.perf_counter() - begin)
"""
_LOCAL = """
import time, rs_client, distributed, dask_gateway
from distributed import LocalCluster
if __name__ == "__main__":
    begin = time.perf_counter()
    local = LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None)
    with local as cluster, cluster.get_client() as client:
        assert client.submit(sum, (1, 1)).result() == 2
        print(time.perf_counter() - begin)
"""


def main() -> None:
    """Measure, and print each figure as it is known."""
    _import()
    with _serving() as url:
        _connect(url)
        _search(url)
    with _installation() as home:
        _cluster(home)


def _import() -> None:
    wall, cpu = zip(*(_process("import rs_client") for _ in range(ROUNDS)), strict=True)
    bare_wall, bare_cpu = zip(*(_process("pass") for _ in range(ROUNDS)), strict=True)
    _say("import rs_client", min(wall) - min(bare_wall), f"s, to stay below {IMPORT_S}")
    _say("import rs_client, processor time", min(cpu) - min(bare_cpu), "s")


def _process(code: str) -> tuple[float, float]:
    """Wall and processor seconds of a Python process."""
    before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True)
    took, after = time.perf_counter() - begin, resource.getrusage(resource.RUSAGE_CHILDREN)
    return took, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def _connect(url: str) -> None:
    """What connecting, opening the catalog and asking who one is take beyond the answers of the server."""
    _session(url, []).catalog.session.close()  # what is imported once is another figure
    beyond, busy = [], []
    for _ in range(ROUNDS):
        inside: list[float] = []
        begin, begin_busy = time.perf_counter(), time.process_time()
        with _session(url, inside) as session:
            session.catalog.session.whoami()
            beyond.append(time.perf_counter() - begin - sum(inside))
            busy.append(time.process_time() - begin_busy)
    _say("connect, catalog, whoami beyond HTTP", min(beyond) * 1000, f"ms, to stay below {CONNECT_S * 1000:.0f}")
    _say("the same, processor time, HTTP included", min(busy) * 1000, "ms")


class _Timed(httpx.HTTPTransport):
    """Keeps how long each answer took, in seconds."""

    def __init__(self, took: list[float]) -> None:
        super().__init__()
        self._took = took

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        begin = time.perf_counter()
        answer = super().handle_request(request)
        answer.read()
        self._took.append(time.perf_counter() - begin)
        return answer


def _session(url: str, took: list[float]) -> RsClient:
    return RsClient(Http(url, ApiKey("k"), httpx.Client(transport=_Timed(took), timeout=60)))


def _search(url: str) -> None:
    plain = Client.open(f"{url}/catalog/")
    with rs_client.connect(url, auth=ApiKey("k")) as session:

        def ours() -> int:
            return sum(1 for _ in session.catalog.search(limit=PAGE).items())

        def theirs() -> int:
            return sum(1 for _ in plain.search(limit=PAGE).items())

        best = _in_turn({"ours": ours, "theirs": theirs})
    _say(f"search of {ITEMS} items, pystac-client", best["theirs"], "s of processor time")
    _say(f"search of {ITEMS} items, ours", best["ours"], "s of processor time")
    _say("ratio", best["ours"] / best["theirs"], f", to stay below {SEARCH_RATIO}")


def _in_turn(sides: dict[str, Callable[[], int]]) -> dict[str, float]:
    """Processor time of this process for each side, in seconds: the server's is the same for both."""
    best = dict.fromkeys(sides, float("inf"))
    for _ in range(ROUNDS):
        for name, run in sides.items():
            begin = time.process_time()
            assert run() == ITEMS
            best[name] = min(best[name], time.process_time() - begin)
    return best


def _cluster(home: Path) -> None:
    """From opening a cluster of two workers to the first result, here and at the gateway."""
    hub = yaml.safe_load((home / "config" / "hub.yaml").read_text())
    address = f"{hub['public_url']}/services/dask-gateway"
    gateway = {
        **os.environ,
        "DASK_GATEWAY__ADDRESS": address,
        "DASK_GATEWAY__PUBLIC_ADDRESS": address,
        "DASK_GATEWAY__PROXY_ADDRESS": f"gateway://127.0.0.1:{hub['gateway']['scheduler_port']}",
        "DASK_GATEWAY__AUTH__TYPE": "jupyterhub",
        "JUPYTERHUB_API_TOKEN": hub["gateway"]["dpr_token"],
    }
    best = {"gateway": float("inf"), "local": float("inf")}
    for _ in range(CLUSTER_ROUNDS):
        best["local"] = min(best["local"], _told(_LOCAL, dict(os.environ)))
        best["gateway"] = min(best["gateway"], _told(_OURS, gateway))
    _say("LocalCluster to first result", best["local"], "s")
    _say("cluster to first result", best["gateway"], "s")
    _say("ratio", best["gateway"] / best["local"], f", to stay below {CLUSTER_RATIO}")


def _told(code: str, environment: dict[str, str]) -> float:
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "run.py"  # workers of a LocalCluster import it: it must be a file
        script.write_text(code)
        done = subprocess.run(
            [sys.executable, str(script)], env=environment, capture_output=True, text=True, check=False, timeout=300
        )
    if done.returncode:
        raise SystemExit(done.stderr)
    return float(done.stdout)


@contextmanager
def _serving() -> Iterator[str]:
    """A catalog of many items, served by another process."""
    server = subprocess.Popen([sys.executable, "-c", _SERVER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert server.stdin is not None
    assert server.stdout is not None
    with server:
        server.stdin.write(json.dumps({path: json.dumps(answer) for path, answer in _answers()}) + "\n")
        server.stdin.flush()
        try:
            yield server.stdout.readline().strip()
        finally:
            server.terminate()


def _answers() -> Iterator[tuple[str, Any]]:
    rels = {"self": "/catalog/", "root": "/catalog/", "search": "/catalog/search", "data": "/catalog/collections"}
    types = {"search": "application/geo+json"}
    yield (
        "/catalog/",
        {
            "type": "Catalog",
            "stac_version": "1.0.0",
            "id": "catalog",
            "description": "items",
            "conformsTo": [
                f"https://api.stacspec.org/v1.0.0/{name}" for name in ("core", "item-search", "collections")
            ],
            "links": [
                {"rel": rel, "type": types.get(rel, "application/json"), "href": f"BASE{path}"}
                | ({"method": "POST"} if rel == "search" else {})
                for rel, path in rels.items()
            ],
        },
    )
    yield "/auth/me", {"login": "alice", "roles": [], "groups": []}
    for start in range(0, ITEMS, PAGE):
        following = {"rel": "next", "method": "POST", "href": "BASE/catalog/search", "merge": True}
        links = [{**following, "body": {"token": start + PAGE}}] if start + PAGE < ITEMS else []
        features = [_item(number) for number in range(start, start + PAGE)]
        page = {"type": "FeatureCollection", "features": features, "links": links}
        yield f"/catalog/search?{start}" if start else "/catalog/search", page


def _item(number: int) -> dict[str, Any]:
    ring = [[number / 10, 0], [number / 10 + 2, 0], [number / 10 + 2, 2], [number / 10, 2], [number / 10, 0]]
    here = f"BASE/catalog/collections/c/items/S1A_{number}"
    return {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": ["https://stac-extensions.github.io/sat/v1.1.0/schema.json"],
        "id": f"S1A_{number}",
        "collection": "c",
        "geometry": {"type": "Polygon", "coordinates": [ring]},
        "bbox": [number / 10, 0, number / 10 + 2, 2],
        "properties": {"datetime": "2024-11-14T00:00:00Z", "platform": "sentinel-1a", "sat:absolute_orbit": number},
        "links": [
            {"rel": rel, "href": here, "type": "application/geo+json"} for rel in ("self", "parent", "collection")
        ],
        "assets": {
            name: {"href": f"s3://rs-data/c/S1A_{number}/{name}", "file:size": 10**6} for name in ("a", "b", "c")
        },
    }


@contextmanager
def _installation() -> Iterator[Path]:
    """An installation that runs: a shared one, else one of our own, gone at the end."""
    shared = os.environ.get("RS_TEST_HOME")
    if shared:
        yield Path(shared)
        return
    home = Path(tempfile.mkdtemp(prefix="rs-bench-"))
    try:
        _rs(home, "up", "-d", "--free-ports", "--only", "hub,dask-gateway")
        yield home
    finally:
        _rs(home, "down")
        shutil.rmtree(home, ignore_errors=True)


def _rs(home: Path, *arguments: str) -> None:
    subprocess.run([RS, *arguments], env={**os.environ, "RS_HOME": str(home)}, check=True, capture_output=True)


def _say(name: str, value: float, unit: str) -> None:
    sys.stdout.write(f"{name:<40} {value:8.3f} {unit}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
