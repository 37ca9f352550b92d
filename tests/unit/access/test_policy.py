"""The truth table of the access policy."""

from __future__ import annotations

import ast
import re
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
    ("rs_catalog_bob:s1_own", Right.READ, CATALOG, "bob:s1", False),
    ("RS_CATALOG_*:*_READ", Right.READ, CATALOG, "bob:s1", False),
]


@pytest.mark.parametrize(("role", "right", "service", "resource", "allowed"), TABLE)
def test_truth_table(role: str | None, right: Right, service: Service, resource: str, allowed: bool) -> None:
    who = alice(*[role] if role else [])
    assert policy.allows(who, right, service, resource) is allowed


def test_the_missing_role_is_the_one_that_helps() -> None:
    for _, right, service, resource, _ in TABLE:
        role = policy.missing(right, service, resource)
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


def test_no_role_is_spelt_anywhere_else() -> None:
    spelt = re.compile(r"^rs_[a-z]+_.*_(read|write|download|execute|dismiss|issue)$")
    root = Path(policy.__file__).parents[1]
    found = [
        f"{path.relative_to(root)}:{node.lineno}: {node.value}"
        for path in root.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and spelt.match(node.value)
    ]
    assert found == []
