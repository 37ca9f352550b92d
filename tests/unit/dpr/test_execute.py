"""What travels to a worker: it needs nothing of the server there, and gives no secret away."""

import subprocess
import sys
from pathlib import Path

import cloudpickle  # type: ignore[import-untyped]
import pytest

from rs_server.dpr.execute import ProcessingFailed, _waiting, remote_call, result_of
from rs_server.dpr.sizing import Size

PROCESSOR = """
def run(payload):
    if payload["fail"]:
        raise ValueError("cannot read block 7")
    return {"href": payload["output"], "server": "rs_server" in __import__("sys").modules}
"""

WORKER = """
import pickle, sys
call = pickle.load(sys.stdin.buffer)
assert "SECRET" not in repr(call)
sys.stdout.buffer.write(pickle.dumps(call()))
"""


def on_a_worker(folder: Path, *, fail: bool) -> dict[str, object]:
    """Run the call in a process of its own, where only the processor's folder is known."""
    (folder / "processor.py").write_text(PROCESSOR)
    call = remote_call("processor:run", {"output": "s3://b/k", "fail": fail, "storage": "SECRET"})
    done = subprocess.run(
        [sys.executable, "-c", WORKER],
        input=cloudpickle.dumps(call),
        capture_output=True,
        check=True,
        cwd=folder,
        env={"PYTHONPATH": str(folder)},
    )
    answer: dict[str, object] = cloudpickle.loads(done.stdout)
    return answer


def test_a_processor_runs_without_the_server(tmp_path: Path) -> None:
    answer = on_a_worker(tmp_path, fail=False)
    assert result_of(answer) == {"href": "s3://b/k", "server": False}


def test_a_failure_is_told_as_data(tmp_path: Path) -> None:
    answer = on_a_worker(tmp_path, fail=True)
    with pytest.raises(ProcessingFailed, match="ValueError: cannot read block 7"):
        result_of(answer)


def test_a_processor_that_is_not_there_is_told() -> None:
    with pytest.raises(ProcessingFailed, match="No module named 'nowhere'"):
        result_of(remote_call("nowhere:run", {})())


def test_the_runner_runs_without_the_server_too() -> None:
    """What the service calls on workers is importable where none of its own packages are."""
    hidden = "import sys; sys.modules['rs_server'] = None; sys.modules['structlog'] = None; "
    check = "from rs_client.processing.environment import describe; assert len(describe()['installed']) == 64"
    subprocess.run([sys.executable, "-c", hidden + check], check=True)


@pytest.mark.parametrize(
    ("waited_s", "named"),
    [(0.1, "they are being started"), (30.0, "no room for one yet, or it starts slowly; given up after 120 s")],
)
def test_waiting_for_workers_says_why(waited_s: float, named: str) -> None:
    line = _waiting(Size(2, 2, 1.75), waited_s, 120.0)
    assert line.startswith("waiting for the first of 2 workers (2 cores, 1.75 GiB each)")
    assert named in line
