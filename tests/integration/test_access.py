"""Who gets in on a running installation: real tokens, real API keys, and what becomes of them when Keycloak changes."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
import yaml

from rs_platform import secrets
from rs_platform.installation import Installation
from rs_server.access.apikeys import new_key
from rs_server.settings import Settings
from tests.integration.keycloak import Admin, bearer, log_in
from tests.serving import serving


@pytest.fixture(scope="module")
def settings(platform: Any) -> Settings:
    return Settings(**yaml.safe_load((platform.home / "config" / "server.yaml").read_text()))


@pytest.fixture(scope="module")
def server(platform: Any) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=platform.url("rs-server"), timeout=60, trust_env=False) as http:
        yield http


@pytest.fixture(scope="module")
def keys(platform: Any) -> dict[str, str]:
    """A real key of each demo user."""
    return {user: platform.env(user)["RS_API_KEY"] for user in ("alice", "bob", "operator", "visitor")}


@pytest.fixture(scope="module")
def alice_token(platform: Any, server: httpx.Client) -> str:
    """An access token of alice, had as a browser has it on the documentation page: by code, with PKCE."""
    return log_in(server, "alice", platform.password("alice"))


def test_a_token_of_keycloak_is_believed(server: httpx.Client, alice_token: str) -> None:
    me = server.get("/auth/me", headers=bearer(alice_token)).json()
    assert (me["login"], me["via"], me["everything"]) == ("alice", "bearer", False)
    assert {"rs-users", "rs-producers"} <= set(me["groups"])
    assert "rs_processes_staging_execute" in me["roles"]


def test_a_key_is_worth_what_its_owner_is(server: httpx.Client, keys: dict[str, str], alice_token: str) -> None:
    by_token = server.get("/auth/me", headers=bearer(alice_token)).json()
    by_key = server.get("/auth/me", headers={"x-api-key": keys["alice"]}).json()
    ours = {role for role in by_token["roles"] if role.startswith("rs_")}
    assert {role for role in by_key["roles"] if role.startswith("rs_")} == ours
    assert (by_key["login"], by_key["subject"]) == ("alice", by_token["subject"])
    assert sorted(by_key["groups"]) == sorted(by_token["groups"])
    assert by_key["via"] == "api_key"


def test_the_life_of_a_key(server: httpx.Client, alice_token: str, keys: dict[str, str], settings: Settings) -> None:
    made = server.post("/auth/api_keys", headers=bearer(alice_token), json={"name": "test", "expires_in_days": 1})
    assert made.status_code == 201, made.text
    key = made.json()["api_key"]
    assert server.get("/auth/me", headers={"x-api-key": key}).json()["login"] == "alice"
    listed = server.get("/auth/api_keys", headers=bearer(alice_token))
    (entry,) = [each for each in listed.json() if each["id"] == made.json()["id"]]
    assert entry["last_used"] is not None
    assert key not in listed.text
    revoke = f"/auth/api_keys/{entry['id']}"
    assert server.delete(revoke, headers={"x-api-key": keys["bob"]}).status_code == 404
    assert server.delete(revoke, headers=bearer(alice_token)).status_code == 204
    assert server.get("/auth/me", headers={"x-api-key": key}).status_code == 401
    assert server.delete(revoke, headers=bearer(alice_token)).status_code == 404
    assert _audited(settings, entry["id"]) == ["api_key.create", "api_key.revoke"]
    assert key.encode() not in _all_of_the_database(settings)


def _audited(settings: Settings, object_: str) -> list[str]:
    with psycopg.connect(settings.database.dsn.get_secret_value()) as conn:
        rows = conn.execute("SELECT action FROM rs.audit WHERE object = %s ORDER BY id", [object_]).fetchall()
    return [str(action) for (action,) in rows]


def _all_of_the_database(settings: Settings) -> bytes:
    """Every row of the tables that know about keys."""
    with psycopg.connect(settings.database.dsn.get_secret_value()) as conn:
        return repr(
            [conn.execute(f"SELECT t::text FROM {name} t").fetchall() for name in ("rs.api_keys", "rs.audit")]
        ).encode()


def test_the_audit_is_never_changed(settings: Settings) -> None:
    for statement in ("DELETE FROM rs.audit", "UPDATE rs.audit SET login = 'x'", "TRUNCATE rs.audit"):
        with (
            psycopg.connect(settings.database.dsn.get_secret_value()) as conn,
            pytest.raises(psycopg.errors.RaiseException),
        ):
            conn.execute(statement)


# headers made from alice's token and key · body · outcome
MADE: list[tuple[str, dict[str, Any], int]] = [
    ("token", {"name": "x", "owner": "bob"}, 403),
    ("token", {"name": "x", "owner": "operator"}, 403),
    ("token", {"name": "x", "expires_in_days": 91}, 400),
    ("token", {"name": "x", "expires_in_days": 0}, 400),
    ("token", {"name": ""}, 400),
    ("token", {"name": "x", "roles": ["rs_catalog_*:*_read"]}, 400),
    ("token", {}, 400),
    ("key", {"name": "x"}, 403),
]


@pytest.mark.parametrize(("credential", "body", "status"), MADE)
def test_refused_keys(
    credential: str,
    body: dict[str, Any],
    status: int,
    server: httpx.Client,
    alice_token: str,
    keys: dict[str, str],
) -> None:
    headers = bearer(alice_token) if credential == "token" else {"x-api-key": keys["alice"]}
    answer = server.post("/auth/api_keys", headers=headers, json=body)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["request_id"] == answer.headers["x-request-id"]


def test_operators_make_keys_for_others(platform: Any, server: httpx.Client) -> None:
    headers = bearer(log_in(server, "operator", platform.password("operator")))
    made = server.post("/auth/api_keys", headers=headers, json={"name": "for bob", "owner": "bob"})
    assert (made.status_code, made.json()["owner"]) == (201, "bob")
    assert server.get("/auth/me", headers={"x-api-key": made.json()["api_key"]}).json()["login"] == "bob"
    nobody = server.post("/auth/api_keys", headers=headers, json={"name": "x", "owner": "nobody-at-all"})
    assert nobody.status_code == 404


def test_refused_credentials(server: httpx.Client, keys: dict[str, str], alice_token: str) -> None:
    key = keys["alice"]
    refused = [
        {},
        {"x-api-key": key[:-1]},
        {"x-api-key": key.upper()},
        {"x-api-key": new_key()},
        {"Authorization": f"Bearer {key}"},
        {"Authorization": f"Bearer {alice_token[:-4]}AAAA"},
        {"Authorization": f"Basic {key}"},
        {"Cookie": f"x-api-key={key}"},
    ]
    for headers in refused:
        answer = server.get("/auth/me", headers=headers)
        assert answer.status_code == 401, (headers.keys(), answer.text)
        assert answer.headers["www-authenticate"].startswith("Bearer")
        assert key not in answer.text
    assert server.get("/auth/me", params={"x-api-key": key, "api_key": key}).status_code == 401
    both = server.get("/auth/me", headers={"x-api-key": key, **bearer(alice_token)})
    assert both.status_code == 400


def test_the_tokens_of_the_hub_and_of_others_are_not_ours(platform: Any, server: httpx.Client) -> None:
    """An ID token is not an access token, and a token without our audience is for somebody else."""
    token = log_in(server, "bob", platform.password("bob"))
    head, claims, _ = token.split(".")
    assert server.get("/auth/me", headers=bearer(f"{head}.{claims}.")).status_code == 401


@pytest.fixture
def impatient_server(platform: Any) -> Iterator[httpx.Client]:
    """A second server on the same installation, which believes roles for a second instead of a minute."""
    values = yaml.safe_load((platform.home / "config" / "server.yaml").read_text())
    values["access"]["directory"]["max_age_s"] = 1
    with serving({**values, "stations": {}}) as url, httpx.Client(base_url=url, timeout=60, trust_env=False) as http:
        yield http


def test_a_disabled_user_and_a_removed_role_are_gone_soon(
    platform: Any, impatient_server: httpx.Client, keys: dict[str, str]
) -> None:
    server = impatient_server
    admin = Admin(platform)
    headers = {"x-api-key": keys["visitor"]}
    (user,) = admin.ask("GET", "/users?username=visitor&exact=true")
    try:
        role = admin.ask("GET", "/roles/rs_cadip_*_read")
        admin.ask("POST", f"/users/{user['id']}/role-mappings/realm", json=[role])
        _until(lambda: "rs_cadip_*_read" in server.get("/auth/me", headers=headers).json()["roles"])
        admin.ask("DELETE", f"/users/{user['id']}/role-mappings/realm", json=[role])
        _until(lambda: "rs_cadip_*_read" not in server.get("/auth/me", headers=headers).json()["roles"])
        admin.ask("PUT", f"/users/{user['id']}", json={**user, "enabled": False})
        _until(lambda: server.get("/auth/me", headers=headers).status_code == 401)
    finally:
        admin.ask("PUT", f"/users/{user['id']}", json={**user, "enabled": True})
        admin.close()


def _until(condition: Any, patience_s: float = 10) -> None:
    end = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.2)


def test_the_realm_as_it_is_keeps_the_rules(platform: Any, tmp_path: Path) -> None:
    """Keycloak's own export of the running realm, and the slips that somebody made there by hand."""
    admin, file = Admin(platform), tmp_path / "export.json"
    exported = admin.ask("POST", "/partial-export?exportClients=true&exportGroupsAndRoles=true")
    admin.close()
    file.write_text(json.dumps(exported))
    done = platform.rs("realm", "lint", str(file), check=False)
    assert (done.returncode, done.stdout) == (0, "no fault\n"), done.stdout + done.stderr
    (client,) = [each for each in exported["clients"] if each["clientId"] == "rs-client"]
    client["redirectUris"].append("https://example.org/*")
    client["directAccessGrantsEnabled"] = client["fullScopeAllowed"] = True
    file.write_text(json.dumps(exported))
    done = platform.rs("realm", "lint", str(file), check=False)
    assert done.returncode == 1
    for slip in ("wildcard", "directAccessGrantsEnabled", "fullScopeAllowed"):
        assert slip in done.stdout


def test_chains_have_an_identity_of_their_own(platform: Any, server: httpx.Client, settings: Settings) -> None:
    form = {
        "grant_type": "client_credentials",
        "client_id": "rs-chains",
        "client_secret": secrets.load(Installation(platform.home)).chains_client_secret,
    }
    url = f"{settings.access.issuer}/protocol/openid-connect/token"
    token = httpx.post(url, data=form, timeout=60, trust_env=False).json()["access_token"]
    me = server.get("/auth/me", headers=bearer(token)).json()
    assert me["login"] == "service-account-rs-chains"
    assert "rs_processes_staging_execute" in me["roles"]
    assert not {"rs_auth_keys_issue", "rs_catalog_*:*_read"} & set(me["roles"])


def test_ready_tells_the_truth(server: httpx.Client) -> None:
    answer = server.get("/ready")
    assert answer.status_code == 200, answer.text
    checks = answer.json()["checks"]
    assert {"database", "identity", "storage", "worker", "station sgs", "station adgs"} <= set(checks)
    assert all(check["ok"] for check in checks.values() if check["needed"])


def test_no_key_is_in_the_logs(platform: Any, keys: dict[str, str], alice_token: str) -> None:
    logs = b"".join(path.read_bytes() for path in (platform.home / "logs").iterdir() if path.is_file())
    assert logs
    for secret in (*keys.values(), alice_token, alice_token.split(".")[2]):
        assert secret.encode() not in logs
