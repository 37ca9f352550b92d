"""A process that has imported what others need, and forks them: they begin where their imports would have ended.

``python -m rs_hub.nursery`` reads one JSON object a line: ``{"command": ["python", "-m",
"module", …], "environment": {…}, "folder": "…", "log": "…"}``, and answers each with the id of the process that it
started. It ends with its input; those it started go on.
"""

from __future__ import annotations

import gc
import importlib
import json
import os
import runpy
import signal
import sys
from contextlib import suppress
from importlib.metadata import entry_points
from typing import Any

_NEEDED = (
    "distributed.cli.dask_scheduler",
    "distributed.cli.dask_worker",
    "distributed.dashboard.scheduler",
    "dask_gateway.scheduler_preload",
    "eopf.triggering.runner",
    "rs_client.processing.engines",
    "rs_client.processing.environment",
    "rs_client.processing.rehearsal",
    "rs_client.processing.triggering",
)


def main() -> None:
    """Import, then fork as asked for until the input ends."""
    _import()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # its input tells it when to end
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the dead leave nothing behind
    for line in sys.stdin:
        order: dict[str, Any] = json.loads(line)
        if (child := os.fork()) == 0:
            _become(order)
            return
        sys.stdout.write(f"{child}\n")
        sys.stdout.flush()


def _import() -> None:
    """What schedulers, workers and processors need; what does not import is left for them to tell."""
    for name in _NEEDED:
        with suppress(Exception):
            importlib.import_module(name)
    for processor in entry_points(group="rs.processors"):
        with suppress(Exception):  # anybody's code
            processor.load()
    with suppress(Exception):
        sys.modules["rs_client.processing.environment"].describe()  # which remembers it
    with suppress(Exception):
        sys.modules["rs_client.processing.rehearsal"].rehearse()
    gc.collect()
    gc.freeze()  # a collection in a child would touch, and so copy, all of it


def _become(order: dict[str, Any]) -> None:
    """Be the program that is ordered, as if the interpreter had started it."""
    import dask.config

    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.setsid()
    os.chdir(order["folder"])
    _turn_streams(order["log"])
    os.environ.update(order["environment"])
    dask.config.refresh()  # it has read the environment of the nursery
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed()  # else all draw the same numbers; Python's own does so by itself
    _interpreter, _by_name, module, *arguments = order["command"]
    sys.modules.pop(module, None)  # it is run, not imported
    sys.argv = [module, *arguments]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


def _turn_streams(log: str) -> None:
    """Read nothing, and write to a file of one's own, which must be new."""
    opened = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND, 0o600)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for end, stream in ((nothing, 0), (opened, 1), (opened, 2)):
        os.dup2(end, stream)
    os.close(opened)
    os.close(nothing)


if __name__ == "__main__":
    main()
