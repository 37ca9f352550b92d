"""The process ``staging``: items of stations or of the catalog become items of the catalog, with files of their own.

A job is worked in short steps. The first one notes what is to be carried; carriers, in all workers, carry it; whenever
items are whole a step publishes them. Between two steps the job holds no worker, however long it takes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from rs_server.access.guards import require
from rs_server.access.policy import Principal, Right, Service, owns
from rs_server.catalog.names import CollectionName, resolve
from rs_server.errors import BadInput, NotFound, RsError, StationError, StationTimeout, StationUnavailable
from rs_server.processes.model import Ended, Failure, Pause, Process, Turn
from rs_server.processes.references import Reference
from rs_server.processes.run import Run
from rs_server.staging.inputs import StagingInputs, StagingRequest, sorted_out
from rs_server.staging.plan import Target, is_growing, storable, transfers
from rs_server.staging.steps.following import ask_archive, follow
from rs_server.staging.steps.planning import PLANNED, plan
from rs_server.staging.steps.publishing import publish
from rs_server.staging.steps.step import Step, Surroundings, gathered

STAGING = "staging"
_LOOKED_AT_FIRST = 20  # items that are looked at before a job is admitted


@dataclass(frozen=True, slots=True)
class Staging(Surroundings):
    """The process, with the outside world that it works on."""

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
        doubts = await gathered(self._doubt(source, target, inputs) for source in first)
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
        step = Step(self, run, StagingRequest.model_validate(run.request))
        try:
            return await _work(step)
        except (StationUnavailable, StationTimeout) as error:
            return await _station_away(step, error)


async def _work(step: Step) -> Ended:
    planned = PLANNED in step.run.memory
    if not planned and not await plan(step):
        return Turn()
    away = [*await follow(step), *await ask_archive(step)]
    ended = await publish(step, away[0].detail if away else None)
    if planned and isinstance(ended, Pause):  # just planned, every file waits for a moment
        await step.tell_why()
    return ended


async def _station_away(step: Step, error: StationError) -> Failure | Pause:
    """A station that does not answer while it is planned is asked again, for as long as a file would be tried."""
    if step.patience_lost:
        return Failure(error)
    progress = await step.of.rows.progress(step.run.id)
    await step.run.settle(replace(progress, waiting=error.detail))
    await step.tell(error.detail)
    return Pause(step.of.settings.follow_every_s)


def _refuse_twins(sources: Sequence[Reference]) -> None:
    """Two items of one id would be one item of the collection."""
    for item, number in Counter(source.item for source in sources).items():
        if number > 1:
            raise BadInput(f"two of the items are called {item}", hint="stage them into two collections")
