"""Fixtures that every kind of test may use: one running platform for the whole run."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

CHECKOUT = Path(__file__).resolve().parents[1]
RS = Path(sys.prefix) / "bin" / "rs"
TEST_HOME_VARIABLE = "RS_TEST_HOME"  # an installation that runs already, shared by several runs


@dataclass(frozen=True)
class Platform:
    """A running installation of the platform, on ports of its own."""

    home: Path

    def rs(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run the `rs` command on this installation."""
        done = subprocess.run(
            [RS, *arguments],
            env={**os.environ, "RS_HOME": str(self.home), "COLUMNS": "200"},
            capture_output=True,
            text=True,
            check=False,
            timeout=280,
        )
        if check and done.returncode:
            raise AssertionError(f"rs {' '.join(arguments)} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
        return done

    def status(self) -> list[dict[str, Any]]:
        """What `rs status --json` says."""
        entries: list[dict[str, Any]] = json.loads(self.rs("status", "--json").stdout)
        return entries

    def url(self, name: str) -> str:
        """The address of a service."""
        found = {entry["name"]: entry["url"] for entry in self.status()}
        return str(found[name])

    def env(self, user: str) -> dict[str, str]:
        """The variables that a script of this user gets from `rs env`."""
        lines = self.rs("env", "--user", user).stdout.splitlines()
        pairs = (line.removeprefix("export ").partition("=") for line in lines if line.startswith("export "))
        return {name: value for name, _, value in pairs}

    def password(self, user: str) -> str:
        """The password of a demo user."""
        return self.rs("password", user).stdout.strip()


@pytest.fixture(scope="session")
def platform(request: pytest.FixtureRequest) -> Iterator[Platform]:
    """A running platform: the shared one that RS_TEST_HOME names, else one of this run's own, gone at its end."""
    shared = os.environ.get(TEST_HOME_VARIABLE)
    if shared:
        yield Platform(Path(shared))
        _keep_logs(request, Path(shared))
    else:
        yield from new_platform(request)


def new_platform(request: pytest.FixtureRequest, *only: str) -> Iterator[Platform]:
    """Start an installation, or some services of one, and take it away at the end, whatever happens."""
    home = Path(tempfile.mkdtemp(prefix="rs-"))  # short: Unix sockets lie below it
    started = Platform(home)
    try:
        started.rs("up", "-d", "--free-ports", *(["--only", ",".join(only)] if only else []))
        yield started
    finally:
        _keep_logs(request, home)
        started.rs("down", check=False)
        shutil.rmtree(home, ignore_errors=True)


def _keep_logs(request: pytest.FixtureRequest, home: Path) -> None:
    """After a failure, keep the services' logs where they can be read."""
    if request.session.testsfailed:
        kept = CHECKOUT / "build" / "logs" / home.name
        shutil.copytree(home / "logs", kept, dirs_exist_ok=True)
        sys.stderr.write(f"\nlogs of the services: {kept}\n")
