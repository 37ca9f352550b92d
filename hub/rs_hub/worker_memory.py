"""Ends a Dask worker that has used up its memory, as a nanny would: a preload module of the workers of ``WarmBackend``.

A nanny is one more process to start for each worker. Without one the gateway itself replaces a worker that has ended.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from typing import TYPE_CHECKING

import dask.config

if TYPE_CHECKING:
    from distributed import Worker

_LOOK_EVERY_S = 0.1
_GIB = 2**30

log = logging.getLogger("distributed.worker.memory")


def dask_setup(worker: Worker) -> None:
    """Watch the memory of a worker from now on, from a thread: its event loop may be waiting for the interpreter."""
    limit, fraction = worker.memory_manager.memory_limit, dask.config.get("distributed.worker.memory.terminate")
    if limit and fraction:
        threading.Thread(target=_watch, args=(worker, limit * fraction), name="memory limit", daemon=True).start()


def _watch(worker: Worker, most: float) -> None:
    """End this process when it has more than ``most`` bytes in memory."""
    while (used := worker.monitor.get_process_memory()) <= most:
        time.sleep(_LOOK_EVERY_S)
    log.warning(
        "the worker has %.2f GiB in memory, more than %.2f GiB: it ends; another one takes its place",
        used / _GIB,
        most / _GIB,
    )
    os.kill(os.getpid(), signal.SIGKILL)  # nothing else ends a process whose threads do not give way
