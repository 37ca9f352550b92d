"""The form of API keys, and what their checksum keeps away from the database."""

from __future__ import annotations

import re

import pytest

from rs_server.access.apikeys import ApiKeys, digest, new_key, well_formed
from rs_server.access.changes import Changes
from rs_server.database import Database
from rs_server.errors import NotAuthenticated


class NoDatabase(Database):
    """A database that must not be asked: it has no pool."""

    def __init__(self) -> None:
        pass


def test_form() -> None:
    keys = {new_key() for _ in range(50)}
    assert len(keys) == 50
    for key in keys:
        assert re.fullmatch(r"rsk_[A-Za-z0-9_-]{49}", key)
        assert well_formed(key)
        assert len(digest(key)) == 32


def test_every_changed_character_is_noticed() -> None:
    key = new_key()
    for place in range(4, len(key)):
        other = "A" if key[place] != "A" else "B"
        assert not well_formed(key[:place] + other + key[place + 1 :])


MALFORMED = {
    "empty": "",
    "prefix alone": "rsk_",
    "a letter": "x",
    "too short": new_key()[:-1],
    "too long": new_key() + "a",
    "a line break": new_key() + "\n",
    "another prefix": new_key().replace("rsk_", "rsx_"),
    "not ASCII": "ü",
}


@pytest.mark.parametrize("text", MALFORMED.values(), ids=MALFORMED.keys())
async def test_malformed_keys_are_refused_without_asking_the_database(text: str) -> None:
    assert not well_formed(text)
    with pytest.raises(NotAuthenticated):
        await ApiKeys(NoDatabase(), Changes()).valid(text)
