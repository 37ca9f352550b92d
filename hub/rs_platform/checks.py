"""Everything that must hold of the code, as `make test` runs it: style, types, layers and the tests."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

from rs_platform import access, starting, stopping
from rs_platform.installation import Installation
from rs_platform.tools import CHECKOUT

TEST_HOME_VARIABLE = "RS_TEST_HOME"
"""An installation that runs already, for tests to share instead of starting their own."""

_NOTHING_COLLECTED = 5


@dataclass(frozen=True)
class Counts:
    """How many tests ended how; an error in setting a test up counts as a failure."""

    passed: int = 0
    failed: int = 0
    skipped: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(self.passed + other.passed, self.failed + other.failed, self.skipped + other.skipped)

    def __str__(self) -> str:
        return f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped"


@dataclass(frozen=True)
class Outcome:
    """One check: whether it holds, how long it took in seconds, and the tests it counted."""

    name: str
    ok: bool
    seconds: float
    counts: Counts = Counts()


def lint() -> list[Outcome]:
    """Style, types and layers."""
    return [
        _check("ruff check", ["ruff", "check", "."]),
        _check("ruff format", ["ruff", "format", "--check", "."]),
        _check("mypy --strict", ["mypy"]),
        _check("import layers", ["lint-imports"]),
    ]


def unit() -> list[Outcome]:
    """The tests that need no service."""
    return [_tests("unit tests", ["--numprocesses=logical", "--dist=worksteal", "tests/unit"])]


def everything() -> list[Outcome]:
    """All of it, with one platform for all tests that need one."""
    outcomes = [*lint(), *unit(), _tests("fault tests, short form", ["tests/faults"])]
    with _test_platform() as (home, variables):
        shared = {TEST_HOME_VARIABLE: str(home.home)}
        outcomes.append(_tests("integration tests", ["tests/integration"], shared))
        outcomes.append(
            _tests(
                "tutorials",
                ["-p", "nbval.plugin", "--nbval-lax", "--nbval-cell-timeout=300", "notebooks/tutorials"],
                variables,
            )
        )
        outcomes.append(_browser(shared))
    return outcomes


def browser() -> list[Outcome]:
    """What people see, in a real browser."""
    return [_browser()]


def _browser(variables: dict[str, str] | None = None) -> Outcome:
    """A process of their own: the browser's driver keeps an event loop running, beside which no other can."""
    return _tests("browser tests", ["--timeout=900", "tests/e2e"], variables)


def faults() -> list[Outcome]:
    """The long form of the tests that kill, and of those in which stations and storage fail."""
    outcomes = [_tests("fault tests, long form", ["--timeout=7200", "tests/faults"], {"RS_FAULTS": "long"})]
    with _test_platform() as (home, _):
        kills = [sys.executable, "tests/faults/dpr_kills.py"]
        outcomes.append(_check("kills of processing", kills, {TEST_HOME_VARIABLE: str(home.home)}))
    outcomes.append(_check("kills of the installation", [sys.executable, "tests/faults/kill_installation.py"]))
    return outcomes


def bench() -> list[Outcome]:
    """The measurements."""
    scripts = sorted((CHECKOUT / "tests" / "benchmarks").glob("bench_*.py"))
    return [_check(script.stem, [sys.executable, str(script)]) for script in scripts]


@contextmanager
def _test_platform() -> Iterator[tuple[Installation, dict[str, str]]]:
    """An installation of its own, on ports that nobody uses; gone at the end."""
    with tempfile.TemporaryDirectory(prefix="rs-test-") as folder:
        installation = Installation(Path(folder).resolve())
        try:
            starting.up(installation, free_ports=True, report=print)
            yield installation, access.user_environment(installation, "alice")
        finally:
            stopping.down(installation)


def _check(name: str, command: Sequence[str], variables: dict[str, str] | None = None) -> Outcome:
    print(f"\n── {name}", flush=True)
    begin = time.monotonic()
    environment = {**os.environ, **(variables or {})}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # else every process of pytest makes the same bytecode anew
    done = subprocess.run(list(command), cwd=CHECKOUT, env=environment, check=False)
    return Outcome(name, done.returncode == 0, time.monotonic() - begin)


def _tests(name: str, arguments: Sequence[str], variables: dict[str, str] | None = None) -> Outcome:
    with tempfile.TemporaryDirectory() as folder:
        record = Path(folder) / "record.xml"
        command = [sys.executable, "-m", "pytest", "-q", f"--junit-xml={record}", *arguments]
        outcome = _check(name, command, variables)
        counts = counted(record.read_text()) if record.exists() else Counts(failed=1)
    return Outcome(name, outcome.ok, outcome.seconds, counts)


def counted(record: str) -> Counts:
    """The counts in a JUnit record."""
    total = Counts()
    for suite in ET.fromstring(record).iter("testsuite"):  # noqa: S314 - written by our own pytest
        number = {key: int(suite.get(key, 0)) for key in ("tests", "failures", "errors", "skipped")}
        failed = number["failures"] + number["errors"]
        total += Counts(number["tests"] - failed - number["skipped"], failed, number["skipped"])
    return total


def closing(outcomes: Sequence[Outcome]) -> str:
    """The one line that says it all."""
    return str(sum((outcome.counts for outcome in outcomes), Counts()))


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one of the sets of checks; 0 when all hold."""
    sets: dict[str, Callable[[], list[Outcome]]] = {
        "all": everything,
        "unit": unit,
        "lint": lint,
        "browser": browser,
        "bench": bench,
        "faults": faults,
    }
    (name,) = sys.argv[1:] if arguments is None else arguments
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that what was started for the tests is stopped
    try:
        outcomes = sets[name]()
    except starting.StartFailed as failure:
        print(f"the platform does not start: {failure}")
        outcomes = [Outcome("platform", ok=False, seconds=0, counts=Counts(failed=1))]
    print()
    for outcome in outcomes:
        print(f"{'ok    ' if outcome.ok else 'FAILED'} {outcome.name:<32} {outcome.seconds:7.1f} s")
    print(closing(outcomes))
    return 0 if all(outcome.ok for outcome in outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
