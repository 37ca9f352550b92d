"""Keys say what they are, and nothing that a user may choose leads a key elsewhere."""

import pytest

from rs_server.catalog.names import CollectionName
from rs_server.errors import BadInput
from rs_server.storage import layout

NAME = CollectionName("alice", "s1-cadu")


def test_a_key_has_four_parts() -> None:
    assert layout.asset_key(NAME, "ITEM", "a.raw") == "alice/s1-cadu/ITEM/a.raw"
    assert layout.item_prefix(NAME, "ITEM") == "alice/s1-cadu/ITEM/"
    assert layout.collection_prefix(NAME) == "alice/s1-cadu/"


def test_parse_reads_what_href_writes() -> None:
    place = layout.parse(layout.href("rs-data", "alice/s1-cadu/ITEM/a.raw"))
    assert (place.bucket, place.key) == ("rs-data", "alice/s1-cadu/ITEM/a.raw")


@pytest.mark.parametrize(
    "part", ["", ".", "..", "a/b", "../b", "a*", "a?", "${x}", "a b", "é", ".hidden", "a\n", "a" * 256]
)
def test_names_that_are_no_part_of_a_key_are_refused(part: str) -> None:
    with pytest.raises(BadInput):
        layout.asset_key(NAME, "ITEM", part)
    with pytest.raises(BadInput):
        layout.item_prefix(NAME, part)


@pytest.mark.parametrize(
    "address", ["", "alice/x", "http://h/k", "s3://", "s3://b", "s3://b/", "s3://b/k?x=1", "s3://b/k#f"]
)
def test_addresses_of_no_object_are_refused(address: str) -> None:
    with pytest.raises(BadInput):
        layout.parse(address)
