"""The local platform as a whole: what it promises about processes, ports, data and secrets."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import httpx
import psutil  # type: ignore[import-untyped]
import psycopg
import pytest
from botocore.config import Config

from rs_platform import processes, secrets
from rs_platform.installation import Installation
from rs_platform.ports import remembered
from rs_platform.site import Site, site
from tests.conftest import RS, Platform

SERVICES = {
    *("postgres", "keycloak", "s3-iam", "s3"),
    *("cadip-station", "auxip-station", "prip-station", "lta-station"),
    *("rs-server", "rs-worker", "dask-gateway", "hub"),
}
SMALL = {"postgres", "s3-iam", "s3", "cadip-station", "dask-gateway"}


def _entry(platform: Platform, name: str) -> dict[str, Any]:
    return next(entry for entry in platform.status() if entry["name"] == name)


def _wait(condition: Callable[[], bool], what: str, patience_s: float = 60) -> None:
    deadline = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.2)


def _members(platform: Platform) -> list[str]:
    return [f"{process.pid} {process.name}" for process in processes.belonging(Installation(platform.home))]


def _site(platform: Platform) -> Site:
    here = Installation(platform.home)
    ports = remembered(here)
    assert ports is not None
    return site(here, ports)


def _s3(platform: Platform) -> Any:
    here = _site(platform)
    return boto3.client(
        "s3",
        endpoint_url=here.ports.url("s3"),
        region_name="us-east-1",
        aws_access_key_id=here.secrets.s3_access_key,
        aws_secret_access_key=here.secrets.s3_secret_key,
        config=Config(s3={"addressing_style": "path"}),
    )


# What the whole platform promises.


def test_everything_is_ready(platform: Platform) -> None:
    entries = platform.status()
    assert {entry["name"] for entry in entries} == SERVICES
    assert [entry for entry in entries if not entry["ready"]] == []


def test_the_status_has_its_stable_form(platform: Platform) -> None:
    for entry in platform.status():
        assert list(entry) == ["name", "state", "ready", "url", "pid", "rss_bytes", "uptime_s"]
        assert entry["state"] == "running"
        assert isinstance(entry["pid"], int)
        assert entry["rss_bytes"] > 1_000_000
        assert entry["uptime_s"] >= 0
        assert entry["url"] is None or "://127.0.0.1:" in entry["url"]


def test_it_listens_on_loopback_only(platform: Platform) -> None:
    members = {process.pid for process in processes.belonging(Installation(platform.home))}
    listening = [
        connection
        for connection in psutil.net_connections("inet")
        if connection.status == psutil.CONN_LISTEN and connection.pid in members
    ]
    assert len(listening) >= len(SERVICES) - 1
    addresses = {connection.laddr.ip for connection in listening}
    assert addresses <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}


def test_a_users_environment_works(platform: Platform) -> None:
    variables = platform.env("alice")
    answer = httpx.get(f"{variables['RS_SERVER_URL']}/auth/me", headers={"x-api-key": variables["RS_API_KEY"]})
    assert answer.status_code == 200
    assert "alice" in answer.text
    assert platform.env("alice")["RS_API_KEY"] == variables["RS_API_KEY"]
    assert platform.env("bob")["RS_API_KEY"] != variables["RS_API_KEY"]


def test_nobody_gets_a_key_for_a_user_who_is_not_there(platform: Platform) -> None:
    done = platform.rs("env", "--user", "nobody-at-all", check=False)
    assert done.returncode == 1
    assert "export" not in done.stdout
    assert "Traceback" not in done.stderr


def test_only_loopback_and_this_user_reach_the_database(platform: Platform) -> None:
    port = _site(platform).ports["postgres"]
    for user in ("postgres", "rs", "keycloak"):
        with pytest.raises(psycopg.OperationalError, match=r"password|authentication"):
            psycopg.connect(f"postgresql://{user}:guess@127.0.0.1:{port}/postgres", connect_timeout=5)


def test_stations_are_controlled(platform: Platform) -> None:
    sessions = json.loads(platform.rs("station", "sessions", "sgs").stdout)
    assert "S1A_20241114143038056552" in {session["SessionId"] for session in sessions}
    platform.rs("station", "fault", "adgs", "--status", "500")
    try:
        platform.rs("station", "fault", "adgs", "--add", "requests=download", "reset_at=[1,9]", "name='*.EOF'")
        first, second = json.loads(platform.rs("station", "faults", "adgs").stdout)["faults"]
        assert first["status"] == 500
        assert (second["requests"], second["reset_at"], second["name"]) == (["download"], [1, 9], "*.EOF")
    finally:
        platform.rs("station", "heal", "adgs")
    assert json.loads(platform.rs("station", "faults", "adgs").stdout)["faults"] == []
    assert "reset_ta" in platform.rs("station", "fault", "adgs", "reset_ta=5", check=False).stderr
    assert "NAME=VALUE" in platform.rs("station", "fault", "adgs", "reset", check=False).stderr
    assert json.loads(platform.rs("station", "clock", "adgs").stdout)["speed"] == 1.0
    assert "there is no station" in platform.rs("station", "faults", "nowhere", check=False).stderr


@pytest.mark.parametrize("name", ["rs-server", "rs-worker", "keycloak"])
def test_a_killed_service_comes_back(platform: Platform, name: str) -> None:
    before = _entry(platform, name)["pid"]
    os.kill(before, signal.SIGKILL)
    _wait(lambda: _entry(platform, name)["pid"] not in (None, before), f"{name} is not started again")
    _wait(lambda: bool(_entry(platform, name)["ready"]), f"{name} is not ready again")
    _wait(lambda: all(entry["ready"] for entry in platform.status()), "not all is ready again")


def test_no_log_holds_a_secret(platform: Platform) -> None:
    here = Installation(platform.home)
    users = json.loads(secrets.users_file(here).read_text())
    keys = json.loads((here.secrets / "keys.json").read_text())
    values = {**vars(secrets.load(here)), **{name: user["password"] for name, user in users.items()}, **keys}
    logs = list(here.logs.iterdir())
    assert len(logs) > len(SERVICES)
    found = [(log.name, name) for log in logs for name, value in values.items() if value in log.read_text()]
    assert found == []


# What is tried on an installation of its own.


def test_two_installations_run_side_by_side(platform: Platform, small_platform: Platform) -> None:
    mine = {entry["url"] for entry in small_platform.status()}
    theirs = {entry["url"] for entry in platform.status()}
    assert mine & theirs == {None}
    assert all(entry["ready"] for entry in small_platform.status() if entry["name"] in SMALL)


@pytest.fixture
def kept(small_platform: Platform) -> None:
    """Something in the database and in the object storage, to be found again."""
    with psycopg.connect(_site(small_platform).superuser, autocommit=True) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS kept AS SELECT 42 AS answer")
    _s3(small_platform).put_object(Bucket="rs-data", Key="kept", Body=b"42", Metadata={"unit": "none"})


@pytest.mark.usefixtures("kept")
def test_data_survives_kills(small_platform: Platform) -> None:
    for name in ("postgres", "s3", "s3-iam", "cadip-station", "dask-gateway"):
        pid = _entry(small_platform, name)["pid"]
        os.kill(pid, signal.SIGKILL)
        _wait(lambda: _entry(small_platform, name)["pid"] not in (None, pid), f"{name} is not started again")  # noqa: B023
        _wait(lambda: bool(_entry(small_platform, name)["ready"]), f"{name} is not ready again")  # noqa: B023
    _assert_kept(small_platform)


def _assert_kept(platform: Platform) -> None:
    with psycopg.connect(_site(platform).superuser) as connection:
        assert connection.execute("SELECT answer FROM kept").fetchone() == (42,)
    found = _s3(platform).get_object(Bucket="rs-data", Key="kept")
    assert (found["Body"].read(), found["Metadata"]) == (b"42", {"unit": "none"})


@pytest.mark.usefixtures("kept")
def test_a_killed_supervisord_is_replaced(small_platform: Platform) -> None:
    before = {entry["name"]: entry["pid"] for entry in small_platform.status()}
    os.kill(int((small_platform.home / "run" / "supervisord.pid").read_text()), signal.SIGKILL)
    done = small_platform.rs("up", "-d", "--only", ",".join(SMALL))
    assert "left behind" in done.stdout
    after = {entry["name"]: entry["pid"] for entry in small_platform.status()}
    assert all(after[name] and after[name] != before[name] for name in SMALL)
    _assert_kept(small_platform)


@pytest.mark.usefixtures("kept")
def test_down_leaves_no_process_and_up_brings_everything_back(small_platform: Platform) -> None:
    urls = [entry["url"] for entry in small_platform.status()]
    small_platform.rs("down")
    assert _members(small_platform) == []
    assert {entry["state"] for entry in small_platform.status()} == {"stopped"}
    small_platform.rs("down")  # nothing to do is no error
    small_platform.rs("up", "-d", "--only", ",".join(SMALL))
    assert [entry["url"] for entry in small_platform.status()] == urls
    _assert_kept(small_platform)


def test_a_port_of_someone_else_is_replaced_and_told(small_platform: Platform) -> None:
    url = _entry(small_platform, "cadip-station")["url"]
    port = int(url.rpartition(":")[2])
    small_platform.rs("down")
    with socket.socket() as stranger:
        stranger.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        stranger.bind(("127.0.0.1", port))
        stranger.listen()
        done = small_platform.rs("up", "-d", "--only", ",".join(SMALL))
    assert f"port {port} (cadip-station) is taken by another program" in done.stdout
    entry = _entry(small_platform, "cadip-station")
    assert entry["ready"]
    assert entry["url"] != url


def test_one_service_is_restarted(small_platform: Platform) -> None:
    before = _entry(small_platform, "cadip-station")["pid"]
    small_platform.rs("restart", "cadip-station")
    after = _entry(small_platform, "cadip-station")
    assert after["ready"]
    assert after["pid"] != before
    done = small_platform.rs("restart", "no-such-service", check=False)
    assert done.returncode == 2
    assert "no-such-service" in done.stderr


def test_logs_are_shown(small_platform: Platform) -> None:
    assert "database system is ready" in small_platform.rs("logs", "postgres").stdout
    done = small_platform.rs("logs", "no-such-service", check=False)
    assert "there are: " in done.stderr


# What is tried on folders that nobody has used.


@pytest.fixture
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("rs")
    yield folder
    Platform(folder).rs("down", check=False)


def _rs_up(home: Path, *arguments: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "RS_HOME": str(home)}
    return subprocess.Popen([RS, "up", "--free-ports", *arguments], env=environment, stdout=subprocess.PIPE, text=True)


def test_ctrl_c_leaves_no_process(home: Path) -> None:
    with _rs_up(home, "--only", "s3,dask-gateway") as foreground:
        assert foreground.stdout is not None
        for line in foreground.stdout:
            if line.startswith("Ctrl-C"):
                break
        assert len(_members(Platform(home))) >= 4
        foreground.send_signal(signal.SIGINT)
        foreground.communicate(timeout=60)
    assert foreground.returncode == 130
    assert _members(Platform(home)) == []


@pytest.mark.parametrize("after_s", [0.3, 0.8, 1.4, 2.0])
def test_a_start_killed_half_way_is_recovered(home: Path, after_s: float) -> None:
    with _rs_up(home, "-d", "--only", "postgres,s3") as killed:
        time.sleep(after_s)
        killed.kill()
        killed.communicate()
    fresh = Platform(home)
    fresh.rs("up", "-d", "--free-ports", "--only", "postgres,s3")
    ready = {entry["name"] for entry in fresh.status() if entry["ready"]}
    assert ready == {"postgres", "s3-iam", "s3"}


def test_a_half_made_cluster_is_started_over(home: Path) -> None:
    Installation(home).prepare()
    for name in ("postgres", "postgres.unfinished"):
        (home / "data" / name).mkdir()
        (home / "data" / name / "rest").write_text("of an initdb that was killed")
    fresh = Platform(home)
    fresh.rs("up", "-d", "--free-ports", "--only", "postgres")
    assert _entry(fresh, "postgres")["ready"]


def test_a_stale_pid_of_someone_else_does_not_matter(home: Path) -> None:
    fresh = Platform(home)
    fresh.rs("up", "-d", "--free-ports", "--only", "postgres")
    fresh.rs("down")
    note = home / "data" / "postgres" / "postmaster.pid"
    note.write_text(f"{os.getpid()}\n{home}/data/postgres\n1\n")
    (home / "run" / "supervisord.pid").write_text(f"{os.getpid()}\n")
    fresh.rs("up", "-d", "--only", "postgres")
    assert _entry(fresh, "postgres")["ready"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root's PostgreSQL runs as another user")
def test_postgresql_runs_behind_a_folder_it_may_not_pass(tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    fresh = Platform(closed / "home")
    try:
        fresh.rs("up", "-d", "--free-ports", "--only", "postgres")
        assert _entry(fresh, "postgres")["ready"]
        assert psutil.Process(_entry(fresh, "postgres")["pid"]).username() == "postgres"
    finally:
        fresh.rs("down")


def test_a_failing_service_is_named_with_its_log(home: Path) -> None:
    Installation(home).prepare()
    (home / "data" / "s3").write_text("a file where a folder must be")
    done = Platform(home).rs("up", "-d", "--free-ports", "--only", "s3", check=False)
    assert done.returncode == 1
    assert "data/s3" in done.stderr
    assert "Traceback" not in done.stderr


def test_an_unknown_service_is_told(home: Path) -> None:
    done = Platform(home).rs("up", "-d", "--only", "prefect", check=False)
    assert (done.returncode, "prefect" in done.stderr) == (2, True)


def test_reset_deletes_only_when_told_so(home: Path) -> None:
    fresh = Platform(home)
    fresh.rs("up", "-d", "--free-ports", "--only", "s3-iam")
    assert fresh.rs("reset", check=False).returncode == 2
    assert _entry(fresh, "s3-iam")["ready"]
    fresh.rs("reset", "--yes")
    assert not home.exists()
    assert _members(fresh) == []
