"""Measures the platform: first and warm start, memory at rest, and the main job; prints one line a figure.

Run ``python tests/benchmarks/bench_platform.py``; it starts an installation of its own and takes it away again.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from rs_platform import processes
from rs_platform.installation import Installation

RS = Path(sys.prefix) / "bin" / "rs"
WARM_STARTS = 3
REST_S = 20
MB = 1_000_000


def main() -> None:
    """Measure, and print each figure as it is known."""
    home = Path(tempfile.mkdtemp(prefix="rs-bench-"))
    try:
        _measure(home)
    finally:
        _rs(home, "down")
        shutil.rmtree(home, ignore_errors=True)


def _measure(home: Path) -> None:
    _say("rs up, first", _timed(home, "up", "-d", "--free-ports"), "s")
    for _ in range(WARM_STARTS):
        _say("rs down", _timed(home, "down"), "s")
        _say("rs up, warm", _timed(home, "up", "-d"), "s")
    time.sleep(REST_S)
    _memory(home)
    for name, seconds in _demo(home):
        _say(f"demo: {name}", seconds, "s")
    _say("demo again, all", _timed(home, "demo"), "s")


def _memory(home: Path) -> None:
    """Resident memory counts shared pages once for each process; the proportional set counts them once in all."""
    members = processes.belonging(Installation(home))
    _say("memory at rest, resident", sum(processes.memory_bytes(member.pid) for member in members) / MB, "MB")
    _say("memory at rest, proportional", sum(_proportional_bytes(member.pid) for member in members) / MB, "MB")
    _say("processes at rest", len(members), "")


def _proportional_bytes(pid: int) -> int:
    try:
        text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0
    found = re.search(r"^Pss:\s+(\d+) kB", text, re.MULTILINE)
    return int(found[1]) * 1024 if found else 0


def _demo(home: Path) -> list[tuple[str, float]]:
    """The timing table that the demo ends with."""
    lines = _rs(home, "demo").stdout.splitlines()
    rows = [re.fullmatch(r"(\S.*\S)\s+([\d.]+) s", line) for line in lines[lines.index("") :]]
    return [(row[1].strip(), float(row[2])) for row in rows if row]


def _timed(home: Path, *arguments: str) -> float:
    begin = time.monotonic()
    _rs(home, *arguments)
    return time.monotonic() - begin


def _rs(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "RS_HOME": str(home)}
    return subprocess.run([RS, *arguments], env=environment, check=True, capture_output=True, text=True)


def _say(name: str, value: float, unit: str) -> None:
    sys.stdout.write(f"{name:<40} {value:9.1f} {unit}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
