"""Who may stage what is decided when it is asked for."""

from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from rs_server.access.policy import Principal
from rs_server.catalog.names import CollectionName
from rs_server.errors import BadInput, Forbidden, NotFound, RsError, StationUnavailable
from rs_server.staging.inputs import StagingInputs
from rs_server.staging.process import Staging
from rs_server.storage.layout import Buckets
from rs_server.storage.stac import Place
from tests.unit.staging.station import SESSION, Station, name_of

HOST = "http://127.0.0.1:8000"
NONSENSE = {"op": "=", "args": [{"property": "datetime"}, "nonsense"]}
SGS = f"{HOST}/cadip/collections/s1-sgs/items/{SESSION}"
PRODUCER = frozenset({"rs_cadip_*_read", "rs_cadip_*_download"})


class Catalog:
    """A catalog with one collection."""

    async def has_collection(self, name: CollectionName) -> bool:
        return name.full == "carol_shared"

    async def collection_ids(self) -> list[str]:
        return ["carol_shared"]

    async def ensure_collection(self, name: CollectionName, *, title: str) -> None:
        raise NotImplementedError

    async def item(self, collection_id: str, item_id: str) -> dict[str, Any]:
        raise NotFound(f"item {item_id} does not exist")

    async def items(self, collection_id: str, item_ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        raise NotImplementedError

    async def search(self, body: Mapping[str, Any], collections: Sequence[str]) -> dict[str, Any]:
        if body.get("filter") == NONSENSE:
            raise BadInput("the catalog refuses the search")
        return {"features": [], "links": []}

    async def lock(self, conn: Any, collection_id: str, item_ids: Sequence[str]) -> None:
        raise NotImplementedError

    async def publish(self, conn: Any, items: Sequence[Mapping[str, Any]]) -> None:
        raise NotImplementedError


def staging(station: Station) -> Staging:
    rows: Any = None  # nothing is noted before a job is admitted
    return Staging(station, Catalog(), rows, Place("rs-data", "http://s3", "r", HOST), Buckets("rs-data"))


def admitted(inputs: dict[str, Any], *roles: str) -> Any:
    who = Principal("alice", roles=PRODUCER | set(roles))
    return staging(Station()).admit(who, StagingInputs.model_validate({"collection": "s1-cadu", **inputs}))


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
        (PRODUCER, wanted(SGS.replace("/cadip/", "/catalog/")), NotFound, "does not exist"),
        (PRODUCER, wanted(SGS.replace("8000", "8001")), BadInput, "not an address of this server"),
        (PRODUCER, wanted(SGS + "%00"), BadInput, "not the address of an item"),
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


SEARCHES: list[tuple[Any, str, dict[str, Any]]] = [
    ({"href": f"{HOST}/cadip/search?ids=A,B&limit=3"}, "cadip", {"ids": ["A", "B"], "filter-lang": "cql2-text"}),
    ({"href": "/cadip/collections/s1-sgs/items"}, "cadip", {"collections": ["s1-sgs"], "filter-lang": "cql2-text"}),
    (
        {"service": "cadip", "search": {"ids": ["A"], "limit": 7, "token": "t"}},
        "cadip",
        {"ids": ["A"], "filter-lang": "cql2-json"},
    ),
]


@pytest.mark.parametrize(("item", "service", "body"), SEARCHES)
async def test_a_search_is_kept_without_its_paging(item: Any, service: str, body: dict[str, Any]) -> None:
    request = await admitted({"items": item})
    assert (request.items, [search.model_dump() for search in request.searches]) == (
        (),
        [{"service": service, "body": body}],
    )


@pytest.mark.parametrize(
    ("item", "error", "why"),
    [
        ({"href": "http://elsewhere/cadip/search?ids=A"}, BadInput, "not an address of this server"),
        ({"href": "/cadip/search?idz=A"}, BadInput, "inputs.items.0: idz"),
        ({"href": "/cadip/search?filter=nonsense%3D1"}, BadInput, "nonsense"),
        ({"href": "/strange/search"}, BadInput, "service"),
        ({"href": "/cadip/search?ids=A&ids=B"}, BadInput, "inputs.items.0: ids is given more than once"),
        ({"href": "http://[::1/cadip/search"}, BadInput, "inputs.items.0: .* is not an address"),
        ({"href": "/auxip/search"}, NotFound, "no collection"),
        ({"service": "cadip", "search": {"collections": ["other"]}}, NotFound, "no collection"),
        ({"service": "cadip", "search": {"strange": 1}}, BadInput, "inputs.items.0.search: strange"),
        ({"service": "catalog", "search": {}}, NotFound, "no collection"),
    ],
)
async def test_searches_that_are_refused(item: Any, error: type[RsError], why: str) -> None:
    with pytest.raises(error, match=why):
        await admitted({"items": item})


async def test_a_search_of_the_catalog_needs_rights_to_its_collections() -> None:
    roles = ("rs_catalog_carol:shared_read", "rs_catalog_carol:shared_download")
    request = await admitted({"items": {"service": "catalog", "search": {}}}, *roles)
    assert request.searches[0].service == "catalog"


async def test_a_search_that_the_catalog_cannot_read_is_refused_at_once() -> None:
    roles = ("rs_catalog_carol:shared_read", "rs_catalog_carol:shared_download")
    with pytest.raises(BadInput, match="refuses"):
        await admitted({"items": {"service": "catalog", "search": {"filter": NONSENSE}}}, *roles)


async def test_items_that_were_not_looked_at_may_be_good() -> None:
    """Twenty that are not there say nothing of the next one."""
    missing = [{"href": f"{SGS}x{number}"} for number in range(20)]
    with pytest.raises(NotFound):
        await admitted({"items": missing})
    assert len((await admitted({"items": [*missing, {"href": SGS}]})).items) == 21


async def test_options_are_kept() -> None:
    options = {"existing": "skip", "priority": 7, "follow": True, "strict": True, "assets": [name_of(1, 1)]}
    request = await admitted({"items": {"href": SGS}, **options})
    assert request.model_dump(include=set(options)) == {**options, "assets": (name_of(1, 1),)}


async def test_two_items_of_one_id_are_refused() -> None:
    twice = [{"href": SGS}, {"href": SGS.replace("s1-sgs", "s1-mti")}]
    with pytest.raises(BadInput, match="two of the items"):
        await admitted({"items": twice})
