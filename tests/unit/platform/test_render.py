"""Rendered settings: complete, only for their owner's eyes, and read back as they were meant."""

from __future__ import annotations

import configparser
import json
import stat
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from rs_platform import render, secrets
from rs_platform.installation import Installation, write_private
from rs_platform.ports import PREFERRED, Ports
from rs_platform.services import graph, services
from rs_platform.site import Site, site


@pytest.fixture
def here(tmp_path: Path) -> Site:
    installation = Installation(tmp_path / "home")
    installation.prepare()
    secrets.ensure_users(installation)
    return site(installation, Ports(PREFERRED))


def _write_all(here: Site) -> None:
    render.write_settings(here)
    render.write_supervisor(here, services(graph(here)))


def test_only_the_owner_reads_what_may_hold_secrets(here: Site) -> None:
    _write_all(here)
    files = [path for folder in (here.installation.config, here.installation.secrets) for path in folder.iterdir()]
    assert len(files) >= 7
    for path in files:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
    for folder in (here.installation.config, here.installation.secrets, here.installation.logs):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700, folder


def test_settings_are_read_by_those_they_are_for(here: Site) -> None:
    from rs_hub import settings as hub
    from rs_server import settings as server
    from rs_server.simulators import settings as simulator

    _write_all(here)
    assert server.load(here.config("server.yaml")).public_url == "http://127.0.0.1:8100"
    assert hub.load(here.config("hub.yaml")).public_url == "http://127.0.0.1:8000"
    for name, kind in render.SIMULATORS.values():
        assert simulator.load(here.config(f"{name}.yaml")).kind == kind


def test_supervisord_starts_nothing_by_itself(here: Site) -> None:
    _write_all(here)
    parser = configparser.RawConfigParser()
    parser.read(here.config("supervisord.conf"))
    programs = [name for name in parser.sections() if name.startswith("program:")]
    assert len(programs) == len(services(graph(here)))
    assert {parser[name]["autostart"] for name in programs} == {"false"}
    assert {parser[name]["autorestart"] for name in programs} == {"true"}


@pytest.mark.parametrize("value", ["it's", "50%", "back\\slash", "a,b=c;d", "ümlaut"])
def test_supervisord_gives_every_value_as_it_is(here: Site, value: str) -> None:
    from supervisor.options import ServerOptions  # type: ignore[import-untyped]

    render.write_settings(here)
    odd = replace(services(graph(here))[0], environment={"ODD": value})
    render.write_supervisor(here, [odd])
    options = ServerOptions()
    options.realize(["-c", str(here.config("supervisord.conf"))])
    (group,) = options.process_group_configs
    (program,) = group.process_configs
    assert program.environment["ODD"] == value


def test_what_supervisord_cannot_be_given_is_refused(here: Site) -> None:
    odd = replace(services(graph(here))[0], environment={"ODD": 'with "quotes"'})
    with pytest.raises(ValueError, match="quotation mark"):
        render.write_supervisor(here, [odd])


def test_a_change_of_settings_restarts_their_reader(here: Site) -> None:
    _write_all(here)
    before = here.config("supervisord.conf").read_text()
    moved = replace(here, ports=Ports({**PREFERRED, "keycloak": 12345}))
    _write_all(moved)
    digests = [
        line.split("RS_SETTINGS_DIGEST=")[1][:18] for line in before.splitlines() if "RS_SETTINGS_DIGEST" in line
    ]
    after = here.config("supervisord.conf").read_text()
    assert [digest in after for digest in digests].count(False) >= 4  # rs-server, rs-worker, dask-gateway, hub


def test_the_callers_environment_stays_outside(here: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "the-callers-own")
    _write_all(here)
    assert "the-callers-own" not in here.config("supervisord.conf").read_text()


def test_secrets_stay_and_grow(here: Site) -> None:
    path = here.installation.secrets / "platform.json"
    stored = json.loads(path.read_text())
    removed = stored.pop("s3_secret_key")
    write_private(path, json.dumps(stored))
    again = secrets.load(here.installation)
    assert again.s3_secret_key not in ("", removed)
    assert replace(again, s3_secret_key=removed) == here.secrets


def test_two_installations_share_no_secret(here: Site, tmp_path: Path) -> None:
    other = Installation(tmp_path / "other")
    other.prepare()
    assert set(vars(here.secrets).values()).isdisjoint(vars(secrets.load(other)).values())


def test_demo_users_keep_their_passwords(here: Site) -> None:
    first = secrets.password(here.installation, "alice")
    secrets.ensure_users(here.installation)
    assert first is not None
    assert secrets.password(here.installation, "alice") == first
    assert secrets.password(here.installation, "mallory") is None


def test_the_realm_file_is_given_every_value_it_asks_for(here: Site) -> None:
    from rs_hub.realm_file import placeholders, read
    from rs_platform.steps import realm_values

    asked = placeholders(read(here.checkout / "hub" / "keycloak" / "realm.json"))
    assert asked <= realm_values(here).keys()


def test_yaml_is_plain(here: Site) -> None:
    _write_all(here)
    for path in here.installation.config.glob("*.yaml"):
        assert "!!" not in path.read_text(), path
        assert yaml.safe_load(path.read_text())
