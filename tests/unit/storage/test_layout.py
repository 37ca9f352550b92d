"""Keys say what they are, and nothing that a user may choose leads a key elsewhere."""

import pytest

from rs_server.catalog.names import CollectionName
from rs_server.errors import BadInput
from rs_server.storage import layout
from rs_server.storage.layout import Location

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


def test_the_objects_of_an_item_are_those_that_its_assets_name() -> None:
    addresses = ("s3://a/k", "https://h/k", "s3://b/k/l", "s3://", None)
    assets = {str(number): {"href": address} for number, address in enumerate(addresses)}
    assert list(layout.named({"assets": {**assets, "none": {}}})) == [Location("a", "k"), Location("b", "k/l")]
    assert list(layout.named({"assets": None})) == []
