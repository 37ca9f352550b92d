"""What runs as a flow of Prefect connects as a script does: in a real flow, with a Prefect server of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from rs_platform.tools import tools
from tests.integration.jobs import SESSION, some_collection
from tests.integration.test_client import session

FLOW = Path(__file__).with_name("prefect_flow.py")


@pytest.mark.timeout(400)  # the first run installs Prefect
def test_connect_in_a_flow(platform: Any, tmp_path: Path) -> None:
    """Neither flow nor task says how to log in; a job's progress is in the flow's log; nobody is asked for a login."""
    name = some_collection()
    command = [
        str(tools().uv),
        "run",
        "--quiet",
        "--frozen",
        "--python",
        sys.executable,
        "--script",
        str(FLOW),
        SESSION,
        name,
    ]
    variables = {key: value for key, value in os.environ.items() if key != "CI" and not key.startswith("RS_")}
    prefect = {
        "PREFECT_HOME": str(tmp_path),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
        "XDG_CONFIG_HOME": str(tmp_path),
    }
    done = subprocess.run(
        command,
        env={**variables, **platform.env("alice"), **prefect},
        capture_output=True,
        text=True,
        check=False,
        timeout=380,
    )
    with session(platform, "alice") as alice:
        alice.catalog.remove_collection(f"alice_{name}", with_items=True)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["login"], told["items"]) == ("alice", [SESSION])
    assert "nobody can log in here" in told["refused"]
    assert "successful" in done.stderr.split("Beginning flow run")[1]
