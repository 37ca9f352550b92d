"""One session through object storage in a process of its own, so that its peak of memory is its own.

``python session_through_s3.py MB``: puts a simulated session of that size into the bucket, then makes its product, and
in between reads the same files and writes a product of the same size alone; both in turns, the quicker of two counts.
The bucket is that of ``BENCH_S3_ENDPOINT``, ``…_BUCKET``, ``…_ACCESS_KEY``, ``…_SECRET_KEY``.
"""

from __future__ import annotations

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

from rs_client.processing import stores
from rs_client.processing.payload import run_payload
from rs_client.processing.product import DATA_CHUNK
from rs_client.processing.stores import StorageKeys
from rs_server.simulators import cadu, packets

MB = 1_000_000
FILES = 19
TURNS = 2


def main() -> None:
    """Put, measure, and take away again."""
    bucket, keys = os.environ["BENCH_S3_BUCKET"], _keys()
    store = _store(bucket, keys)
    inputs = list(_put(store, bucket, int(sys.argv[1]) * MB))
    payload: dict[str, Any] = {
        "processor": "s1-l0",
        "inputs": inputs,
        "session": {"id": "BENCH"},
        "storage": {**keys.model_dump(), "secret_access_key": keys.secret_access_key.get_secret_value()},
    }
    whole, alone, made = [], [], 0
    try:
        for turn in range(TURNS):
            place = f"s3://{bucket}/bench/{turn}"
            begin = time.perf_counter()
            made = run_payload({**payload, "output": f"{place}/L0.zarr"})["size"]
            whole.append(time.perf_counter() - begin)
            _take(store, "bench/")
            begin = time.perf_counter()
            _read_and_write(inputs, f"{place}/ALONE.zarr", made, keys)
            alone.append(time.perf_counter() - begin)
            _take(store, "bench/")
    finally:
        _take(store, "bench-in/")
        _take(store, "bench/")
    size = sum(one["size"] for one in inputs)
    _say("session", size / MB, "MB, product", made / MB, "MB")
    _say("  files → product", min(whole), "s;", size / min(whole) / MB, "MB/s")
    _say("  read and write alone", min(alone), "s; ratio", min(whole) / min(alone), "(at most 1.5)")
    _say("  peak memory", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, "MiB")


def _keys() -> StorageKeys:
    given = {name: os.environ[f"BENCH_S3_{name.upper()}"] for name in ("endpoint", "access_key", "secret_key")}
    return StorageKeys(
        endpoint=given["endpoint"],
        region=os.environ.get("BENCH_S3_REGION", "us-east-1"),
        access_key_id=given["access_key"],
        secret_access_key=SecretStr(given["secret_key"]),
    )


def _store(bucket: str, keys: StorageKeys) -> S3Store:
    return S3Store(
        bucket,
        endpoint=keys.endpoint,
        region=keys.region,
        access_key_id=keys.access_key_id,
        secret_access_key=keys.secret_access_key.get_secret_value(),
        client_options={"allow_http": True},
    )


def _put(store: S3Store, bucket: str, size: int) -> Iterator[dict[str, Any]]:
    """Both channels of a session, in files; they are made piece by piece."""
    frames = max(1, size // cadu.CADU_SIZE // 2 // FILES)
    for number in (1, 2):
        channel = cadu.Channel(
            0, "BENCH", packets.DataTake(1_415_629_502 << 16, 1, number, packets.MAX_CHANNELS), frames * FILES
        )
        for block in range(1, FILES + 1):
            key = f"bench-in/ch{number}_{block:05d}.raw"
            stop = block * frames * cadu.CADU_SIZE
            start = stop - frames * cadu.CADU_SIZE
            obstore.put(store, key, cadu.read(channel, start, stop))
            yield {"channel": number, "block": block, "href": f"s3://{bucket}/{key}", "size": stop - start}


def _read_and_write(inputs: list[dict[str, Any]], output: str, size: int, keys: StorageKeys) -> None:
    """The same files read once, and as many octets written as the product has, in the same chunks."""
    files = [stores.octets(one["href"], one["size"], keys) for one in inputs]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for _ in pool.map(lambda file: file.to_numpy().size, files):
            pass
    chunk = np.random.default_rng(0).integers(0, 256, DATA_CHUNK, np.uint8)
    data = da.concatenate([da.from_array(chunk)] * max(1, size // DATA_CHUNK))  # type: ignore[no-untyped-call]
    variable = xr.Variable(("octet",), data)
    variable.encoding["compressors"] = ()
    stores.write(xr.DataTree(xr.Dataset({"data": variable})), output, keys)


def _take(store: S3Store, prefix: str) -> None:
    paths = [entry["path"] for page in obstore.list(store, prefix) for entry in page]
    if paths:
        obstore.delete(store, paths)


def _say(*parts: str | float) -> None:
    sys.stdout.write(" ".join(f"{part:.2f}" if isinstance(part, float) else part for part in parts) + "\n")


if __name__ == "__main__":
    main()
