"""Clusters that start warm: what is forked is a program of its own, and the nursery may be killed at any time."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rs_hub.warm import WarmBackend

BARE = "import numpy; import rs_hub.nursery as nursery; nursery._import = lambda: None; nursery.main()"
TELL = (
    "import dask.config, json, os, signal, sys\n"
    "if __name__ == '__main__':\n"
    "    told = {name: os.environ.get(name) for name in ('ONE', 'TWO')}\n"
    "    told |= {'argv': sys.argv, 'folder': os.getcwd(), 'input': sys.stdin.read()}\n"
    "    told |= {'own': os.getsid(0) == os.getpid()}\n"
    "    told |= {'dask': dask.config.get('rs.test', None), 'modules': 'tell' in sys.modules}\n"
    "    told |= {'interrupted': signal.getsignal(signal.SIGINT) is signal.default_int_handler}\n"
    "    print(json.dumps(told))\n"
    "    sys.exit(3)\n"
)
SLEEP = "import time\nprint('up', flush=True)\ntime.sleep(60)\n"


@pytest.fixture
def programs(tmp_path: Path) -> Path:
    """A folder of modules that the nursery can run."""
    folder = tmp_path / "programs"
    folder.mkdir()
    (folder / "tell.py").write_text(TELL)
    (folder / "sleeping.py").write_text(SLEEP)
    return folder


@contextmanager
def nursery(programs: Path) -> Iterator[subprocess.Popen[str]]:
    variables = {**os.environ, "PYTHONPATH": str(programs), "ONE": "nursery", "TWO": "nursery"}
    with subprocess.Popen(
        [sys.executable, "-c", BARE], env=variables, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        try:
            yield process
        finally:
            assert process.stdin
            process.stdin.close()


def order(process: subprocess.Popen[str], folder: Path, module: str, *arguments: str, **environment: str) -> int:
    assert process.stdin
    assert process.stdout
    asked: dict[str, Any] = {"command": ["python", "-m", module, *arguments], "environment": environment}
    process.stdin.write(json.dumps(asked | {"folder": str(folder), "log": str(folder / "x.log")}) + "\n")
    process.stdin.flush()
    return int(process.stdout.readline())


def text_of(log: Path, ending: str = "\n") -> str:
    deadline = time.monotonic() + 10
    while not (log.exists() and log.read_text().endswith(ending)):
        assert time.monotonic() < deadline, log.read_text() if log.exists() else "no log"
        time.sleep(0.01)
    return log.read_text()


def test_what_is_forked_is_a_program_of_its_own(programs: Path, tmp_path: Path) -> None:
    with nursery(programs) as process:
        order(process, tmp_path, "tell", "--name", "x", TWO="order", DASK_RS__TEST="7")
        told = json.loads(text_of(tmp_path / "x.log"))
        assert told == {
            "ONE": "nursery",
            "TWO": "order",
            "argv": [str(programs / "tell.py"), "--name", "x"],
            "folder": str(tmp_path),
            "input": "",
            "own": True,
            "dask": 7,
            "modules": False,
            "interrupted": True,
        }
        assert (tmp_path / "x.log").stat().st_mode & 0o777 == 0o600


def test_each_draws_random_numbers_of_its_own(programs: Path, tmp_path: Path) -> None:
    (programs / "drawing.py").write_text("import numpy, random\nprint(numpy.random.random(), random.random())\n")
    drawn: set[str] = set()
    with nursery(programs) as process:
        for _ in range(3):
            order(process, tmp_path, "drawing")
            drawn |= set(text_of(tmp_path / "x.log").split())
            (tmp_path / "x.log").unlink()
    assert len(drawn) == 6


def test_the_dead_leave_nothing_behind_and_the_living_go_on(programs: Path, tmp_path: Path) -> None:
    with nursery(programs) as process:
        first = order(process, tmp_path, "sleeping")
        text_of(tmp_path / "x.log")
        os.kill(first, signal.SIGKILL)
        deadline = time.monotonic() + 10
        while Path(f"/proc/{first}").exists():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        (tmp_path / "x.log").unlink()
        second = order(process, tmp_path, "sleeping")
        text_of(tmp_path / "x.log")
    assert process.returncode == 0
    os.kill(second, signal.SIGKILL)


@asynccontextmanager
async def backend(monkeypatch: pytest.MonkeyPatch, programs: Path) -> AsyncIterator[WarmBackend]:
    """The backend, beside a nursery that imports nothing."""
    python = programs / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} -c "{BARE}"\n')
    python.chmod(0o700)
    monkeypatch.setenv("PYTHONPATH", str(programs))
    opened = WarmBackend()
    opened.python, opened.inherited_environment = str(python), ["PATH", "PYTHONPATH"]
    await opened.do_setup()
    try:
        yield opened
    finally:
        await opened.do_cleanup()


async def test_a_nursery_that_was_killed_is_replaced(
    monkeypatch: pytest.MonkeyPatch, programs: Path, tmp_path: Path
) -> None:
    cluster = SimpleNamespace(state={"workdir": str(tmp_path)})
    (tmp_path / "logs").mkdir()
    command = ["python", "-m", "sleeping"]
    async with backend(monkeypatch, programs) as opened:
        started = [await opened.start_process(cluster, command, {}, "one")]
        assert opened._nursery is not None
        opened._nursery.kill()
        with pytest.raises(ChildProcessError, match="has ended"):
            await opened.start_process(cluster, command, {}, "two")
        started += await asyncio.gather(
            *(opened.start_process(cluster, command, {}, name) for name in ("three", "four"))
        )
        for name in ("one", "three", "four"):
            assert await asyncio.to_thread(text_of, tmp_path / "logs" / f"{name}.log") == "up\n"
    for pid in started:
        os.kill(pid, signal.SIGKILL)


def test_a_worker_ends_before_it_takes_the_memory_of_others() -> None:
    code = (
        "import distributed, time\n"
        "from types import SimpleNamespace as Of\n"
        "from rs_hub.worker_memory import dask_setup\n"
        "used = iter([10, 94, 96, 96])\n"
        "dask_setup(Of(memory_manager=Of(memory_limit=100), monitor=Of(get_process_memory=lambda: next(used))))\n"
        "time.sleep(30)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL
    assert "it ends" in done.stderr
