"""What travels to a worker: it needs nothing of the server there, and gives no secret away."""

import subprocess
import sys
from pathlib import Path

import cloudpickle  # type: ignore[import-untyped]
import pytest

from rs_server.dpr.execute import ProcessingFailed, remote_call, result_of

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
