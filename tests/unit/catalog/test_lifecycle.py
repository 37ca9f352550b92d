"""Which rule holds for an item, and what becomes of its times."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from rs_server.catalog.lifecycle import Rules, stamped, withdrawn
from rs_server.catalog.names import CollectionName
from rs_server.settings import LifecycleRule
from rs_server.storage.layout import Buckets

NOW = datetime(2024, 6, 1, 12, tzinfo=UTC)
TABLE = [
    LifecycleRule(days=100),
    LifecycleRule(product_type="L0", days=50, bucket="l0"),
    LifecycleRule(owner="alice", days=40),
    LifecycleRule(owner="alice", product_type="L0", days=30),
    LifecycleRule(owner="alice", collection="s1", days=20),
    LifecycleRule(owner="alice", collection="s1", product_type="L0", days=10),
    LifecycleRule(owner="carol"),
]


@pytest.mark.parametrize(
    ("owner", "collection", "kind", "days", "bucket"),
    [
        ("bob", "s1", None, 100, "data"),
        ("bob", "s1", "L0", 50, "l0"),
        ("alice", "s2", "L1", 40, "data"),
        ("alice", "s2", "L0", 30, "data"),
        ("alice", "s1", "L1", 20, "data"),
        ("alice", "s1", "L0", 10, "data"),
        ("carol", "s1", "L0", None, "data"),
    ],
)
def test_the_most_specific_rule_decides(
    owner: str, collection: str, kind: str | None, days: int | None, bucket: str
) -> None:
    name = CollectionName(owner, collection)
    assert Rules(TABLE).kept(name, kind) == (None if days is None else timedelta(days=days))
    assert Buckets("data", TABLE).of(name, kind) == bucket


@pytest.mark.parametrize(
    ("owner", "collection", "buckets"),
    [("bob", "s1", {"data", "l0"}), ("alice", "s2", {"data"}), ("carol", "s1", {"data"})],
)
def test_the_buckets_of_a_collection_are_those_of_its_types(owner: str, collection: str, buckets: set[str]) -> None:
    assert Buckets("data", TABLE).of_any_type(CollectionName(owner, collection)) == buckets
    assert Buckets("data", TABLE).all == {"data", "l0"}


def test_without_rules_items_stay() -> None:
    assert Rules().kept(CollectionName("a", "b"), None) is None
    assert Buckets("data").of(CollectionName("a", "b"), None) == "data"


def _item(**properties: Any) -> dict[str, Any]:
    return {"id": "i", "properties": properties, "assets": {"a": {"href": "s3://b/k"}}}


def _at(days: float) -> str:
    return (NOW + timedelta(days=days)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


# days kept · what the writer gives · what was there before · expires, in days from now
EXPIRY: list[tuple[int | None, dict[str, Any], dict[str, Any] | None, float | None]] = [
    (None, {}, None, None),
    (10, {}, None, 10),
    (10, {"expires": _at(5)}, None, 5),
    (10, {"expires": _at(50)}, None, 10),
    (None, {"expires": _at(50)}, None, 50),
    (10, {}, {"expires": _at(3)}, 3),  # an item that is there keeps its end
    (10, {"expires": _at(50)}, {"expires": _at(3)}, 3),
    (10, {"expires": _at(-9)}, {"expires": _at(-9), "unpublished": _at(-8)}, 10),  # staged again
    (10, {"expires": "soon"}, None, 10),
]


@pytest.mark.parametrize(("days", "given", "earlier", "expected"), EXPIRY)
def test_expiry(
    days: int | None, given: dict[str, Any], earlier: dict[str, Any] | None, expected: float | None
) -> None:
    kept = None if days is None else timedelta(days=days)
    before = None if earlier is None else _item(**earlier)
    told = stamped(_item(**given), now=NOW, kept=kept, before=before)["properties"]
    assert told.get("expires") == (None if expected is None else _at(expected))


def test_times_that_are_the_catalogs_are_not_taken_from_anybody() -> None:
    lies = dict.fromkeys(("published", "updated", "unpublished"), "1999-01-01T00:00:00Z")
    told = stamped(_item(created=_at(-3), **lies), now=NOW, kept=None)["properties"]
    assert told == {
        "created": _at(-3),
        "published": _at(0),
        "updated": _at(0),
        "eopf:origin_datetime": _at(-3),
    }


def test_the_first_publication_and_the_origin_stay() -> None:
    before = _item(created=_at(-9), published=_at(-8), **{"eopf:origin_datetime": _at(-10)})
    told = stamped(_item(), now=NOW, kept=None, before=before)["properties"]
    assert told == {
        "created": _at(-9),
        "published": _at(-8),
        "updated": _at(0),
        "eopf:origin_datetime": _at(-10),
    }


def test_withdrawn_and_back() -> None:
    gone = withdrawn({**_item(published=_at(-8), expires=_at(-1)), "links": [{"rel": "via", "href": "x"}]}, NOW)
    assert (gone["assets"], gone["links"], gone["properties"]["unpublished"]) == ({}, [], _at(0))
    empty = stamped({**_item(), "assets": {}}, now=NOW, kept=None, before=gone)
    assert empty["properties"]["unpublished"] == _at(0)  # an edit without files does not bring it back
    assert "unpublished" not in stamped(_item(), now=NOW, kept=None, before=gone)["properties"]
