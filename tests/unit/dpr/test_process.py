"""Who may process what is decided when it is asked for; what is made is published whole, or nothing is left of it."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from uuid import UUID

import pytest

from rs_server.access.policy import Principal
from rs_server.dpr.execute import Event, ProcessingFailed
from rs_server.dpr.process import PREPARATION, Processing, World, superseded
from rs_server.dpr.records import Record
from rs_server.errors import BadInput, Forbidden, NotFound, RsError
from rs_server.processes.model import QUEUE, HandOver, Outcome, Progress
from rs_server.processes.run import Superseded
from rs_server.settings import ClusterLimits, LifecycleRule
from rs_server.storage import layout
from rs_server.storage.layout import Buckets, Location
from tests.schemas import item_faults
from tests.unit.dpr.session import (
    ALICE,
    BUCKETS,
    KEYS,
    PLACE,
    RUN,
    S1_L0,
    SESSION,
    SOURCE,
    Catalog,
    Stations,
    item,
    some_order,
)

PRODUCT = f"{SESSION}_L0"
DISCOVERY = {"properties": {"datetime": "2024-11-14T14:30:45Z", "platform": "sentinel-1a"}}


class Bucket:
    """Object storage in memory."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}

    async def put_stream(self, key: str, chunks: AsyncIterator[bytes]) -> int:
        self.objects[key] = b"".join([chunk async for chunk in chunks])
        return len(self.objects[key])

    async def delete_prefix(self, prefix: str) -> None:
        self.objects = {key: data for key, data in self.objects.items() if not key.startswith(prefix)}

    async def etags(self, prefix: str) -> dict[str, str]:
        return {f"{prefix}ch1_1.raw": "tag"}

    async def prefix_size(self, prefix: str) -> int:
        return sum(len(data) for key, data in self.objects.items() if key.startswith(prefix))


class Keys:
    """An issuer that counts what is open."""

    def __init__(self) -> None:
        self.open: set[str] = set()

    async def issue(self, login: str, purpose: str, scope: Any, life: Any = None) -> Any:
        self.open.add(purpose)
        return KEYS

    async def revoke_all(self, purpose: str) -> int:
        there = purpose in self.open
        self.open.discard(purpose)
        return int(there)


class Records:
    """Records in memory."""

    def __init__(self) -> None:
        self.kept: dict[UUID, Record] = {}

    async def get(self, job: UUID) -> Record | None:
        return self.kept.get(job)

    async def prepared(self, job: UUID, plan: Any, orders: Any) -> None:
        self.kept[job] = Record(plan, orders, {})

    async def made(self, job: UUID, product: str, answer: Any) -> None:
        before = self.kept[job]
        self.kept[job] = Record(before.plan, before.orders, {**before.made, product: answer})

    async def clusters(self) -> frozenset[str]:
        return frozenset()


class Gateway:
    """A cluster in memory that outlives the attempts at a job, as real ones do."""

    def __init__(self, buckets: Mapping[str, Bucket], answer: Mapping[str, Any]) -> None:
        self.buckets, self.answer = buckets, answer
        self.held: dict[str, Mapping[str, Any]] = {}
        self.opened = 0
        self.block = False

    @asynccontextmanager
    async def open(self, run: Any, size: Any) -> AsyncIterator[Gateway]:
        self.opened += 1
        yield self

    async def stop(self, name: str) -> None:
        raise NotImplementedError

    async def holds(self, label: str) -> bool:
        return label in self.held

    async def start(self, label: str, order: Mapping[str, Any]) -> None:
        self.held[label] = order
        path = order["payload"]["io"]["output_products"][0]["path"]
        place = layout.parse(path)
        self.buckets[place.bucket].objects[f"{place.key}/zarr.json"] = b"{}"

    async def events(self, label: str, since: float) -> AsyncIterator[Event]:
        yield Event(since + 1, 40.0, "Workflow progress: 40% - running")
        if self.block:
            await asyncio.Event().wait()

    async def result(self, label: str) -> dict[str, Any]:
        return dict(self.answer)


class Job:
    """A run in memory; ``final`` says whether its job has come to its end."""

    def __init__(self, request: Any, *, memory: dict[str, Any] | None = None, final: bool = False) -> None:
        self.id, self.who, self.request = UUID(RUN), ALICE, request.model_dump(mode="json")
        self.memory, self.final = memory or {}, final
        self.said: list[str] = []
        self.percents: list[int] = []
        self.working = asyncio.Event()

    async def say(self, line: str) -> None:
        self.said.append(line)
        if "running" in line:
            self.working.set()

    async def report(self, progress: Progress) -> None:
        self.percents.append(progress.percent)

    settle = report

    async def remember(self, **values: str | None) -> None:
        if self.final:
            raise Superseded
        self.memory |= values

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        if self.final:
            raise Superseded
        yield

    async def over(self) -> bool:
        return self.final


WHOLE = {
    "products": {"l0": {"href": "s3://…", "size": 2, "stac_discovery": DISCOVERY, "quality": {"frames": 1}}},
    "report": {"status": "completed"},
    "log": ["a line"],
    "environment": {"packages": {"eopf": "3.0.0", "rs-python": "0.1.0"}},
    "seconds": 1.5,
    "peak_memory_mib": 100,
}


class Site:
    """A processor with all of its world in memory."""

    def __init__(self, answer: Mapping[str, Any] = WHOLE, buckets: Buckets = BUCKETS) -> None:
        self.buckets: defaultdict[str, Bucket] = defaultdict(Bucket)
        self.keys, self.catalog, self.records = Keys(), Catalog(item()), Records()
        self.gateway = Gateway(self.buckets, answer)
        world = World(
            self.gateway,
            self.buckets.__getitem__,
            self.keys,
            self.catalog,
            Stations(),
            self.records,
            PLACE,
            buckets,
            {"*": ClusterLimits()},
        )
        self.processing = Processing(S1_L0, world)

    @property
    def bucket(self) -> Bucket:
        """That of the storage."""
        return self.buckets[PLACE.bucket]

    def form(self, **inputs: Any) -> Any:
        return self.processing.process().inputs.model_validate(inputs)

    async def admitted(self) -> Any:
        return await self.processing.admit(
            ALICE, self.form(items=[{"href": at(SOURCE.collection)}], collection="s1-l0")
        )

    async def prepared(self) -> Any:
        request = await self.admitted()
        with pytest.raises(HandOver) as handed:
            await self.processing.run(Job(request))  # type: ignore[arg-type]
        assert handed.value.queue == QUEUE
        return request

    async def carried_out(self, job: Job) -> Outcome:
        return await self.processing.run(job)  # type: ignore[arg-type]

    def product(self) -> dict[str, Any] | None:
        return self.catalog.items.get(("alice_s1-l0", PRODUCT))


def at(collection: str, item_id: str = SESSION) -> str:
    return f"{PLACE.public_url}/catalog/collections/{collection}/items/{item_id}"


# --- what is asked for ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("collection", ["alice_s1-cadu", "alice:s1-cadu", "s1-cadu"])
@pytest.mark.parametrize("name", ["items", "cadu"])
async def test_short_names_are_kept_in_full(collection: str, name: str) -> None:
    site = Site()
    request = await site.processing.admit(ALICE, site.form(**{name: [{"href": at(collection)}]}))
    assert request.inputs == {"cadu": (SOURCE.path,)}
    assert request.collections == {"l0": "alice_s1-l0"}
    assert request.parameters == {"basis": "dual", "randomised": False}


def test_the_first_step_waits_for_workers_of_its_own() -> None:
    assert Site().processing.process().queue == PREPARATION != QUEUE


@pytest.mark.parametrize(
    ("login", "roles", "inputs", "error", "why"),
    [
        ("bob", set(), {"items": at("alice_s1-cadu")}, NotFound, "does not exist"),
        ("alice", set(), {"items": at("alice_s1-cadu", "other")}, NotFound, "other"),
        (
            "alice",
            set(),
            {"items": f"{PLACE.public_url}/auth/collections/a/items/x"},
            BadInput,
            "not an item of the cat",
        ),
        ("alice", set(), {}, BadInput, "inputs.cadu: 1 items are needed"),
        ("alice", set(), {"items": at("s1-cadu"), "collection": "bob_s1-l0"}, Forbidden, "may not write"),
        ("alice", set(), {"items": at("s1-cadu"), "collection": {"l0": "bob_x"}}, Forbidden, "may not write"),
        ("alice", set(), {"items": at("s1-cadu"), "mode": "fast"}, BadInput, "s1-l0 has no mode fast"),
        ("alice", set(), {"items": at("s1-cadu"), "parameters": {"b": 1}}, BadInput, "parameters.b: s1-l0 has no such"),
        (
            "alice",
            set(),
            {"items": at("s1-cadu"), "parameters": {"basis": "x"}},
            BadInput,
            "parameters.basis: 'x' is not",
        ),
        (
            "alice",
            set(),
            {"items": at("s1-cadu"), "adfs": {"orbit": {"href": at("x")}}},
            BadInput,
            "adfs.orbit: s1-l0 t",
        ),
        ("alice", set(), {"items": at("s1-cadu"), "cadu": at("s1-cadu")}, BadInput, "are the same input"),
        (
            "bob",
            {"rs_catalog_alice:s1-cadu_read"},
            {"items": at("alice_s1-cadu"), "collection": "alice:s1-l0"},
            Forbidden,
            "may not write",
        ),
        (
            "bob",
            {"rs_catalog_alice:s1-cadu_read", "rs_catalog_alice:s1-l0_write"},
            {"items": at("alice_s1-cadu"), "collection": "alice:s1-l0"},
            NotFound,
            "alice_s1-l0 does not exist",
        ),
    ],
)
async def test_what_is_refused(
    login: str, roles: set[str], inputs: dict[str, Any], error: type[RsError], why: str
) -> None:
    site = Site()
    for name in {"items", "cadu"} & set(inputs):
        inputs = inputs | {name: {"href": inputs[name]}}
    with pytest.raises(error, match=why):
        await site.processing.admit(Principal(login, roles=frozenset(roles)), site.form(**inputs))


async def test_a_reader_processes_into_a_collection_of_their_own() -> None:
    site = Site()
    who = Principal("bob", roles=frozenset({"rs_catalog_alice:s1-cadu_read"}))
    request = await site.processing.admit(who, site.form(items={"href": at("alice_s1-cadu")}))
    assert request.collections == {"l0": "bob_s1-l0"}


# --- what is done -----------------------------------------------------------------------------------------------------


async def test_a_prepared_job_is_carried_out_and_published_with_its_reports() -> None:
    site = Site()
    job = Job(await site.prepared())
    outcome = await site.carried_out(job)
    assert outcome.outputs == {"items": (f"/catalog/collections/alice_s1-l0/items/{PRODUCT}",)}
    product = site.product()
    assert product is not None
    assert item_faults(product) == []
    assert set(product["assets"]) == {"product", "payload", "report", "provenance", "log"}
    for asset in product["assets"].values():
        key = asset["href"].removeprefix("s3://rs-data/")
        assert await site.bucket.prefix_size(key) > 0
    assert not any(b"SECRET" in data for data in site.bucket.objects.values())
    told = json.loads(next(data for key, data in site.bucket.objects.items() if key.endswith("/provenance.json")))
    assert [file["etag"] for source in told["inputs"] for file in source["files"]] == ["tag", None, None, None]
    assert site.keys.open == set()
    assert "Workflow progress: 40% - running" in job.said
    assert job.percents == sorted(job.percents)
    assert 10 < job.percents[-1] <= 95


async def test_a_product_and_its_reports_lie_in_the_bucket_that_a_rule_names() -> None:
    site = Site(buckets=Buckets(PLACE.bucket, [LifecycleRule(product_type="S1_L0", bucket="rs-l0")]))
    older = f"alice/s1-l0/{PRODUCT}/older/"
    site.bucket.objects[f"{older}p.zarr/zarr.json"] = b"{}"
    before = {"product": {"href": layout.href(PLACE.bucket, f"{older}p.zarr")}}
    site.catalog.items["alice_s1-l0", PRODUCT] = {
        "collection": "alice_s1-l0",
        "id": PRODUCT,
        "assets": before,
        "properties": {},
    }
    await site.carried_out(Job(await site.prepared()))
    product = site.product()
    assert product is not None
    assert {place.bucket for place in layout.named(product)} == {"rs-l0"}
    assert product["properties"]["storage:schemes"]["rs"]["bucket"] == "rs-l0"
    for place in layout.named(product):
        assert await site.buckets["rs-l0"].prefix_size(place.key) > 0
    assert site.bucket.objects == {}  # the edition before is gone from where it lay
    assert site.catalog.doomed == {("alice_s1-l0", PRODUCT): [layout.href(PLACE.bucket, older)]}


async def test_the_edition_before_is_noted_for_deletion_with_the_publication() -> None:
    """So its files go even if the worker dies before it has deleted them."""
    site = Site()
    place = f"s3://rs-data/alice/s1-l0/{PRODUCT}/older/"
    older = {"collection": "alice_s1-l0", "id": PRODUCT, "assets": {"product": {"href": f"{place}p.zarr"}}}
    site.catalog.items["alice_s1-l0", PRODUCT] = {**older, "properties": {}}
    await site.carried_out(Job(await site.prepared()))
    assert site.catalog.doomed == {("alice_s1-l0", PRODUCT): [place]}


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (
            {
                "error": {
                    "type": "InputUnreadable",
                    "message": "s3://x is short",
                    "unit": "s1-l0",
                    "input": "s3://x",
                    "hint": "h",
                }
            },
            "s1-l0 failed on s3://x: InputUnreadable: s3://x is short",
        ),
        ({**WHOLE, "products": {}}, f"s1-l0 ended without the product {PRODUCT}"),
    ],
)
async def test_a_failed_run_publishes_nothing(answer: dict[str, Any], why: str) -> None:
    site = Site(answer)
    job = Job(await site.prepared())
    with pytest.raises(ProcessingFailed, match=why) as failed:
        await site.carried_out(job)
    assert site.product() is None
    assert site.keys.open == set()
    if "error" in answer:
        assert site.bucket.objects == {}
        assert (failed.value.hint, failed.value.members["unit"]) == ("h", "s1-l0")


async def test_a_job_goes_on_where_it_was_cut_off() -> None:
    site = Site()
    site.gateway.block = True
    job = Job(await site.prepared())
    await cut_off(site, job)
    assert site.bucket.objects  # the work goes on without the service
    assert site.keys.open == {f"job {RUN}"}
    site.gateway.block = False
    site.gateway.start = None  # type: ignore[assignment, method-assign]  # nothing is started again
    again = Job(await site.admitted(), memory=job.memory)
    await site.carried_out(again)
    assert f"{PRODUCT}-{RUN} is found again at work" in again.said
    assert site.product() is not None
    assert site.keys.open == set()


async def test_a_dismissed_job_leaves_nothing() -> None:
    site = Site()
    site.gateway.block = True
    job = Job(await site.prepared())
    await cut_off(site, job, final=True)
    assert site.bucket.objects == {}
    assert site.keys.open == set()
    assert site.product() is None


async def test_what_is_made_is_not_made_again() -> None:
    site = Site()
    request = await site.prepared()
    await site.carried_out(Job(request))
    await site.carried_out(Job(request))
    assert site.gateway.opened == 1


async def cut_off(site: Site, job: Job, *, final: bool = False) -> None:
    """Let a job begin to work, and cancel it there."""
    task = asyncio.ensure_future(site.carried_out(job))
    await asyncio.wait_for(job.working.wait(), 5)
    job.final = final
    task.cancel()
    with pytest.raises((asyncio.CancelledError, Superseded)):
        await task


@pytest.mark.parametrize(
    ("href", "gone"),
    [
        ("s3://rs-data/alice/s1-l0/{item}/older/p.zarr", {"alice/s1-l0/{item}/older/"}),
        (f"s3://rs-data/alice/s1-l0/{{item}}/{RUN}/p.zarr", set()),  # its own
        ("s3://rs-data/alice/s1-l0/other/older/p.zarr", set()),  # another item's
        ("https://example.org/p.zarr", set()),
    ],
)
async def test_only_the_edition_before_is_deleted(href: str, gone: set[str]) -> None:
    (target,) = (await some_order()).targets
    before = {"assets": {"product": {"href": href.format(item=target.id)}}}
    assert superseded(target, before) == {Location("rs-data", prefix.format(item=target.id)) for prefix in gone}


async def test_a_job_dismissed_while_it_publishes_leaves_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site()
    job = Job(await site.prepared())

    async def dismissed(name: Any, *, title: str) -> None:
        job.final = True

    monkeypatch.setattr(site.catalog, "ensure_collection", dismissed)
    with pytest.raises(Superseded):
        await site.carried_out(job)
    assert site.product() is None
    assert job.memory["wrote"] == "yes"
    assert not [key for key in site.bucket.objects if PRODUCT in key]


async def test_what_was_published_just_before_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site()
    job = Job(await site.prepared())

    async def cancelled(conn: Any, items: Any) -> None:
        for each in items:
            await site.catalog.upsert_item(dict(each))
        job.final = True
        raise asyncio.CancelledError

    monkeypatch.setattr(site.catalog, "publish", cancelled)
    with pytest.raises(asyncio.CancelledError):
        await site.carried_out(job)
    assert site.product() is not None
    assert [key for key in site.bucket.objects if PRODUCT in key]
