"""Measures a session from object storage to a published product, through the service, beside reading and writing alone.

Run ``python tests/benchmarks/bench_dpr.py [MB …]`` on the installation that ``RS_TEST_HOME`` names; default: 256 and
512 MB. All is measured in one run, three times in turn; the middle one of each counts. ``processing`` is what eopf's
report says: opening, unit and writing; ``job`` is from asking for it to the published item, with a cluster of its own
started and stopped.
"""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import numpy as np
import obstore
from obstore.store import S3Store

from rs_client.processing import stores
from rs_client.processing.stores import StorageKeys
from rs_server.settings import StorageSettings
from rs_server.simulators import cadu, packets
from tests.conftest import Platform
from tests.faults.dpr_kills import start
from tests.integration.jobs import caller, ended, settings, some_collection

MB = 1_000_000
CHANNELS, CHUNK_MB = 2, 32
JOB_ENDS_S = 3600.0
MOST_RATIO = 1.5
ROUNDS = 3


class Figures(NamedTuple):
    """Of one round: seconds, and MiB."""

    whole: float
    processing: float
    reading: float
    writing: float
    peak_mib: float


def main() -> None:
    """Measure each size, and print each figure as it is known."""
    sizes = [int(each) for each in sys.argv[1:]] or [256, 512]
    platform = Platform(Path(os.environ["RS_TEST_HOME"]))
    place = settings(platform).storage
    with caller(platform, "alice") as client:
        for size in sizes:
            item = session(client, place, size)
            say_all(size, [measured(client, place, item) for _ in range(ROUNDS)])
            take_away(client, place, item["collection"])


def measured(client: httpx.Client, place: StorageSettings, item: dict[str, Any]) -> Figures:
    """One job, and after it the same octets read and written alone."""
    collection = some_collection()
    begin = time.monotonic()
    job = ended(client, start(client, item, collection), within_s=JOB_ENDS_S)
    whole = time.monotonic() - begin
    assert job["status"] == "successful", job["message"]
    product = newest(client, f"{item['id']}_L0")
    report = json.loads(get(place, product["assets"]["report"]["href"]))
    reading = timed(lambda: [get(place, asset["href"]) for asset in item["assets"].values()])
    writing = write(place, product["assets"]["product"]["href"])
    take_away(client, place, f"alice_{collection}")
    return Figures(whole, report["report"]["overall"], reading, writing, report["peak_memory_mib"])


def session(client: httpx.Client, place: StorageSettings, megabytes: int) -> dict[str, Any]:
    """A session of so many MB in the storage, and its item."""
    collection, name = some_collection(), f"BENCH_{megabytes}"
    assets = {}
    for number in range(1, CHANNELS + 1):
        frames = megabytes * MB // CHANNELS // cadu.CADU_SIZE
        made = cadu.Channel(number - 1, name, packets.DataTake(1_415_629_502 << 16, 1, number, CHANNELS), frames)
        step = CHUNK_MB * MB // cadu.CADU_SIZE * cadu.CADU_SIZE
        for block, offset in enumerate(range(0, made.size, step), start=1):
            data = cadu.read(made, offset, min(offset + step, made.size))
            file = f"DCS_BENCH_{name}_ch{number}_DSDB_{block:05d}.raw"
            obstore.put(store(place, ""), f"alice/{collection}/{name}/{file}", data)
            assets[file] = {
                "href": f"s3://{place.bucket}/alice/{collection}/{name}/{file}",
                "roles": ["cadu"],
                "file:size": len(data),
                "cadip:channel": number,
                "cadip:block_number": block,
            }
    moment = "2024-11-14T14:30:00Z"
    properties = {"datetime": moment, "start_datetime": moment, "end_datetime": moment, "platform": "sentinel-1a"}
    kind = {"type": "Collection", "stac_version": "1.1.0", "id": collection, "license": "other", "links": []}
    extent = {"spatial": {"bbox": [[-180, -90, 180, 90]]}, "temporal": {"interval": [[moment, None]]}}
    answer = client.post("/catalog/collections", json={**kind, "description": collection, "extent": extent})
    assert answer.is_success, answer.text
    item: dict[str, Any] = {
        "type": "Feature",
        "stac_version": "1.1.0",
        "id": name,
        "geometry": None,
        "links": [],
        "assets": assets,
    }
    path = f"/catalog/collections/alice_{collection}/items"
    answer = client.post(path, json={**item, "collection": f"alice_{collection}", "properties": properties})
    assert answer.is_success, answer.text
    found: dict[str, Any] = client.get(f"{path}/{name}").json()
    return found


def say_all(size: int, rounds: list[Figures]) -> None:
    """The figures of one size: of each, the middle one of all rounds."""
    middle = Figures(*(statistics.median(each) for each in zip(*rounds, strict=True)))
    alone = middle.reading + middle.writing
    say(f"{size} MB: reading alone", middle.reading, "s")
    say(f"{size} MB: writing alone", middle.writing, "s")
    say(f"{size} MB: processing", middle.processing, "s")
    say(f"{size} MB: job, with its cluster", middle.whole, "s")
    say(f"{size} MB: processing / (reading + writing)", middle.processing / alone, f"(at most {MOST_RATIO})")
    say(f"{size} MB: job / (reading + writing)", middle.whole / alone, "")
    say(f"{size} MB: peak memory of the worker that drives", middle.peak_mib, "MiB")


def newest(client: httpx.Client, name: str) -> dict[str, Any]:
    """The product made last."""
    found = client.post("/catalog/search", json={"ids": [name], "limit": 100}).json()["features"]
    latest: dict[str, Any] = max(found, key=lambda each: each["properties"]["created"])
    return latest


def write(place: StorageSettings, href: str) -> float:
    """Seconds to write the product once more, from memory."""
    keys = StorageKeys(
        endpoint=place.endpoint,
        region=place.region,
        access_key_id=place.access_key,
        secret_access_key=place.secret_key,
    )
    tree = stores.open_product(href, keys).load()
    for node in tree.subtree:
        for variable in node.variables.values():
            variable.encoding = {k: v for k, v in variable.encoding.items() if k == "compressors"}
    copy = f"{href.rpartition('/')[0]}/copy{np.random.default_rng().integers(1 << 30)}.zarr"
    return timed(lambda: stores.write(tree, copy, keys))


def take_away(client: httpx.Client, place: StorageSettings, collection: str) -> None:
    """A collection, and what lies in the storage for it: the sweep of the installation would wait a day for that."""
    client.delete(f"/catalog/collections/{collection}")
    bucket = store(place, "")
    for page in obstore.list(bucket, collection.replace("_", "/", 1) + "/"):
        obstore.delete(bucket, [entry["path"] for entry in page])


def store(place: StorageSettings, prefix: str) -> S3Store:
    """The bucket as its administrator."""
    return S3Store(
        place.bucket,
        prefix=prefix or None,
        endpoint=place.endpoint,
        region=place.region,
        access_key_id=place.access_key,
        secret_access_key=place.secret_key.get_secret_value(),
        virtual_hosted_style_request=False,
        client_options={"allow_http": True},
    )


def get(place: StorageSettings, href: str) -> bytes:
    """An object."""
    return bytes(obstore.get(store(place, ""), href.partition("//")[2].partition("/")[2]).bytes())


def timed(work: Any) -> float:
    """Seconds that something takes."""
    begin = time.monotonic()
    work()
    return time.monotonic() - begin


def say(name: str, value: float, unit: str) -> None:
    """One line a figure."""
    sys.stdout.write(f"{name:<55} {value:9.2f} {unit}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
