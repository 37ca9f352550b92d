"""Who may stage what is decided when it is asked for."""

from typing import Any

import pytest

from rs_server.access.policy import Principal
from rs_server.catalog.names import CollectionName
from rs_server.errors import BadInput, Forbidden, NotFound, RsError, StationUnavailable
from rs_server.staging.process import Staging, StagingInputs, Tally
from rs_server.storage.stac import Place
from tests.unit.staging.station import SESSION, Bucket, Station

HOST = "http://127.0.0.1:8000"
SGS = f"{HOST}/cadip/collections/s1-sgs/items/{SESSION}"
PRODUCER = frozenset({"rs_cadip_*_read", "rs_cadip_*_download"})


class Catalog:
    """A catalog with one collection."""

    async def has_collection(self, name: CollectionName) -> bool:
        return name.full == "carol_shared"

    async def ensure_collection(self, name: CollectionName, *, title: str) -> None:
        raise NotImplementedError

    async def item(self, collection_id: str, item_id: str) -> dict[str, Any]:
        raise NotImplementedError

    async def upsert_item(self, item: dict[str, Any]) -> None:
        raise NotImplementedError


def staging(station: Station) -> Staging:
    return Staging(station, Bucket(), Catalog(), Place("rs-data", "http://s3", "r", HOST))


def wanted(href: str = SGS, collection: str = "s1-cadu") -> StagingInputs:
    return StagingInputs.model_validate({"items": [{"href": href}], "collection": collection})


async def test_what_is_admitted_is_kept_as_paths_and_full_ids() -> None:
    request = await staging(Station()).admit(Principal("alice", roles=PRODUCER), wanted())
    assert request.items == (f"/cadip/collections/s1-sgs/items/{SESSION}",)
    assert request.collection == "alice_s1-cadu"


@pytest.mark.parametrize(
    ("roles", "inputs", "error", "why"),
    [
        (set(), wanted(), NotFound, "does not exist"),
        ({"rs_cadip_sgs_read"}, wanted(), Forbidden, "may not download cadip sgs"),
        ({"rs_cadip_mti_read", "rs_cadip_mti_download"}, wanted(), NotFound, "does not exist"),
        (PRODUCER, wanted(SGS + "x"), NotFound, "does not exist"),
        (PRODUCER, wanted(SGS.replace("s1-sgs", "other")), NotFound, "other"),
        (PRODUCER, wanted(SGS.replace("/cadip/", "/auxip/")), NotFound, "does not exist"),
        (PRODUCER, wanted(SGS.replace("/cadip/", "/catalog/")), BadInput, "not an item of a station"),
        (PRODUCER, wanted(SGS.replace("8000", "8001")), BadInput, "not an address of this server"),
        (PRODUCER, wanted(collection="bob_s1-cadu"), Forbidden, "may not write catalog bob:s1-cadu"),
        (PRODUCER, wanted(collection="bob:s1-cadu"), Forbidden, "may not write catalog bob:s1-cadu"),
        (PRODUCER, wanted(collection="../x"), BadInput, "not the name of a collection"),
        (
            PRODUCER | {"rs_catalog_carol:new_write"},
            wanted(collection="carol_new"),
            NotFound,
            "carol_new does not exist",
        ),
    ],
)
async def test_what_is_refused(roles: set[str], inputs: StagingInputs, error: type[RsError], why: str) -> None:
    with pytest.raises(error, match=why):
        await staging(Station()).admit(Principal("alice", roles=frozenset(roles)), inputs)


async def test_the_missing_role_is_named() -> None:
    with pytest.raises(Forbidden) as caught:
        await staging(Station()).admit(Principal("alice", roles=frozenset({"rs_cadip_sgs_read"})), wanted())
    assert caught.value.members["missing_role"] == "rs_cadip_sgs_download"


async def test_a_shared_collection_may_be_written_to() -> None:
    who = Principal("alice", roles=PRODUCER | {"rs_catalog_carol:shared_write"})
    request = await staging(Station()).admit(who, wanted(collection="carol:shared"))
    assert request.collection == "carol_shared"


async def test_a_station_that_is_down_is_named() -> None:
    with pytest.raises(StationUnavailable, match="station sgs"):
        await staging(Station(down=True)).admit(Principal("alice", roles=PRODUCER), wanted())


@pytest.mark.parametrize(
    ("done", "total", "percent", "told"),
    [(0, 0, 0, 0), (0, 10, 0, 0), (5, 10, 49, 5), (10, 10, 99, 10), (14, 10, 99, 10)],
)
def test_progress_never_says_more_than_all(done: int, total: int, percent: int, told: int) -> None:
    progress = Tally(total, 1, bytes_done=done).progress
    assert (progress.percent, progress.bytes_done) == (percent, told)
