"""A Dask cluster whose worker has another version of a package than its scheduler is refused before any work."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from distributed import Client, Scheduler

from rs_server.dpr.environment import EnvironmentMismatch
from rs_server.dpr.execute import check_environments


@contextmanager
def worker(scheduler: str, folder: Path, **versions: str) -> Iterator[None]:
    """A worker as a process of its own, in whose environment packages say that they are of these versions."""
    for name, version in versions.items():
        metadata = folder / f"{name}-{version}.dist-info" / "METADATA"
        metadata.parent.mkdir()
        metadata.write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    command = [sys.executable, "-m", "distributed.cli.dask_worker", scheduler, "--no-nanny", "--no-dashboard"]
    process = subprocess.Popen(
        [*command, "--nthreads", "1", "--host", "127.0.0.1", "--local-directory", str(folder)],
        env={**os.environ, "PYTHONPATH": str(folder)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        process.kill()
        process.wait()


async def check(folder: Path, **versions: str) -> None:
    async with Scheduler(host="127.0.0.1", port=0, dashboard=False) as scheduler:
        with worker(scheduler.address, folder, **versions):
            connecting = Client(scheduler.address, asynchronous=True, set_as_default=False)  # type: ignore[no-untyped-call]
            async with asyncio.timeout(60), connecting as client:
                await client.wait_for_workers(1)
                await check_environments(client)


async def test_one_version_everywhere_is_accepted(tmp_path: Path) -> None:
    await check(tmp_path)


async def test_another_version_on_a_worker_is_named(tmp_path: Path) -> None:
    with pytest.raises(EnvironmentMismatch, match=r"numcodecs is [\d.]+ in the scheduler, and 0\.0\.7 in worker tcp:"):
        await check(tmp_path, numcodecs="0.0.7")
