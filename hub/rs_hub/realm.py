"""Brings a Keycloak realm to the state that its file describes, changing nothing that is right already.

The file decides about what it names. Users, passwords, their groups, and roles or clients that somebody added
are data: they are left alone. Ids are kept, so sessions live on.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from rs_hub.keycloak import KeycloakAdmin, KeycloakError
from rs_hub.realm_file import Realm, differs, fill, merged, placeholders, read, read_all
from rs_hub.realm_lint import lint
from rs_hub.settings import KeycloakAdministrator, realm_values

_MANY = 10_000  # more than a realm has; Keycloak's own default is a page of 100

# Parts of the file that have their own place in the admin API; everything else are settings of the realm.
_PARTS = frozenset({"roles", "groups", "clients", "clientScopes", "scopeMappings", "clientScopeMappings", "users"})
_CLIENT_PARTS = frozenset({"protocolMappers", "defaultClientScopes", "optionalClientScopes"})

Changes = Iterator[str]
commands = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
rs_commands = typer.Typer()
rs_commands.add_typer(commands, name="realm", help="The Keycloak realm: apply it, check it.")


def apply(admin: KeycloakAdmin, realm: Realm) -> list[str]:
    """Bring the realm to the state of its file; what was changed, in words, empty if nothing was."""
    steps: tuple[Callable[[KeycloakAdmin, Realm], Changes], ...] = (
        _settings,
        _roles,
        _groups,
        _client_scopes,
        _clients,
        _scope_mappings,
        _client_scope_mappings,
        _service_accounts,
    )
    return [change for step in steps for change in step(admin, realm)]


def _settings(admin: KeycloakAdmin, realm: Realm) -> Changes:
    name = realm["realm"]
    if not admin.exists(name):
        admin.post("", {"realm": name, "enabled": realm.get("enabled", True)})
        admin.log_in()
        yield f"realm {name} made"
    want = {key: value for key, value in realm.items() if key not in _PARTS}
    have = admin.get(name)
    if differs(have, want):
        admin.put(name, merged(have, want))
        yield f"realm {name}: settings"


def _roles(admin: KeycloakAdmin, realm: Realm) -> Changes:
    path = f"{realm['realm']}/roles"
    have = _by_name(admin.get(path, max=_MANY, briefRepresentation="false"))
    for want in realm["roles"]["realm"]:
        held = have.get(want["name"])
        if held is None:
            admin.post(path, want)
            yield f"role {want['name']} made"
        elif differs(held, want):
            admin.put(f"{path}-by-id/{held['id']}", merged(held, want))
            yield f"role {want['name']}"


def _groups(admin: KeycloakAdmin, realm: Realm) -> Changes:
    path = f"{realm['realm']}/groups"
    have = _by_name(admin.get(path, max=_MANY))
    for name in [want["name"] for want in realm["groups"] if want["name"] not in have]:
        admin.post(path, {"name": name})
        yield f"group {name} made"
    ids = {name: group["id"] for name, group in _by_name(admin.get(path, max=_MANY)).items()}
    for want in realm["groups"]:
        mappings = f"{path}/{ids[want['name']]}/role-mappings/realm"
        yield from _realm_roles(admin, realm, mappings, want.get("realmRoles", ()), f"group {want['name']}")


def _client_scopes(admin: KeycloakAdmin, realm: Realm) -> Changes:
    path = f"{realm['realm']}/client-scopes"
    for want in realm["clientScopes"]:
        what, body = f"client scope {want['name']}", _without(want, _CLIENT_PARTS)
        held = _by_name(admin.get(path)).get(want["name"])
        if held is None:
            admin.post(path, body)
            held = _by_name(admin.get(path))[want["name"]]
            yield f"{what} made"
        elif differs(held, body):
            admin.put(f"{path}/{held['id']}", _without(merged(held, body), _CLIENT_PARTS))
            yield what
        yield from _mappers(admin, f"{path}/{held['id']}", held, want, what)


def _clients(admin: KeycloakAdmin, realm: Realm) -> Changes:
    path = f"{realm['realm']}/clients"
    scopes = {name: scope["id"] for name, scope in _by_name(admin.get(f"{realm['realm']}/client-scopes")).items()}
    for want in realm["clients"]:
        what, body = f"client {want['clientId']}", _without(want, _CLIENT_PARTS)
        held = _client(admin, realm, want["clientId"])
        if held is None:
            admin.post(path, body)
            held = _client(admin, realm, want["clientId"]) or {}
            yield f"{what} made"
        elif differs(held, body):
            admin.put(f"{path}/{held['id']}", _without(merged(held, body), _CLIENT_PARTS))
            yield what
        yield from _mappers(admin, f"{path}/{held['id']}", held, want, what)
        yield from _scopes_of_client(admin, f"{path}/{held['id']}", want, scopes, what)


def _client(admin: KeycloakAdmin, realm: Realm, client_id: str) -> dict[str, Any] | None:
    found: list[dict[str, Any]] = admin.get(f"{realm['realm']}/clients", clientId=client_id)
    return found[0] if found else None


def _mappers(admin: KeycloakAdmin, owner: str, held: Mapping[str, Any], want: Mapping[str, Any], what: str) -> Changes:
    path, have = f"{owner}/protocol-mappers/models", _by_name(held.get("protocolMappers", ()))
    for mapper in want.get("protocolMappers", ()):
        now = have.get(mapper["name"])
        if now is None:
            admin.post(path, mapper)
        elif differs(now, mapper):
            admin.put(f"{path}/{now['id']}", merged(now, mapper))
        else:
            continue
        yield f"{what}: mapper {mapper['name']}"


def _scopes_of_client(
    admin: KeycloakAdmin, client: str, want: Mapping[str, Any], ids: Mapping[str, str], what: str
) -> Changes:
    """Which client scopes a client's tokens always carry, and which only on request."""
    kinds = [kind for kind in ("default", "optional") if f"{kind}ClientScopes" in want]
    wanted = {kind: set(want[f"{kind}ClientScopes"]) for kind in kinds}
    held = {kind: set(_by_name(admin.get(f"{client}/{kind}-client-scopes"))) for kind in kinds}
    for kind in kinds:  # a scope can be of one kind only, so all are taken away before any is given
        for name in sorted(held[kind] - wanted[kind]):
            admin.delete(f"{client}/{kind}-client-scopes/{ids[name]}")
            yield f"{what}: no longer {kind} scope {name}"
    for kind in kinds:
        for name in sorted(wanted[kind] - held[kind]):
            admin.put(f"{client}/{kind}-client-scopes/{ids[name]}")
            yield f"{what}: {kind} scope {name}"


def _scope_mappings(admin: KeycloakAdmin, realm: Realm) -> Changes:
    """Which realm roles a client scope lets through to a token."""
    scopes = _by_name(admin.get(f"{realm['realm']}/client-scopes"))
    for want in realm["scopeMappings"]:
        name = want["clientScope"]
        path = f"{realm['realm']}/client-scopes/{scopes[name]['id']}/scope-mappings/realm"
        yield from _realm_roles(admin, realm, path, want["roles"], f"client scope {name}")


def _client_scope_mappings(admin: KeycloakAdmin, realm: Realm) -> Changes:
    """Which roles of other clients a client's tokens may carry."""
    for owner, mappings in realm["clientScopeMappings"].items():
        for want in mappings:
            client, owner_id = _client_id(admin, realm, want["client"]), _client_id(admin, realm, owner)
            path = f"{realm['realm']}/clients/{client}/scope-mappings/clients/{owner_id}"
            yield from _client_roles(admin, realm, path, owner_id, want["roles"], f"client {want['client']}")


def _service_accounts(admin: KeycloakAdmin, realm: Realm) -> Changes:
    for want in realm["users"]:
        what = f"service account of {want['serviceAccountClientId']}"
        client = _client_id(admin, realm, want["serviceAccountClientId"])
        user = admin.get(f"{realm['realm']}/clients/{client}/service-account-user")["id"]
        path = f"{realm['realm']}/users/{user}/role-mappings"
        yield from _realm_roles(admin, realm, f"{path}/realm", want.get("realmRoles", ()), what)
        for owner, roles in want.get("clientRoles", {}).items():
            owner_id = _client_id(admin, realm, owner)
            yield from _client_roles(admin, realm, f"{path}/clients/{owner_id}", owner_id, roles, what)


def _client_id(admin: KeycloakAdmin, realm: Realm, client_id: str) -> str:
    client = _client(admin, realm, client_id)
    if client is None:
        raise KeycloakError(f"the realm {realm['realm']} has no client {client_id}")
    return str(client["id"])


def _realm_roles(admin: KeycloakAdmin, realm: Realm, path: str, want: Collection[str], what: str) -> Changes:
    """Roles that the file does not define were given by somebody: they stay."""
    ours = {role["name"] for role in realm["roles"]["realm"]}
    named = _by_name(admin.get(f"{realm['realm']}/roles", max=_MANY))
    return _mapped(admin, path, {name: role for name, role in named.items() if name in ours}, want, what)


def _client_roles(
    admin: KeycloakAdmin, realm: Realm, path: str, owner_id: str, want: Collection[str], what: str
) -> Changes:
    named = _by_name(admin.get(f"{realm['realm']}/clients/{owner_id}/roles"))
    return _mapped(admin, path, named, want, what)


def _mapped(admin: KeycloakAdmin, path: str, named: Mapping[str, Any], want: Collection[str], what: str) -> Changes:
    """Map exactly the wanted ones of the named roles."""
    have = set(_by_name(admin.get(path)))
    missing, surplus = sorted(set(want) - have), sorted((have & named.keys()) - set(want))
    if missing:
        admin.post(path, [named[name] for name in missing])
        yield f"{what}: gets {', '.join(missing)}"
    if surplus:
        admin.delete(path, [named[name] for name in surplus])
        yield f"{what}: loses {', '.join(surplus)}"


def add_users(admin: KeycloakAdmin, realm_name: str, users: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Make the users that are not there; the names of those made. Users that are there are left as they are."""
    path = f"{realm_name}/users"
    absent = [name for name in users if not admin.get(path, username=name, exact="true")]
    for name in absent:
        admin.post(path, user_representation(name, users[name]))
    return absent


def user_representation(name: str, user: Mapping[str, Any]) -> dict[str, Any]:
    """A user as Keycloak takes it; complete, or Keycloak would ask for the rest at the first login."""
    return {
        "username": name,
        "enabled": True,
        "email": user.get("email", f"{name}@example.org"),
        "emailVerified": True,
        "firstName": user.get("first_name", name.capitalize()),
        "lastName": user.get("last_name", "Example"),
        "groups": [f"/{group}" for group in user.get("groups", ())],
        "credentials": [{"type": "password", "value": user["password"], "temporary": False}],
    }


def _by_name(things: Collection[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    return {thing["name"]: thing for thing in things}


def _without(body: Mapping[str, Any], names: Collection[str]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if name not in names}


Url = Annotated[str, typer.Option(help="Address of Keycloak")]
File = Annotated[Path, typer.Option(exists=True, dir_okay=False)]


@commands.command("apply")
def apply_command(url: Url, file: File) -> None:
    """Bring the realm to the state of its file.

    The administrator comes from KC_ADMIN_USER and KC_ADMIN_PASSWORD, the placeholders of the file from
    environment variables of the same names.
    """
    realm = read(file)
    filled = fill(realm, realm_values(placeholders(realm)))
    with KeycloakAdmin(url, KeycloakAdministrator()) as admin:
        _tell(apply(admin, filled))


@commands.command("users")
def users_command(url: Url, file: File, realm: str = "rs-python") -> None:
    """Make the users of a file {name: {password, groups, email}} that are not there yet."""
    with KeycloakAdmin(url, KeycloakAdministrator()) as admin:
        _tell([f"user {name} made" for name in add_users(admin, realm, json.loads(file.read_text()))])


@commands.command("lint")
def lint_command(file: Annotated[Path, typer.Argument(exists=True, dir_okay=False)]) -> None:
    """Check the rules that a realm keeps: the file it is applied from, or an export of Keycloak."""
    try:
        realms = read_all(file)
    except ValueError as error:
        raise typer.BadParameter(f"{file} is no realm: {error}") from error
    faults = [f"{realm['realm']}: {fault}" for realm in realms for fault in lint(realm)]
    for fault in faults:
        typer.echo(fault)
    typer.echo(f"{len(faults)} faults in {len(realms)} realms" if faults else "no fault")
    raise typer.Exit(1 if faults else 0)


def _tell(changes: Collection[str]) -> None:
    for change in changes or ["no change"]:
        typer.echo(change)


def main() -> None:
    """Run the command line; a refusal is one line, not a trace."""
    try:
        commands()
    except (KeycloakError, ValueError) as error:
        typer.echo(f"error: {error}", err=True)
        raise SystemExit(1) from error


if __name__ == "__main__":
    main()
