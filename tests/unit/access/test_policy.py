"""The truth table of the access policy."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from rs_server.access import policy
from rs_server.access.policy import Grant, Principal, Right, Service

CATALOG, CADIP, PROCESSES, AUTH = Service.CATALOG, Service.CADIP, Service.PROCESSES, Service.AUTH


def alice(*roles: str) -> Principal:
    return Principal("alice", roles=frozenset(roles))


# role or None · right · service · resource · allowed
TABLE = [
    # owners hold every right on their own collections, and on nobody else's
    (None, Right.READ, CATALOG, "alice:s1", True),
    (None, Right.WRITE, CATALOG, "alice:s1", True),
    (None, Right.DOWNLOAD, CATALOG, "alice:s1", True),
    (None, Right.READ, CATALOG, "bob:s1", False),
    (None, Right.READ, CATALOG, "alice-b:s1", False),
    (None, Right.READ, CATALOG, "alic:e_s1", False),
    # owning is about the catalog only
    (None, Right.READ, CADIP, "alice", False),
    (None, Right.READ, CADIP, "alice:x", False),
    # a role gives its own right on its own resource
    ("rs_catalog_bob:s1_read", Right.READ, CATALOG, "bob:s1", True),
    ("rs_catalog_bob:s1_read", Right.WRITE, CATALOG, "bob:s1", False),
    ("rs_catalog_bob:s1_read", Right.DOWNLOAD, CATALOG, "bob:s1", False),
    ("rs_catalog_bob:s1_read", Right.READ, CATALOG, "bob:s12", False),
    ("rs_catalog_bob:s1_read", Right.READ, CATALOG, "bobby:s1", False),
    ("rs_catalog_bob:s1_l0_write", Right.WRITE, CATALOG, "bob:s1_l0", True),
    # a star stands for one whole part
    ("rs_catalog_*:*_read", Right.READ, CATALOG, "bob:s1", True),
    ("rs_catalog_*:*_read", Right.WRITE, CATALOG, "bob:s1", False),
    ("rs_catalog_bob:*_read", Right.READ, CATALOG, "bob:anything", True),
    ("rs_catalog_bob:*_read", Right.READ, CATALOG, "carol:s1", False),
    ("rs_catalog_*:s1_read", Right.READ, CATALOG, "carol:s1", True),
    ("rs_catalog_b*:s1_read", Right.READ, CATALOG, "bob:s1", False),
    ("rs_catalog_*_read", Right.READ, CATALOG, "bob:s1", False),
    # other services
    ("rs_cadip_sgs_read", Right.READ, CADIP, "sgs", True),
    ("rs_cadip_sgs_read", Right.DOWNLOAD, CADIP, "sgs", False),
    ("rs_cadip_*_download", Right.DOWNLOAD, CADIP, "sgs", True),
    ("rs_auxip_sgs_read", Right.READ, CADIP, "sgs", False),
    ("rs_processes_staging_execute", Right.EXECUTE, PROCESSES, "staging", True),
    ("rs_processes_staging_execute", Right.DISMISS, PROCESSES, "staging", False),
    ("rs_processes_s1-l0_execute", Right.EXECUTE, PROCESSES, "s1-l0", True),
    ("rs_auth_keys_issue", Right.ISSUE, AUTH, policy.API_KEYS, True),
    ("rs_auth_keys_read", Right.ISSUE, AUTH, policy.API_KEYS, False),
    # texts that are no roles of ours
    ("offline_access", Right.READ, CATALOG, "bob:s1", False),
    ("catalog_bob:s1_read", Right.READ, CATALOG, "bob:s1", False),
    ("rs_catalog__read", Right.READ, CATALOG, "bob:s1", False),
    ("rs_catalog_bob:s1_owner", Right.READ, CATALOG, "bob:s1", False),
    ("RS_CATALOG_*:*_READ", Right.READ, CATALOG, "bob:s1", False),
    # owning cannot be given
    ("rs_catalog_bob:s1_own", Right.READ, CATALOG, "bob:s1", False),
]


@pytest.mark.parametrize("how", ["role", "grant"])
@pytest.mark.parametrize(("role", "right", "service", "resource", "allowed"), TABLE)
def test_truth_table(role: str | None, right: Right, service: Service, resource: str, allowed: bool, how: str) -> None:
    """A role of Keycloak and a grant of an owner count the same."""
    held = frozenset([role] if role else [])
    who = Principal("alice", roles=held) if how == "role" else Principal("alice", granted=held)
    assert policy.allows(who, right, service, resource) is allowed


# scopes of a key of alice, who holds the two roles below · right · service · resource · allowed
ALICE_HOLDS = ("rs_catalog_bob:*_read", "rs_cadip_sgs_read")
SCOPED = [
    (None, Right.READ, CATALOG, "bob:s1", True),
    (None, Right.WRITE, CATALOG, "alice:s1", True),
    ([], Right.READ, CATALOG, "bob:s1", False),
    ([], Right.READ, CATALOG, "alice:s1", False),
    (["rs_catalog_bob:s1_read"], Right.READ, CATALOG, "bob:s1", True),
    (["rs_catalog_bob:s1_read"], Right.READ, CATALOG, "bob:s2", False),
    (["rs_catalog_bob:s1_read"], Right.READ, CATALOG, "alice:s1", False),
    (["rs_catalog_bob:s1_read"], Right.READ, CADIP, "sgs", False),
    (["rs_catalog_alice:*_read"], Right.READ, CATALOG, "alice:s1", True),
    (["rs_catalog_alice:*_read"], Right.WRITE, CATALOG, "alice:s1", False),
    # a scope gives nothing
    (["rs_catalog_carol:s1_read"], Right.READ, CATALOG, "carol:s1", False),
    (["rs_catalog_*:*_read"], Right.READ, CATALOG, "carol:s1", False),
    (["rs_catalog_*:*_read"], Right.READ, CATALOG, "bob:s1", True),
]


@pytest.mark.parametrize(("scopes", "right", "service", "resource", "allowed"), SCOPED)
def test_scopes_take_away(
    scopes: list[str] | None, right: Right, service: Service, resource: str, allowed: bool
) -> None:
    who = replace(alice(*ALICE_HOLDS), scopes=None if scopes is None else frozenset(scopes))
    assert policy.allows(who, right, service, resource) is allowed


# scopes · owner · collection · owns
OWNING = [
    (None, "alice", "s1", True),
    (None, "bob", "s1", False),
    ([], "alice", "s1", False),
    (["rs_catalog_alice:*_write"], "alice", "s1", False),
    (["rs_catalog_alice:s1_own"], "alice", "s1", True),
    (["rs_catalog_alice:s1_own"], "alice", "s2", False),
    (["rs_catalog_alice:s1_own"], "alice", "*", False),
    (["rs_catalog_alice:*_own"], "alice", "s2", True),
    (["rs_catalog_alice:*_own"], "alice", "*", True),
    (["rs_catalog_*:*_own"], "bob", "s1", False),
]


@pytest.mark.parametrize(("scopes", "owner", "collection", "owns"), OWNING)
def test_owning(scopes: list[str] | None, owner: str, collection: str, owns: bool) -> None:
    roles = ("rs_catalog_bob:s1_own", "rs_catalog_*:*_own", "rs_catalog_*:*_write")  # none of them makes an owner
    who = replace(alice(*roles), scopes=None if scopes is None else frozenset(scopes))
    assert policy.owns(who, owner, collection) is owns


# a scope that alice asks for · whether a key of hers may have it
ASKED = [
    ("rs_catalog_bob:s1_read", True),
    ("rs_catalog_bob:*_read", True),
    ("rs_catalog_*:*_read", False),
    ("rs_catalog_bob:s1_write", False),
    ("rs_catalog_alice:*_write", True),
    ("rs_catalog_alice:s1_own", True),
    ("rs_catalog_bob:s1_own", False),
    ("rs_cadip_sgs_read", True),
    ("rs_cadip_*_read", False),
    ("rs_auth_keys_issue", False),
    ("rs_cadip_alice:x_own", False),
    ("everything", False),
    ("", False),
]


@pytest.mark.parametrize(("scope", "may"), ASKED)
def test_a_key_gets_no_more_than_its_owner_holds(scope: str, may: bool) -> None:
    assert policy.may_scope(alice(*ALICE_HOLDS), scope) is may


def test_grants_that_cannot_be_read_give_nothing() -> None:
    assert not policy.allows(Principal("alice", granted=None), Right.READ, CATALOG, "bob:s1")


@pytest.mark.parametrize(
    "who",
    [
        alice("rs_cadip_sgs_read"),
        Principal("alice", "id", groups=frozenset({"g"}), via="api_key", granted=None, scopes=frozenset()),
        Principal("local", everything=True, via="local"),
    ],
)
def test_a_caller_can_be_stored(who: Principal) -> None:
    assert Principal.from_json(json.loads(json.dumps(who.as_json()))) == who


def test_a_caller_stored_before_there_were_grants_is_read() -> None:
    stored = {"login": "alice", "subject": "", "roles": ["r"], "groups": [], "everything": False, "via": "bearer"}
    assert Principal.from_json(stored) == alice("r")


def test_the_missing_role_is_the_one_that_helps() -> None:
    for _, right, service, resource, _ in TABLE:
        role = policy.role(right, service, resource)
        assert policy.allows(Principal("nobody", roles=frozenset({role})), right, service, resource)


def test_the_local_user_may_do_everything() -> None:
    who = Principal("local", everything=True)
    assert all(policy.allows(who, right, service, "x:y") for right in Right for service in Service)
    assert policy.owns(who, "alice")


def test_only_the_owner_owns() -> None:
    assert policy.owns(alice(), "alice")
    assert not policy.owns(alice("rs_catalog_*:*_write"), "bob")


def test_listings_hold_what_may_be_seen_and_possibly_nothing() -> None:
    who = alice("rs_catalog_bob:shared_read")
    asked = ["alice:s1", "bob:s1", "bob:shared"]
    assert policy.permitted(who, Right.READ, CATALOG, asked) == ["alice:s1", "bob:shared"]
    assert policy.permitted(who, Right.READ, CATALOG, ["bob:s1"]) == []


def test_grants_are_read_from_the_right_end() -> None:
    assert Grant.parse("rs_catalog_bob:a_b_c_read") == Grant(CATALOG, "bob:a_b_c", Right.READ)


SPELT = re.compile(r"rs_([a-z]+|\{\})_.*_([a-z]+|\{\})")
CHECKOUT = Path(policy.__file__).parents[2]


def _texts(path: Path) -> Iterator[tuple[int, str]]:
    """The text literals of a module, with {} for what is put into them."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value
        if isinstance(node, ast.JoinedStr):
            parts = [str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values]
            yield node.lineno, "".join(parts)


def _spells_a_role(text: str) -> bool:
    found = SPELT.fullmatch(text)
    return found is not None and {found[1], found[2]} <= {*Service, *Right, "{}"}


@pytest.mark.parametrize("package", ["rs_server", "rs_client", "hub"])
def test_no_role_is_spelt_anywhere_else(package: str) -> None:
    found = [
        f"{path.relative_to(CHECKOUT)}:{line}: {text}"
        for path in (CHECKOUT / package).rglob("*.py")
        if path != Path(policy.__file__)
        for line, text in _texts(path)
        if _spells_a_role(text)
    ]
    assert found == []


def test_a_role_that_is_spelt_would_be_found() -> None:
    for text in ("rs_catalog_*:*_read", "rs_{}_{}_{}", "rs_cadip_{}_read", "rs_processes_s1-l0_{}"):
        assert _spells_a_role(text)
    assert not _spells_a_role("rs_server_something_else")
