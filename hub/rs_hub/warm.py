"""Clusters as processes of this machine that start warm: forked from one that has imported what they run.

A scheduler, and after it each worker, would else import for half a second before it listens, and a worker that then
processes for some seconds again.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from dask_gateway_server.backends.local import UnsafeLocalBackend  # type: ignore[import-untyped]  # no types there
from traitlets import Unicode

# What a nanny would set for its worker: libraries read it once, when they are imported, and glibc before.
_FOR_WORKERS = {
    **dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1"),
    "MALLOC_TRIM_THRESHOLD_": "65536",
    # A worker looks every 10 ms at what each of its threads does, for the dashboard: a tenth of what it does at all.
    "DASK_DISTRIBUTED__WORKER__PROFILE__INTERVAL": "100ms",
}


class WarmBackend(UnsafeLocalBackend):  # type: ignore[misc]
    """The gateway's local backend, whose processes are forked from a nursery (``rs_hub.nursery``)."""

    python = Unicode(sys.executable, help="Interpreter whose packages schedulers and workers run", config=True)

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._nursery: Process | None = None
        self._turn = asyncio.Lock()

    async def do_setup(self) -> None:
        """Let the nursery import beside the start of the gateway, so that the first cluster is as fast as the next."""
        await super().do_setup()
        async with self._turn:
            await self._living()

    async def do_cleanup(self) -> None:
        """End the nursery. Clusters that are left go on, for the gateway that comes after."""
        await super().do_cleanup()
        if self._nursery:
            _input(self._nursery).close()
            await self._nursery.wait()

    async def start_process(self, cluster: Any, cmd: Sequence[str], env: Mapping[str, str], name: str) -> int:
        """Start a Python program (``python -m module …``); its process id.

        Raises ``OSError`` when the nursery ends before it answers, which the gateway tells as a failed start.
        """
        folder = cluster.state["workdir"]
        log = Path(self.get_logs_directory(folder)) / f"{name}.log"
        order = {"command": list(cmd), "environment": dict(env), "folder": folder, "log": str(log)}
        async with self._turn:
            nursery = await self._living()
            _input(nursery).write(json.dumps(order).encode() + b"\n")
            return int(await _line(nursery))

    async def _living(self) -> Process:
        """The nursery, another one when it was killed. It imports for seconds: the first order waits for that."""
        if self._nursery is None or self._nursery.returncode is not None:
            variables = {name: os.environ[name] for name in self.inherited_environment if name in os.environ}
            self._nursery = await asyncio.create_subprocess_exec(
                *(self.python, "-m", "rs_hub.nursery"), stdin=PIPE, stdout=PIPE, env=variables | _FOR_WORKERS
            )
        return self._nursery


def _input(nursery: Process) -> asyncio.StreamWriter:
    assert nursery.stdin is not None  # piped
    return nursery.stdin


async def _line(nursery: Process) -> bytes:
    assert nursery.stdout is not None  # piped
    if line := await nursery.stdout.readline():
        return line
    await nursery.wait()
    raise ChildProcessError("the process that starts schedulers and workers has ended; the next start begins another")
