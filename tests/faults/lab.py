"""A server with its workers, a database, an object storage and simulated stations, all of which a test may kill.

Each program is a process of its own, with its log in the lab's folder. PostgreSQL and the object storage belong to a
small installation of the platform, which starts them again when they die.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import boto3
import httpx
import psutil  # type: ignore[import-untyped]  # its types are a package of their own
import psycopg
import yaml

from rs_server.storage.checksums import Checker

PART_BYTES = 5 * 1024 * 1024
ENDED = ("successful", "failed", "dismissed")
_ADMIN = {"Authorization": "Bearer admin"}
_TOKEN_PATH = "/auth/realms/station/protocol/openid-connect/token"
_FORM = {"grant_type": "client_credentials", "client_id": "lab", "client_secret": "lab"}

STAGING = {
    "part_bytes": PART_BYTES,
    "lanes": 6,
    "lease_s": 5,
    "patience_s": 300,
    "follow_every_s": 1,
    "follow_idle_s": 20,
    "subscriptions_every_s": 1,
    "grace_s": 3,
}


def free_port() -> int:
    """A port that nobody uses at the moment."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def eventually(what: str, holds: Callable[[], bool], within_s: float = 60) -> None:
    """Wait until something holds."""
    end = time.monotonic() + within_s
    while not holds():
        assert time.monotonic() < end, f"not within {within_s:g} s: {what}"
        time.sleep(0.1)


@dataclass
class Far:
    """A simulated station, and what its administrator does to it."""

    kind: str
    collection: str
    client: httpx.Client

    def tell(self, method: str, path: str, body: Any = None) -> Any:
        """One request to its administration."""
        answer = self.client.request(method, f"/admin/{path}", json=body, headers=_ADMIN)
        assert not answer.is_error, answer.text
        return answer.json() if answer.content else None

    def fault(self, *faults: dict[str, Any], seed: int = 0) -> None:
        """What goes wrong from now on; nothing when none is named."""
        self.tell("PUT", "faults", {"seed": seed, "faults": list(faults)})

    def add_session(self, start: str, **more: Any) -> str:
        """A session of one channel with two files, unless said otherwise; its id."""
        session = self.tell("POST", "sessions", {"start": start, "channels": 1, "chunks": 2, **more})
        return str(session["SessionId"])

    def content(self, path: str) -> bytes:
        """A file as the station has it."""
        token = self.client.post(_TOKEN_PATH, data=_FORM).json()["access_token"]
        answer = self.client.get(f"/odata/v1/{path}", headers={"Authorization": f"Bearer {token}"})
        assert answer.status_code == 200, answer.text[:200]
        return answer.content


class Program:
    """One of our programs; it was forked by a nursery, which its end leaves alone."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    @property
    def runs(self) -> bool:
        """Whether it has not ended."""
        try:
            return bool(psutil.Process(self.pid).status() != psutil.STATUS_ZOMBIE)
        except psutil.NoSuchProcess:
            return False

    @property
    def stands_still(self) -> bool:
        """Whether it was stopped, and not continued since."""
        return self.runs and psutil.Process(self.pid).status() == psutil.STATUS_STOPPED

    def send(self, how: signal.Signals) -> None:
        """Send a signal; nothing happens when it has ended."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, how)

    def end(self, how: signal.Signals = signal.SIGTERM, within_s: float = 15) -> None:
        """Send a signal, and wait for its end; kill it in the end."""
        self.send(how)
        begin = time.monotonic()
        while self.runs:
            if time.monotonic() - begin > within_s:
                self.send(signal.SIGKILL)
            time.sleep(0.02)


@dataclass
class Lab:
    """What runs, and how to reach it."""

    folder: Path
    values: dict[str, Any]
    stations: dict[str, Far] = field(default_factory=dict)
    programs: dict[str, Program] = field(default_factory=dict)
    others: list[subprocess.Popen[str]] = field(default_factory=list)
    truths: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, str] = field(default_factory=dict)  # of workers: where each serves its counters
    true_endpoint: str = ""  # of the object storage, when the workers reach it through a proxy

    @property
    def url(self) -> str:
        """The server's address."""
        return str(self.values["public_url"])

    @property
    def api(self) -> httpx.Client:
        """The server."""
        return httpx.Client(base_url=self.url, timeout=30, trust_env=False)

    def write(self, **changes: Any) -> None:
        """Write the settings, for the programs that are started from now on."""
        self.values |= changes
        (self.folder / "server.yaml").write_text(yaml.safe_dump(self.values))

    def run(self, name: str, *command: str) -> subprocess.Popen[str]:
        """Start a program that nobody kills."""
        with (self.folder / f"{name}.log").open("a") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", *command], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
            )
        self.others.append(process)
        return process

    def start(self, name: str, *arguments: str, **variables: str) -> Program:
        """Start a server or a worker."""
        nursery = self.others[0]
        assert nursery.stdin
        assert nursery.stdout
        points = {"RSPY_WORKER_KILL_AT": "", "RSPY_WORKER_STOP_AT": ""}
        given = {"RSPY_SETTINGS": str(self.folder / "server.yaml"), **points, **variables}
        asked = {"variables": given, "log": str(self.folder / f"{name}.log"), "arguments": arguments}
        nursery.stdin.write(json.dumps(asked) + "\n")
        nursery.stdin.flush()
        program = self.programs[name] = Program(int(nursery.stdout.readline()))
        return program

    def start_server(self) -> None:
        """Start the server, and wait until it answers."""
        address = ("--host", "127.0.0.1", "--port", str(self.values["port"]))
        self.start("server", "server", "--factory", "rs_server.app:from_environment", *address, "--no-access-log")
        eventually("the server answers", self._answers)

    def _answers(self) -> bool:
        with suppress(httpx.TransportError), self.api as api:
            return api.get("/health").status_code == 200
        return False

    def start_worker(self, name: str = "worker", *, kill_at: str = "", stop_at: str = "") -> Program:
        """Start a worker, which may be told to die at a point of its work, or to stand still there."""
        address = f"127.0.0.1:{free_port()}"
        self.metrics[name] = f"http://{address}/metrics"
        points = {"RSPY_WORKER_KILL_AT": kill_at, "RSPY_WORKER_STOP_AT": stop_at}
        return self.start(name, "worker", RSPY_WORKER_METRICS=address, **points)

    def counters(self, worker: str = "worker") -> str:
        """What a worker has counted; one that was just started may not serve it yet."""
        end = time.monotonic() + 30
        while True:
            with suppress(httpx.TransportError):
                return httpx.get(self.metrics[worker], trust_env=False).text
            assert time.monotonic() < end, f"{worker} serves no counters"
            time.sleep(0.1)

    def kill(self, name: str) -> None:
        """Kill one of our programs, or the database or the object storage."""
        if name in self.programs:
            self.programs[name].end(signal.SIGKILL)
        else:
            self.kill_service({"s3": "posix"}.get(name, name))

    def restart(self, *names: str) -> None:
        """Start programs anew, with the settings as they are now."""
        for name in names:
            self.kill(name)
        self.restart_dead()

    def restart_dead(self) -> None:
        """Start what died again, as a supervisor does."""
        for name, program in list(self.programs.items()):
            if program.runs:
                continue
            if name == "server":
                self.start_server()
            else:
                self.start_worker(name)

    def kill_service(self, marker: str) -> None:
        """Kill the database or the object storage of the lab's installation, by what its command says."""
        home = str(self.folder)
        mine = [
            process
            for process in psutil.process_iter(["cmdline"])
            if any(home in part for part in process.info["cmdline"] or ())
            and any(marker in part for part in process.info["cmdline"] or ())
            and "supervisord" not in " ".join(process.info["cmdline"])
        ]
        assert mine, f"no {marker} runs"
        for process in mine:
            with suppress(psutil.NoSuchProcess):
                process.kill()

    def stop(self) -> None:
        """End everything that was started."""
        for program in self.programs.values():
            program.send(signal.SIGCONT)
            program.end()
        for process in self.others:
            process.terminate()
            process.communicate(timeout=15)
        for station in self.stations.values():
            station.client.close()

    # What is asked of the server.

    def stage(self, station: str, items: list[str], collection: str | None = None, **options: Any) -> str:
        """Ask for items to be staged; the job's id."""
        far = self.stations[station]
        hrefs = [{"href": f"/{far.kind}/collections/{far.collection}/items/{item}"} for item in items]
        inputs = {"items": hrefs, "collection": collection or some_collection(), **options}
        return self.submit(inputs)

    def submit(self, inputs: dict[str, Any], **headers: str) -> str:
        """Ask for a job as often as it takes; the idempotency key makes it one."""
        headers.setdefault("Idempotency-Key", uuid4().hex)
        end = time.monotonic() + 90
        while True:
            with suppress(httpx.TransportError), self.api as api:
                answer = api.post("/processes/staging/execution", json={"inputs": inputs}, headers=headers)
                if answer.status_code == 201:
                    return str(answer.json()["jobID"])
                assert answer.status_code in (502, 503, 504), answer.text
            assert time.monotonic() < end, "the server takes no job"
            time.sleep(0.2)

    def job(self, job: str) -> dict[str, Any]:
        """A job as it is now; the server may be away for a while."""
        return dict(self.get(f"/jobs/{job}"))

    def get(self, path: str) -> Any:
        """Something of the server, which may be away for a while."""
        end = time.monotonic() + 60
        while True:
            with suppress(httpx.TransportError), self.api as api:
                answer = api.get(path)
                if answer.status_code < 500:
                    return answer.json()
            assert time.monotonic() < end, f"no answer from {path}"
            self.restart_dead()
            time.sleep(0.3)

    def ended(self, job: str, within_s: float = 120) -> dict[str, Any]:
        """Wait for a job's end, and start what died meanwhile."""
        end = time.monotonic() + within_s
        while (status := self.job(job))["status"] not in ENDED:
            assert time.monotonic() < end, f"the job is still {status['status']}: {status}"
            self.restart_dead()
            time.sleep(0.1)
        return status

    def await_progress(self, job: str, files: int = 0, size: int = 1) -> None:
        """Wait until a job has come so far."""
        eventually(
            f"{files} files, {size} bytes",
            lambda: (
                (now := self.job(job))["status"] in ENDED or (now["files_done"] >= files and now["bytes_done"] >= size)
            ),
        )

    # What is true of it.

    @property
    def s3(self) -> Any:
        """The object storage, without any fault between."""
        place = self.values["storage"]
        return boto3.client(
            "s3",
            endpoint_url=self.true_endpoint or place["endpoint"],
            region_name=place["region"],
            aws_access_key_id=place["access_key"],
            aws_secret_access_key=place["secret_key"],
        )

    @property
    def buckets(self) -> list[str]:
        """All there are."""
        return [each["Name"] for each in self.s3.list_buckets()["Buckets"]]

    def objects(self, prefix: str) -> set[str]:
        """The addresses of what lies under a prefix, in any bucket."""
        lists = self.s3.get_paginator("list_objects_v2")
        return {
            f"s3://{bucket}/{entry['Key']}"
            for bucket in self.buckets
            for page in lists.paginate(Bucket=bucket, Prefix=prefix)
            for entry in page.get("Contents", [])
        }

    def uploads(self, prefix: str = "") -> list[str]:
        """The addresses of multipart uploads under way."""
        return [
            f"s3://{bucket}/{each['Key']}"
            for bucket in self.buckets
            for each in self.s3.list_multipart_uploads(Bucket=bucket, Prefix=prefix).get("Uploads", [])
        ]

    def rows(self, query: str, *values: Any) -> list[tuple[Any, ...]]:
        """What the database says."""
        with psycopg.connect(self.values["database"]["dsn"]) as conn:
            return conn.execute(query.encode(), values).fetchall()

    def items(self, collection: str) -> dict[str, dict[str, Any]]:
        """The items of a collection, by id."""
        with self.api as api:
            answer = api.get(f"/catalog/collections/{collection}/items", params={"limit": 1000})
        return {item["id"]: item for item in answer.json().get("features", [])} if answer.status_code == 200 else {}

    def every_item(self, collection: str) -> Iterator[dict[str, Any]]:
        """All items of a collection, however many."""
        path: str | None = f"/catalog/collections/{collection}/items?limit=200"
        with self.api as api:
            while path:
                answer = api.get(path)
                if answer.status_code == 404:
                    return
                page = answer.raise_for_status().json()
                yield from page["features"]
                path = next((link["href"] for link in page["links"] if link["rel"] == "next"), None)

    def truth(self, station: str, asset: dict[str, Any]) -> str:
        """The SHA-256 of a file as its station has it."""
        key = asset["externalIds"][0]["value"]
        if key not in self.truths:
            far = self.stations[station]
            path = f"{'Files' if far.kind == 'cadip' else 'Products'}({key})/$value"
            self.truths[key] = hashlib.sha256(far.content(path)).hexdigest()
        return self.truths[key]

    def check_item(self, station: str, item: dict[str, Any]) -> None:
        """A published item is whole, byte for byte."""
        assert item["assets"], item["id"]
        for name, asset in item["assets"].items():
            bucket, _, key = asset["href"].removeprefix("s3://").partition("/")
            body = self.s3.get_object(Bucket=bucket, Key=key)["Body"].read()
            assert len(body) == asset["file:size"], name
            assert hashlib.sha256(body).hexdigest() == self.truth(station, asset), name
            checker = Checker(asset["file:checksum"])
            checker.update(body)
            assert checker.met, name

    def check_swept(self, collection: str) -> None:
        """Under a collection's prefix lies what its items name and nothing else, and no upload is left."""
        owner, _, name = collection.partition("_")
        prefix = f"{owner}/{name}/"
        named = {asset["href"] for item in self.every_item(collection) for asset in item["assets"].values()}
        eventually("only what is published is left", lambda: self.objects(prefix) == named, 30)
        eventually("no upload is left", lambda: self.uploads(prefix) == [], 30)


def some_collection() -> str:
    """A collection that nobody uses."""
    return f"local_c{uuid4().hex[:10]}"


@contextmanager
def laboratory(home: Path, **staging: Any) -> Iterator[Lab]:
    """A lab on an installation's database and object storage, with a station of sessions and one of products."""
    platform = yaml.safe_load((home / "config" / "server.yaml").read_text())
    port = free_port()
    lab = Lab(
        home,
        {
            "port": port,
            "public_url": f"http://127.0.0.1:{port}",
            "database": platform["database"],
            "storage": {**platform["storage"], "bucket": "lab"},
            "secret": "00" * 32,
            "stations": {},
            "staging": {**STAGING, **staging},
            "orders": {"tend_s": 1, "poll_s": 1},
        },
    )
    lab.values["storage"].pop("iam_endpoint", None)
    try:
        nursery = lab.run("nursery", "tests.faults.nursery")
        _station(lab, "sgs", "cadip", "sessions", scale=0.04)
        _station(lab, "adgs", "auxip", "aux", scale=0.001)
        _station(lab, "archive", "lta", "old", scale=0.0001)
        lab.write()
        subprocess.run(
            [sys.executable, "-m", "rs_server.migrate"],
            env={**os.environ, "RSPY_SETTINGS": str(home / "server.yaml")},
            check=True,
            capture_output=True,
        )
        for far in lab.stations.values():
            eventually("the station answers", partial(_reachable, far))
        assert nursery.stdout
        assert nursery.stdout.readline() == "ready\n"
        lab.start_server()
        lab.start_worker()
        yield lab
    finally:
        lab.stop()


def _station(lab: Lab, name: str, kind: str, collection: str, scale: float) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    settings = {
        "kind": kind,
        "port": port,
        "client_id": "lab",
        "client_secret": "lab",
        "admin_token": "admin",
        "scale": scale,
        "seed": 1,
    }
    (lab.folder / f"{name}.yaml").write_text(yaml.safe_dump(settings))
    lab.run(name, "rs_server.simulators", "--settings", str(lab.folder / f"{name}.yaml"))
    lab.stations[name] = Far(kind, collection, httpx.Client(base_url=url, timeout=60, trust_env=False))
    lab.values["stations"][name] = {
        "kind": kind,
        "url": f"{url}/odata/v1",
        "token_url": f"{url}{_TOKEN_PATH}",
        "grant": _FORM,
        "timeout_s": 10,
        "failures": 20,
        "pause_s": 2,
        "collections": {collection: {"title": collection, "constraints": {"constellation": ["sentinel-1"]}}},
    }


def _reachable(far: Far) -> bool:
    with suppress(httpx.TransportError):
        return far.client.get("/health").status_code == 200
    return False
