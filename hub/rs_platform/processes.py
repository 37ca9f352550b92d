"""What runs on this machine for one installation, as the kernel tells it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from rs_platform.installation import MARKER_VARIABLE, Installation

PROC = Path("/proc")
_TICKS = os.sysconf("SC_CLK_TCK")
_ZOMBIE = "Z"


@dataclass(frozen=True)
class Process:
    """One process; ``started`` (clock ticks since boot) tells it from a later one with the same pid."""

    pid: int
    parent: int
    name: str
    started: int

    @property
    def age_s(self) -> float:
        """Seconds since it was started."""
        return time.clock_gettime(time.CLOCK_BOOTTIME) - self.started / _TICKS


def running() -> dict[int, Process]:
    """Every process that runs now, by pid."""
    found = (read(int(entry.name)) for entry in PROC.iterdir() if entry.name.isdigit())
    return {process.pid: process for process in found if process is not None}


def read(pid: int) -> Process | None:
    """The process with this pid; ``None`` when there is none, or it has ended."""
    try:
        text = (PROC / str(pid) / "stat").read_text()
    except OSError:
        return None
    name, _, rest = text.partition("(")[2].rpartition(")")
    fields = rest.split()
    if fields[0] == _ZOMBIE:
        return None
    return Process(pid, parent=int(fields[1]), name=name, started=int(fields[19]))


def memory_bytes(pid: int) -> int:
    """Resident memory of a process in bytes; 0 when it has ended."""
    try:
        pages = int((PROC / str(pid) / "statm").read_text().split()[1])
    except OSError:
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")


def tree(root: int, processes: Mapping[int, Process]) -> list[Process]:
    """A process and all that descend from it."""
    found = [processes[root]] if root in processes else []
    for known in found:
        found += [process for process in processes.values() if process.parent == known.pid]
    return found


def belonging(installation: Installation) -> list[Process]:
    """Every process of an installation, also those whose parent was killed."""
    mine = os.getpid()
    return [
        process
        for process in running().values()
        if process.pid != mine and _is_marked(environment(process.pid), installation)
    ]


def environment(pid: int) -> dict[str, str]:
    """The environment a process was started with; empty when it may not be read."""
    try:
        text = (PROC / str(pid) / "environ").read_bytes().decode(errors="replace")
    except OSError:
        return {}
    return dict(entry.partition("=")[::2] for entry in text.split("\0") if "=" in entry)


def _is_marked(values: Mapping[str, str], installation: Installation) -> bool:
    """By the marker; users' servers, which do not inherit it, by their home."""
    if values.get(MARKER_VARIABLE) == str(installation.home):
        return True
    return values.get("HOME", "").startswith(f"{installation.data}/")


def end(processes: Iterable[Process], *, patience_s: float = 8.0) -> list[Process]:
    """Ask processes to stop, then stop them; those that had to be killed."""
    alive = list(processes)
    for process in alive:
        # A PostgreSQL server that is asked to terminate waits for its clients; interrupted, it closes at once.
        _signal(process, signal.SIGINT if process.name.startswith("postgres") else signal.SIGTERM)
    deadline = time.monotonic() + patience_s
    while (alive := [process for process in alive if is_alive(process)]) and time.monotonic() < deadline:
        time.sleep(0.05)
    for process in alive:
        _signal(process, signal.SIGKILL)
    return alive


def is_alive(process: Process) -> bool:
    """Whether this very process still runs."""
    now = read(process.pid)
    return now is not None and now.started == process.started


def _signal(process: Process, number: signal.Signals) -> None:
    if is_alive(process):
        with suppress(ProcessLookupError):
            os.kill(process.pid, number)
