"""What runs as a flow of Prefect connects as a script does: called as a function, and deployed, for unattended work."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest

from rs_client import connect
from rs_client.auth import ServiceAccount
from rs_platform.access import known_site
from rs_platform.installation import Installation
from rs_platform.ports import free_port
from rs_platform.tools import tools
from tests.integration.jobs import SESSION, some_collection
from tests.integration.test_client import session

FLOW = Path(__file__).with_name("prefect_flow.py")
ACCOUNT = "rs-chains"


@pytest.fixture(scope="module")
def python() -> str:
    """The interpreter of the flow's own environment, which the first run installs."""
    uv = str(tools().uv)
    subprocess.run(
        [uv, "sync", "--quiet", "--frozen", "--python", sys.executable, "--script", str(FLOW)], check=True, timeout=380
    )
    found = subprocess.run(
        [uv, "python", "find", "--script", str(FLOW)], check=True, capture_output=True, text=True, timeout=60
    )
    return found.stdout.strip()


def variables(home: Path, more: Mapping[str, str]) -> dict[str, str]:
    """An environment without a way in, but for what is given."""
    kept = {name: value for name, value in os.environ.items() if name != "CI" and not name.startswith("RS_")}
    own = {
        "PREFECT_HOME": str(home),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
        "XDG_CONFIG_HOME": str(home),
    }
    return {**kept, **own, **more}


def told(python: str, environment: Mapping[str, str], *arguments: str) -> tuple[dict[str, Any], str]:
    """What the flow did, and what it said meanwhile."""
    done = subprocess.run(
        [python, str(FLOW), *arguments], env=environment, capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), done.stderr


@contextmanager
def running(command: list[str], environment: Mapping[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A program beside the test, ended with it."""
    with log.open("wb") as said, subprocess.Popen(command, env=environment, stdout=said, stderr=said) as process:
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()


def until(answers: str, log: Path, server: subprocess.Popen[bytes], within_s: float = 120) -> None:
    """Wait until an address answers."""
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        assert server.poll() is None, log.read_text()
        try:
            if httpx.get(answers, timeout=5, trust_env=False).is_success:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.3)
    raise AssertionError(f"{answers} does not answer: {log.read_text()}")


@pytest.mark.timeout(700)  # the first run installs Prefect
def test_connect_in_a_flow(platform: Any, python: str, tmp_path: Path) -> None:
    """Neither flow nor task says how to log in; a job's progress is in the flow's log; nobody is asked for a login."""
    name = some_collection()
    found, said = told(python, variables(tmp_path, platform.env("alice")), "call", SESSION, name)
    with session(platform, "alice") as alice:
        alice.catalog.remove_collection(f"alice_{name}", with_items=True)
    assert (found["login"], found["items"]) == ("alice", [SESSION])
    assert "nobody can log in here" in found["refused"]
    assert "successful" in said.split("Beginning flow run")[1]


@pytest.mark.timeout(700)
def test_a_deployed_flow_works_under_a_name_of_its_own(platform: Any, python: str, tmp_path: Path) -> None:
    """Who runs the deployment has a service account, who asks for a run has nothing but Prefect's address."""
    name, site = some_collection(), known_site(Installation(platform.home))
    api = f"http://127.0.0.1:{free_port()}/api"
    port = api.removesuffix("/api").rpartition(":")[2]
    bare = variables(tmp_path, {"PREFECT_API_URL": api})
    account = {
        "RS_SERVER_URL": platform.url("rs-server"),
        "RS_CLIENT_ID": ACCOUNT,
        "RS_CLIENT_SECRET": site.secrets.chains_client_secret,
    }
    prefect = [python, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", port]
    with running(prefect, bare, tmp_path / "server.log") as server:
        until(f"{api}/health", tmp_path / "server.log", server)
        with running([python, str(FLOW), "serve"], {**bare, **account}, tmp_path / "serve.log") as serving:
            until(f"{api}/deployments/name/systematic/unattended", tmp_path / "serve.log", serving)
            found, _ = told(python, bare, "ask", SESSION, name)
    with connect(
        account["RS_SERVER_URL"], auth=ServiceAccount(site.issuer, ACCOUNT, account["RS_CLIENT_SECRET"])
    ) as it:
        it.catalog.remove_collection(name, with_items=True)
    assert found["state"] == "Completed", (found, (tmp_path / "serve.log").read_text())
    assert (found["login"], found["items"]) == (f"service-account-{ACCOUNT}", [SESSION])
    assert "nobody can log in here" in found["refused"]
    assert any("staging · successful" in line for line in found["log"])
