"""Measures staging on loopback, where station, copier and object storage share the machine; prints one line a figure.

Run ``python tests/benchmarks/bench_staging.py [NAME …]``; it starts an installation of its own (database and object
storage) and takes it away again. ``RS_BENCH_GB`` says how large the large file is (default 1), ``RS_BENCH_HOME`` names
an installation that runs already. Each figure is a ratio of two things measured in one run, in turn; the best of each
counts. ``RS_BENCH_HUGE_GB`` (default 20) is the size of the file whose memory is compared with that of one of 1 GB: the
object storage keeps it on disk, for a moment twice.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import aiohttp
import boto3
import httpx
import obstore
import psutil  # type: ignore[import-untyped]  # its types are a package of their own
import psycopg
import yaml
from blake3 import blake3
from obstore.store import S3Store
from psycopg.types.json import Jsonb

sys.path.insert(0, str(Path(__file__).parents[2]))

from rs_server.database import open_database
from rs_server.settings import DatabaseSettings
from rs_server.staging.claim import Limits
from rs_server.staging.fetch import parts_in_memory
from rs_server.staging.model import Ended, State
from rs_server.staging.parts import MOST_PARTS, cut
from rs_server.staging.rows import StagingRows
from tests.faults.lab import laboratory

RS = Path(sys.prefix) / "bin" / "rs"
MB, GB = 1_000_000, 1_000_000_000
ROUNDS = 3
BUCKET = "bench"
PART = 8 * 1024 * 1024
CHUNK = 256 * 1024
LANES = 8


class Bench:
    """The installation, the settings of the worker that is measured, and rows to be worked."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.folder = Path(tempfile.mkdtemp(prefix="rs-bench-settings-"))
        platform = yaml.safe_load((home / "config" / "server.yaml").read_text())
        self.storage = {**platform["storage"], "bucket": BUCKET}
        self.storage.pop("iam_endpoint", None)
        self.dsn = platform["database"]["dsn"]
        self.values: dict[str, Any] = {"database": platform["database"], "storage": self.storage, "secret": "00" * 32}

    def write(self, **station: Any) -> None:
        """The settings of the next worker: one station."""
        known = {"kind": "cadip", "collections": {"c": {"title": "c"}}, **station}
        self.values |= {"stations": {"far": known}, "staging": {"lanes": LANES}}
        (self.folder / "server.yaml").write_text(yaml.safe_dump(self.values))

    def run(self, *module: str) -> subprocess.Popen[bytes]:
        """Start a module of ours."""
        environment = {**os.environ, "RSPY_SETTINGS": str(self.folder / "server.yaml")}
        log = (self.folder / f"{module[0]}.log").open("ab")
        return subprocess.Popen([sys.executable, "-m", *module], env=environment, stdout=log, stderr=log)

    def job(self, sizes: list[int], *, owner: str = "local", small_items: bool = False) -> str:
        """A job whose files wait: one item of them all, or one item each."""
        with psycopg.connect(self.dsn) as conn:
            made = conn.execute(
                "INSERT INTO rs.jobs (process, owner, principal, request, status, memory, started, wake, queue) VALUES "
                "('staging', %s, %s, %s, 'running', '{\"planned\": \"yes\"}', now(), now() + interval '1 h', 'jobs') "
                "RETURNING id",
                [
                    owner,
                    Jsonb({"login": owner, "roles": [], "groups": [], "everything": True, "via": "local"}),
                    Jsonb({"items": [], "collection": "local_bench"}),
                ],
            ).fetchone()
            assert made is not None
            job = made[0]
            groups = [[size] for size in sizes] if small_items else [sizes]
            for start in range(0, len(groups), 1000):
                self._items(conn, job, owner, groups[start : start + 1000])
            conn.execute("SELECT pg_notify('rs_transfers', '')")
        return str(job)

    def _items(self, conn: psycopg.Connection[Any], job: Any, owner: str, groups: list[list[int]]) -> None:
        names = [uuid4().hex for _ in groups]
        document = {"properties": {"datetime": "2026-11-25T00:00:00Z"}, "geometry": None}
        conn.execute(
            "INSERT INTO rs.staging_items (job, service, collection, item, document, state) "
            "SELECT %s, 'cadip', 'c', name, %s, 'carrying' FROM unnest(%s::text[]) AS name",
            [job, Jsonb(document), names],
        )
        files = [
            (name, f"{uuid4().hex[:20]}{size:012x}", size)
            for name, group in zip(names, groups, strict=True)
            for size in group
        ]
        conn.execute(
            "INSERT INTO rs.transfers (job, item, owner, station, priority, name, asset, key, size) "
            "SELECT %(job)s, i.id, %(owner)s, 'far', 50, f.id, "
            "jsonb_build_object('externalIds', jsonb_build_array(jsonb_build_object('value', f.id))), "
            "'local/bench/' || f.item || '/x/' || f.id, f.size FROM unnest(%(items)s::text[], %(ids)s::text[], "
            "%(sizes)s::bigint[]) AS f (item, id, size) JOIN rs.staging_items i ON i.item = f.item AND i.job = %(job)s",
            {
                "job": job,
                "owner": owner,
                "items": [item for item, _, _ in files],
                "ids": [key for _, key, _ in files],
                "sizes": [size for _, _, size in files],
            },
        )

    def ended(self, job: str) -> None:
        """Wait for a job's end."""
        with psycopg.connect(self.dsn, autocommit=True) as conn:
            while True:
                row = conn.execute("SELECT status, message FROM rs.jobs WHERE id = %s", [job]).fetchone()
                assert row is not None
                if row[0] == "successful":
                    return
                assert row[0] == "running", row
                time.sleep(0.02)

    def all_parts(self, job: str, number: int) -> None:
        """Wait until all parts of a job's file are in the object storage."""
        with psycopg.connect(self.dsn, autocommit=True) as conn:
            while conn.execute(
                "SELECT state <> 'done' AND (SELECT count(*) FROM rs.parts WHERE transfer = t.id) < %s "
                "FROM rs.transfers t WHERE job = %s",
                [number, job],
            ).fetchone() == (True,):
                time.sleep(0.01)

    def clear(self) -> None:
        """Delete what was copied."""
        store = self.store()
        for page in obstore.list(store):
            obstore.delete(store, [entry["path"] for entry in page])

    def boto(self) -> Any:
        """The same bucket by another library, which knows the calls of a multipart upload one by one."""
        return boto3.client(
            "s3",
            endpoint_url=self.storage["endpoint"],
            region_name=self.storage["region"],
            aws_access_key_id=self.storage["access_key"],
            aws_secret_access_key=self.storage["secret_key"],
        )

    def store(self) -> S3Store:
        """The bucket, as the copy loop writes to it: with bodies unsigned, as the worker's."""
        return S3Store(
            BUCKET,
            endpoint=self.storage["endpoint"],
            region=self.storage["region"],
            access_key_id=self.storage["access_key"],
            secret_access_key=self.storage["secret_key"],
            virtual_hosted_style_request=False,
            unsigned_payload=True,
            client_options={"allow_http": True},
        )


@contextmanager
def far(bench: Bench, bytes_per_s: int = 0, latency_s: float = 0.0, slow: int = 0, **station: Any) -> Iterator[str]:
    """A station with these properties; its address. ``slow`` is the speed of the one with a file's first part."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    process = bench.run("tests.benchmarks.far", str(port), str(bytes_per_s), str(latency_s), str(slow))
    url = f"http://127.0.0.1:{port}/odata/v1"
    bench.write(url=url, **station)
    try:
        _await(partial(_listens, port))
        yield url
    finally:
        process.kill()
        process.wait()


@contextmanager
def worker(bench: Bench) -> Iterator[psutil.Process]:
    """A worker that has started."""
    process = bench.run("rs_server.worker")
    with psycopg.connect(bench.dsn, autocommit=True) as conn:
        _await(
            lambda: bool(
                conn.execute(
                    "SELECT 1 FROM procrastinate.procrastinate_workers WHERE last_heartbeat > now() - interval '3 s'"
                ).fetchone()
            )
        )
    try:
        yield psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait()
        time.sleep(4)  # its heartbeat grows old


def _listens(port: int) -> bool:
    with socket.create_connection(("127.0.0.1", port), 1):
        return True


def _await(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while True:
        with suppress(OSError):
            if holds():
                return
        assert time.monotonic() < end
        time.sleep(0.1)


async def loop_copy(bench: Bench, url: str, sizes: list[int], parallel: int) -> None:
    """The least that copies files: the same HTTP client, the same checksum, the writer of obstore."""
    store, slots = bench.store(), asyncio.Semaphore(parallel)
    async with aiohttp.ClientSession() as http:

        async def one(size: int) -> None:
            async with slots, http.get(f"{url}/Files({size:032x})/$value") as answer:
                digest = blake3()
                async with obstore.open_writer_async(store, f"loop/{uuid4().hex}", buffer_size=PART) as writer:
                    async for chunk in answer.content.iter_chunked(CHUNK):
                        digest.update(chunk)
                        await writer.write(chunk)

        await asyncio.gather(*(one(size) for size in sizes))


def large(bench: Bench) -> None:
    """P3, uncapped: throughput and CPU beside the copy loop's, and memory."""
    size = int(float(os.environ.get("RS_BENCH_GB", "1")) * GB)
    for name, sizes in (("one large file", [size]), ("38 x 64 MB", [64 * MB] * 38 if size >= GB else [8 * MB] * 38)):
        ours, theirs = [], []
        with far(bench, ranges=1) as url, worker(bench) as process:
            idle = process.memory_info().rss
            for _ in range(ROUNDS):
                before, begin = process.cpu_times(), time.monotonic()
                bench.ended(bench.job(sizes))
                ours.append((time.monotonic() - begin, _cpu(process.cpu_times()) - _cpu(before)))
                bench.clear()
                begin, cpu = time.monotonic(), time.process_time()
                asyncio.run(loop_copy(bench, url, sizes, 4))
                theirs.append((time.monotonic() - begin, time.process_time() - cpu))
                bench.clear()
            peak = most_memory(process)
        total = sum(sizes)
        say(f"{name}: staging", total / MB / min(ours)[0], "MB/s")
        say(f"{name}: copy loop", total / MB / min(theirs)[0], "MB/s")
        say(f"{name}: throughput to the loop's (>= 0.9)", min(theirs)[0] / min(ours)[0], "")
        say(f"{name}: CPU per GB, staging", min(cpu for _, cpu in ours) / total * GB, "s")
        say(f"{name}: CPU to the loop's (<= 1.3)", min(c for _, c in ours) / min(c for _, c in theirs), "")
        say_memory(name, idle, peak, min(LANES, len(sizes)))


def memory(bench: Bench) -> None:
    """Whether memory is the same, however large the file is."""
    for size in (GB, int(float(os.environ.get("RS_BENCH_HUGE_GB", "20")) * GB)):
        with far(bench, ranges=1), worker(bench) as process:
            idle = process.memory_info().rss
            bench.ended(bench.job([size]))
            part = cut(size, PART, bench.storage.get("most_parts", MOST_PARTS)).part_size
            say_memory(f"one file of {size / GB:g} GB", idle, most_memory(process), 1, part=part)
            bench.clear()


def slow(bench: Bench) -> None:
    """Whether memory keeps to its bound when one of several connections to a file is slower than the others."""
    with far(bench, slow=10 * MB, ranges=4, downloads_at_once=4), worker(bench) as process:
        idle = process.memory_info().rss
        bench.ended(bench.job([GB]))
        say_memory("1 GB, one of 4 connections slow", idle, most_memory(process), 1, 4)
        bench.clear()


def most_memory(process: psutil.Process) -> int:
    """The most that a process has had in memory, in bytes."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))


def say_memory(name: str, idle: int, peak: int, files: int, width: int = 1, part: int = PART) -> None:
    """Memory of a worker: idle, at most, and what of that is neither."""
    parts = files * parts_in_memory(width) * part
    say(f"{name}: memory of the worker, idle", idle / MB, "MB")
    say(f"{name}: memory of the worker, at most", peak / MB, "MB")
    say(f"{name}: beyond idle and the parts in flight (<= 64)", (peak - idle - parts) / MB, "MB")


def capped(bench: Bench) -> None:
    """P3, capped as real stations are: 4 connections of 40 MB/s.

    Of one file nothing can be fetched while the object storage makes the object of its parts, and VersityGW copies
    them; where that is a matter of names, as in most, the end is soon after the last part.
    """
    cap = 4 * 40 * MB
    for name, sizes in (("one large file", [GB]), ("38 x 64 MB", [64 * MB] * 38)):
        times, fetched = [], []
        with far(bench, bytes_per_s=cap // 4, downloads_at_once=4, ranges=4), worker(bench):
            for _ in range(ROUNDS):
                begin = time.monotonic()
                job = bench.job(sizes)
                if len(sizes) == 1:
                    bench.all_parts(job, -(-sizes[0] // PART))
                    fetched.append(time.monotonic() - begin)
                bench.ended(job)
                times.append(time.monotonic() - begin)
                bench.clear()
        say(f"capped, {name}: to the cap of 160 MB/s (>= 0.95)", sum(sizes) / min(times) / cap, "")
        if fetched:
            say(f"capped, {name}: the same up to its last part", sum(sizes) / min(fetched) / cap, "")
    say("completing an upload of one large file, by the object storage alone", min(_completing(bench)), "s")


def _completing(bench: Bench) -> Iterator[float]:
    """Seconds from asking the object storage to make one object of its parts until it is there.

    VersityGW copies the parts; nothing of one file can be fetched meanwhile.
    """
    body, size = os.urandom(16 * MB), GB
    for turn in range(ROUNDS):
        client, key = bench.boto(), f"bench/complete{turn}"
        upload = client.create_multipart_upload(Bucket=BUCKET, Key=key)["UploadId"]
        same = {"Bucket": BUCKET, "Key": key, "UploadId": upload}
        numbers = range(1, size // len(body) + 1)
        tags = [client.upload_part(**same, PartNumber=number, Body=body)["ETag"] for number in numbers]
        parts = [{"PartNumber": number, "ETag": tag} for number, tag in zip(numbers, tags, strict=True)]
        begin = time.monotonic()
        client.complete_multipart_upload(**same, MultipartUpload={"Parts": parts})
        yield time.monotonic() - begin
        client.delete_object(Bucket=BUCKET, Key=key)


def small(bench: Bench) -> None:
    """Many small files: files per second, beside a sequential loop of GET and PUT; the station answers in 10 ms."""
    number = int(os.environ.get("RS_BENCH_FILES", "10000"))
    for latency_s in (0.0, 0.01):
        with far(bench, latency_s=latency_s, downloads_at_once=8) as url, worker(bench) as process:
            before, begin = _cpu(process.cpu_times()), time.monotonic()
            bench.ended(bench.job([30_000] * number, small_items=True))
            ours = number / (time.monotonic() - begin)
            cpu = _cpu(process.cpu_times()) - before
            bench.clear()
            count, store, begin = max(100, number // 20), bench.store(), time.monotonic()
            with httpx.Client(trust_env=False) as http:
                for at in range(count):
                    body = http.get(f"{url}/Files({30_000:032x})/$value").content
                    obstore.put(store, f"loop/{at}", body)
            theirs = count / (time.monotonic() - begin)
            bench.clear()
        where = f"{number} x 30 kB, station answers in {latency_s * 1000:.0f} ms"
        say(f"{where}: staging", ours, "files/s")
        say(f"{where}: sequential GET + PUT", theirs, "files/s")
        say(f"{where}: ratio (>= 3)", ours / theirs, "")
        say(f"{where}: CPU of the worker", cpu / number * 1000, "ms/file")


def first_byte(bench: Bench) -> None:
    """From a request for a job to the first byte of its station, and how much of that from its rows on; idle worker."""
    submits = sorted(_submits(bench.home))
    say("POST to the first byte of the station, median (<= 300)", submits[len(submits) // 2] * 1000, "ms")
    say("POST to the first byte of the station, worst", submits[-1] * 1000, "ms")
    waits = []
    with far(bench), worker(bench), psycopg.connect(bench.dsn, autocommit=True) as conn:
        for _ in range(10):
            begin = time.monotonic()
            job = bench.job([64 * MB])
            while not conn.execute(
                "SELECT 1 FROM rs.parts p JOIN rs.transfers t ON t.id = p.transfer WHERE t.job = %s "
                "UNION SELECT 1 FROM rs.transfers WHERE job = %s AND state IN ('running', 'done')",
                [job, job],
            ).fetchone():
                time.sleep(0.002)
            waits.append(time.monotonic() - begin)
            bench.ended(job)
            bench.clear()
    say("rows there to transfer begun, median", sorted(waits)[5] * 1000, "ms")


def _submits(home: Path) -> list[float]:
    """Seconds from a request to the server to the first answer of a simulated station with bytes, a few times over."""
    waits = []
    with laboratory(home) as lab:
        station = lab.stations["sgs"]
        for number in range(12):
            session = station.add_session(f"2024-11-20T10:{number:02}:00Z")
            station.tell("DELETE", "requests")
            begin = time.time()
            job = lab.stage("sgs", [session])
            assert lab.ended(job)["status"] == "successful"
            waits.append(min(each["began"] for each in station.tell("GET", "requests?operation=download")) - begin)
    return waits[2:]  # at first nothing is warm


def queue(bench: Bench) -> None:
    """How long a claim takes while 100 000 files wait, in 100 jobs of 10 users, and 16 connections are in use."""
    bench.write(url="http://127.0.0.1:1/odata/v1")
    for number in range(100):
        bench.job([30_000] * 1000, owner=f"user{number % 10}", small_items=True)

    async def claims() -> list[float]:
        async with open_database(DatabaseSettings(dsn=bench.dsn)) as database:
            rows, taken = StagingRows(database, BUCKET, 60), []
            under_way: deque[list[Ended]] = deque()
            async with database.connection() as conn:
                await conn.execute("ANALYZE rs.transfers")
            for _ in range(500):
                begin = time.monotonic()
                lanes = await rows.claim({"far": Limits(16, 4)}, 4, PART * 4, 60)
                taken.append(time.monotonic() - begin)
                assert len(lanes) == 4
                under_way.append([Ended(file, State.DONE, "1e20") for lane in lanes for file in lane])
                if len(under_way) > 3:
                    await rows.end(under_way.popleft())
            return taken

    taken = sorted(asyncio.run(claims()))
    say("claim of 4 connections among 100000 files, least", taken[0] * 1000, "ms")
    say("claim of 4 connections among 100000 files, p50", taken[250] * 1000, "ms")
    say("claim of 4 connections among 100000 files, p95 (<= 5)", taken[475] * 1000, "ms")
    with psycopg.connect(bench.dsn) as conn:
        conn.execute("UPDATE rs.jobs SET status = 'dismissed', finished = now() WHERE owner LIKE 'user%'")
        conn.execute("DELETE FROM rs.transfers WHERE owner LIKE 'user%'")
        conn.execute("DELETE FROM rs.lines WHERE owner LIKE 'user%'")


def _cpu(times: Any) -> float:
    return float(times.user + times.system)


def say(name: str, value: float, unit: str) -> None:
    """One figure."""
    sys.stdout.write(f"{name:<72} {value:9.2f} {unit}\n")
    sys.stdout.flush()


ALL = {
    "queue": queue,
    "first_byte": first_byte,
    "large": large,
    "capped": capped,
    "small": small,
    "slow": slow,
    "memory": memory,
}


def main() -> None:
    """Measure what was asked for, or everything."""
    wanted = [ALL[name] for name in sys.argv[1:]] or list(ALL.values())
    if shared := os.environ.get("RS_BENCH_HOME"):
        measure(Path(shared), wanted)
        return
    home = Path(tempfile.mkdtemp(prefix="rs-bench-"))
    environment = {**os.environ, "RS_HOME": str(home)}
    try:
        subprocess.run([RS, "up", "-d", "--free-ports", "--only", "postgres,s3"], env=environment, check=True)
        measure(home, wanted)
    finally:
        subprocess.run([RS, "down"], env=environment, check=True)
        shutil.rmtree(home, ignore_errors=True)


def measure(home: Path, wanted: Sequence[Callable[[Bench], None]]) -> None:
    """Measure on an installation."""
    bench = Bench(home)
    bench.write(url="http://127.0.0.1:1/odata/v1")
    bench.run("rs_server.migrate").wait()
    for each in wanted:
        each(bench)
    shutil.rmtree(bench.folder, ignore_errors=True)


if __name__ == "__main__":
    main()
