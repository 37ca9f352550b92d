"""What is whole comes into the catalog, and a job comes to its end."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from psycopg import AsyncConnection

from rs_server import tracing
from rs_server.access.policy import owns
from rs_server.database import Row
from rs_server.errors import BadInput, Conflict, NotFound, RsError, StationRefused, Unavailable
from rs_server.processes.model import Failure, Outcome, Pause
from rs_server.processes.references import Reference
from rs_server.staging.model import Carried, ItemState, StagedItem
from rs_server.staging.plan import Existing
from rs_server.staging.publish import catalog_item, superseded
from rs_server.staging.steps.step import BATCH, MOST_ITEMS, THERE, Step
from rs_server.storage import layout
from rs_server.storage.layout import Location


async def publish(step: Step, away: str | None) -> Outcome | Failure | Pause:
    """Publish what may be; ``away`` says which station does not answer."""
    while True:
        counts = await step.of.rows.counts(step.run.id)
        failed = counts.get(ItemState.FAILED, 0) + counts.get(ItemState.GONE, 0)
        if step.request.strict and failed:
            return await _failure(step)
        waits = any(counts.get(state) for state in (ItemState.GROWING, ItemState.CARRYING))
        if not counts.get(ItemState.WHOLE) or (step.request.strict and waits):
            return await _pause(step, counts, away) if waits else await _outcome(step)
        await _publish_some(step)


async def _publish_some(step: Step) -> None:
    await step.of.reached("before publish")
    if owns(step.run.who, step.target.owner):
        await step.of.catalog.ensure_collection(step.target, title=step.target.name)
    most = MOST_ITEMS if step.request.strict else BATCH
    with tracing.leaf("catalog publish"):
        await _publish_whole(step, most)
    await step.of.reached("after publish")


async def _publish_whole(step: Step, most: int) -> None:
    async with step.run.transaction() as conn:
        whole = await step.of.rows.items(step.run.id, [ItemState.WHOLE], most, conn)
        names = [item.source.item for item in whole]
        await step.of.catalog.lock(conn, step.target.full, names)  # what is there now is there until it is replaced
        before = await step.of.catalog.items(step.target.full, names)
        items = await _to_publish(step, conn, whole, before)
        files = await step.of.rows.carried(conn, [item.id for item in items])
        documents = {item.id: _document(step, item, files[item.id], before) for item in items}
        await _publish_all(step, conn, items, documents)
        for item in items:
            await _leave(step, conn, item, files[item.id], before.get(item.source.item))


async def _to_publish(
    step: Step, conn: AsyncConnection[Row], whole: Sequence[StagedItem], before: Mapping[str, Any]
) -> Sequence[StagedItem]:
    """Without those that somebody else has published meanwhile, and that shall not be replaced."""
    existing = step.request.existing
    if existing is Existing.REPLACE:
        return whole
    state = ItemState.SKIPPED if existing is Existing.SKIP else ItemState.FAILED
    there = [item for item in whole if item.source.item in before]
    for item in there:
        await step.of.rows.set_item(conn, item.id, state, THERE)
    if there and step.request.strict and state is ItemState.FAILED:
        return ()
    return [item for item in whole if item.source.item not in before]


async def _leave(
    step: Step, conn: AsyncConnection[Row], item: StagedItem, files: Sequence[Carried], before: Mapping[str, Any] | None
) -> None:
    """Note the files that an item's edition takes the place of."""
    kept = {Location(item.bucket, file.key) for file in files}
    if old := superseded(layout.item_prefix(step.target, item.source.item), kept, before):
        await step.of.rows.leave(conn, step.target.full, item.source.item, old, step.of.settings.grace_s)


def _document(
    step: Step, item: StagedItem, files: Sequence[Carried], before: Mapping[str, Mapping[str, Any]]
) -> dict[str, Any]:
    return catalog_item(
        item.source,
        item.document,
        files,
        step.target,
        step.of.place.at(item.bucket),
        datetime.now(UTC),
        before.get(item.source.item),
    )


async def _publish_all(
    step: Step, conn: AsyncConnection[Row], items: Sequence[StagedItem], documents: Mapping[int, dict[str, Any]]
) -> None:
    """All of them at once; when the catalog refuses one, each for itself, and that one fails."""
    try:
        await step.of.catalog.publish(conn, list(documents.values()))
    except NotFound as error:  # pgstac says so as well while it makes a partition of a new collection
        if owns(step.run.who, step.target.owner):
            raise Unavailable("the catalog does not find the collection that was just made") from error
        raise
    except BadInput:
        if step.request.strict:
            raise
        for item in items:
            try:
                await step.of.catalog.publish(conn, [documents[item.id]])
            except BadInput as error:
                await step.of.rows.set_item(conn, item.id, ItemState.FAILED, error.detail)
            else:
                await step.of.rows.set_item(conn, item.id, ItemState.PUBLISHED)
    else:
        await step.of.rows.published(conn, [item.id for item in items])


async def _pause(step: Step, counts: Mapping[ItemState, int], away: str | None) -> Pause:
    progress = await step.of.rows.progress(step.run.id)
    await step.run.settle(progress if away is None else replace(progress, waiting=away))
    if away is not None:
        await step.tell(away)
    if away is not None or counts.get(ItemState.GROWING):
        return Pause(step.of.settings.follow_every_s)
    age_s = (datetime.now(UTC) - step.run.job.created).total_seconds()
    return Pause(min(60.0, max(5.0, age_s / 10)))


async def _outcome(step: Step) -> Outcome | Failure:
    items = await step.of.rows.outcomes(step.run.id)
    good = [item for item in items if item.state in (ItemState.PUBLISHED, ItemState.SKIPPED)]
    if items and not good:
        return await _failure(step)
    await step.run.settle(await step.of.rows.progress(step.run.id))
    files, size = await step.of.rows.totals(step.run.id)
    message = f"staged {files} files, {size} bytes: {_summed(items)}"
    paths = tuple(_published(step, item).path for item in good)
    return Outcome(message, {"items": paths}, tuple(_told(step, item) for item in items))


async def _failure(step: Step) -> Failure:
    items = await step.of.rows.outcomes(step.run.id)
    bad = [item for item in items if item.state in (ItemState.FAILED, ItemState.GONE)]
    others = f", and {len(bad) - 1} others" if len(bad) > 1 else ""
    detail = f"nothing was published: {bad[0].source.item}: {bad[0].reason}{others}"
    return Failure(_error(step, bad, detail), tuple(_told(step, item) for item in items))


def _error(step: Step, bad: Sequence[StagedItem], detail: str) -> RsError:
    if all(item.state is ItemState.GONE for item in bad):
        return NotFound(detail)
    if all(item.reason == THERE for item in bad):
        return Conflict(detail, hint="stage into another collection, or let items be skipped or replaced")
    station = step.of.finder.station_of(bad[0].source)
    return StationRefused(station, detail) if station else Conflict(detail)


def _told(step: Step, item: StagedItem) -> dict[str, Any]:
    """What became of an item, for the results."""
    told: dict[str, Any] = {"item": item.source.item, "source": item.source.path, "outcome": str(item.state)}
    if item.reason:
        told["reason"] = item.reason
    if item.state in (ItemState.PUBLISHED, ItemState.SKIPPED):
        told["href"] = f"{step.of.place.public_url}{_published(step, item).path}"
    return told


def _published(step: Step, item: StagedItem) -> Reference:
    return Reference("catalog", step.target.full, item.source.item)


def _summed(items: Sequence[StagedItem]) -> str:
    counts = Counter(str(item.state) for item in items)
    return ", ".join(f"{number} {state}" for state, number in counts.items()) or "no items"
