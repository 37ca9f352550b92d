"""From what was asked for to items and transfers."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from rs_server.errors import BadInput, NotFound, RsError, StationTimeout, StationUnavailable, visible
from rs_server.processes.references import Reference, parse
from rs_server.staging import found as finding
from rs_server.staging.found import Found
from rs_server.staging.model import ItemState, NewItem
from rs_server.staging.plan import Existing, Planned, is_growing, same, storable, unchecked
from rs_server.staging.steps.step import MOST_ITEMS, THERE, Step, gathered
from rs_server.stations.totals import Totals

PLANNED = "planned"
_SO_FAR = "planned so far"
_Decided = tuple[NewItem, tuple[Planned, ...]]


async def plan(step: Step) -> bool:
    """Note what was asked for, as much as there is time for in one step; whether that is all of it."""
    begin, noted = time.monotonic(), _SoFar.read(step.run.memory.get(_SO_FAR))
    so_far, unsure = noted, Counter(unchecked=noted.unchecked, untold=noted.untold)
    async for found, so_far in _wanted(step, noted):
        if so_far.items > MOST_ITEMS:
            raise BadInput(f"more than {MOST_ITEMS} items are too many for one job", hint="narrow the search")
        unsure += await _note(step, found)
        if time.monotonic() - begin > step.of.plan_s:
            await step.run.remember(
                **{_SO_FAR: replace(so_far, unchecked=unsure["unchecked"], untold=unsure["untold"]).written}
            )
            await step.run.settle(await step.of.rows.progress(step.run.id))
            return False
    await _say_what(step, so_far, unsure)
    await step.run.remember(**{PLANNED: "yes", _SO_FAR: None})
    return True


async def _say_what(step: Step, so_far: _SoFar, unsure: Mapping[str, int]) -> None:
    """Say in the log what is staged, and of what less is known than of others."""
    progress = await step.of.rows.progress(step.run.id)
    await step.run.settle(progress)
    if so_far.unfinished and not step.request.follow:
        growing = f"{so_far.unfinished} of the sessions are still growing"
        await step.run.tell(f"{growing}, and only what is there now is staged")
    if unsure["unchecked"]:
        strange = f"{unsure['unchecked']} of the files have checksums of no known kind"
        await step.run.tell(f"{strange}: their sizes alone are checked")
    if unsure["untold"]:
        silent = f"of {unsure['untold']} of the sessions the station has not told the totals yet"
        await step.run.tell(f"{silent}, and what it lists is staged")
    what = f"{progress.files_total} files of {so_far.items} items, {progress.bytes_total} bytes"
    await step.run.say(f"staging {what}")


async def _wanted(step: Step, begin: _SoFar) -> AsyncIterator[tuple[Sequence[Found | NewItem], _SoFar]]:
    """What was asked for, in batches: items as their sources have them, and those that cannot be had.

    With each, how far the planning is with it; what was planned up to ``begin`` is left out.
    """
    so_far, paths = begin, step.request.items
    for at in range(begin.named, len(paths), finding.SESSIONS_AT_ONCE):
        some = paths[at : at + finding.SESSIONS_AT_ONCE]
        sources = [parse(path, step.of.place.public_url, "items") for path in some]
        found = await gathered(_one(step, source) for source in sources)
        so_far = replace(so_far.counting(found), named=at + len(some))
        yield found, so_far
    for number, search in list(enumerate(step.request.searches))[begin.searches :]:
        async for page in step.of.finder.pages(step.run.who, search, so_far.page):
            searches = number if page.after else number + 1
            so_far = replace(so_far.counting(page.found), searches=searches, page=page.after)
            yield page.found, so_far


async def _one(step: Step, source: Reference) -> Found | NewItem:
    try:
        return step.of.finder.permit(step.run.who, source), storable(await step.of.finder.one(source))
    except (StationUnavailable, StationTimeout) as error:
        if not step.patience_lost:
            raise
        return NewItem(source, {}, ItemState.FAILED, error.detail)
    except NotFound as error:
        return NewItem(source, {}, ItemState.GONE, error.detail)
    except RsError as error:
        return NewItem(source, {}, ItemState.FAILED, error.detail)


async def _note(step: Step, found: Sequence[Found | NewItem]) -> Counter[str]:
    """Note some of what was asked for; how many files and sessions of it cannot be checked as others are."""
    found = [_storable(each) for each in found]
    ids = [each[0].item for each in found if isinstance(each, tuple)]
    there = await step.of.catalog.items(step.target.full, ids)
    said = await gathered(step.totals_of(each) for each in found)
    decided: list[_Decided] = [
        (each, ()) if isinstance(each, NewItem) else _decided(step, *each, there, of_it)
        for each, of_it in zip(found, said, strict=True)
    ]
    async with step.run.transaction() as conn:
        names = [new.source.item for new, _ in decided]
        decided = _told_apart(decided, await step.of.rows.named(conn, step.run.id, names))
        files = {new.source: planned for new, planned in decided}
        made = await step.of.rows.add_items(conn, step.run.id, list({new.source: new for new, _ in decided}.values()))
        planned = [(item, each) for source, item in made.items() for each in files[source]]
        await step.of.rows.add_transfers(conn, step.order, planned)
    silent = (new for (new, _), of_it in zip(decided, said, strict=True) if of_it.untold)
    return Counter(
        unchecked=sum(unchecked(each.asset) is not None for _, each in planned),
        untold=sum(new.source in made and new.state is ItemState.CARRYING for new in silent),
    )


def _decided(
    step: Step,
    source: Reference,
    document: dict[str, Any],
    there: Mapping[str, Mapping[str, Any]],
    said: Totals,
) -> _Decided:
    """What is to be done with one item, of whose files its station has ``said`` something.

    A session in doubt grows still, where it is followed: its last files may be listed late.
    """
    before = there.get(source.item)
    if before is not None and step.request.existing is Existing.FAIL:
        return NewItem(source, document, ItemState.FAILED, THERE), ()
    growing = step.request.follow and (is_growing(document) or said.doubt is not None)
    bucket = step.of.buckets.of(step.target, (document.get("properties") or {}).get("product:type"))
    if before is not None and (
        step.request.existing is Existing.SKIP or (not growing and _same(step, document, before))
    ):
        return NewItem(source, document, ItemState.SKIPPED, THERE), ()
    if said.doubt is not None and not growing:
        return NewItem(source, document, ItemState.FAILED, said.doubt), ()
    growing = growing or (step.request.follow and said.untold is not None)
    try:
        planned = step.so_far(source, document) if growing else step.transfers(source, document)
    except RsError as error:
        return NewItem(source, document, ItemState.FAILED, error.detail), ()
    return NewItem(source, document, ItemState.GROWING if growing else ItemState.CARRYING, bucket=bucket), planned


def _same(step: Step, document: Mapping[str, Any], before: Mapping[str, Any]) -> bool:
    return same(document, before, frozenset(step.request.assets))


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
