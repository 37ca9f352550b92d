"""A session: where it goes to, who you are there, and what it says when there is nowhere to go."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

import rs_client
from rs_client.auth import ApiKey
from rs_client.session import User
from rs_client.settings import Settings, remember
from tests.unit.client.far import serving, session, table

READY = {"checks": {"database": {"ok": True}, "station sgs": {"ok": False}}}
ME = {"login": "alice", "roles": ["rs_cadip_*_read"], "groups": ["rs-users"]}


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith(("RS_", "RSPY_", "JUPYTERHUB_", "PREFECT", "CI"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))


def test_who_you_are() -> None:
    alice = session(table({"GET /auth/me": ME, "GET /ready": READY}))
    assert alice.whoami() == User("alice", ("rs_cadip_*_read",), ("rs-users",))
    assert "alice" in alice._repr_html_()
    assert "database up, station sgs DOWN" in alice._repr_html_()
    assert "rs_cadip_*_read" in alice.whoami()._repr_html_()
    assert repr(alice) == "<RsClient http://server.test>"


def test_a_key_and_an_address_in_the_environment_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(lambda method, path, headers: (200, ME) if headers.get("x-api-key") == "k" else (401, {})) as url:
        monkeypatch.setenv("RS_SERVER_URL", f"{url}/")
        monkeypatch.setenv("RS_API_KEY", "k")
        with rs_client.connect() as opened:
            assert opened.server_url == url
            assert opened.whoami().login == "alice"


def test_nowhere_to_go() -> None:
    with pytest.raises(rs_client.NotConfigured, match="rs env"):
        rs_client.connect()


def test_a_server_that_asks_for_no_login() -> None:
    with (
        serving(lambda method, path, headers: (200, {"openapi": "3.1.0"} if "openapi" in path else ME)) as url,
        rs_client.connect(url) as opened,
    ):
        assert opened.whoami().login == "alice"


def test_where_to_log_in_is_asked_of_the_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    url = "http://keycloak.test/realms/rs-python/protocol/openid-connect/auth"
    login = {"type": "oauth2", "flows": {"authorizationCode": {"authorizationUrl": url}}}
    document = {"openapi": "3.1.0", "components": {"securitySchemes": {"login": login}}}
    with (
        serving(lambda method, path, headers: (200, document)) as server,
        pytest.raises(rs_client.NotConfigured, match="nobody can log in"),
    ):
        rs_client.connect(server)


def test_a_server_that_is_away() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(rs_client.ServiceUnavailable, match="does not answer"):
            rs_client.connect(url)


def test_jobs_by_list_and_by_id() -> None:
    landing = {
        "type": "Catalog",
        "stac_version": "1.0.0",
        "id": "catalog",
        "description": "products",
        "conformsTo": ["https://api.stacspec.org/v1.0.0/core"],
        "links": [],
    }
    job = {"jobID": "j1", "processID": "staging", "status": "successful"}
    answers = {"/catalog/": landing, "/jobs?limit=100": {"jobs": [job]}, "/jobs/j1": job}
    with (
        serving(lambda method, path, headers: (200, answers[path]) if path in answers else (404, {})) as url,
        rs_client.connect(url, auth=ApiKey("k")) as opened,
    ):
        assert [one.id for one in opened.jobs()] == ["j1"]
        assert opened.job("j1").process == "staging"
        with pytest.raises(rs_client.NotFound):
            opened.job("j2")


def test_the_address_that_a_login_remembered(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with serving(lambda method, path, headers: (200, ME)) as url:
        remember(Settings.here().file, url)
        monkeypatch.setenv("RS_API_KEY", "k")
        with rs_client.connect() as opened:
            assert opened.server_url == url
        with rs_client.connect("http://other.test") as opened:
            assert opened.server_url == "http://other.test"


def test_the_predecessors_variables_are_understood() -> None:
    settings = Settings.of({"RSPY_WEBSITE": "http://old.test", "RSPY_APIKEY": "k"})
    assert (settings.server_url, settings.api_key) == ("http://old.test", "k")
    assert Settings.of({"RSPY_WEBSITE": "http://old.test", "RS_SERVER_URL": "http://new.test"}).server_url.endswith(
        "new.test"
    )


def test_secrets_are_not_shown() -> None:
    shown = repr(Settings.of({"RS_API_KEY": "hush", "RS_CLIENT_SECRET": "hush", "JUPYTERHUB_API_TOKEN": "hush"}))
    assert "hush" not in shown


def test_a_damaged_configuration_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "rs-python").mkdir()
    (tmp_path / "rs-python" / "config.toml").write_text("server_url = [")
    with pytest.raises(rs_client.NotConfigured, match=r"config\.toml"):
        rs_client.connect()


def test_a_configuration_file_holds_no_secret(tmp_path: Path) -> None:
    (tmp_path / "rs-python").mkdir()
    file = tmp_path / "rs-python" / "config.toml"
    file.write_text('server_url = "http://old.test"\nclient_id = "chain"\napi_key = "hush"\n')
    assert Settings.here().api_key == ""
    remember(file, 'http://a"b\\c.test')
    assert (Settings.here().server_url, Settings.here().client_id) == ('http://a"b\\c.test', "chain")
