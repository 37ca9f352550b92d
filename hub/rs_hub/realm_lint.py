"""Rules that a realm keeps: ours before it is applied, and any other by its export from Keycloak."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from ipaddress import ip_address
from typing import Any
from urllib.parse import urlsplit

from rs_hub.realm_file import Realm
from rs_server.access.policy import Grant, Service

MAX_ACCESS_TOKEN_S = 300

_NO_SECRET = re.compile(r"\$\{[A-Z][A-Z0-9_]*\}|\*+")  # a placeholder, or what an export says in its place
# Clients that Keycloak makes in every realm: their pages are its own, and it checks where they lead.
_KEYCLOAKS = frozenset(
    {"account", "account-console", "admin-cli", "broker", "realm-management", "security-admin-console"}
)
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
        device_flow_has_pkce,
        no_offline_session_by_default,
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
    for client in _made_clients(realm):
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
    return _must_be_false(realm, "fullScopeAllowed", among=_made_clients(realm))


def code_flow_has_pkce(realm: Realm) -> Faults:
    """A stolen code is worth nothing."""
    for client in _made_clients(realm):
        if client.get("standardFlowEnabled", True) and not _asks_for_pkce(client):
            yield f"client {client['clientId']}: code flow without PKCE S256"


def device_flow_has_pkce(realm: Realm) -> Faults:
    """A device code that somebody overheard is worth nothing either."""
    for client in _made_clients(realm):
        on = client.get("attributes", {}).get("oauth2.device.authorization.grant.enabled") == "true"
        if on and not _asks_for_pkce(client):
            yield f"client {client['clientId']}: device flow without PKCE S256"


def no_offline_session_by_default(realm: Realm) -> Faults:
    """A session that outlives the login is something a client asks for each time."""
    for client in _made_clients(realm):
        if "offline_access" in client.get("defaultClientScopes", ()):
            yield f"client {client['clientId']}: offline_access is a default scope"


def no_secret_in_the_file(realm: Realm) -> Faults:
    """Secrets come from the environment when the file is applied."""
    for client in _clients(realm):
        if "secret" in client and not _NO_SECRET.fullmatch(client["secret"]):
            yield f"client {client['clientId']}: its secret stands in the file"


def only_service_accounts(realm: Realm) -> Faults:
    """People and their passwords are data."""
    for user in realm.get("users", ()):
        if "serviceAccountClientId" not in user or "credentials" in user:
            yield f"user {user['username']}: people are not part of the file"


def roles_are_understood(realm: Realm) -> Faults:
    """A role of ours that the access policy cannot read gives nothing to anybody."""
    for name in _defined(realm):
        grant = Grant.parse(name)
        if name.startswith("rs_") and (grant is None or grant.service not in Service):
            yield f"role {name}: the access policy does not know it"


def roles_are_defined(realm: Realm) -> Faults:
    """Groups, scopes and service accounts name roles of this file."""
    named = {role for group in realm.get("groups", ()) for role in group.get("realmRoles", ())}
    named |= {role for user in realm.get("users", ()) for role in user.get("realmRoles", ())}
    for name in sorted((named | _let_through(realm)) - set(_defined(realm))):
        yield f"role {name} is used, but not defined"


def roles_reach_the_tokens(realm: Realm) -> Faults:
    """Without full scope a role shows up in a token only where a client scope lets it through."""
    ours = {name for name in _defined(realm) if Grant.parse(name) is not None}
    for name in sorted(ours - _let_through(realm)):
        yield f"role {name} is in no scope mapping, so no token would ever carry it"


def _must_be_false(realm: Realm, name: str, among: list[dict[str, Any]] | None = None) -> Faults:
    for client in _clients(realm) if among is None else among:
        if client.get(name) is not False:
            yield f"client {client['clientId']}: {name} must be false"


def _clients(realm: Realm) -> list[dict[str, Any]]:
    return list(realm.get("clients", ()))


def _made_clients(realm: Realm) -> list[dict[str, Any]]:
    """Those that somebody made."""
    return [client for client in _clients(realm) if client["clientId"] not in _KEYCLOAKS]


def _asks_for_pkce(client: dict[str, Any]) -> bool:
    return bool(client.get("attributes", {}).get("pkce.code.challenge.method") == "S256")


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
