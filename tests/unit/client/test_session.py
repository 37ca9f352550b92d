"""A session: where it goes to, who you are there, and what it says when there is nowhere to go."""

from __future__ import annotations

import socket

import pytest

import rs_client
from rs_client.auth import ApiKey
from rs_client.session import RsClient, User
from tests.unit.client.far import http, serving, table

ME = {"login": "alice", "roles": ["rs_cadip_*_read"], "groups": ["rs-users"]}


@pytest.fixture(autouse=True)
def nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RS_SERVER_URL", "RS_API_KEY", "RS_TOKEN_URL", "JUPYTERHUB_API_TOKEN", "DASK_GATEWAY__ADDRESS", "CI"):
        monkeypatch.delenv(name, raising=False)


def test_who_you_are() -> None:
    session = RsClient(http(table({"GET /auth/me": ME})))
    assert session.whoami() == User("alice", ("rs_cadip_*_read",), ("rs-users",))
    assert "alice" in session._repr_html_()
    assert repr(session) == "<RsClient http://server.test>"


def test_a_key_and_an_address_in_the_environment_are_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(lambda method, path, headers: (200, ME) if headers.get("x-api-key") == "k" else (401, {})) as url:
        monkeypatch.setenv("RS_SERVER_URL", f"{url}/")
        monkeypatch.setenv("RS_API_KEY", "k")
        with rs_client.connect() as session:
            assert session.server_url == url
            assert session.whoami().login == "alice"


def test_nowhere_to_go() -> None:
    with pytest.raises(rs_client.NotConfigured, match="rs env"):
        rs_client.connect()


def test_a_server_that_asks_for_no_login() -> None:
    with (
        serving(lambda method, path, headers: (200, {"openapi": "3.1.0"} if "openapi" in path else ME)) as url,
        rs_client.connect(url) as session,
    ):
        assert session.whoami().login == "alice"


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


def test_clusters_start_from_the_hub() -> None:
    with pytest.raises(rs_client.NotConfigured, match="Dask Gateway"):
        RsClient(http(table({}))).cluster()


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
    answers = {"/catalog/": landing, "/jobs": {"jobs": [job]}, "/jobs/j1": job}
    with (
        serving(lambda method, path, headers: (200, answers[path]) if path in answers else (404, {})) as url,
        rs_client.connect(url, auth=ApiKey("k")) as session,
    ):
        assert [one.id for one in session.jobs()] == ["j1"]
        assert session.job("j1").process == "staging"
        with pytest.raises(rs_client.NotFound):
            session.job("j2")
