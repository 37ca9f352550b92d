"""The processes of data processing (DPR): one for each processor, from items of the catalog to a published product."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from pydantic import BaseModel, Field

from rs_server.access.guards import require, require_visible
from rs_server.access.policy import Principal, Right, Service, owns
from rs_server.catalog.names import CollectionName, resolve
from rs_server.dpr.execute import Cluster, Clusters, ProcessingFailed
from rs_server.dpr.payload import Work, payload, work
from rs_server.dpr.processors import Processor
from rs_server.dpr.publish import Made, catalog_item
from rs_server.errors import BadInput, NotFound
from rs_server.processes.model import Inputs, Outcome, Process, Progress
from rs_server.processes.references import ItemInputs, Reference, parse, read
from rs_server.processes.run import Run
from rs_server.storage import layout
from rs_server.storage.credentials import Credentials, Scope
from rs_server.storage.stac import Place

KEY_LIFE = timedelta(hours=12)  # the longest that a processor may run; its key is revoked when it ends
PREPARATION = "preparation"  # the queue of the first step: it chooses inputs, and waits for those that must be staged
_KEY = "storage_key"  # the name of the key in use, remembered for the next attempt


class ProcessorInputs(Inputs):
    """What to process, and where to put the products."""

    items: ItemInputs
    collection: str = Field(
        title="Collection",
        description="Collection of the catalog to publish in; a new one of the caller's own is made",
        min_length=1,
        max_length=200,
    )


class ProcessorRequest(BaseModel):
    """What was admitted: paths of catalog items, and the full id of the collection."""

    items: tuple[str, ...]
    collection: str


class Bucket(Protocol):
    """What processing needs of the object storage."""

    async def delete_prefix(self, prefix: str) -> None:
        """Delete what lies under a prefix."""
        ...

    async def prefix_size(self, prefix: str) -> int:
        """Bytes under a prefix."""
        ...


class Keys(Protocol):
    """What processing needs of the issuer of storage keys."""

    async def issue(self, login: str, purpose: str, scope: Scope, life: timedelta | None = None) -> Credentials:
        """Make a key."""
        ...

    async def revoke(self, name: str) -> None:
        """End a key."""
        ...


class Catalog(Protocol):
    """What processing needs of the catalog."""

    async def has_collection(self, name: CollectionName) -> bool:
        """Whether there is such a collection."""
        ...

    async def ensure_collection(self, name: CollectionName, *, title: str) -> None:
        """Make a collection, unless it is there."""
        ...

    async def item(self, collection_id: str, item_id: str) -> dict[str, Any]:
        """An item; ``NotFound``."""
        ...

    async def upsert_item(self, item: dict[str, Any]) -> None:
        """Publish an item."""
        ...


@dataclass(frozen=True, slots=True)
class Processing:
    """One processor as a process, with the outside world that it works on."""

    processor: Processor
    clusters: Clusters
    storage: Bucket
    keys: Keys
    catalog: Catalog
    place: Place

    def process(self) -> Process[ProcessorInputs]:
        """The process as the engine takes it."""
        task = self.processor.task
        return Process(
            id=self.processor.id,
            title=task.title,
            description=task.description,
            version=task.version,
            inputs=ProcessorInputs,
            outputs={"items": "The products published"},
            admit=self.admit,
            run=self.run,
        )

    async def admit(self, who: Principal, inputs: ProcessorInputs) -> ProcessorRequest:
        """Check with the caller's rights that the inputs may be read and are there, and the output may be written."""
        sources = tuple(_full(source, who) for source in read(inputs.items, self.place.public_url))
        target = resolve(inputs.collection, who)
        _permit(who, sources, target)
        if not owns(who, target.owner) and not await self.catalog.has_collection(target):
            raise NotFound(f"collection {target.full} does not exist")
        await self._work(sources, target)
        return ProcessorRequest(items=tuple(source.path for source in sources), collection=target.full)

    async def run(self, run: Run) -> Outcome:
        """Process each item, then publish the products."""
        request = ProcessorRequest.model_validate(run.request)
        sources = tuple(parse(path, self.place.public_url, "items") for path in request.items)
        target = CollectionName.parse(request.collection)
        _permit(run.who, sources, target)
        todo = [replace(each, run=str(run.id)) for each in await self._work(sources, target)]
        await self._end_key(run)
        made = await self._process(run, todo)
        return await self._publish(run, target, made)

    async def _work(self, sources: Sequence[Reference], target: CollectionName) -> list[Work]:
        return [
            work(
                self.processor,
                source,
                await self.catalog.item(source.collection, source.item),
                target,
                self.place.bucket,
            )
            for source in sources
        ]

    async def _process(self, run: Run, todo: Sequence[Work]) -> list[tuple[Work, Made]]:
        made = []
        async with self.clusters.open(run) as cluster:
            for number, each in enumerate(todo):
                await run.settle(_progress(todo, number))
                await run.say(f"processing {each.source.item}: {len(each.files)} files")
                made.append((each, await self._product(run, cluster, each)))
        await run.settle(_progress(todo, len(todo)))
        return made

    async def _product(self, run: Run, cluster: Cluster, each: Work) -> Made:
        """Make one product whole, or leave nothing of it."""
        await self.storage.delete_prefix(each.write_prefix)  # what an attempt that was cut off has left
        keys = await self.keys.issue(run.who.login, f"job {run.id}", each.scope, KEY_LIFE)
        try:
            await run.remember(**{_KEY: keys.name})
            answer = await cluster.call(f"{each.product}-{run.id}", each.processor.target, payload(each, keys))
        except BaseException:
            await self.keys.revoke(keys.name)  # first, so that nothing is written behind the deletion
            await self.storage.delete_prefix(each.write_prefix)
            raise
        await self.keys.revoke(keys.name)
        return await self._made(each, answer)

    async def _made(self, each: Work, answer: Mapping[str, Any]) -> Made:
        discovery = answer.get("stac_discovery")
        size = await self.storage.prefix_size(each.write_prefix)
        if not isinstance(discovery, Mapping) or size == 0:
            raise ProcessingFailed(f"{each.processor.id} ended without a product of {each.source.item}")
        return Made(size, discovery)

    async def _end_key(self, run: Run) -> None:
        """End the key of an attempt that was cut off."""
        name = run.memory.get(_KEY)
        if name is not None:
            await self.keys.revoke(name)
            await run.remember(**{_KEY: None})

    async def _publish(self, run: Run, target: CollectionName, made: Sequence[tuple[Work, Made]]) -> Outcome:
        await run.say(f"publishing in {target.full}")
        if owns(run.who, target.owner):
            await self.catalog.ensure_collection(target, title=target.name)
        for each, product in made:
            await self._replace(each, product)
        paths = tuple(Reference("catalog", target.full, each.product).path for each, _ in made)
        total = sum(product.size for _, product in made)
        return Outcome(f"made {', '.join(each.product for each, _ in made)}, {total} bytes", {"items": paths})

    async def _replace(self, each: Work, product: Made) -> None:
        """Publish an edition, and only then delete the one that it takes the place of."""
        try:
            before = await self.catalog.item(each.target.full, each.product)
        except NotFound:
            before = {}
        first = (before.get("properties") or {}).get("published")
        edition = replace(product, first_published=first)
        await self.catalog.upsert_item(catalog_item(each, edition, self.place, datetime.now(UTC)))
        for prefix in superseded(each, before):
            await self.storage.delete_prefix(prefix)


def superseded(each: Work, before: Mapping[str, Any]) -> set[str]:
    """The prefixes of the runs whose files an item named before this edition took its place."""
    place = layout.href(each.bucket, each.item_prefix)
    prefixes = set()
    for asset in (before.get("assets") or {}).values():
        run, _, rest = str(asset["href"]).removeprefix(place).partition("/")
        if str(asset["href"]).startswith(place) and rest:
            prefixes.add(f"{each.item_prefix}{run}/")
    return prefixes - {each.write_prefix}


def _full(source: Reference, who: Principal) -> Reference:
    """The same item with the full id of its collection."""
    if source.service != Service.CATALOG:
        raise BadInput(f"{source.path} is not an item of the catalog", hint="stage it first")
    return Reference(source.service, resolve(source.collection, who).full, source.item)


def _permit(who: Principal, sources: Sequence[Reference], target: CollectionName) -> None:
    for source in sources:
        resource = CollectionName.parse(source.collection).resource
        require_visible(who, Service.CATALOG, resource, f"item {source.path}")
    require(who, Right.WRITE, Service.CATALOG, target.resource)


def _progress(todo: Sequence[Work], done: int) -> Progress:
    """Percent by products, as a processor tells nothing while it runs; files and bytes are those of the inputs."""
    sizes = [sum(file.size for file in each.files) for each in todo]
    files = [len(each.files) for each in todo]
    return Progress(10 + 80 * done // len(todo), sum(sizes[:done]), sum(sizes), sum(files[:done]), sum(files))
