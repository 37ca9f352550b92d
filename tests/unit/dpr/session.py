"""A staged session as the catalog has it, auxiliary files, and what preparation makes of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import cql2

from rs_client.processing.tasktable import TaskTable
from rs_server.access.policy import Principal
from rs_server.catalog.names import CollectionName
from rs_server.dpr.payload import Order, order
from rs_server.dpr.plan import Plan
from rs_server.dpr.preparation import Preparation
from rs_server.dpr.processors import Processor, processors
from rs_server.dpr.request import ProcessorRequest
from rs_server.errors import NotFound
from rs_server.processes.references import Reference
from rs_server.settings import ClusterLimits
from rs_server.stations.search import SearchRequest
from rs_server.storage.credentials import Credentials
from rs_server.storage.layout import Buckets
from rs_server.storage.stac import Place

SESSION = "S1A_20241114143038056552"
PREFIX = f"alice/s1-cadu/{SESSION}/"
SOURCE = Reference("catalog", "alice_s1-cadu", SESSION)
AT_STATION = Reference("cadip", "s1-sgs", SESSION)
TARGET = CollectionName("alice", "s1-l0")
BUCKETS = Buckets("rs-data")
PLACE = Place("rs-data", "http://127.0.0.1:9000", "us-east-1", "http://127.0.0.1:8000")
S1_L0 = next(each for each in processors() if each.id == "s1-l0")
KEYS = Credentials(
    "rs-1", "AK", "SECRET", PLACE.endpoint, PLACE.region, PLACE.bucket, datetime(2026, 11, 24, tzinfo=UTC)
)
ALICE = Principal("alice", roles=frozenset({f"rs_cadip_sgs_{right}" for right in ("read", "download")}))
RUN = "11111111-2222-3333-4444-555555555555"

WITH_ORBIT = Processor(
    "s1-orbit",
    "units",
    "Unit",
    TaskTable.model_validate(
        {
            "title": "With an orbit",
            "description": "It needs a restituted orbit.",
            "version": "2.1.0",
            "level": "L1",
            "inputs": {"cadu": {"title": "Files", "kind": "files", "role": "cadu"}},
            "adfs": {
                "orbit": {"title": "Orbit", "product_type": "AUX_RESORB", "margin_s": [60, 60]},
                "parameters": {
                    "title": "Parameters",
                    "product_type": "AUX_PP1",
                    "select": "closest",
                    "optional": True,
                },
            },
            "outputs": {"grd": {"title": "Image", "product_type": "S1_GRD", "level": "L1", "suffix": "_GRD"}},
            "parameters": {"looks": {"title": "Looks", "schema": {"type": "integer", "minimum": 1}, "default": 4}},
            "resources": {"workers": [1, 4], "cores": 2, "memory_gib": 2, "memory_per_input_gib": 0.5},
        }
    ),
)


def asset(channel: int, block: int, href: str = "") -> dict[str, Any]:
    """A staged file."""
    return {
        "href": href or f"s3://rs-data/{PREFIX}ch{channel}_{block}.raw",
        "roles": ["cadu"],
        "file:size": 100 * channel + block,
        "file:checksum": f"d50110{channel:016x}{block:016x}",
        "cadip:channel": channel,
        "cadip:block_number": block,
    }


def item() -> dict[str, Any]:
    """The session: two channels of two files, in no order."""
    return {
        "id": SESSION,
        "collection": SOURCE.collection,
        "properties": {
            "datetime": "2024-11-14T14:30:44.018Z",
            "start_datetime": "2024-11-14T14:30:44.018Z",
            "end_datetime": "2024-11-14T14:33:48.812Z",
            "platform": "sentinel-1a",
            "constellation": "sentinel-1",
            "sat:absolute_orbit": 56552,
            "eopf:origin_datetime": "2024-11-14T14:31:11.032Z",
        },
        "assets": {f"ch{c}_{b}.raw": asset(c, b) for c, b in ((2, 2), (1, 2), (2, 1), (1, 1))},
        "links": [{"rel": "via", "href": f"{PLACE.public_url}{AT_STATION.path}"}],
    }


def adf(kind: str, start: str, end: str, created: str, collection: str = "alice_aux") -> dict[str, Any]:
    """An auxiliary file of the catalog, or of a station."""
    name = f"S1A_{kind}_{start[8:13]}_{created[8:13]}".replace("T", "_")
    owner, _, bare = collection.partition("_")
    href = f"s3://rs-data/{owner}/{bare}/{name}/{name}.EOF"
    return {
        "id": name,
        "collection": collection,
        "properties": {
            "product:type": kind,
            "platform": "sentinel-1a",
            "start_datetime": f"2024-{start}Z",
            "end_datetime": f"2024-{end}Z",
            "created": f"2024-{created}Z",
            "eopf:origin_datetime": f"2025-{created}Z",
        },
        "assets": {"file": {"href": href, "roles": ["data"], "file:size": 7, "file:checksum": "d50110aa"}},
    }


class Catalog:
    """A catalog in memory, which answers searches by their filters."""

    def __init__(self, *items: Mapping[str, Any]) -> None:
        self.items = {(each["collection"], each["id"]): dict(each) for each in items or (item(),)}
        self.made: set[str] = set()
        self.doomed: dict[tuple[str, str], list[str]] = {}

    async def has_collection(self, name: CollectionName) -> bool:
        return name.full in await self.collection_ids()

    async def collection_ids(self) -> list[str]:
        return sorted({collection for collection, _ in self.items} | self.made)

    async def item(self, collection_id: str, item_id: str) -> dict[str, Any]:
        if (collection_id, item_id) not in self.items:
            raise NotFound(f"item {item_id} does not exist")
        return self.items[collection_id, item_id]

    async def search(self, body: Mapping[str, Any], collections: Sequence[str]) -> dict[str, Any]:
        there = [each for (name, _), each in self.items.items() if name in collections]
        if "ids" in body:
            there = [each for each in there if each["id"] in body["ids"]]
        if "filter" in body:
            there = [each for each in there if _matches(cql2.Expr(body["filter"]), each)]
        return {"features": there[: body.get("limit", 10)]}

    async def ensure_collection(self, name: CollectionName, *, title: str) -> None:
        self.made.add(name.full)

    async def upsert_item(self, item: dict[str, Any]) -> None:
        self.items[item["collection"], item["id"]] = item

    async def publish(self, conn: Any, items: Sequence[Mapping[str, Any]]) -> None:
        for each in items:
            await self.upsert_item(dict(each))

    async def doom(self, conn: Any, collection: str, item: str, addresses: Sequence[str]) -> None:
        self.doomed.setdefault((collection, item), []).extend(addresses)


def _matches(expression: cql2.Expr, item: Mapping[str, Any]) -> bool:
    untold = dict.fromkeys(("product:type", "platform", "start_datetime", "end_datetime"), "")
    return expression.matches({**untold, "id": item["id"], **item["properties"]})


class Stations:
    """The stations of these tests hold the session, and what is given."""

    def __init__(self, *auxiliary: Mapping[str, Any]) -> None:
        self.auxiliary = [dict(each) for each in auxiliary]

    def collections(self, service: str) -> Sequence[Any]:
        return ()

    def station_of(self, service: str, collection: str) -> str:
        if (service, collection) == ("cadip", "s1-sgs"):
            return "sgs"
        raise NotFound(f"collection {collection} does not exist")

    async def item(self, service: str, collection: str, item_id: str) -> dict[str, Any]:
        if (service, collection, item_id) != ("cadip", "s1-sgs", SESSION):
            raise NotFound(f"collection {collection} has no item {item_id}")
        return item()

    async def quality(self, service: str, collection: str, item: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        return [{"Channel": 1, "AcquiredTFs": 4}]

    async def search(self, service: str, request: SearchRequest, collections: Sequence[str]) -> Any:
        raise NotImplementedError


def preparation(catalog: Catalog | None = None, processor: Processor = S1_L0, **limits: Any) -> Preparation:
    """Preparation with a catalog in memory."""
    allowed = {"*": ClusterLimits(**limits)}
    return Preparation(processor, catalog or Catalog(), Stations(), allowed, PLACE.public_url, BUCKETS.all)


def request(path: str = SOURCE.path, processor: Processor = S1_L0, **more: Any) -> ProcessorRequest:
    """A request for one session."""
    outputs = dict.fromkeys(processor.task.outputs, TARGET.full)
    return ProcessorRequest(inputs={"cadu": (path,)}, collections=outputs, **more)


async def some_plan() -> Plan:
    """The plan of making the session's product."""
    return await preparation().plan(ALICE, request())


async def some_order() -> Order:
    """The order of making the session's product."""
    plan = await some_plan()
    return order(S1_L0, plan, plan.steps[0], BUCKETS, RUN)
