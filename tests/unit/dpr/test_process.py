"""Who may process what is decided when it is asked for."""

from dataclasses import replace
from typing import Any

import pytest

from rs_server.access.policy import Principal
from rs_server.catalog.names import CollectionName
from rs_server.dpr.process import Processing, ProcessorInputs, superseded
from rs_server.errors import BadInput, Forbidden, NotFound, RsError
from tests.unit.dpr.session import PLACE, S1_L0, SESSION, item, some_work


class Catalog:
    """A catalog with one session of alice's."""

    async def has_collection(self, name: CollectionName) -> bool:
        return name.full == "alice_s1-cadu"

    async def item(self, collection_id: str, item_id: str) -> dict[str, Any]:
        if (collection_id, item_id) != ("alice_s1-cadu", SESSION):
            raise NotFound(f"item {item_id} does not exist")
        return item()

    async def ensure_collection(self, name: CollectionName, *, title: str) -> None:
        raise NotImplementedError

    async def upsert_item(self, item: dict[str, Any]) -> None:
        raise NotImplementedError


class Unused:
    """Nothing of the outside world is needed to decide."""

    def __getattr__(self, name: str) -> Any:
        raise NotImplementedError(name)


PROCESSING = Processing(S1_L0, Unused(), Unused(), Unused(), Catalog(), PLACE)


def wanted(path: str, collection: str = "s1-l0") -> ProcessorInputs:
    return ProcessorInputs.model_validate({"items": [{"href": PLACE.public_url + path}], "collection": collection})


def at(collection: str, item_id: str = SESSION) -> str:
    return f"/catalog/collections/{collection}/items/{item_id}"


@pytest.mark.parametrize("collection", ["alice_s1-cadu", "alice:s1-cadu", "s1-cadu"])
async def test_short_names_are_kept_in_full(collection: str) -> None:
    request = await PROCESSING.admit(Principal("alice"), wanted(at(collection)))
    assert request.items == (at("alice_s1-cadu"),)
    assert request.collection == "alice_s1-l0"


@pytest.mark.parametrize(
    ("login", "roles", "inputs", "error", "why"),
    [
        ("bob", set(), wanted(at("alice_s1-cadu")), NotFound, "does not exist"),
        ("alice", set(), wanted(at("alice_s1-cadu", "other")), NotFound, "other"),
        ("alice", set(), wanted("/cadip/collections/s1-sgs/items/x"), BadInput, "not an item of the catalog"),
        ("alice", set(), wanted(at("alice_s1-cadu"), "bob_s1-l0"), Forbidden, "may not write"),
        (
            "bob",
            {"rs_catalog_alice:s1-cadu_read"},
            wanted(at("alice_s1-cadu"), "alice:s1-l0"),
            Forbidden,
            "may not write",
        ),
        (
            "bob",
            {"rs_catalog_alice:s1-cadu_read", "rs_catalog_alice:s1-l0_write"},
            wanted(at("alice_s1-cadu"), "alice:s1-l0"),
            NotFound,
            "alice_s1-l0 does not exist",
        ),
    ],
)
async def test_what_is_refused(
    login: str, roles: set[str], inputs: ProcessorInputs, error: type[RsError], why: str
) -> None:
    with pytest.raises(error, match=why):
        await PROCESSING.admit(Principal(login, roles=frozenset(roles)), inputs)


async def test_a_reader_processes_into_a_collection_of_their_own() -> None:
    who = Principal("bob", roles=frozenset({"rs_catalog_alice:s1-cadu_read"}))
    request = await PROCESSING.admit(who, wanted(at("alice_s1-cadu")))
    assert request.collection == "bob_s1-l0"


@pytest.mark.parametrize(
    ("href", "gone"),
    [
        ("s3://rs-data/alice/s1-l0/{item}/older/p.zarr", {"alice/s1-l0/{item}/older/"}),
        ("s3://rs-data/alice/s1-l0/{item}/newer/p.zarr", set()),  # its own
        ("s3://rs-data/alice/s1-l0/other/older/p.zarr", set()),  # another item's
        ("s3://elsewhere/alice/s1-l0/{item}/older/p.zarr", set()),
        ("https://example.org/p.zarr", set()),
    ],
)
def test_only_the_edition_before_is_deleted(href: str, gone: set[str]) -> None:
    each = replace(some_work(), run="newer")
    before = {"assets": {"product": {"href": href.format(item=each.product)}}}
    assert superseded(each, before) == {prefix.format(item=each.product) for prefix in gone}
