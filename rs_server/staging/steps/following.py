"""What is not there yet: sessions that grow while they are staged, and files that an archive brings back."""

from __future__ import annotations

from uuid import UUID

from rs_server.errors import BadInput, NotFound, RsError, StationError, StationTimeout, StationUnavailable, Unavailable
from rs_server.staging.archive import Asked
from rs_server.staging.model import ItemState, StagedItem
from rs_server.staging.plan import is_growing, storable
from rs_server.staging.steps.step import BATCH, Step, gathered
from rs_server.stations.totals import Totals


async def follow(step: Step) -> list[StationError]:
    """Look at all sessions that grow; what kept us from it, where a station does not answer."""
    if not step.request.follow:
        return []
    growing = await step.of.rows.items(step.run.id, [ItemState.GROWING], BATCH)
    return [away for away in await gathered(_followed(step, item) for item in growing) if away is not None]


async def _followed(step: Step, item: StagedItem) -> StationError | None:
    try:
        await _look_again(step, item)
    except StationError as error:
        idle_s = await step.of.rows.idle_s(item.id)
        if idle_s <= max(step.of.settings.follow_idle_s, step.of.settings.patience_s):
            return error
        await step.set(item, ItemState.FAILED, error.detail)
    except NotFound as error:
        await step.set(item, ItemState.GONE, error.detail)
    except BadInput as error:
        await step.set(item, ItemState.FAILED, error.detail)
    return None


async def _look_again(step: Step, item: StagedItem) -> None:
    """New files of a session are carried; one that is complete is whole when they are there."""
    document = storable(await step.of.finder.one(item.source))
    said = Totals(("files are still to come",)) if is_growing(document) else await step.totals(item.source, document)
    idle_s = await step.of.rows.idle_s(item.id)
    whole = said.doubt is None and (said.untold is None or idle_s > step.of.settings.totals_s)
    planned = (step.transfers if whole else step.so_far)(item.source, document)
    async with step.run.transaction() as conn:
        # Files before their item, as carriers lock them: else the two would wait for one another.
        new = await step.of.rows.add_transfers(conn, step.order, [(item.id, each) for each in planned])
        if not await step.of.rows.grows(conn, item.id):  # a file of it has failed since
            await conn.rollback()
            return
        await step.of.rows.update_item(conn, item.id, document)
        whole = whole and (said.untold is None or not new)
        if whole:
            await step.of.rows.grown_up(conn, item.id)
        elif said.doubt is not None and not new and idle_s > step.of.settings.follow_idle_s:
            reason = f"the session did not grow for {idle_s:.0f} s, and is not complete: {said.doubt}"
            await step.of.rows.set_item(conn, item.id, ItemState.FAILED, reason)
    if whole:
        unsaid = f", as far as can be told: in {idle_s:.0f} s {said.untold}" if said.untold else ""
        await step.run.tell(f"{item.source.item} is complete{unsaid}")


async def ask_archive(step: Step) -> list[StationError]:
    """Ask for all files that must be brought back; what kept us from it, where a station does not answer."""
    away: list[StationError] = []
    for item, order, station, tried in await step.of.rows.ordered(step.run.id):
        try:
            asked = await _asked(step, item, order, station, tried=tried)
        except (StationUnavailable, StationTimeout) as error:
            away.append(error)
        except Unavailable:
            raise
        except RsError as error:
            await step.set(item, ItemState.FAILED, error.detail)
        else:
            async with step.run.transaction() as conn:
                await step.of.rows.note_order(conn, item.id, asked)
    return away


async def _asked(step: Step, item: StagedItem, order: UUID | None, station: str, *, tried: bool) -> Asked:
    if step.of.archive is None:
        raise BadInput(f"station {station} must bring it back first, and this server cannot order")
    return await step.of.archive.ask(step.run.who, item.source, order, tried=tried)
