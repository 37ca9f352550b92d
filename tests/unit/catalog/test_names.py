"""Which texts name which collection, for whom."""

from __future__ import annotations

import pytest

from rs_server.access.policy import Principal
from rs_server.catalog.names import CollectionName, resolve
from rs_server.errors import BadInput

ALICE = Principal("alice")

RESOLVED = [
    ("s1-l0", "alice_s1-l0"),
    ("alice_s1-l0", "alice_s1-l0"),
    ("alice:s1-l0", "alice_s1-l0"),
    ("bob_s1-l0", "bob_s1-l0"),
    ("bob:s1-l0", "bob_s1-l0"),
    ("bob_a_b_c", "bob_a_b_c"),  # the first underscore separates
    ("bob:a_b", "bob_a_b"),
    ("x-1_S1.A", "x-1_S1.A"),
]


@pytest.mark.parametrize(("text", "full"), RESOLVED)
def test_resolved(text: str, full: str) -> None:
    name = resolve(text, ALICE)
    assert name.full == full
    assert CollectionName.parse(name.full) == name
    assert name.resource == full.replace("_", ":", 1)


REFUSED = [
    "",
    "_",
    ":",
    "_x",
    ":x",
    "bob_",
    "bob:",
    "Bob_x",
    "b b_x",
    "bob_x y",
    "bob_x/y",
    "bob_../x",
    "bob:x:y",
    "bob_x:y",
    "-bob_x",
    "bob_-x",
    "bob_x\n",
    "bób_x",
    "аlice_s1",  # the first letter is Cyrillic
    "alice\u200b_s1",
    "bob_" + "x" * 200,
    "b" * 80 + "_x",
    "*_x",
    "bob_*",
    "'; DROP TABLE items; --",
    "\x00",
]


@pytest.mark.parametrize("text", REFUSED)
def test_refused(text: str) -> None:
    with pytest.raises(BadInput):
        resolve(text, ALICE)


@pytest.mark.parametrize("login", ["service_account", "Carol", "d@example.org", ""])
def test_some_logins_cannot_own_collections(login: str) -> None:
    with pytest.raises(BadInput):
        resolve("s1-l0", Principal(login))


def test_no_two_names_share_an_id() -> None:
    names = [CollectionName(owner, name) for owner in ("a", "a-b", "b") for name in ("b", "b_c", "c", "a_b")]
    assert len({name.full for name in names}) == len(names)
