"""From items of a station to transfers: keys, totals, and what cannot be staged."""

from typing import Any

import pytest

from rs_server.catalog.names import CollectionName
from rs_server.errors import BadInput
from rs_server.processes.references import Reference
from rs_server.staging.plan import plan
from tests.unit.staging.station import SESSION, item, name_of

TARGET = CollectionName("alice", "s1-cadu")
SOURCE = Reference("cadip", "s1-sgs", SESSION)


def test_each_file_gets_its_place() -> None:
    made = plan([(SOURCE, item())], TARGET)
    assert [transfer.key for transfer in made.transfers] == [
        f"alice/s1-cadu/{SESSION}/{name_of(channel, block)}" for channel in (1, 2) for block in (1, 2)
    ]
    assert made.bytes_total == 4 * 4088
    assert made.items[0].prefix == f"alice/s1-cadu/{SESSION}/"


@pytest.mark.parametrize(
    ("assets", "why"),
    [
        ({}, "no files"),
        ({"a.raw": {"href": "x"}}, "size of a.raw"),
        ({"a.raw": {"href": "x", "file:size": -1}}, "size of a.raw"),
        ({"a.raw": {"href": "x", "file:size": "12"}}, "size of a.raw"),
        ({"../../bob/a.raw": {"href": "x", "file:size": 1}}, "part of the name"),
    ],
)
def test_what_cannot_be_staged_is_told(assets: dict[str, Any], why: str) -> None:
    with pytest.raises(BadInput, match=why):
        plan([(SOURCE, {**item(), "assets": assets})], TARGET)


def test_two_items_of_one_id_are_refused() -> None:
    other = Reference("cadip", "s1-mti", SESSION)
    with pytest.raises(BadInput, match="two of the items"):
        plan([(SOURCE, item()), (other, item())], TARGET)
