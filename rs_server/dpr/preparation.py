"""The step before a processor runs: chooses what it reads, has staged what is missing, and writes its orders.

It changes nothing until something must be staged, so the same code makes the plan that a dry run shows.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

from rs_client.processing.tasktable import Adf
from rs_server.access import policy
from rs_server.access.guards import require, require_visible
from rs_server.access.policy import Principal, Right, Service
from rs_server.catalog.names import CollectionName, resolve
from rs_server.dpr.files import Content, content_of
from rs_server.dpr.plan import CATALOG, Chosen, Plan, Product, Step
from rs_server.dpr.processors import Processor
from rs_server.dpr.request import BySearch, ProcessorRequest, Search, Sources, mode_of
from rs_server.dpr.selection import Ask, ask, best, span, why
from rs_server.dpr.sizing import limits_of, size
from rs_server.errors import BadInput, NotFound, RsError, StationError
from rs_server.processes.references import Reference, parse, read
from rs_server.processes.run import Run
from rs_server.settings import ClusterLimits
from rs_server.stations.kinds import KINDS
from rs_server.stations.requests import SearchBody
from rs_server.stations.search import SearchRequest

STATIONS = frozenset({Service.CADIP, Service.AUXIP, Service.PRIP, Service.LTA})
CANDIDATES = 20  # of an auxiliary file: enough to check each answer and still find the first in order


class PreparationFailed(RsError):
    """The inputs of a job cannot be brought together; the message names what is missing."""


class Catalog(Protocol):
    """What choosing needs of the catalog."""

    async def collection_ids(self) -> list[str]:
        """The ids of all collections."""
        ...

    async def search(self, body: Mapping[str, Any], collections: Sequence[str]) -> dict[str, Any]:
        """One page of a search."""
        ...

    async def item(self, collection_id: str, item_id: str) -> dict[str, Any]:
        """An item; ``NotFound``."""
        ...


class Page(Protocol):
    """One page of a station's search."""

    @property
    def items(self) -> list[dict[str, Any]]:
        """Its items."""
        ...


class Found(Protocol):
    """A collection of a station."""

    @property
    def name(self) -> str:
        """Its id."""
        ...


class Stations(Protocol):
    """What choosing needs of the stations."""

    def collections(self, service: str) -> Sequence[Any]:
        """The collections of a kind of station."""
        ...

    def station_of(self, service: str, collection: str) -> str:
        """The station of a collection, or ``NotFound``."""
        ...

    async def item(self, service: str, collection: str, item_id: str) -> dict[str, Any]:
        """An item, or ``NotFound``."""
        ...

    async def quality(self, service: str, collection: str, item: Mapping[str, Any]) -> list[Mapping[str, Any]] | None:
        """What the station counted of a session, by channel."""
        ...

    async def search(self, service: str, request: SearchRequest, collections: Sequence[str]) -> Page:
        """One page of a search."""
        ...


@dataclass(frozen=True, slots=True)
class Preparation:
    """Chooses and stages for one processor."""

    processor: Processor
    catalog: Catalog
    stations: Stations
    limits: Mapping[str, ClusterLimits]
    public_url: str
    buckets: Collection[str]

    # --- what is asked for --------------------------------------------------------------------------------------------

    async def references(self, who: Principal, where: str, sources: Sources) -> tuple[Reference, ...]:
        """The items meant, each once: by address, inline, or by a search that is made now."""
        found: list[Reference] = []
        for number, source in enumerate(sources):
            if isinstance(source, BySearch):
                found += await self._searched(who, f"{where}.{number}.search", source.search)
            else:
                found += read([source], self.public_url)
        return tuple(dict.fromkeys(_full(each, who) for each in found))

    async def _searched(self, who: Principal, where: str, search: Search) -> list[Reference]:
        if search.service != CATALOG and search.service not in STATIONS:
            raise BadInput(f"{where}.service: there is no service {search.service}")
        body = _body(search)
        if search.service == CATALOG:
            collections = await self._readable(who, search.collections)
            items = (await self.catalog.search(body, collections))["features"]
        else:
            items = await self._at_stations(who, search.service, body)
        if not items:
            raise BadInput(f"{where}: nothing is found", hint="look at what the search finds before you process it")
        return [Reference(search.service, item["collection"], item["id"]) for item in items]

    async def _readable(self, who: Principal, wanted: Sequence[str] | None = None) -> list[str]:
        if wanted is not None:
            names = [resolve(name, who) for name in wanted]
        else:
            names = [CollectionName.parse(each) for each in await self.catalog.collection_ids() if "_" in each]
        return [name.full for name in names if policy.allows(who, Right.READ, Service.CATALOG, name.resource)]

    async def _at_stations(self, who: Principal, service: str, body: Mapping[str, Any]) -> list[dict[str, Any]]:
        """What the stations of a kind that the caller may download from have of a search."""
        request = SearchBody.model_validate(body).understood(KINDS[service])
        names = [each.id for each in self.stations.collections(service) if self._may_download(who, service, each.id)]
        return (await self.stations.search(service, request, names)).items if names else []

    def _may_download(self, who: Principal, service: str, collection: str) -> bool:
        station = self.stations.station_of(service, collection)
        return all(policy.allows(who, right, Service(service), station) for right in (Right.READ, Right.DOWNLOAD))

    # --- the plan -----------------------------------------------------------------------------------------------------

    async def plan(self, who: Principal, request: ProcessorRequest) -> Plan:
        """Choose everything; what is missing is told among the plan's problems."""
        mode = mode_of(self.processor, request.mode)
        given = {
            name: [
                await self._input(who, name, parse(path, self.public_url, name))
                for path in request.inputs.get(name, ())
            ]
            for name in mode.inputs
        }
        notes: list[str] = []
        problems = [*self._counts(given)]
        steps = []
        for group in self._groups(given):
            adfs = [await self._adf(who, name, request, group, notes, problems) for name in mode.adfs]
            steps.append(self._step(group, [each for each in adfs if each is not None], request, mode.outputs))
        return Plan(
            processor=self.processor.id,
            version=self.processor.task.version,
            mode=request.mode,
            parameters=request.parameters,
            steps=tuple(steps),
            size=size(
                self.processor.task.resources,
                max((sum(each.octets for each in step.read) for step in steps), default=0),
                limits_of(who.groups, self.limits),
                request.workers,
            ),
            notes=tuple(dict.fromkeys(notes)),
            problems=tuple(dict.fromkeys(problems)),
        )

    async def _input(self, who: Principal, name: str, source: Reference) -> Chosen:
        spec = self.processor.task.inputs[name]
        if source.service == CATALOG:
            chosen = await self._in_catalog(who, name, source, "given by its address")
        else:
            chosen = await self._at_station(who, name, source, "given by its address")
        found = (chosen.item.get("properties") or {}).get("product:type")
        if spec.product_types and found not in spec.product_types:
            raise BadInput(
                f"inputs.{name}: {source.item} is of the type {found or 'unknown'}, and {self.processor.id} takes "
                f"{', '.join(spec.product_types)}"
            )
        return chosen

    async def _in_catalog(self, who: Principal, name: str, source: Reference, reason: str) -> Chosen:
        collection = CollectionName.parse(source.collection)
        require_visible(who, Service.CATALOG, collection.resource, f"item {source.path}")
        item = await self.catalog.item(source.collection, source.item)
        content = self._content(name, source, item)
        return Chosen(name, source, item, reason, content.files, content.octets)

    async def _at_station(self, who: Principal, name: str, source: Reference, reason: str) -> Chosen:
        """An item of a station: the copy that was staged before, or what must be staged."""
        service = Service(source.service)
        station = self.stations.station_of(source.service, source.collection)
        require_visible(who, service, station, f"item {source.path}")
        require(who, Right.DOWNLOAD, service, station)
        for copy in await self._copies(who, source):
            return await self._in_catalog(who, name, copy, f"{reason}; staged before from the station {station}")
        item = await self.stations.item(source.service, source.collection, source.item)
        files = (item.get("assets") or {}).values()
        octets = sum(int(asset.get("file:size") or 0) for asset in files)
        target = CollectionName(who.login, f"{source.service}-{source.collection}")
        return Chosen(name, source, item, f"{reason}; at the station {station}", len(files), octets, target)

    async def _copies(self, who: Principal, source: Reference) -> list[Reference]:
        """The items of the catalog that were staged from an item of a station, as far as the caller may read them."""
        page = await self.catalog.search({"ids": [source.item]}, await self._readable(who))
        return [
            Reference(CATALOG, item["collection"], item["id"])
            for item in page["features"]
            if any(
                link.get("rel") == "via" and link.get("href") == f"{self.public_url}{source.path}"
                for link in item.get("links") or ()
            )
        ]

    def _content(self, name: str, source: Reference, item: Mapping[str, Any]) -> Content:
        return content_of(source, item, self.buckets, self.processor.task.inputs.get(name))

    def _counts(self, given: Mapping[str, Sequence[Chosen]]) -> Iterable[str]:
        """What is wrong with the number of items; more than one run's worth of the main input makes several runs."""
        for name, chosen in given.items():
            fewest, most = self.processor.task.inputs[name].items
            if len(chosen) < fewest:
                yield f"inputs.{name}: {fewest} items are needed, and {len(chosen)} are given"
            elif most is not None and len(chosen) > most and name != self.processor.main_input:
                yield f"inputs.{name}: at most {most} items fit together, and {len(chosen)} are given"

    def _groups(self, given: Mapping[str, Sequence[Chosen]]) -> list[list[Chosen]]:
        """What is read together: as many items of the main input as fit into one run, with all of the others."""
        main, most = given[self.processor.main_input], self.processor.task.inputs[self.processor.main_input].items[1]
        others = [each for name, chosen in given.items() if name != self.processor.main_input for each in chosen]
        width = most or max(1, len(main))
        return [[*main[first : first + width], *others] for first in range(0, len(main), width)]

    def _step(
        self, inputs: Sequence[Chosen], adfs: Sequence[Chosen], request: ProcessorRequest, outputs: Sequence[str]
    ) -> Step:
        first = next(each for each in inputs if each.name == self.processor.main_input)
        products = (
            Product(
                name,
                f"{first.source.item}{spec.suffix}",
                spec.product_type,
                CollectionName.parse(request.collections[name]),
            )
            for name, spec in ((name, self.processor.task.outputs[name]) for name in outputs)
        )
        return Step(tuple(inputs), tuple(adfs), tuple(products))

    # --- auxiliary files ----------------------------------------------------------------------------------------------

    async def _adf(
        self,
        who: Principal,
        name: str,
        request: ProcessorRequest,
        group: Sequence[Chosen],
        notes: list[str],
        problems: list[str],
    ) -> Chosen | None:
        if name in request.adfs:
            source = parse(request.adfs[name], self.public_url, f"adfs.{name}")
            fetch = self._in_catalog if source.service == CATALOG else self._at_station
            return await fetch(who, name, source, "given by its address")
        spec = self.processor.task.adfs[name]
        asked = ask(spec, span([each.item for each in group]))
        chosen = await self._chosen(who, name, asked, notes)
        if chosen is None:
            (notes if spec.optional else problems).append(_missing(name, spec, asked))
        return chosen

    async def _chosen(self, who: Principal, name: str, asked: Ask, notes: list[str]) -> Chosen | None:
        """The first that fits: of the catalog's, else of the stations'."""
        found = (await self.catalog.search(asked.search(CANDIDATES), await self._readable(who)))["features"]
        if (item := best(asked, found)) is not None:
            source = Reference(CATALOG, item["collection"], item["id"])
            return await self._in_catalog(who, name, source, why(asked, item, len(found)))
        try:
            found = await self._at_stations(who, Service.AUXIP, asked.search(CANDIDATES))
        except StationError as error:
            notes.append(f"{name}: {error.detail}")
            return None
        if (item := best(asked, found)) is None:
            return None
        source = Reference(Service.AUXIP, item["collection"], item["id"])
        return await self._at_station(who, name, source, why(asked, item, len(found)))

    async def told(self, step: Step) -> list[dict[str, Any]]:
        """What the station that the main input was staged from counted of it; empty where nobody can say (any more)."""
        main = next(each for each in step.inputs if each.name == self.processor.main_input)
        for link in main.item.get("links") or ():
            if link.get("rel") == "via" and str(link.get("href")).startswith(self.public_url):
                source = parse(str(link["href"]), self.public_url, "via")
                try:
                    document = await self.stations.item(source.service, source.collection, source.item)
                    counted = await self.stations.quality(source.service, source.collection, document)
                except (StationError, NotFound, BadInput):
                    return []
                return [dict(each) for each in counted or ()]
        return []

    # --- staging ------------------------------------------------------------------------------------------------------

    async def bring_in(self, run: Run, request: ProcessorRequest) -> Plan:
        """The plan with everything in the catalog: what is missing is staged first, by jobs in the same name.

        ``PreparationFailed`` when something can neither be chosen nor staged.
        """
        await run.say("choosing inputs and auxiliary files")
        plan = await self.plan(run.who, request)
        if plan.problems:
            raise PreparationFailed("; ".join(plan.problems), hint="the plan of the request says what was looked at")
        if plan.to_stage:
            await self._stage(run, plan)
            plan = await self.plan(run.who, request)
        if plan.to_stage:
            raise PreparationFailed("what was staged is not in the catalog any more")
        return plan

    async def _stage(self, run: Run, plan: Plan) -> None:
        for collection, waiting in plan.to_stage.items():
            names = ", ".join(each.source.item for each in waiting[:3]) + (", …" if len(waiting) > 3 else "")
            asked = await run.ask(
                "staging",
                {
                    "items": [{"href": f"{self.public_url}{each.source.path}"} for each in waiting],
                    "collection": collection,
                },
            )
            await run.say(f"waiting for the staging of {names}: job {asked.id}")
            job = asked
            async for job in run.finished(asked):
                done = job.progress
                reason = f"the staging of {names}" + (f", which waits for {done.waiting}" if done.waiting else "")
                await run.report(replace(done, percent=done.percent // 10, rate=None, waiting=reason))
            if job.problem is not None or not job.outputs:
                raise PreparationFailed(f"staging {names} {job.status}: {job.message}", hint=f"see job {job.id}")


def _full(source: Reference, who: Principal) -> Reference:
    """The same item with the full id of its collection."""
    if source.service == CATALOG:
        return Reference(source.service, resolve(source.collection, who).full, source.item)
    if source.service not in STATIONS:
        raise BadInput(f"{source.path} is not an item of the catalog or of a station")
    return source


def _body(search: Search) -> dict[str, Any]:
    """The search as both services take it."""
    body: dict[str, Any] = {
        name: value
        for name, value in search.model_dump(mode="json", include={"collections", "ids", "datetime", "limit"}).items()
        if value is not None
    }
    if search.filter is not None:
        body["filter"] = search.filter
        body["filter-lang"] = "cql2-text" if isinstance(search.filter, str) else "cql2-json"
    if search.sortby:
        body["sortby"] = [
            {"field": term.lstrip("+-"), "direction": "desc" if term.startswith("-") else "asc"}
            for term in search.sortby
        ]
    return body


def _missing(name: str, spec: Adf, asked: Ask) -> str:
    return (
        f"adfs.{name}: no {spec.product_type} fits, neither in the catalog nor at the stations "
        f"({asked.title}; {asked.filter})"
    )
