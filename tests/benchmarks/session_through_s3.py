"""One session through object storage, each step in a process of its own, so that its peak of memory is its own.

``python session_through_s3.py put MB`` puts a simulated session of that size into the bucket, ``whole`` makes its
product, ``alone OCTETS`` reads the same files and writes a product of that size; ``take`` takes everything away again.
The bucket is that of ``BENCH_S3_ENDPOINT``, ``…_BUCKET``, ``…_ACCESS_KEY``, ``…_SECRET_KEY``.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import dask.array as da
import numpy as np
import obstore
import xarray as xr
from obstore.store import S3Store
from pydantic import SecretStr
from zarr.storage import ObjectStore

from rs_client.processing.payload import run_payload
from rs_client.processing.product import DATA_CHUNK
from rs_client.processing.stores import StorageKeys
from rs_server.simulators import cadu, packets

MB = 1_000_000
FRAMES = 312 * 50
"""Frames in a file (32 MB)."""


def main() -> None:
    """Do one step, and answer as JSON: seconds, octets, and the peak of memory in MiB."""
    bucket, keys = os.environ["BENCH_S3_BUCKET"], _keys()
    store, step = _store(bucket, keys), sys.argv[1]
    if step == "take":
        _take(store, "bench")
        return
    if step == "put":
        list(_put(store, int(sys.argv[2]) * MB))
        return
    inputs = _inputs(store, bucket)
    importlib.import_module("rs_client.processing.s1_l0")  # with eopf some 2 s, once in the life of a worker
    begin = time.perf_counter()
    if step == "whole":
        storage = {**keys.model_dump(), "secret_access_key": keys.secret_access_key.get_secret_value()}
        order = {"processor": "s1-l0", "inputs": inputs, "session": {"id": "BENCH"}, "storage": storage}
        made = run_payload({**order, "output": f"s3://{bucket}/bench/out/L0.zarr"})["size"]
    else:
        made = int(sys.argv[2])
        _read_and_write(store, inputs, made)
    seconds = time.perf_counter() - begin
    _take(store, "bench/out/")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    sys.stdout.write(json.dumps({"seconds": seconds, "read": sum(one["size"] for one in inputs), "made": made,
                                 "peak": peak}))  # fmt: skip


def _keys() -> StorageKeys:
    given = {name: os.environ[f"BENCH_S3_{name.upper()}"] for name in ("endpoint", "access_key", "secret_key")}
    return StorageKeys(
        endpoint=given["endpoint"],
        region=os.environ.get("BENCH_S3_REGION", "us-east-1"),
        access_key_id=given["access_key"],
        secret_access_key=SecretStr(given["secret_key"]),
    )


def _store(bucket: str, keys: StorageKeys, prefix: str | None = None) -> S3Store:
    return S3Store(
        bucket,
        prefix=prefix,
        endpoint=keys.endpoint,
        region=keys.region,
        access_key_id=keys.access_key_id,
        secret_access_key=keys.secret_access_key.get_secret_value(),
        client_options={"allow_http": True},
    )


def _put(store: S3Store, size: int) -> Iterator[str]:
    """Both channels of a session, in files; they are made piece by piece."""
    files = max(1, size // (2 * FRAMES * cadu.CADU_SIZE))
    for number in (1, 2):
        take = packets.DataTake(1_415_629_502 << 16, 1, number, packets.MAX_CHANNELS)
        channel = cadu.Channel(0, "BENCH", take, FRAMES * files)
        for block in range(files):
            key = f"bench/in/{number}_{block + 1:05d}.raw"
            start = block * FRAMES * cadu.CADU_SIZE
            obstore.put(store, key, cadu.read(channel, start, start + FRAMES * cadu.CADU_SIZE))
            yield key


def _inputs(store: S3Store, bucket: str) -> list[dict[str, Any]]:
    entries = [entry for page in obstore.list(store, "bench/in/") for entry in page]
    names = [(entry, entry["path"].rpartition("/")[2].removesuffix(".raw").split("_")) for entry in entries]
    return [
        {"channel": int(number), "block": int(block), "href": f"s3://{bucket}/{entry['path']}", "size": entry["size"]}
        for entry, (number, block) in names
    ]


def _read_and_write(store: S3Store, inputs: list[dict[str, Any]], size: int) -> None:
    """The same files read once, and as many octets written as the product has, in the same chunks: by obstore and zarr
    as they come, without any code of ours."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for _ in pool.map(lambda one: len(obstore.get(store, one["href"].split("/", 3)[3]).bytes()), inputs):
            pass
    chunk = np.random.default_rng(0).integers(0, 256, DATA_CHUNK, np.uint8)
    data = da.concatenate([da.from_array(chunk)] * max(1, size // DATA_CHUNK))  # type: ignore[no-untyped-call]
    target = ObjectStore(_store(os.environ["BENCH_S3_BUCKET"], _keys(), "bench/out/ALONE.zarr"))
    encoding = {"data": {"compressors": ()}}
    xr.Dataset({"data": ("octet", data)}).to_zarr(
        target, mode="w-", zarr_format=3, consolidated=False, encoding=encoding
    )


def _take(store: S3Store, prefix: str) -> None:
    paths = [entry["path"] for page in obstore.list(store, prefix) for entry in page]
    if paths:
        obstore.delete(store, paths)


if __name__ == "__main__":
    main()
