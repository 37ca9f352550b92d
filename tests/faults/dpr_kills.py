"""Kills the worker of the service at random moments of processing jobs, and looks what became of them.

Whatever the moment, each job must be found again or failed with its reason; its product is whole or absent, no cluster
and no storage key outlives it, and nothing lies in the storage that the catalog does not know.

Run ``python tests/faults/dpr_kills.py [KILLS] [SEED]`` on the installation that ``RS_TEST_HOME`` names. The short form
is part of the integration tests.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import psycopg
import yaml

from rs_server.dpr.execute import GatewayClusters
from rs_server.settings import DaskSettings
from tests.conftest import Platform
from tests.integration.jobs import accepted, caller, ended, s3, settings, some_collection, staged

CLUSTERS_GONE_S = 120.0
JOB_ENDS_S = 240.0
DISMISSED_SHARE = 0.2  # of the jobs, while their worker is dead


@dataclass(frozen=True)
class Killed:
    """One job under a kill: when it was killed, where the job was then, and what became of it."""

    after_s: float
    at: str
    status: str
    message: str
    found_again: bool


def start(client: httpx.Client, item: dict[str, Any], collection: str) -> str:
    """Ask for a product of a staged session; the job's id."""
    (link,) = [link for link in item["links"] if link["rel"] == "self"]
    body = {"inputs": {"items": [{"href": link["href"]}], "collection": collection}}
    return accepted(client.post("/dpr/processes/s1-l0/execution", json=body))


def worker_pid(platform: Platform) -> int:
    """The process of the service that works jobs, once there is one; to ask for it takes as long as a small job."""
    found: list[Any] = []

    def there() -> bool:
        found[:] = [one["pid"] for one in platform.status() if one["name"] == "rs-worker" and one["pid"]]
        return bool(found)

    assert eventually(there, JOB_ENDS_S)
    return int(found[0])


def kill(pid: int) -> None:
    """``kill -9`` the worker; the supervisor starts another."""
    os.kill(pid, signal.SIGKILL)


def kill_once(
    platform: Platform,
    client: httpx.Client,
    item: dict[str, Any],
    wait: Callable[[str], None],
    *,
    dismissed: bool = False,
) -> Killed:
    """Start a job, kill its worker at a moment, and check what must hold at the job's end.

    ``wait`` is given the job's id, and returns when the moment has come. ``dismissed``: the job is dismissed while no
    worker is there to see it.
    """
    collection, worker = some_collection(), worker_pid(platform)
    job_id, begin = start(client, item, collection), time.monotonic()
    wait(job_id)
    after_s = time.monotonic() - begin
    at = client.get(f"/jobs/{job_id}").json()["message"]
    kill(worker)
    if dismissed:
        client.delete(f"/jobs/{job_id}")  # refused when the job has just ended, which is as well
    job = ended(client, job_id, within_s=JOB_ENDS_S)
    lines = [each["line"] for each in client.get(f"/jobs/{job_id}/log").json()]
    check_end(platform, client, job, collection)
    return Killed(after_s, at, job["status"], job["message"], any("found again" in line for line in lines))


def check_end(platform: Platform, client: httpx.Client, job: dict[str, Any], collection: str) -> None:
    """What must hold of a job that is over, whatever it went through."""
    items = client.get(f"/catalog/collections/alice_{collection}/items").json().get("features", [])
    if job["status"] == "successful":
        (item,) = items
        check_whole(platform, item)
    else:
        assert items == []
        assert job["message"]
        assert eventually(lambda: stored(platform, f"alice/{collection}/") == {}, CLUSTERS_GONE_S)
    assert eventually(lambda: open_keys(platform, job["jobID"]) == 0, CLUSTERS_GONE_S), "a storage key is left"


def check_whole(platform: Platform, item: dict[str, Any]) -> None:
    """All that the item names is there, and nothing else is."""
    names = [asset["href"].partition("//")[2].partition("/")[2] for asset in item["assets"].values()]
    product = next(name for name in names if name.endswith(".zarr"))
    there = stored(platform, f"alice/{item['collection'].partition('_')[2]}/")
    inside = {key: size for key, size in there.items() if key.startswith(f"{product}/")}
    assert f"{product}/zarr.json" in inside
    assert sum(inside.values()) == item["assets"]["product"]["file:size"]
    assert set(there) - set(inside) == {name for name in names if name != product}


def stored(platform: Platform, prefix: str) -> dict[str, int]:
    """The objects under a prefix, with their sizes."""
    pages = s3(platform).get_paginator("list_objects_v2")
    found = pages.paginate(Bucket=settings(platform).storage.bucket, Prefix=prefix)
    return {entry["Key"]: entry["Size"] for page in found for entry in page.get("Contents", [])}


def open_keys(platform: Platform, job_id: str) -> int:
    """The storage keys of a job that are not revoked."""
    with psycopg.connect(settings(platform).database.dsn.get_secret_value()) as conn:
        query = "SELECT count(*) FROM rs.storage_credentials WHERE purpose = %s AND revoked IS NULL"
        row = conn.execute(query, [f"job {job_id}"]).fetchone()
    assert row is not None
    return int(row[0])


def clusters(platform: Platform) -> list[str]:
    """The clusters that the service has at the gateway."""

    async def names() -> list[str]:
        async with GatewayClusters(dask(platform)).gateway() as gateway:
            return [report.name for report in await gateway.list_clusters()]

    return asyncio.run(names())


def dask(platform: Platform) -> DaskSettings:
    """The service's own settings of the gateway."""
    document = yaml.safe_load((platform.home / "config" / "server.yaml").read_text())
    return DaskSettings(**document["dask"])


def eventually(holds: Any, within_s: float) -> bool:
    """Whether something comes to hold within so many seconds."""
    end = time.monotonic() + within_s
    while not holds():
        if time.monotonic() > end:
            return False
        time.sleep(0.5)
    return True


def main() -> int:
    """Kill so many times; say what became of each job, and of all."""
    kills, seed = int((sys.argv[1:] or ["50"])[0]), int((sys.argv[2:] or ["1"])[0])
    platform = Platform(Path(os.environ["RS_TEST_HOME"]))
    generator, ends = random.Random(seed), Counter[str]()
    with caller(platform, "alice") as client:
        item = staged(client, some_collection())
        longest = _length(client, item)
        for number in range(kills):
            dismissed = generator.random() < DISMISSED_SHARE
            after_s = generator.uniform(0, longest)
            killed = kill_once(platform, client, item, _sleeping(after_s), dismissed=dismissed)
            ends[f"{killed.status}{', found again' if killed.found_again else ''}"] += 1
            sys.stdout.write(f"{number + 1:3} {killed.after_s:5.1f} s  {killed.status:10} at: {killed.at[:90]}\n")
            sys.stdout.flush()
        assert eventually(lambda: clusters(platform) == [], CLUSTERS_GONE_S), "a cluster is left"
    sys.stdout.write(f"seed {seed}: {dict(ends)}; no cluster left\n")
    return 0


def _sleeping(seconds: float) -> Callable[[str], None]:
    return lambda _job_id: time.sleep(seconds)


def _length(client: httpx.Client, item: dict[str, Any]) -> float:
    """How long a job takes that nobody disturbs, in seconds."""
    begin = time.monotonic()
    job = ended(client, start(client, item, some_collection()), within_s=JOB_ENDS_S)
    assert job["status"] == "successful", job["message"]
    return time.monotonic() - begin


if __name__ == "__main__":
    sys.exit(main())
