"""The process ``staging``: items of stations or of the catalog become items of the catalog, with files of their own.

A job is worked in short steps. The first one notes what is to be carried; carriers, in all workers, carry it; whenever
items are whole a step publishes them. Between two steps the job holds no worker, however long it takes.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any, Protocol
from uuid import UUID

from psycopg import AsyncConnection

from rs_server import tracing
from rs_server.access.guards import require
from rs_server.access.policy import Principal, Right, Service, owns
from rs_server.catalog.names import CollectionName, resolve
from rs_server.database import Row
from rs_server.errors import (
    BadInput,
    Conflict,
    NotFound,
    RsError,
    StationError,
    StationRefused,
    StationTimeout,
    StationUnavailable,
    Unavailable,
    visible,
)
from rs_server.processes.model import Ended, Failure, Outcome, Pause, Process, Turn
from rs_server.processes.references import Reference, parse
from rs_server.processes.run import Run
from rs_server.settings import StagingSettings
from rs_server.staging import found as finding
from rs_server.staging import totals
from rs_server.staging.archive import Asked
from rs_server.staging.found import Finder, Found
from rs_server.staging.inputs import StagingInputs, StagingRequest, sorted_out
from rs_server.staging.model import Carried, ItemState, NewItem, Order, StagedItem
from rs_server.staging.plan import (
    Existing,
    Planned,
    Target,
    is_complete,
    is_growing,
    same,
    storable,
    transfers,
    unchecked,
)
from rs_server.staging.publish import catalog_item, superseded
from rs_server.staging.rows import StagingRows
from rs_server.staging.totals import Totals
from rs_server.staging.transfer import Reached, nowhere
from rs_server.storage import layout
from rs_server.storage.layout import Buckets, Location
from rs_server.storage.stac import Place

STAGING = "staging"
PLANNED = "planned"
_SO_FAR = "planned so far"
PLAN_S = 2.0  # after which planning leaves its place to others, and goes on when they had it
_BATCH = 200
_LOOKED_AT_FIRST = 20  # items that are looked at before a job is admitted
_LOOKUPS = 8
_MOST_ITEMS = 100_000
_TOLD_AGAIN_S = 600.0  # how often the log says that a job waits for the same thing still
_THERE = "it is in the collection already"

_Decided = tuple[NewItem, tuple[Planned, ...]]


class Catalog(finding.Catalog, Protocol):
    """What staging needs of the catalog."""

    async def has_collection(self, name: CollectionName) -> bool:
        """Whether there is such a collection."""
        ...

    async def ensure_collection(self, name: CollectionName, *, title: str) -> None:
        """Make a collection, unless it is there."""
        ...

    async def items(self, collection_id: str, item_ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        """Those of these items that are there."""
        ...

    async def lock(self, conn: AsyncConnection[Row], collection_id: str, item_ids: Sequence[str]) -> None:
        """Let nobody else change these items until a transaction ends."""
        ...

    async def publish(self, conn: AsyncConnection[Row], items: Sequence[Mapping[str, Any]]) -> None:
        """Publish items as part of a transaction."""
        ...


class Stations(finding.Stations, Protocol):
    """What staging needs of the stations."""

    async def quality(self, service: str, collection: str, item: Mapping[str, Any]) -> list[Mapping[str, Any]] | None:
        """What the station says of each channel of a session so far; None where it never says anything."""
        ...


class Ordering(Protocol):
    """Brings files back that are not at hand at their station."""

    async def ask(self, who: Principal, source: Reference, order: UUID | None, *, tried: bool) -> Asked:
        """How far the order of an item is, placed if there is none yet; an error when its files will not come.

        With ``tried`` it is not at hand, whatever its station says.
        """
        ...


@dataclass(frozen=True, slots=True)
class Staging:
    """The process, with the outside world that it works on."""

    stations: Stations
    catalog: Catalog
    rows: StagingRows
    place: Place
    buckets: Buckets
    settings: StagingSettings = field(default_factory=StagingSettings)
    archive: Ordering | None = None
    reached: Reached = nowhere
    plan_s: float = PLAN_S

    @property
    def finder(self) -> Finder:
        """Where items come from."""
        return Finder(self.stations, self.catalog)

    def process(self) -> Process[StagingInputs]:
        """The process as the engine takes it."""
        return Process(
            id=STAGING,
            title="Staging",
            description="Copies the files of items into the object storage and publishes the items.",
            version="2.0.0",
            inputs=StagingInputs,
            outputs={"items": "The items published, and those that were there already"},
            admit=self.admit,
            run=self.run,
        )

    async def admit(self, who: Principal, inputs: StagingInputs) -> StagingRequest:
        """Check with the caller's rights that all of it may be had, and may be put where it shall go.

        The first items are looked at: whoever asks for a few learns at once when none of them can be staged.
        """
        sources, searches = sorted_out(inputs.items, self.place.public_url)
        _refuse_twins(sources)
        permitted = tuple(self.finder.permit(who, source) for source in sources)
        for search in searches:
            await self.finder.check(who, search)
        target = await self.target(who, inputs.collection)
        first, others = permitted[:_LOOKED_AT_FIRST], permitted[_LOOKED_AT_FIRST:]
        doubts = await _gathered(self._doubt(source, target, inputs) for source in first)
        hopeless = None not in doubts and not others and not searches
        if (doubt := next(filter(None, doubts), None)) and (inputs.strict or hopeless):
            raise doubt
        return StagingRequest(
            items=tuple(source.path for source in permitted),
            searches=searches,
            collection=target.full,
            **inputs.model_dump(exclude={"items", "collection"}),
        )

    async def target(self, who: Principal, collection: str) -> CollectionName:
        """The collection that a caller names, if it may be written to."""
        target = resolve(collection, who)
        require(who, Right.WRITE, Service.CATALOG, target.resource)
        if not owns(who, target.owner) and not await self.catalog.has_collection(target):
            raise NotFound(f"collection {target.full} does not exist")
        return target

    async def _doubt(self, source: Reference, target: CollectionName, inputs: StagingInputs) -> RsError | None:
        """Why an item cannot be staged; an error when its station does not answer."""
        try:
            document = storable(await self.finder.one(source))
            if not (inputs.follow and is_growing(document)):
                station = self.finder.station_of(source)
                transfers(source, document, station, Target(target, "x"), frozenset(inputs.assets))
        except (BadInput, NotFound) as error:
            return error
        return None

    async def run(self, run: Run) -> Ended:
        """One step."""
        step = _Step(self, run, StagingRequest.model_validate(run.request))
        try:
            return await step.go()
        except (StationUnavailable, StationTimeout) as error:
            return await step.station_away(error)


@dataclass(slots=True)
class _Step:
    """One step of one job."""

    of: Staging
    run: Run
    request: StagingRequest
    target: CollectionName = field(init=False)

    def __post_init__(self) -> None:
        self.target = CollectionName.parse(self.request.collection)

    async def go(self) -> Ended:
        planned = PLANNED in self.run.memory
        if not planned and not await self._plan():
            return Turn()
        away = [*await self._follow(), *await self._ask_archive()]
        ended = await self._publish(away[0].detail if away else None)
        if planned and isinstance(ended, Pause):  # just planned, every file waits for a moment
            await self._tell_why()
        return ended

    async def station_away(self, error: StationError) -> Failure | Pause:
        """A station that does not answer while it is planned is asked again, for as long as a file would be tried."""
        if self._patience_lost:
            return Failure(error)
        progress = await self.of.rows.progress(self.run.id)
        await self.run.settle(replace(progress, waiting=error.detail))
        await self._tell(error.detail)
        return Pause(self.of.settings.follow_every_s)

    @property
    def _patience_lost(self) -> bool:
        return (datetime.now(UTC) - self.run.job.created).total_seconds() > self.of.settings.patience_s

    async def _tell_why(self) -> None:
        if waiting := (await self.of.rows.progress(self.run.id)).waiting:
            await self._tell(waiting)

    async def _tell(self, waiting: str) -> None:
        """Say in the log what the job waits for, but not until when, which is another at each look."""
        reason = waiting.partition(";")[0]
        await self.run.tell(reason if reason.startswith("waiting") else f"waiting: {reason}", _TOLD_AGAIN_S)

    # Planning: from what was asked for to items and transfers.

    async def _plan(self) -> bool:
        """Note what was asked for, as much as there is time for in one step; whether that is all of it."""
        begin, noted = time.monotonic(), _SoFar.read(self.run.memory.get(_SO_FAR))
        so_far, unsure = noted, Counter(unchecked=noted.unchecked, untold=noted.untold)
        async for found, so_far in self._wanted(noted):
            if so_far.items > _MOST_ITEMS:
                raise BadInput(f"more than {_MOST_ITEMS} items are too many for one job", hint="narrow the search")
            unsure += await self._note(found)
            if time.monotonic() - begin > self.of.plan_s:
                await self.run.remember(
                    **{_SO_FAR: replace(so_far, unchecked=unsure["unchecked"], untold=unsure["untold"]).written}
                )
                await self.run.settle(await self.of.rows.progress(self.run.id))
                return False
        progress = await self.of.rows.progress(self.run.id)
        await self.run.settle(progress)
        if so_far.unfinished and not self.request.follow:
            growing = f"{so_far.unfinished} of the sessions are still growing"
            await self.run.tell(f"{growing}, and only what is there now is staged")
        if unsure["unchecked"]:
            strange = f"{unsure['unchecked']} of the files have checksums of no known kind"
            await self.run.tell(f"{strange}: their sizes alone are checked")
        if unsure["untold"]:
            silent = f"of {unsure['untold']} of the sessions the station has not told the totals yet"
            await self.run.tell(f"{silent}, and what it lists is staged")
        what = f"{progress.files_total} files of {so_far.items} items, {progress.bytes_total} bytes"
        await self.run.say(f"staging {what}")
        await self.run.remember(**{PLANNED: "yes", _SO_FAR: None})
        return True

    async def _wanted(self, begin: _SoFar) -> AsyncIterator[tuple[Sequence[Found | NewItem], _SoFar]]:
        """What was asked for, in batches: items as their sources have them, and those that cannot be had.

        With each, how far the planning is with it; what was planned up to ``begin`` is left out.
        """
        so_far, paths = begin, self.request.items
        for at in range(begin.named, len(paths), finding.SESSIONS_AT_ONCE):
            some = paths[at : at + finding.SESSIONS_AT_ONCE]
            sources = [parse(path, self.of.place.public_url, "items") for path in some]
            found = await _gathered(self._one(source) for source in sources)
            so_far = replace(so_far.counting(found), named=at + len(some))
            yield found, so_far
        for number, search in list(enumerate(self.request.searches))[begin.searches :]:
            async for page in self.of.finder.pages(self.run.who, search, so_far.page):
                searches = number if page.after else number + 1
                so_far = replace(so_far.counting(page.found), searches=searches, page=page.after)
                yield page.found, so_far

    async def _one(self, source: Reference) -> Found | NewItem:
        try:
            return self.of.finder.permit(self.run.who, source), storable(await self.of.finder.one(source))
        except (StationUnavailable, StationTimeout) as error:
            if not self._patience_lost:
                raise
            return NewItem(source, {}, ItemState.FAILED, error.detail)
        except NotFound as error:
            return NewItem(source, {}, ItemState.GONE, error.detail)
        except RsError as error:
            return NewItem(source, {}, ItemState.FAILED, error.detail)

    async def _note(self, found: Sequence[Found | NewItem]) -> Counter[str]:
        """Note some of what was asked for; how many files and sessions of it cannot be checked as others are."""
        found = [_storable(each) for each in found]
        ids = [each[0].item for each in found if isinstance(each, tuple)]
        there = await self.of.catalog.items(self.target.full, ids)
        said = await _gathered(self._totals_of(each) for each in found)
        decided: list[_Decided] = [
            (each, ()) if isinstance(each, NewItem) else self._decided(*each, there, of_it)
            for each, of_it in zip(found, said, strict=True)
        ]
        async with self.run.transaction() as conn:
            names = [new.source.item for new, _ in decided]
            decided = _told_apart(decided, await self.of.rows.named(conn, self.run.id, names))
            files = {new.source: planned for new, planned in decided}
            made = await self.of.rows.add_items(
                conn, self.run.id, list({new.source: new for new, _ in decided}.values())
            )
            planned = [(item, each) for source, item in made.items() for each in files[source]]
            await self.of.rows.add_transfers(conn, self._order(), planned)
        silent = (new for (new, _), of_it in zip(decided, said, strict=True) if of_it.untold)
        return Counter(
            unchecked=sum(unchecked(each.asset) is not None for _, each in planned),
            untold=sum(new.source in made and new.state is ItemState.CARRYING for new in silent),
        )

    def _decided(
        self,
        source: Reference,
        document: dict[str, Any],
        there: Mapping[str, Mapping[str, Any]],
        said: Totals,
    ) -> _Decided:
        """What is to be done with one item, of whose files its station has ``said`` something.

        A session in doubt grows still, where it is followed: its last files may be listed late.
        """
        before = there.get(source.item)
        if before is not None and self.request.existing is Existing.FAIL:
            return NewItem(source, document, ItemState.FAILED, _THERE), ()
        growing = self.request.follow and (is_growing(document) or said.doubt is not None)
        bucket = self.of.buckets.of(self.target, (document.get("properties") or {}).get("product:type"))
        if before is not None and (
            self.request.existing is Existing.SKIP or (not growing and self._same(document, before))
        ):
            return NewItem(source, document, ItemState.SKIPPED, _THERE), ()
        if said.doubt is not None and not growing:
            return NewItem(source, document, ItemState.FAILED, said.doubt), ()
        growing = growing or (self.request.follow and said.untold is not None)
        try:
            planned = self._so_far(source, document) if growing else self._transfers(source, document)
        except RsError as error:
            return NewItem(source, document, ItemState.FAILED, error.detail), ()
        return NewItem(source, document, ItemState.GROWING if growing else ItemState.CARRYING, bucket=bucket), planned

    def _same(self, document: Mapping[str, Any], before: Mapping[str, Any]) -> bool:
        return same(document, before, frozenset(self.request.assets))

    def _transfers(self, source: Reference, document: Mapping[str, Any]) -> tuple[Planned, ...]:
        station = self.of.finder.station_of(source)
        assets = frozenset(self.request.assets)
        return transfers(source, document, station, Target(self.target, str(self.run.id)), assets)

    def _so_far(self, source: Reference, document: Mapping[str, Any]) -> tuple[Planned, ...]:
        """The files of a session that are there while it grows, and wanted."""
        wanted, assets = self.request.assets, document.get("assets") or {}
        there = {name: asset for name, asset in assets.items() if not wanted or name in wanted}
        station, target = self.of.finder.station_of(source), Target(self.target, str(self.run.id))
        return transfers(source, {**document, "assets": there}, station, target) if there else ()

    def _order(self) -> Order:
        return Order(self.run.id, self.run.who.login, self.request.priority)

    # Following: sessions that grow while they are staged.

    async def _follow(self) -> list[StationError]:
        """Look at all sessions that grow; what kept us from it, where a station does not answer."""
        if not self.request.follow:
            return []
        growing = await self.of.rows.items(self.run.id, [ItemState.GROWING], _BATCH)
        return [away for away in await _gathered(self._followed(item) for item in growing) if away is not None]

    async def _followed(self, item: StagedItem) -> StationError | None:
        try:
            await self._look_again(item)
        except StationError as error:
            idle_s = await self.of.rows.idle_s(item.id)
            if idle_s <= max(self.of.settings.follow_idle_s, self.of.settings.patience_s):
                return error
            await self._set(item, ItemState.FAILED, error.detail)
        except NotFound as error:
            await self._set(item, ItemState.GONE, error.detail)
        except BadInput as error:
            await self._set(item, ItemState.FAILED, error.detail)
        return None

    async def _set(self, item: StagedItem, state: ItemState, reason: str) -> None:
        async with self.run.transaction() as conn:
            await self.of.rows.set_item(conn, item.id, state, reason)

    async def _look_again(self, item: StagedItem) -> None:
        """New files of a session are carried; one that is complete is whole when they are there."""
        document = storable(await self.of.finder.one(item.source))
        said = Totals("files are still to come") if is_growing(document) else await self._totals(item.source, document)
        idle_s = await self.of.rows.idle_s(item.id)
        whole = said.doubt is None and (said.untold is None or idle_s > self.of.settings.totals_s)
        planned = (self._transfers if whole else self._so_far)(item.source, document)
        async with self.run.transaction() as conn:
            # Files before their item, as carriers lock them: else the two would wait for one another.
            new = await self.of.rows.add_transfers(conn, self._order(), [(item.id, each) for each in planned])
            if not await _grows(conn, item.id):  # a file of it has failed since
                await conn.rollback()
                return
            await self.of.rows.update_item(conn, item.id, document)
            whole = whole and (said.untold is None or not new)
            if whole:
                await self.of.rows.grown_up(conn, item.id)
            elif said.doubt is not None and not new and idle_s > self.of.settings.follow_idle_s:
                reason = f"the session did not grow for {idle_s:.0f} s, and is not complete: {said.doubt}"
                await self.of.rows.set_item(conn, item.id, ItemState.FAILED, reason)
        if whole:
            unsaid = f", as far as can be told: in {idle_s:.0f} s {said.untold}" if said.untold else ""
            await self.run.tell(f"{item.source.item} is complete{unsaid}")

    async def _totals(self, source: Reference, document: Mapping[str, Any]) -> Totals:
        """What the station's own totals say of a session that looks complete."""
        try:
            told = await self.of.stations.quality(source.service, source.collection, document)
        except StationRefused:  # it does not tell them
            told = None
        return totals.against(document, told)

    async def _totals_of(self, found: Found | NewItem) -> Totals:
        """The same of an item that was found at a station, when it is a session that looks complete."""
        if isinstance(found, NewItem) or found[0].service == Service.CATALOG or not is_complete(found[1]):
            return Totals()
        return await self._totals(*found)

    # Ordering: files that an archive must bring back first.

    async def _ask_archive(self) -> list[StationError]:
        """Ask for all files that must be brought back; what kept us from it, where a station does not answer."""
        away: list[StationError] = []
        for item, order, station, tried in await self.of.rows.ordered(self.run.id):
            try:
                asked = await self._asked(item, order, station, tried=tried)
            except (StationUnavailable, StationTimeout) as error:
                away.append(error)
            except Unavailable:
                raise
            except RsError as error:
                await self._set(item, ItemState.FAILED, error.detail)
            else:
                async with self.run.transaction() as conn:
                    await self.of.rows.note_order(conn, item.id, asked)
        return away

    async def _asked(self, item: StagedItem, order: UUID | None, station: str, *, tried: bool) -> Asked:
        if self.of.archive is None:
            raise BadInput(f"station {station} must bring it back first, and this server cannot order")
        return await self.of.archive.ask(self.run.who, item.source, order, tried=tried)

    # Publishing: what is whole.

    async def _publish(self, away: str | None) -> Outcome | Failure | Pause:
        """Publish what may be; ``away`` says which station does not answer."""
        while True:
            counts = await self.of.rows.counts(self.run.id)
            failed = counts.get(ItemState.FAILED, 0) + counts.get(ItemState.GONE, 0)
            if self.request.strict and failed:
                return await self._failure()
            waits = any(counts.get(state) for state in (ItemState.GROWING, ItemState.CARRYING))
            if not counts.get(ItemState.WHOLE) or (self.request.strict and waits):
                return await self._pause(counts, away) if waits else await self._outcome()
            await self._publish_some()

    async def _publish_some(self) -> None:
        await self.of.reached("before publish")
        if owns(self.run.who, self.target.owner):
            await self.of.catalog.ensure_collection(self.target, title=self.target.name)
        most = _MOST_ITEMS if self.request.strict else _BATCH
        with tracing.leaf("catalog publish"):
            await self._publish_whole(most)
        await self.of.reached("after publish")

    async def _publish_whole(self, most: int) -> None:
        async with self.run.transaction() as conn:
            whole = await self.of.rows.items(self.run.id, [ItemState.WHOLE], most, conn)
            names = [item.source.item for item in whole]
            await self.of.catalog.lock(conn, self.target.full, names)  # what is there now is there until it is replaced
            before = await self.of.catalog.items(self.target.full, names)
            items = await self._to_publish(conn, whole, before)
            files = await self.of.rows.carried(conn, [item.id for item in items])
            documents = {item.id: self._document(item, files[item.id], before) for item in items}
            await self._publish_all(conn, items, documents)
            for item in items:
                await self._leave(conn, item, files[item.id], before.get(item.source.item))

    async def _to_publish(
        self, conn: AsyncConnection[Row], whole: Sequence[StagedItem], before: Mapping[str, Any]
    ) -> Sequence[StagedItem]:
        """Without those that somebody else has published meanwhile, and that shall not be replaced."""
        existing = self.request.existing
        if existing is Existing.REPLACE:
            return whole
        state = ItemState.SKIPPED if existing is Existing.SKIP else ItemState.FAILED
        there = [item for item in whole if item.source.item in before]
        for item in there:
            await self.of.rows.set_item(conn, item.id, state, _THERE)
        if there and self.request.strict and state is ItemState.FAILED:
            return ()
        return [item for item in whole if item.source.item not in before]

    async def _leave(
        self, conn: AsyncConnection[Row], item: StagedItem, files: Sequence[Carried], before: Mapping[str, Any] | None
    ) -> None:
        """Note the files that an item's edition takes the place of."""
        kept = {Location(item.bucket, file.key) for file in files}
        if old := superseded(layout.item_prefix(self.target, item.source.item), kept, before):
            await self.of.rows.leave(conn, self.target.full, item.source.item, old, self.of.settings.grace_s)

    def _document(
        self, item: StagedItem, files: Sequence[Carried], before: Mapping[str, Mapping[str, Any]]
    ) -> dict[str, Any]:
        return catalog_item(
            item.source,
            item.document,
            files,
            self.target,
            self.of.place.at(item.bucket),
            datetime.now(UTC),
            before.get(item.source.item),
        )

    async def _publish_all(
        self, conn: AsyncConnection[Row], items: Sequence[StagedItem], documents: Mapping[int, dict[str, Any]]
    ) -> None:
        """All of them at once; when the catalog refuses one, each for itself, and that one fails."""
        try:
            await self.of.catalog.publish(conn, list(documents.values()))
        except NotFound as error:  # pgstac says so as well while it makes a partition of a new collection
            if owns(self.run.who, self.target.owner):
                raise Unavailable("the catalog does not find the collection that was just made") from error
            raise
        except BadInput:
            if self.request.strict:
                raise
            for item in items:
                try:
                    await self.of.catalog.publish(conn, [documents[item.id]])
                except BadInput as error:
                    await self.of.rows.set_item(conn, item.id, ItemState.FAILED, error.detail)
                else:
                    await self.of.rows.set_item(conn, item.id, ItemState.PUBLISHED)
        else:
            await self.of.rows.published(conn, [item.id for item in items])

    async def _pause(self, counts: Mapping[ItemState, int], away: str | None) -> Pause:
        progress = await self.of.rows.progress(self.run.id)
        await self.run.settle(progress if away is None else replace(progress, waiting=away))
        if away is not None:
            await self._tell(away)
        if away is not None or counts.get(ItemState.GROWING):
            return Pause(self.of.settings.follow_every_s)
        age_s = (datetime.now(UTC) - self.run.job.created).total_seconds()
        return Pause(min(60.0, max(5.0, age_s / 10)))

    async def _outcome(self) -> Outcome | Failure:
        items = await self.of.rows.outcomes(self.run.id)
        good = [item for item in items if item.state in (ItemState.PUBLISHED, ItemState.SKIPPED)]
        if items and not good:
            return await self._failure()
        await self.run.settle(await self.of.rows.progress(self.run.id))
        files, size = await self.of.rows.totals(self.run.id)
        message = f"staged {files} files, {size} bytes: {_summed(items)}"
        paths = tuple(self._published(item).path for item in good)
        return Outcome(message, {"items": paths}, tuple(self._told(item) for item in items))

    async def _failure(self) -> Failure:
        items = await self.of.rows.outcomes(self.run.id)
        bad = [item for item in items if item.state in (ItemState.FAILED, ItemState.GONE)]
        others = f", and {len(bad) - 1} others" if len(bad) > 1 else ""
        detail = f"nothing was published: {bad[0].source.item}: {bad[0].reason}{others}"
        return Failure(self._error(bad, detail), tuple(self._told(item) for item in items))

    def _error(self, bad: Sequence[StagedItem], detail: str) -> RsError:
        if all(item.state is ItemState.GONE for item in bad):
            return NotFound(detail)
        if all(item.reason == _THERE for item in bad):
            return Conflict(detail, hint="stage into another collection, or let items be skipped or replaced")
        station = self.of.finder.station_of(bad[0].source)
        return StationRefused(station, detail) if station else Conflict(detail)

    def _told(self, item: StagedItem) -> dict[str, Any]:
        """What became of an item, for the results."""
        told: dict[str, Any] = {"item": item.source.item, "source": item.source.path, "outcome": str(item.state)}
        if item.reason:
            told["reason"] = item.reason
        if item.state in (ItemState.PUBLISHED, ItemState.SKIPPED):
            told["href"] = f"{self.of.place.public_url}{self._published(item).path}"
        return told

    def _published(self, item: StagedItem) -> Reference:
        return Reference("catalog", self.target.full, item.source.item)


async def _grows(conn: AsyncConnection[Row], item: int) -> bool:
    """Whether an item is one that grows, until the end of the transaction."""
    found = await conn.execute("SELECT 1 FROM rs.staging_items WHERE id = %s AND state = 'growing' FOR UPDATE", [item])
    return await found.fetchone() is not None


@dataclass(frozen=True, slots=True)
class _SoFar:
    """How far a plan is: items that were named, searches, the page of the next one; and what was found until then."""

    named: int = 0
    searches: int = 0
    page: str | None = None
    items: int = 0
    unfinished: int = 0  # sessions that grow
    unchecked: int = 0  # files whose checksum cannot be checked
    untold: int = 0  # sessions that are staged before their totals are known

    @classmethod
    def read(cls, written: str | None) -> _SoFar:
        """What an earlier step has left, if any has."""
        return cls(**json.loads(written)) if written else cls()

    @property
    def written(self) -> str:
        """The same, for the next step."""
        return json.dumps(asdict(self))

    def counting(self, found: Sequence[Found | NewItem]) -> _SoFar:
        """With what was found now."""
        growing = sum(is_growing(each[1]) for each in found if isinstance(each, tuple))
        return replace(self, items=self.items + len(found), unfinished=self.unfinished + growing)


def _storable(found: Found | NewItem) -> Found | NewItem:
    """The same, or the failure of an item that cannot be written down."""
    if isinstance(found, NewItem):
        return found
    source, document = found
    try:
        return source, storable(document)
    except BadInput as error:
        return NewItem(replace(source, item=visible(source.item)), {}, ItemState.FAILED, error.detail)


def _told_apart(decided: Iterable[_Decided], there: Iterable[Reference]) -> list[_Decided]:
    """The same, without files of items that would be one item of the collection with another one, new or ``there``."""
    first: dict[str, Reference] = {}
    for source in there:
        first.setdefault(source.item, source)
    found: list[_Decided] = []
    for new, planned in decided:
        lost = new.state in (ItemState.FAILED, ItemState.GONE)
        other = new.source if lost else first.setdefault(new.source.item, new.source)
        if other == new.source:
            found.append((new, planned))
        else:
            reason = f"{other.path} has the same id, and one collection has no two items of one id"
            found.append((replace(new, state=ItemState.FAILED, reason=reason), ()))
    return found


def _refuse_twins(sources: Sequence[Reference]) -> None:
    """Two items of one id would be one item of the collection."""
    for item, number in Counter(source.item for source in sources).items():
        if number > 1:
            raise BadInput(f"two of the items are called {item}", hint="stage them into two collections")


def _summed(items: Sequence[StagedItem]) -> str:
    counts = Counter(str(item.state) for item in items)
    return ", ".join(f"{number} {state}" for state, number in counts.items()) or "no items"


async def _gathered[T](questions: Iterable[Awaitable[T]]) -> list[T]:
    """All answers, a few asked at a time; the first error ends it."""
    slots = asyncio.Semaphore(_LOOKUPS)

    async def answered(question: Awaitable[T]) -> T:
        async with slots:
            return await question

    tasks = [asyncio.ensure_future(answered(question)) for question in questions]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
