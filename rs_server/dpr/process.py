"""The processes of data processing (DPR): one for each processor, from items to published products.

A job has two steps, each done by the workers of a queue of its own: preparation chooses the inputs, has staged what is
missing and writes the orders; then a cluster carries them out, and the products are published. What a step came to is
kept, so that any worker can go on where another one was cut off.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any, Protocol
from uuid import UUID

import yaml
from psycopg import AsyncConnection

from rs_server.access.guards import require
from rs_server.access.policy import Principal, Right, Service, owns
from rs_server.catalog.names import CollectionName, resolve
from rs_server.database import Row
from rs_server.dpr import preparation, provenance
from rs_server.dpr.execute import Cluster, Clusters, ProcessingFailed
from rs_server.dpr.payload import Order, Target, order, tagged
from rs_server.dpr.plan import CATALOG, Plan, Step
from rs_server.dpr.preparation import Preparation
from rs_server.dpr.processors import Processor
from rs_server.dpr.publish import Made, catalog_item, report_key
from rs_server.dpr.records import Record, Records
from rs_server.dpr.request import ProcessorInputs, ProcessorRequest, form, mode_of, parameters
from rs_server.dpr.sizing import Size
from rs_server.errors import BadInput, NotFound
from rs_server.processes.model import QUEUE, HandOver, Outcome, Process, Progress
from rs_server.processes.references import Reference
from rs_server.processes.run import Run, Superseded
from rs_server.settings import ClusterLimits
from rs_server.storage import layout
from rs_server.storage.credentials import Credentials, Scope
from rs_server.storage.layout import Buckets, Location
from rs_server.storage.stac import Place

KEY_LIFE = timedelta(hours=12)  # the longest that a processor may run; its key is revoked when it ends
PREPARATION = "preparation"  # the queue of the first step: it chooses inputs, and waits for those that must be staged
WROTE = "wrote"
"""In the memory of a job that files may be of which are no product yet."""
_TOLD = "told"  # until when the events of a run were read, by the scheduler's clock
_MOST_LINES = 1000  # of a run's log in the log of its job; all of them are in the product's report
_PREPARED, _PROCESSED = 10, 95  # percent


class Bucket(Protocol):
    """What processing needs of the object storage."""

    async def put_stream(self, key: str, chunks: AsyncIterator[bytes]) -> int:
        """Write an object; its size."""
        ...

    async def delete_prefix(self, prefix: str) -> None:
        """Delete what lies under a prefix."""
        ...

    async def prefix_size(self, prefix: str) -> int:
        """Bytes under a prefix."""
        ...

    async def etags(self, prefix: str) -> dict[str, str]:
        """The entity tags of the objects under a prefix, by key."""
        ...


class Keys(Protocol):
    """What processing needs of the issuer of storage keys."""

    async def issue(self, login: str, purpose: str, scope: Scope, life: timedelta | None = None) -> Credentials:
        """Make a key."""
        ...

    async def revoke_all(self, purpose: str) -> int:
        """End all keys that were made for a purpose."""
        ...


class Catalog(preparation.Catalog, Protocol):
    """What processing needs of the catalog."""

    async def has_collection(self, name: CollectionName) -> bool:
        """Whether there is such a collection."""
        ...

    async def ensure_collection(self, name: CollectionName, *, title: str) -> None:
        """Make a collection, unless it is there."""
        ...

    async def publish(self, conn: AsyncConnection[Row], items: Sequence[Mapping[str, Any]]) -> None:
        """Publish items as part of a transaction."""
        ...

    async def doom(self, conn: AsyncConnection[Row], collection: str, item: str, addresses: Sequence[str]) -> None:
        """Note files of an item for deletion, as part of a transaction."""
        ...


@dataclass(frozen=True, slots=True)
class World:
    """The outside world that processing works on."""

    clusters: Clusters
    storage: Callable[[str], Bucket]  # by the name of the bucket
    keys: Keys
    catalog: Catalog
    stations: preparation.Stations
    records: Records
    place: Place
    buckets: Buckets
    limits: Mapping[str, ClusterLimits]


@dataclass(frozen=True, slots=True)
class Processing:
    """One processor as a process."""

    processor: Processor
    world: World

    def process(self) -> Process[ProcessorInputs]:
        """The process as the engine takes it."""
        task = self.processor.task
        return Process(
            id=self.processor.id,
            title=task.title,
            description=task.description,
            version=task.version,
            inputs=form(self.processor),
            outputs={"items": "The products published"},
            admit=self.admit,
            run=self.run,
            queue=PREPARATION,
        )

    @property
    def preparation(self) -> Preparation:
        """The step that chooses and stages."""
        world = self.world
        return Preparation(
            self.processor, world.catalog, world.stations, world.limits, world.place.public_url, world.buckets.all
        )

    async def admit(self, who: Principal, inputs: ProcessorInputs) -> ProcessorRequest:
        """Check with the caller's rights that the inputs may be read and are there, and the outputs may be written."""
        request = await self.request(who, inputs)
        plan = await self.preparation.plan(who, request)
        wrong = [problem for problem in plan.problems if problem.startswith("inputs.")]
        if wrong:
            raise BadInput(wrong[0])
        return request

    async def request(self, who: Principal, inputs: ProcessorInputs) -> ProcessorRequest:
        """The request that inputs state, with all that they name found."""
        mode = mode_of(self.processor, inputs.mode)
        collections = {name: self._collection(who, inputs, name) for name in mode.outputs}
        for target in collections.values():
            require(who, Right.WRITE, Service.CATALOG, target.resource)
            if not owns(who, target.owner) and not await self.world.catalog.has_collection(target):
                raise NotFound(f"collection {target.full} does not exist")
        given = inputs.sources(self.processor)
        found = {
            name: await self.preparation.references(who, f"inputs.{name}", sources)
            for name, sources in given.items()
            if sources
        }
        return ProcessorRequest(
            inputs={name: tuple(each.path for each in references) for name, references in found.items()},
            adfs=await self._adfs(who, inputs),
            collections={name: target.full for name, target in collections.items()},
            parameters=parameters(self.processor, inputs.parameters),
            mode=inputs.mode,
            workers=inputs.workers,
        )

    def _collection(self, who: Principal, inputs: ProcessorInputs, output: str) -> CollectionName:
        """The collection of an output: the one that is given, else the caller's own for the type of product."""
        given = inputs.collection if isinstance(inputs.collection, str) else (inputs.collection or {}).get(output)
        if given is not None:
            return resolve(given, who)
        kind = self.processor.task.outputs[output].product_type
        return CollectionName(who.login, kind.lower().replace("_", "-").strip("-"))

    async def _adfs(self, who: Principal, inputs: ProcessorInputs) -> dict[str, str]:
        known = self.processor.task.adfs
        if unknown := set(inputs.adfs) - set(known):
            raise BadInput(
                f"inputs.adfs.{min(unknown)}: {self.processor.id} takes no such auxiliary file",
                hint=f"it takes {', '.join(known) or 'none'}",
            )
        found = {}
        for name, reference in inputs.adfs.items():
            (found[name],) = await self.preparation.references(who, f"inputs.adfs.{name}", (reference,))
        return {name: reference.path for name, reference in found.items()}

    # --- the two steps ------------------------------------------------------------------------------------------------

    async def run(self, run: Run) -> Outcome:
        """Do the step that is due: prepare, or carry out what was prepared."""
        request = ProcessorRequest.model_validate(run.request)
        self._permit(run.who, request)
        record = await self.world.records.get(run.id)
        if record is None:
            await self._prepare(run, request)
            raise HandOver(QUEUE, "prepared; waiting for a worker that runs it")
        return await self._carry_out(run, record)

    def _permit(self, who: Principal, request: ProcessorRequest) -> None:
        for name in request.collections.values():
            require(who, Right.WRITE, Service.CATALOG, CollectionName.parse(name).resource)

    async def _prepare(self, run: Run, request: ProcessorRequest) -> None:
        plan = await self.preparation.bring_in(run, request)
        orders = [await self._order(run, plan, step) for step in plan.steps]
        for note in plan.notes:
            await run.say(note)
        for chosen in plan.chosen:
            await run.say(f"{chosen.name}: {chosen.source.item}, {chosen.why}")
        document = plan.document(self.world.place.public_url)
        await self.world.records.prepared(run.id, document, [each.document() for each in orders])
        await run.settle(Progress(_PREPARED, 0, plan.octets, 0, plan.files))

    async def _order(self, run: Run, plan: Plan, step: Step) -> Order:
        counted = await self.preparation.told(step)
        made = order(self.processor, plan, step, self.world.buckets, str(run.id), counted)
        read = {layout.parse(str(file["href"])).bucket for source in made.sources for file in source.files}
        tags: dict[Location, str] = {}
        for bucket, prefix in product(sorted(read), made.read):
            found = await self.world.storage(bucket).etags(prefix)
            tags |= {Location(bucket, key): tag for key, tag in found.items()}
        return tagged(made, tags)

    async def _carry_out(self, run: Run, record: Record) -> Outcome:
        orders = [Order.parse(each) for each in record.orders]
        made = dict(record.made)
        if any(each.label not in made for each in orders):
            size = Size(**record.plan["cluster"])
            async with self.world.clusters.open(run, size) as cluster:
                for number, each in enumerate(orders):
                    if each.label not in made:
                        work = _Work(self.world, run, cluster, each, _Share(orders, number))
                        made[each.label] = await work.result()
        await run.settle(_Share(orders, len(orders)).progress(0))
        try:
            return await self._publish(run, record, orders, made)
        except (asyncio.CancelledError, Superseded):
            if await asyncio.shield(run.over()):
                await asyncio.shield(take_away(self.world.storage, self.world.catalog, orders))
            raise

    # --- publication --------------------------------------------------------------------------------------------------

    async def _publish(
        self, run: Run, record: Record, orders: Sequence[Order], made: Mapping[str, Mapping[str, Any]]
    ) -> Outcome:
        targets = [(each, target) for each in orders for target in each.targets]
        names = sorted({target.collection for _, target in targets})
        await run.say(f"publishing in {', '.join(names)}")
        facts = {**record.plan, "job": str(run.id)}
        editions = [
            (each, target, await self._edition(each, target, facts, made[each.label])) for each, target in targets
        ]
        for name in map(CollectionName.parse, names):
            if owns(run.who, name.owner):
                await self.world.catalog.ensure_collection(name, title=name.name)
        before = [await self._before(target) for _, target in targets]
        now = datetime.now(UTC)
        items = [catalog_item(each, target, edition, self.world.place, now) for each, target, edition in editions]
        old = {target: superseded(target, item) for (_, target), item in zip(targets, before, strict=True)}
        async with run.transaction() as conn:  # all of them, and only while the job is ours: not while it is dismissed
            await self.world.catalog.publish(conn, items)
            for target, places in old.items():  # noted, so that they go even if this attempt does not get further
                hrefs = sorted(layout.href(each.bucket, each.key) for each in places)
                await self.world.catalog.doom(conn, target.collection, target.id, hrefs)
        for place in (each for places in old.values() for each in places):
            await self.world.storage(place.bucket).delete_prefix(place.key)
        paths = tuple(Reference(CATALOG, target.collection, target.id).path for _, target in targets)
        total = sum(edition.size for _, _, edition in editions)
        return Outcome(f"made {', '.join(target.id for _, target in targets)}, {total} bytes", {"items": paths})

    async def _edition(self, each: Order, target: Target, facts: Mapping[str, Any], made: Mapping[str, Any]) -> Made:
        """The product with its reports, all in their place; nobody sees them before the item is published."""
        answer = made["products"].get(target.output) or {}
        discovery = answer.get("stac_discovery")
        storage = self.world.storage(target.bucket)
        size = await storage.prefix_size(f"{target.prefix}{target.asset}/")
        if not isinstance(discovery, Mapping) or size == 0:
            raise ProcessingFailed(f"{facts['processor']} ended without the product {target.id}")
        report = {name: made.get(name) for name in ("seconds", "peak_memory_mib", "report")} | {
            "quality": answer.get("quality")
        }
        texts = {
            "payload": yaml.safe_dump(each.payload, sort_keys=False),
            "report": json.dumps(report, indent=1),
            "provenance": json.dumps(provenance.document(each, target, facts, made, self.world.place), indent=1),
            "log": "\n".join(made.get("log") or ()) + "\n",
        }
        reports = {}
        for name, text in texts.items():
            reports[name] = await storage.put_stream(report_key(target, name), _once(text.encode()))
        return Made(size, discovery, reports=reports, software=_software(facts, made))

    async def _before(self, target: Target) -> Mapping[str, Any]:
        """The edition that a product takes the place of; its files are deleted only once the new one is published."""
        try:
            return await self.world.catalog.item(target.collection, target.id)
        except NotFound:
            return {}


@dataclass(frozen=True, slots=True)
class _Share:
    """How much of a job one of its orders is, by what it reads."""

    orders: Sequence[Order]
    number: int

    def progress(self, percent: float) -> Progress:
        """How far the job is when the order is so far."""
        before, all_ = self.orders[: self.number], sum(each.octets for each in self.orders)
        now = self.orders[self.number].octets if self.number < len(self.orders) else 0
        done = sum(each.octets for each in before) + now * percent / 100
        share = done / all_ if all_ else self.number / len(self.orders)
        return Progress(
            int(_PREPARED + (_PROCESSED - _PREPARED) * share),
            int(done),
            all_,
            sum(each.files for each in before),
            sum(each.files for each in self.orders),
        )


@dataclass(frozen=True, slots=True)
class _Work:
    """One order on a cluster."""

    world: World
    run: Run
    cluster: Cluster
    order: Order
    share: _Share

    async def result(self) -> dict[str, Any]:
        """Make the products of an order whole, or leave nothing of them."""
        label = self.order.label
        try:
            if await self.cluster.holds(label):
                await self.run.say(f"{label} is found again at work")
            else:
                await self._start(label)
            await self._follow(label)
            answer = await self.cluster.result(label)
            if error := answer.get("error"):
                raise failed(error)
            await self.world.records.made(self.run.id, label, answer)
        except (asyncio.CancelledError, Superseded):
            # The worker stops, or another one has taken the job up: what is there is for whoever goes on.
            if await asyncio.shield(self.run.over()):
                await asyncio.shield(self._undo())
            raise
        except BaseException:
            await self._undo()
            raise
        await self._end_key()
        return answer

    async def _start(self, label: str) -> None:
        await self._undo()  # what an attempt that was cut off has left
        await self.run.remember(**{WROTE: "yes"})
        login = self.run.who.login
        keys = await self.world.keys.issue(login, purpose(self.run.id), self.order.scope, KEY_LIFE)
        await self.run.say(f"processing {label}: {self.order.files} files, {self.order.octets} bytes")
        await self.cluster.start(label, {"payload": self.order.payload, "storage": storage_keys(keys)})

    async def _follow(self, label: str) -> None:
        """Pass on what the run tells, until it is done."""
        since, lines = float(self.run.memory.get(_TOLD) or 0), 0
        async for event in self.cluster.events(label, since):
            if event.line is not None and lines < _MOST_LINES:
                await self.run.say(event.line)
                await self.run.remember(**{_TOLD: str(event.at)})
                lines += 1
            await self.run.report(self.share.progress(event.percent))

    async def _undo(self) -> None:
        """Leave nothing: first end the key, so that nothing is written behind the deletion."""
        await self._end_key()
        for target in self.order.targets:
            await self.world.storage(target.bucket).delete_prefix(target.prefix)

    async def _end_key(self) -> None:
        await self.world.keys.revoke_all(purpose(self.run.id))


async def take_away(storage: Callable[[str], Bucket], catalog: Catalog, orders: Sequence[Order]) -> None:
    """Delete the files of orders whose products are not published."""
    for target in (target for each in orders for target in each.targets):
        try:
            item = await catalog.item(target.collection, target.id)
        except NotFound:
            item = {}
        if not any(each.key.startswith(target.prefix) for each in layout.named(item)):
            await storage(target.bucket).delete_prefix(target.prefix)


def purpose(job: UUID) -> str:
    """What the storage keys of a job are made for."""
    return f"job {job}"


def failed(error: Mapping[str, Any]) -> ProcessingFailed:
    """The error that a run told: its message, the unit, the input, and what to do."""
    told = {name: str(error.get(name) or "") for name in ("type", "message", "unit", "input", "hint", "where")}
    on = f" on {told['input']}" if told["input"] else ""
    return ProcessingFailed(
        f"{told['unit'] or 'the processor'} failed{on}: {told['type']}: {told['message']}",
        hint=told["hint"],
        **{name: told[name] for name in ("unit", "input", "where") if told[name]},
    )


def storage_keys(keys: Credentials) -> dict[str, str]:
    """The keys as a worker takes them; neither logged nor kept."""
    return {
        "endpoint": keys.endpoint,
        "region": keys.region,
        "bucket": keys.bucket,
        "access_key_id": keys.access_key,
        "secret_access_key": keys.secret_key,
    }


def superseded(target: Target, before: Mapping[str, Any]) -> set[Location]:
    """The places (prefixes) of the runs whose files an item named before this edition took its place."""
    places = set()
    for each in layout.named(before):
        run, _, rest = each.key.removeprefix(target.item_prefix).partition("/")
        if each.key.startswith(target.item_prefix) and rest:
            places.add(Location(each.bucket, f"{target.item_prefix}{run}/"))
    return places - {Location(target.bucket, target.prefix)}


def _software(facts: Mapping[str, Any], made: Mapping[str, Any]) -> dict[str, str]:
    packages = (made.get("environment") or {}).get("packages") or {}
    kept = {name: str(packages[name]) for name in ("rs-python", "eopf") if name in packages}
    return {**kept, str(facts["processor"]): str(facts["version"])}


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data
