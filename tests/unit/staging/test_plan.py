"""From an item of a source to transfers: keys, and what cannot be staged; and whether an edition is another one."""

from datetime import UTC, datetime
from typing import Any

import pytest

from rs_server.catalog.names import CollectionName
from rs_server.errors import BadInput
from rs_server.processes.references import Reference
from rs_server.staging.parts import MOST_PARTS, cut
from rs_server.staging.plan import Target, is_growing, is_offline, same, storable, transfers, unchecked
from tests.unit.staging.station import SESSION, checksum, item, name_of

TARGET = Target(CollectionName("alice", "s1-cadu"), "job")
SOURCE = Reference("cadip", "s1-sgs", SESSION)
NAME = name_of(1, 1)


def test_each_file_gets_its_place() -> None:
    made = transfers(SOURCE, item(), "sgs", TARGET)
    assert [each.key for each in made] == [
        f"alice/s1-cadu/{SESSION}/job/{name_of(channel, block)}" for channel in (1, 2) for block in (1, 2)
    ]
    assert {(each.station, each.size, each.offline) for each in made} == {("sgs", 4088, False)}


@pytest.mark.parametrize(
    ("told", "expires"),
    [
        ("2026-11-26T00:00:00Z", datetime(2026, 11, 26, tzinfo=UTC)),
        ("some day", None),
        (None, None),
    ],
)
def test_when_its_station_takes_a_file_away(told: str | None, expires: datetime | None) -> None:
    source = {**item(), "properties": {**item()["properties"], "expires": told}}
    assert {each.expires for each in transfers(SOURCE, source, "sgs", TARGET)} == {expires}


def test_only_the_assets_wanted() -> None:
    assert [each.name for each in transfers(SOURCE, item(), "sgs", TARGET, frozenset({NAME}))] == [NAME]
    with pytest.raises(BadInput, match="no asset x"):
        transfers(SOURCE, item(), "sgs", TARGET, frozenset({NAME, "x"}))


@pytest.mark.parametrize(
    ("assets", "why"),
    [
        ({}, "no files"),
        ({"a.raw": {"href": "x"}}, "size of a.raw"),
        ({"a.raw": {"href": "x", "file:size": -1}}, "size of a.raw"),
        ({"a.raw": {"href": "x", "file:size": "12"}}, "size of a.raw"),
        ({"a.raw": {"href": "x", "file:size": 1, "file:checksum": 5}}, "checksum of a.raw is none"),
        ({"a.raw": {"href": "x", "file:size": True}}, "size of a.raw"),
        ({"a.raw": {"href": "x", "file:size": 5 * 1024**4 + 1}}, "a.raw has 5497558138881 bytes, and an object has"),
        ({"a.raw": {"href": "x", "file:size": 2**63}}, "a.raw has 9223372036854775808 bytes"),
        ({"../../bob/a.raw": {"href": "x", "file:size": 1}}, "part of the name"),
    ],
)
def test_what_cannot_be_staged_is_told(assets: dict[str, Any], why: str) -> None:
    with pytest.raises(BadInput, match=why):
        transfers(SOURCE, {**item(), "assets": assets}, "sgs", TARGET)


def test_the_largest_object_is_staged() -> None:
    source = {**item(), "assets": {"a.raw": {"href": "x", "file:size": 5 * 1024**4}}}
    (made,) = transfers(SOURCE, source, "sgs", TARGET)
    whole = cut(made.size, 8 * 1024**2)
    assert whole.count <= MOST_PARTS


@pytest.mark.parametrize("nul", [{"id": "a\0b"}, {"assets": {"a\0b": {}}}, {"properties": {"x": [1, "\0"]}}])
def test_an_item_with_a_nul_cannot_be_written_down(nul: dict[str, Any]) -> None:
    assert storable(item()) == item()
    with pytest.raises(BadInput, match="NUL"):
        storable({**item(), **nul})


def test_a_file_of_the_catalog_lies_in_an_object_storage() -> None:
    source = Reference("catalog", "bob_x", "i")
    with pytest.raises(BadInput, match="not the address of an object"):
        transfers(source, {"assets": {"a": {"href": "https://x/y", "file:size": 1}}}, "", TARGET)


@pytest.mark.parametrize(
    ("properties", "growing", "offline"),
    [
        ({}, False, False),
        ({"rs:complete": False}, True, False),
        ({"rs:complete": True}, False, False),
        ({"rs:online": False}, False, True),
        ({"rs:online": True}, False, False),
    ],
)
def test_what_an_item_says_of_itself(properties: dict[str, Any], *, growing: bool, offline: bool) -> None:
    assert (is_growing({"properties": properties}), is_offline({"properties": properties})) == (growing, offline)


@pytest.mark.parametrize(
    ("asset", "told"),
    [
        ({}, None),
        ({"file:checksum": checksum(b"a")}, None),
        ({"file:checksum": checksum(b"a")[6:]}, None),
        ({"file:checksum": "99aa"}, "99aa"),
        ({"rs:checksum_unchecked": "CRC32 1a2b3c4d"}, "CRC32 1a2b3c4d"),
        ({"rs:checksum_unchecked": "CRC32 1a2b3c4d", "file:checksum": checksum(b"a")}, None),
    ],
)
def test_a_checksum_that_cannot_be_checked(asset: dict[str, Any], told: str | None) -> None:
    assert unchecked(asset) == told


def ours(**changes: Any) -> dict[str, Any]:
    """The catalog's edition of the session, with one asset changed."""
    published = {"assets": {name: {**asset, "file:checksum": "1e20aa"} for name, asset in item()["assets"].items()}}
    published["assets"][NAME] |= changes
    return published


@pytest.mark.parametrize(
    ("changes", "told", "equal"),
    [
        ({}, {}, True),
        ({"file:size": 1}, {}, False),
        ({"externalIds": [{"scheme": "cadip", "value": "x"}]}, {}, False),
        ({}, {"file:checksum": checksum(b"a")}, True),  # of another kind: they cannot be compared
        ({"file:checksum": checksum(b"a")}, {"file:checksum": checksum(b"a").upper()}, True),
        ({"file:checksum": checksum(b"b")}, {"file:checksum": checksum(b"a")}, False),
        ({"file:checksum": checksum(b"b")}, {"file:checksum": checksum(b"a")[6:]}, False),  # an MD5 without its code
        ({"file:checksum": checksum(b"a")}, {"file:checksum": checksum(b"a")[6:]}, True),
    ],
)
def test_whether_an_edition_is_the_same(changes: dict[str, Any], told: dict[str, Any], *, equal: bool) -> None:
    theirs = item()
    theirs["assets"][NAME] |= told
    assert same(theirs, ours(**changes)) is equal


def test_an_edition_with_other_files_is_another() -> None:
    theirs = item()
    theirs["assets"].pop(NAME)
    assert not same(theirs, ours())
    assert not same(item(), {"assets": theirs["assets"]})


def test_files_beside_those_wanted_do_not_make_another_edition() -> None:
    """Else they would be thrown away, only because one of them was asked for again."""
    wanted = frozenset({name_of(2, 1)})
    assert same(item(), ours(), wanted)
    assert not same(item(), ours(**{"file:size": 1}), frozenset({NAME}))
    fewer = ours()
    fewer["assets"].pop(name_of(2, 1))
    assert not same(item(), fewer, wanted)
    assert not same(item(), ours(), frozenset({"x"}))
