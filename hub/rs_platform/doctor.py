"""Checks what the platform needs from a machine; what is missing is named with the line that installs it.

Standard library only, Python 3.11 at least: it runs before anything is installed.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from rs_platform.tools import CHECKOUT, data_home, postgresql_versions

_GIB = 2**30
_DISK_GIB = 8
_GO, _JAVA, _NODE, _PYTHON = (1, 25), (17,), (18,), (3, 11)

_COLOURS = re.compile(r"\x1b\[[0-9;]*m")

Run = Callable[[list[str]], str]


@dataclass(frozen=True)
class Finding:
    """One thing looked at; ``remedy`` is the line that puts it right, empty when nothing is wrong."""

    name: str
    found: str
    remedy: str = ""

    @property
    def ok(self) -> bool:
        """Whether it is as needed."""
        return not self.remedy


@dataclass(frozen=True)
class Program:
    """A program that must be there already: its version question, the least version, and how to get it."""

    name: str
    question: tuple[str, ...]
    least: tuple[int, ...]
    remedy: str


PROGRAMS = (
    Program("go", ("go", "version"), _GO, "install Go 1.25 or later: https://go.dev/doc/install"),
    Program("java", ("java", "-version"), _JAVA, "apt-get install openjdk-17-jre-headless"),
    Program("mvn", ("mvn", "-v"), (3,), "apt-get install maven"),
    Program("node", ("node", "--version"), _NODE, "apt-get install nodejs"),
    Program("npm", ("npm", "--version"), (8,), "apt-get install npm"),
)


def examine(*, with_tests: bool, run: Run | None = None) -> list[Finding]:
    """Look at everything the platform needs; changes nothing."""
    return [
        _python(sys.version_info[:2]),
        *(program(entry, run or ask) for entry in PROGRAMS),
        system_packages(missing_packages(with_tests=with_tests), is_root=os.geteuid() == 0, found=shutil.which),
        disk(_free_bytes(CHECKOUT), str(CHECKOUT)),
        disk(_free_bytes(data_home()), str(data_home())),
    ]


def report(findings: Iterable[Finding]) -> int:
    """Print what was found; 0 when nothing is missing, else 1."""
    faulty = [finding for finding in findings if not _printed(finding).ok]
    if faulty:
        print("\nMissing, and what installs it:")
    for finding in faulty:
        print(f"  {finding.name}: {finding.remedy}")
    return 1 if faulty else 0


def _printed(finding: Finding) -> Finding:
    print(f"{'ok     ' if finding.ok else 'MISSING'}  {finding.name:<16} {finding.found}")
    return finding


def _python(version: tuple[int, ...]) -> Finding:
    found = ".".join(map(str, version))
    return Finding("python3", found, "" if version >= _PYTHON else "apt-get install python3 (3.11 or later)")


def program(entry: Program, run: Run) -> Finding:
    """Whether a program is there and new enough."""
    answer = run(list(entry.question))
    version = version_in(answer)
    if version is None:
        return Finding(entry.name, "not found", entry.remedy)
    found = ".".join(map(str, version))
    if version < entry.least:
        least = ".".join(map(str, entry.least))
        return Finding(entry.name, f"{found}, older than {least}", entry.remedy)
    return Finding(entry.name, found)


def version_in(answer: str) -> tuple[int, ...] | None:
    """The first version number in what a program said of itself."""
    found = re.search(r"\d+(?:\.\d+)*", _COLOURS.sub("", answer))
    return tuple(int(part) for part in found.group().split(".")[:3]) if found else None


def ask(command: list[str]) -> str:
    """What a program prints; empty when it is not there or fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout + done.stderr if done.returncode == 0 else ""


def missing_packages(*, with_tests: bool) -> tuple[str, ...]:
    """System packages that have to be installed; `postgresql-postgis` stands for the distribution's version."""
    lacking = {
        "postgresql-postgis": not postgresql_versions(),
        "python3-venv": not _has_ensurepip(),
        "chromium": with_tests and chromium() is None,
    }
    return tuple(name for name, missing in lacking.items() if missing)


def chromium() -> str | None:
    """The browser of the tests."""
    return shutil.which("chromium") or shutil.which("chromium-browser")


def _has_ensurepip() -> bool:
    return bool(ask([sys.executable, "-c", "import ensurepip, venv; print(1)"]))


def system_packages(missing: tuple[str, ...], *, is_root: bool, found: Callable[[str], str | None]) -> Finding:
    """Whether missing system packages can be installed: by apt, with the rights for it."""
    if not missing:
        return Finding("system packages", "all there")
    names = " ".join(missing)
    if found("apt-get") is None:
        return Finding("system packages", f"lacking {names}, and no apt-get here", f"install {names} by hand")
    if not is_root and found("sudo") is None:
        line = f"as root: apt-get install {package_line(missing)}"
        return Finding("system packages", f"lacking {names}, and neither root nor sudo", line)
    return Finding("system packages", f"apt-get will install {names}")


def package_line(missing: Iterable[str], versions: Mapping[str, str] | None = None) -> str:
    """The packages as a person would name them to apt-get."""
    names = {"postgresql-postgis": "postgresql postgresql-postgis", **(versions or {})}
    return " ".join(names.get(name, name) for name in missing)


def disk(free_bytes: int, place: str) -> Finding:
    """Whether there is room for environment, tools and data."""
    free = free_bytes / _GIB
    if free < _DISK_GIB:
        return Finding(f"disk {place}", f"{free:.1f} GiB free", f"free {_DISK_GIB} GiB there")
    return Finding(f"disk {place}", f"{free:.0f} GiB free")


def _free_bytes(folder: Path) -> int:
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


if __name__ == "__main__":
    sys.exit(report(examine(with_tests=True)))
