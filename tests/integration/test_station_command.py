"""The `rs station` commands: what their words become, and a station that runs by itself."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
import typer

from rs_platform.stations import Admin, _assignments, ask
from rs_server.simulators import __main__ as simulators
from rs_server.simulators import scenario
from rs_server.simulators.app import ODATA_ROOT, TOKEN_PATH
from rs_server.simulators.serving import running
from rs_server.simulators.settings import SimulatorSettings


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ([], {}),
        (["reset_at=[1,90]", "times=2"], {"reset_at": [1, 90], "times": 2}),
        (["name=*.EOF"], {"name": "*.EOF"}),
        (["name=*_ch1_*"], {"name": "*_ch1_*"}),
        (["evict=true", "redirect=http://a/?b=c"], {"evict": True, "redirect": "http://a/?b=c"}),
    ],
)
def test_faults_are_written_in_words(words: list[str], expected: dict[str, Any]) -> None:
    assert _assignments(words) == expected


@pytest.mark.parametrize("word", ["reset", "=5", ""])
def test_words_without_a_name_are_refused(word: str) -> None:
    with pytest.raises(typer.BadParameter):
        _assignments([word])


RS = str(Path(sys.executable).parent / "rs")
SCENARIOS = Path(__file__).parents[2] / "rs_server" / "simulators" / "scenarios"


class Served:
    """A station that can be asked, and told what to do."""

    def __init__(self, told: Mapping[str, str], client: httpx.Client) -> None:
        self.told, self.client = told, client

    def log_in(self) -> None:
        form = {
            "grant_type": "client_credentials",
            "client_id": self.told["STATION_CLIENT_ID"],
            "client_secret": self.told["STATION_CLIENT_SECRET"],
        }
        answer = self.client.post(self.told["STATION_TOKEN_URL"], data=form).raise_for_status()
        self.client.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"

    def get(self, path: str, **options: str) -> httpx.Response:
        return self.client.get(f"{self.told['STATION_URL']}/{path}", params={f"${k}": v for k, v in options.items()})

    def rs(self, *words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [RS, "station", *words], env={**os.environ, **self.told}, capture_output=True, text=True, check=False
        )

    def admin(self, method: str, path: str, **body: Any) -> Any:
        return ask(Admin(self.told["STATION_ADMIN_URL"], self.told["STATION_ADMIN_TOKEN"]), "own", method, path, body)


@contextmanager
def served(kind: str, scenario: Path) -> Iterator[Served]:
    """As `rs station serve` runs it."""
    words = [RS, "station", "serve", "--kind", kind, "--scenario", str(scenario)]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        try:
            assert process.stdout is not None
            lines = [process.stdout.readline().strip().removeprefix("export ").partition("=") for _ in range(6)]
            with httpx.Client(trust_env=False, timeout=30) as client:
                station = Served({name: value for name, _, value in lines}, client)
                station.log_in()
                yield station
        finally:
            os.killpg(process.pid, signal.SIGINT)
            assert process.wait(20) == 0


@contextmanager
def example(kind: str) -> Iterator[Served]:
    """The station of the example for a kind, in this process."""
    told = SimulatorSettings.model_validate(
        {
            "kind": kind,
            "port": 1,
            "client_id": "client",
            "client_secret": "s",
            "admin_token": "a",
            "scale": 1e-4,
            "scenario": scenario.load(SCENARIOS / f"{kind}.yaml"),
        }
    )
    with running(told) as address, httpx.Client(trust_env=False, timeout=30) as client:
        variables = {
            "STATION_URL": f"{address}{ODATA_ROOT}",
            "STATION_TOKEN_URL": f"{address}{TOKEN_PATH}",
            "STATION_CLIENT_ID": "client",
            "STATION_CLIENT_SECRET": "s",
            "STATION_ADMIN_URL": f"{address}/admin",
            "STATION_ADMIN_TOKEN": "a",
        }
        station = Served(variables, client)
        station.log_in()
        yield station


def test_a_station_runs_by_itself_and_the_other_commands_speak_to_it(tmp_path: Path) -> None:
    file = tmp_path / "scenario.yaml"
    file.write_text(
        "clock: {start: 2024-11-14T14:30:00Z, speed: 0}\nfaults: [{requests: query, status: 418, times: 1}]"
    )
    with served("cadip", file) as station:
        assert [station.get("Sessions").status_code for _ in range(2)] == [418, 200]
        assert json.loads(station.rs("clock", "own").stdout) == {"now": "2024-11-14T14:30:00.000Z", "speed": 0.0}
        added = station.rs("fault", "own", "status=503", "requests=query", "--add")
        assert json.loads(added.stdout) == {"id": "fault-2"}
        assert station.get("Sessions").status_code == 503
        assert station.rs("heal", "own", "fault-2").returncode == 0
        wrong = station.rs("fault", "own", "reset=5")
        assert (wrong.returncode, "reset: there is no such field; did you mean reset_at" in wrong.stderr) == (1, True)
        assert station.rs("scenario", "own", str(file)).returncode == 0
        assert station.get("Sessions").status_code == 418
        other = station.rs("scenario", "own", str(SCENARIOS / "lta.yaml"))
        assert (other.returncode, "a CADIP station holds sessions" in other.stderr) == (1, True)


def test_without_a_station_of_ones_own() -> None:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("STATION_")}
    done = subprocess.run([RS, "station", "faults", "own"], env=clean, capture_output=True, text=True, check=False)
    assert (done.returncode, "STATION_ADMIN_URL" in done.stderr) == (1, True)


@pytest.mark.parametrize(
    ("kind", "text", "said"),
    [
        ("cadip", "quotas: {paralel_downloads: 4}", "quotas.paralel_downloads: there is no such field; did you mean"),
        ("cadip", "faults: [{requests: download}]", "faults.0: the fault does nothing"),
        ("cadip", "a: [1", "is no YAML"),
        ("cadip", "- 1", "is no scenario"),
        ("cadip", "clock: {start: 2024-11-14T14:30:00Z, skew_s: 1}", "clock: a clock has a start, or is skewed"),
        ("prip", "sessions: [{chunks: 2}]", "only CADIP stations have sessions"),
        ("lta", "holdings: {sessions: 2}", "only CADIP stations hold sessions"),
        ("cadip", "holdings: {products: 2}", "a CADIP station holds sessions"),
    ],
)
def test_a_bad_scenario_is_told_in_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, kind: str, text: str, said: str
) -> None:
    file = tmp_path / "scenario.yaml"
    file.write_text(text)
    monkeypatch.setattr(sys, "argv", ["simulators", "--kind", kind, "--scenario", str(file)])
    with pytest.raises(SystemExit) as ended:
        simulators.main()
    shown = capsys.readouterr()
    assert (ended.value.code, shown.out) == (2, "")
    assert shown.err.startswith(f"error: {file}")
    assert said in shown.err


@pytest.mark.parametrize(
    ("words", "said"), [(["--port", "70000"], "there is no port 70000"), (["--scale", "3"], "scale: Input should be")]
)
def test_bad_words_are_told_in_a_sentence(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, words: list[str], said: str
) -> None:
    monkeypatch.setattr(sys, "argv", ["simulators", "--kind", "auxip", *words])
    with pytest.raises(SystemExit) as ended:
        simulators.main()
    assert (ended.value.code, said in capsys.readouterr().err) == (2, True)


def test_a_port_that_is_taken_is_told(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        monkeypatch.setattr(sys, "argv", ["simulators", "--kind", "auxip", "--port", port])
        with pytest.raises(SystemExit):
            simulators.main()
    assert f"port {port} cannot be had" in capsys.readouterr().err


# --- the examples: what they say is what a client sees ----------------------------------------------------------------


def test_the_example_of_a_pass() -> None:
    with example("cadip") as station:
        station.admin("DELETE", "faults/fault-2")  # searches that are refused now and then
        assert station.get("Sessions/$count").text == "11"
        station.admin("PUT", "clock", at="2024-11-14T14:40:40Z", speed=0)
        coming = station.get("Sessions", filter="PublicationDate gt 2024-11-14T14:40:00Z", expand="Files,QualityInfo")
        (session,) = coming.json()["value"]
        assert (session["Satellite"], session["Files"], session["QualityInfo"]) == ("S1A", [], [])
        station.admin("PUT", "clock", at="2024-11-14T15:05:00Z")
        found = station.get("Sessions", filter="PublicationDate gt 2024-11-14T14:40:00Z", expand="Files,QualityInfo")
        rows = [
            (row["Satellite"], row["Retransfer"], row["DownlinkStatusOK"], len(row["Files"]), len(row["QualityInfo"]))
            for row in sorted(found.json()["value"], key=lambda row: row["PublicationDate"])
        ]
        assert rows == [("S1A", False, True, 10, 2), ("S1A", True, True, 2, 2), ("S1C", False, False, 14, 0)]
        (file,) = station.get("Files", filter="Channel eq 1 and BlockNumber eq 1", top="1").json()["value"]
        with pytest.raises(httpx.ReadError):
            station.get(f"Files({file['Id']})/$value")
        assert len(station.get(f"Files({file['Id']})/$value").content) == file["Size"]


def test_the_example_of_auxiliary_files() -> None:
    with example("auxip") as station:
        behind = datetime.now(UTC) - parsedate_to_datetime(station.get("Products", top="0").headers["date"])
        assert 85 < behind.total_seconds() < 96
        counts = [int(station.get("Products", count="true", top="1").json()["@odata.count"]) for _ in range(4)]
        assert counts == [2509, 2511, 2513, 2514]
        subscribed = [
            station.client.post(f"{station.told['STATION_URL']}/Subscriptions", json={}).status_code for _ in range(3)
        ]
        assert subscribed == [201, 201, 429]


def test_the_example_of_a_production_service() -> None:
    with example("prip") as station:
        station.admin("PUT", "clock", speed=0)

        def value_of(name: str) -> str:
            (product,) = station.get("Products", filter=f"startswith(Name,'{name}')", top="1").json()["value"]
            return f"Products({product['Id']})/$value"

        paths = {name: value_of(name) for name in ("S1A", "S2A", "S3A")}
        assert station.get("Products", filter="Name in ('a')").status_code == 501
        presigned = station.get(paths["S2A"])
        assert (presigned.status_code, "X-Amz-Signature" in presigned.headers["location"]) == (302, True)
        assert httpx.get(presigned.headers["location"], trust_env=False).content.startswith(b"PK")
        again = station.get(paths["S3A"])
        assert (again.status_code, "/mirror/odata/v1/" in again.headers["location"]) == (307, True)
        assert station.client.get(again.headers["location"]).content.startswith(b"PK")
        with pytest.raises(httpx.ReadError):
            station.get(paths["S1A"])
        assert station.get(paths["S1A"]).status_code == 401
        station.log_in()
        assert station.get(paths["S1A"]).content.startswith(b"PK")


def test_the_example_of_an_archive() -> None:
    with example("lta") as station:
        station.admin("DELETE", "faults")  # orders that are refused now and then
        station.admin("PUT", "clock", speed=0)
        offline = station.get("Products", filter="Online eq false", top="3", orderby="Name").json()["value"]
        url = station.told["STATION_URL"]
        placed = [station.client.post(f"{url}/Products({one['Id']})/OData.CSC.Order") for one in offline]
        assert [answer.status_code for answer in placed] == [201, 201, 403]
        assert station.get(f"Products({offline[0]['Id']})/$value").status_code == 404
        station.admin("PUT", "clock", advance_s=61)
        order = station.get(f"Orders({placed[0].json()['Id']})").json()
        assert order["Status"] == "in_progress"
        assert order["EstimatedDate"] > placed[0].json()["EstimatedDate"]
        station.admin("PUT", "clock", advance_s=240)
        assert station.get(f"Orders({placed[0].json()['Id']})").json()["Status"] in ("completed", "failed")
