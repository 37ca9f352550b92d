"""Each rule of the realm finds its slip, and the real file has none."""

import copy
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from rs_hub.realm import rs_commands
from rs_hub.realm_file import Realm, placeholders, read
from rs_hub.realm_lint import lint

FILE = Path(__file__).parents[3] / "hub" / "keycloak" / "realm.json"


@pytest.fixture(scope="module")
def realm() -> Realm:
    return read(FILE)


def client(realm: Realm, name: str) -> dict[str, Any]:
    found: dict[str, Any] = next(one for one in realm["clients"] if one["clientId"] == name)
    return found


def test_the_realm_keeps_every_rule(realm: Realm) -> None:
    assert lint(realm) == []


def test_the_realm_leaves_secrets_and_addresses_open(realm: Realm) -> None:
    assert placeholders(realm) == {
        "RS_HUB_CLIENT_SECRET",
        "RS_DIRECTORY_CLIENT_SECRET",
        "RS_PLATFORM_CLIENT_SECRET",
        "RS_CHAINS_CLIENT_SECRET",
        "RS_HUB_URL",
        "RS_SERVER_URL",
    }


SLIPS: list[tuple[Callable[[Realm], Any], str]] = [
    (lambda realm: realm.pop("bruteForceProtected"), "bruteForceProtected must be true"),
    (lambda realm: realm.update(registrationAllowed=True), "registrationAllowed must be false"),
    (lambda realm: realm.update(editUsernameAllowed=True), "editUsernameAllowed must be false"),
    (lambda realm: realm.update(accessTokenLifespan=301), "accessTokenLifespan"),
    (lambda realm: realm.pop("accessTokenLifespan"), "accessTokenLifespan"),
    (lambda realm: client(realm, "jupyterhub")["redirectUris"].append("https://hub/*"), "wildcard in https://hub/*"),
    (lambda realm: client(realm, "rs-client")["webOrigins"].append("*"), "wildcard in *"),
    (
        lambda realm: client(realm, "jupyterhub")["attributes"].update({"post.logout.redirect.uris": "https://a##b/*"}),
        "wildcard in b/*",
    ),
    (lambda realm: client(realm, "rs-client")["redirectUris"].append("http://example.org/cb"), "plain http"),
    (lambda realm: client(realm, "rs-client").update(directAccessGrantsEnabled=True), "directAccessGrantsEnabled"),
    (lambda realm: client(realm, "rs-client").pop("directAccessGrantsEnabled"), "directAccessGrantsEnabled"),
    (lambda realm: client(realm, "rs-client").update(implicitFlowEnabled=True), "implicitFlowEnabled"),
    (lambda realm: client(realm, "rs-platform").pop("fullScopeAllowed"), "fullScopeAllowed"),
    (lambda realm: client(realm, "jupyterhub")["attributes"].pop("pkce.code.challenge.method"), "without PKCE"),
    (
        lambda realm: client(realm, "rs-client")["attributes"].update({"pkce.code.challenge.method": "plain"}),
        "without PKCE",
    ),
    (
        lambda realm: client(realm, "rs-client")["attributes"].pop("pkce.code.challenge.method"),
        "device flow without PKCE",
    ),
    (lambda realm: client(realm, "rs-client")["defaultClientScopes"].append("offline_access"), "offline_access"),
    (lambda realm: client(realm, "admin-cli").update(directAccessGrantsEnabled=True), "admin-cli: directAccess"),
    (lambda realm: client(realm, "jupyterhub").update(secret="12345"), "its secret stands in the file"),
    (lambda realm: client(realm, "jupyterhub").update(secret="x${RS_HUB}"), "its secret stands in the file"),
    (lambda realm: realm["users"].append({"username": "alice"}), "user alice"),
    (lambda realm: realm["users"][0].update(credentials=[{"value": "x"}]), "user service-account-rs-directory"),
    (lambda realm: realm["roles"]["realm"].append({"name": "rs_cadpi_*_read"}), "the access policy does not know it"),
    (
        lambda realm: realm["groups"][0]["realmRoles"].append("rs_lta_x_read"),
        "rs_lta_x_read is used, but not defined",
    ),
    (
        lambda realm: realm["users"][1].update(realmRoles=["rs_prip_x_read"]),
        "rs_prip_x_read is used, but not defined",
    ),
    (lambda realm: realm["scopeMappings"][0]["roles"].remove("rs_auth_keys_issue"), "no token would ever carry it"),
]


@pytest.mark.parametrize(("slip", "told"), SLIPS)
def test_a_slip_is_found(realm: Realm, slip: Callable[[Realm], Any], told: str) -> None:
    spoilt = copy.deepcopy(realm)
    slip(spoilt)
    faults = lint(spoilt)
    assert any(told in fault for fault in faults), faults


@pytest.mark.parametrize("address", ["http://127.0.0.1/callback", "http://localhost:1/cb", "https://example.org/cb"])
def test_harmless_redirects_pass(realm: Realm, address: str) -> None:
    changed = copy.deepcopy(realm)
    client(changed, "rs-client")["redirectUris"].append(address)
    assert lint(changed) == []


def test_what_keycloak_adds_by_itself_is_no_slip(realm: Realm) -> None:
    """As in an export: its own clients and roles, and stars in the place of secrets."""
    exported = copy.deepcopy(realm)
    for one in exported["clients"]:
        one.update({"secret": "**********"} if "secret" in one else {})
    console = {"clientId": "security-admin-console", "redirectUris": ["/admin/rs-python/console/*"]}
    exported["clients"].append({**client(realm, "rs-client"), **console, "fullScopeAllowed": True, "attributes": {}})
    exported["roles"]["realm"] += [{"name": "default-roles-rs-python"}, {"name": "of-another-program"}]
    assert lint(exported) == []


def run(file: Path) -> tuple[int, str]:
    """`rs realm lint FILE`: its status, and what it says."""
    done = CliRunner().invoke(rs_commands, ["realm", "lint", str(file)])
    return done.exit_code, re.sub(r"[\s│]+", " ", done.output).strip()  # the terminal breaks lines where it likes


def test_the_command(realm: Realm, tmp_path: Path) -> None:
    file = tmp_path / "export.json"
    assert run(FILE) == (0, "no fault")
    file.write_text(json.dumps([realm, {**realm, "realm": "other", "registrationAllowed": True}]))
    status, told = run(file)
    assert status == 1
    assert "other: registrationAllowed must be false" in told
    for text in ("", "[]", "{}", "[1]", "\u0000"):
        file.write_text(text)
        status, told = run(file)
        assert status == 2
        assert "is no realm" in told
    assert run(tmp_path / "nothing")[0] == 2
