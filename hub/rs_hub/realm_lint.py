"""Rules that the realm as code keeps, so that a slip in the file is found before it is applied."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from rs_hub.realm_file import Realm
from rs_server.access.policy import Grant, Service

MAX_ACCESS_TOKEN_S = 300

_ONLY_PLACEHOLDER = re.compile(r"\$\{[A-Z][A-Z0-9_]*\}")
_FAULTLESS_REALM = {
    "bruteForceProtected": True,
    "registrationAllowed": False,
    "editUsernameAllowed": False,  # a user name owns collections
}

Faults = Iterator[str]


def lint(realm: Realm) -> list[str]:
    """What is wrong with a realm file, in words; empty if nothing is."""
    rules: tuple[Callable[[Realm], Faults], ...] = (
        realm_is_hardened,
        access_tokens_are_short_lived,
        no_wildcard_addresses,
        no_open_http_redirects,
        no_password_grant,
        no_implicit_flow,
        no_full_scope,
        code_flow_has_pkce,
        no_secret_in_the_file,
        only_service_accounts,
        roles_are_understood,
        roles_are_defined,
        roles_reach_the_tokens,
    )
    return [fault for rule in rules for fault in rule(realm)]


def realm_is_hardened(realm: Realm) -> Faults:
    """Guessing is slowed down, nobody registers, nobody renames themselves."""
    for name, wanted in _FAULTLESS_REALM.items():
        if realm.get(name) is not wanted:
            yield f"{name} must be {str(wanted).lower()}"


def access_tokens_are_short_lived(realm: Realm) -> Faults:
    """They are checked offline, so their life bounds how long a right that was taken away still works."""
    if not 0 < realm.get("accessTokenLifespan", 0) <= MAX_ACCESS_TOKEN_S:
        yield f"accessTokenLifespan must be stated, and at most {MAX_ACCESS_TOKEN_S} s"


def no_wildcard_addresses(realm: Realm) -> Faults:
    """A wildcard redirect hands codes to whoever can get a page under it."""
    for client in _clients(realm):
        for address in _addresses(client):
            if "*" in address:
                yield f"client {client['clientId']}: wildcard in {address}"


def no_open_http_redirects(realm: Realm) -> Faults:
    """Codes travel in the clear over http, so only to this machine."""
    for client in _clients(realm):
        for address in client.get("redirectUris", ()):
            if urlsplit(address).scheme == "http" and not _is_loopback(urlsplit(address).hostname or ""):
                yield f"client {client['clientId']}: redirect over plain http to {address}"


def no_password_grant(realm: Realm) -> Faults:
    """No program of ours ever sees a password; Keycloak's default allows it, so it must be said."""
    return _must_be_false(realm, "directAccessGrantsEnabled")


def no_implicit_flow(realm: Realm) -> Faults:
    """Tokens never travel in an address."""
    return _must_be_false(realm, "implicitFlowEnabled")


def no_full_scope(realm: Realm) -> Faults:
    """A client's tokens carry the roles that it is for; Keycloak's default is all of them, so it must be said."""
    return _must_be_false(realm, "fullScopeAllowed")


def code_flow_has_pkce(realm: Realm) -> Faults:
    """A stolen code is worth nothing."""
    for client in _clients(realm):
        method = client.get("attributes", {}).get("pkce.code.challenge.method")
        if client.get("standardFlowEnabled", True) and method != "S256":
            yield f"client {client['clientId']}: code flow without PKCE S256"


def no_secret_in_the_file(realm: Realm) -> Faults:
    """Secrets come from the environment when the file is applied."""
    for client in _clients(realm):
        if "secret" in client and not _ONLY_PLACEHOLDER.fullmatch(client["secret"]):
            yield f"client {client['clientId']}: its secret stands in the file"


def only_service_accounts(realm: Realm) -> Faults:
    """People and their passwords are data."""
    for user in realm.get("users", ()):
        if "serviceAccountClientId" not in user or "credentials" in user:
            yield f"user {user['username']}: people are not part of the file"


def roles_are_understood(realm: Realm) -> Faults:
    """A role that the access policy cannot read gives nothing to anybody."""
    for name in _defined(realm):
        grant = Grant.parse(name)
        if grant is None or grant.service not in Service:
            yield f"role {name}: the access policy does not know it"


def roles_are_defined(realm: Realm) -> Faults:
    """Groups, scopes and service accounts name roles of this file."""
    named = {role for group in realm.get("groups", ()) for role in group.get("realmRoles", ())}
    named |= {role for user in realm.get("users", ()) for role in user.get("realmRoles", ())}
    for name in sorted((named | _let_through(realm)) - set(_defined(realm))):
        yield f"role {name} is used, but not defined"


def roles_reach_the_tokens(realm: Realm) -> Faults:
    """Without full scope a role shows up in a token only where a client scope lets it through."""
    for name in sorted(set(_defined(realm)) - _let_through(realm)):
        yield f"role {name} is in no scope mapping, so no token would ever carry it"


def _must_be_false(realm: Realm, name: str) -> Faults:
    for client in _clients(realm):
        if client.get(name) is not False:
            yield f"client {client['clientId']}: {name} must be false"


def _clients(realm: Realm) -> list[dict[str, Any]]:
    return list(realm.get("clients", ()))


def _addresses(client: dict[str, Any]) -> list[str]:
    after_logout = client.get("attributes", {}).get("post.logout.redirect.uris", "")
    return [*client.get("redirectUris", ()), *client.get("webOrigins", ()), *after_logout.split("##")]


def _defined(realm: Realm) -> list[str]:
    return [role["name"] for role in realm.get("roles", {}).get("realm", ())]


def _let_through(realm: Realm) -> set[str]:
    return {role for mapping in realm.get("scopeMappings", ()) for role in mapping["roles"]}


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
