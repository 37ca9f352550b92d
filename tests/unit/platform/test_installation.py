"""The installation folder: private, short paths for sockets, and a way to find every process that belongs to it."""

from __future__ import annotations

import os
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from rs_platform import processes
from rs_platform.installation import MARKER_VARIABLE, Installation, caller_environment, private_folder, write_private

SLEEP = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(60)"]
STUBBORN = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)",
]


def test_a_long_path_gets_its_sockets_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    short, deep = Installation(Path("/srv/rs")), Installation(tmp_path / ("a" * 60) / ("b" * 60))
    assert short.sockets == short.run
    assert deep.sockets.parent == tmp_path
    deep.prepare()
    assert stat.S_IMODE(deep.sockets.stat().st_mode) == 0o700


def test_private_files_replace_at_once(tmp_path: Path) -> None:
    path = tmp_path / "secret"
    path.write_text("old")
    path.chmod(0o644)
    write_private(path, "new")
    assert (path.read_text(), stat.S_IMODE(path.stat().st_mode)) == ("new", 0o600)
    assert [entry.name for entry in tmp_path.iterdir()] == ["secret"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a folder someone else's")
def test_a_folder_of_someone_else_is_refused(tmp_path: Path) -> None:
    os.chown(tmp_path, 12345, 12345)
    with pytest.raises(PermissionError, match="belongs to another user"):
        private_folder(tmp_path)


def test_little_of_the_caller_comes_through() -> None:
    given = {"LANG": "C.UTF-8", "AWS_SECRET_ACCESS_KEY": "x", "PYTHONPATH": "y", "RS_API_KEY": "z"}
    assert caller_environment(given) == {"LANG": "C.UTF-8"}


@pytest.fixture
def started(tmp_path: Path) -> Iterator[list[subprocess.Popen[str]]]:
    running: list[subprocess.Popen[str]] = []
    yield running
    for process in running:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()


def _start(running: list[subprocess.Popen[str]], command: list[str], **variables: str) -> int:
    process = subprocess.Popen(command, env={**os.environ, **variables}, stdout=subprocess.PIPE, text=True)
    running.append(process)
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    return process.pid


def test_what_belongs_is_found_by_marker_or_home(tmp_path: Path, started: list[subprocess.Popen[str]]) -> None:
    here = Installation(tmp_path)
    marked = _start(started, SLEEP, **{MARKER_VARIABLE: str(tmp_path)})
    homed = _start(started, SLEEP, HOME=str(here.data / "hub" / "homes" / "alice"))
    _start(started, SLEEP, **{MARKER_VARIABLE: f"{tmp_path}-other"})
    _start(started, SLEEP, RS_HOME=str(tmp_path))  # a person's shell says this too
    assert {process.pid for process in processes.belonging(here)} == {marked, homed}


def test_the_deaf_are_killed(tmp_path: Path, started: list[subprocess.Popen[str]]) -> None:
    polite, deaf = _start(started, SLEEP), _start(started, STUBBORN)
    family = [process for pid in (polite, deaf) if (process := processes.read(pid))]
    begin = time.monotonic()
    killed = processes.end(family, patience_s=0.5)
    assert [process.pid for process in killed] == [deaf]
    assert time.monotonic() - begin < 3


def test_a_tree_is_seen_whole(started: list[subprocess.Popen[str]]) -> None:
    child = _start(started, SLEEP)
    found = {process.pid for process in processes.tree(os.getpid(), processes.running())}
    assert {os.getpid(), child} <= found
    assert processes.memory_bytes(child) > 1_000_000


def test_nothing_is_read_of_what_has_ended() -> None:
    assert processes.read(2**22 + 1) is None
    assert processes.memory_bytes(2**22 + 1) == 0
    assert processes.environment(2**22 + 1) == {}
