"""Worker processes that die while they make a product change nothing in it."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

from distributed import Client, LocalCluster

from rs_client.processing.payload import run_payload
from tests.unit.processing.session import small


def content(store: Path) -> dict[str, bytes]:
    return {str(path.relative_to(store)): path.read_bytes() for path in store.rglob("*") if path.is_file()}


def order(folder: Path, output: Path) -> dict[str, Any]:
    inputs = []
    for (channel, block), octets in small().files().items():
        path = folder / f"ch{channel}_{block:05d}.raw"
        octets.tofile(path)
        inputs.append({"channel": channel, "block": block, "href": path.as_uri(), "size": octets.size})
    return {
        "processor": "s1-l0",
        "inputs": inputs,
        "output": output.as_uri(),
        "session": {"id": "S1A_1"},
        "parameters": {"segment": 10_000},
    }


def test_a_killed_worker_changes_no_byte(tmp_path: Path) -> None:
    alone, together = tmp_path / "alone" / "X.zarr", tmp_path / "together" / "X.zarr"
    run_payload(order(tmp_path, alone))
    with (
        LocalCluster(n_workers=2, threads_per_worker=1, host="127.0.0.1", dashboard_address="127.0.0.1:0") as cluster,  # type: ignore[no-untyped-call]
        Client(cluster) as client,  # type: ignore[no-untyped-call]
    ):
        victim = next(iter(client.run(os.getpid).values()))
        killer = threading.Thread(target=_kill_when_busy, args=(client, victim))
        killer.start()
        run_payload(order(tmp_path, together))
        killer.join()
    assert content(together) == content(alone)


def _kill_when_busy(client: Client, victim: int) -> None:
    """Kill a worker as soon as the cluster has something to do."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        if any(client.processing().values()):  # type: ignore[no-untyped-call]
            os.kill(victim, signal.SIGKILL)
            return
        time.sleep(0.002)
    raise AssertionError("the cluster never had anything to do")
