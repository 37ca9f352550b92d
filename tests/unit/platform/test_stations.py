"""The `rs station` commands: what their words become, and a station that runs by itself."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest
import typer

from rs_platform.stations import _assignments


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


def test_a_station_runs_by_itself(tmp_path: Path) -> None:
    scenario = tmp_path / "scenario.yaml"
    scenario.write_text(
        "clock: {start: 2024-11-14T14:30:00Z, speed: 0}\nfaults: [{requests: query, status: 418, times: 1}]"
    )
    words = [
        str(Path(sys.executable).parent / "rs"),
        "station",
        "serve",
        "--kind",
        "cadip",
        "--scenario",
        str(scenario),
    ]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        try:
            assert process.stdout is not None
            lines = [process.stdout.readline().strip().removeprefix("export ").partition("=") for _ in range(6)]
            told = {name: value for name, _, value in lines}
            form = {
                "grant_type": "client_credentials",
                "client_id": told["STATION_CLIENT_ID"],
                "client_secret": told["STATION_CLIENT_SECRET"],
            }
            with httpx.Client(trust_env=False, timeout=30) as client:
                token = client.post(told["STATION_TOKEN_URL"], data=form).raise_for_status().json()["access_token"]
                headers = {"Authorization": f"Bearer {token}"}
                url = f"{told['STATION_URL']}/Sessions"
                assert [client.get(url, headers=headers).status_code for _ in range(2)] == [418, 200]
                admin = {"Authorization": f"Bearer {told['STATION_ADMIN_TOKEN']}"}
                clock = client.get(f"{told['STATION_ADMIN_URL']}/clock", headers=admin).json()
                assert clock == {"now": "2024-11-14T14:30:00.000Z", "speed": 0.0}
        finally:
            os.killpg(process.pid, signal.SIGTERM)
