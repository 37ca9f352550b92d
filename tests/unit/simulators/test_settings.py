"""Settings of a station: read from YAML, misspellings refused, secrets not shown."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import ValidationError

from rs_server.simulators.settings import load

GIVEN = {
    "kind": "cadip",
    "host": "127.0.0.1",
    "port": 8010,
    "client_id": "client",
    "client_secret": "hidden-secret",
    "admin_token": "hidden-token",
    "seed": 7,
    "scale": 0.002,
    "state_dir": "/tmp/somewhere",
    "log_level": "info",
}


def written(folder: Path, values: dict[str, Any]) -> Path:
    path = folder / "station.yaml"
    path.write_text(yaml.safe_dump(values))
    return path


def test_all_that_the_platform_writes(tmp_path: Path) -> None:
    settings = load(written(tmp_path, GIVEN))
    assert (settings.kind, settings.port, settings.scale, settings.state_dir) == (
        "cadip",
        8010,
        0.002,
        Path("/tmp/somewhere"),
    )
    assert "hidden" not in repr(settings)


@pytest.mark.parametrize("change", [{"kind": "xbip"}, {"scale": 0}, {"scale": 2}, {"prot": 1}, {"username": "alone"}])
def test_refused(tmp_path: Path, change: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        load(written(tmp_path, {**GIVEN, **change}))


def test_clients_have_names_of_their_own(tmp_path: Path) -> None:
    user = {"client_id": "client", "client_secret": "s", "username": "ann", "password": "p"}
    settings = load(written(tmp_path, {**GIVEN, "clients": [user]}))
    assert [client.name for client in settings.everyone] == ["client", "ann"]
    with pytest.raises(ValidationError, match="a name of its own"):
        load(written(tmp_path, {**GIVEN, "clients": [user, user]}))
