"""Starts servers and workers at once: a process that has loaded them already, and forks.

``python -m tests.faults.nursery`` reads one JSON object a line: ``{"variables": …, "log": …, "arguments": […]}``, and
answers the id of the process that it started.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable
from typing import Any


def main() -> None:
    """Fork as asked for, until the input ends."""
    import uvicorn

    import rs_server.app
    import rs_server.worker

    programs: dict[str, Callable[[], object]] = {"worker": rs_server.worker.main, "server": uvicorn.main}
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the dead leave nothing behind
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    for line in sys.stdin:
        asked: dict[str, Any] = json.loads(line)
        child = os.fork()
        if child == 0:
            _become(asked)
            programs[asked["arguments"][0]]()
            sys.exit()
        sys.stdout.write(f"{child}\n")
        sys.stdout.flush()


def _become(asked: dict[str, Any]) -> None:
    """Be a program of one's own: its environment, its log, its arguments, and its dead."""
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.environ.update(asked["variables"])
    log = os.open(asked["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for stream, end in ((0, nothing), (1, log), (2, log)):
        os.dup2(end, stream)
    sys.argv = asked["arguments"]


if __name__ == "__main__":
    main()
