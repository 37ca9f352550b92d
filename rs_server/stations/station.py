"""One configured station: reads the rows of a search from it, and the files that belong to them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import batched
from typing import Any

import structlog

from rs_server.errors import BadInput, StationRefused
from rs_server.settings import StationSettings
from rs_server.stations import filters, instants, odata, residual
from rs_server.stations.filters import Filter
from rs_server.stations.items import Entity, Malformed, Mapper, Place, value_at
from rs_server.stations.model import Files, StationKind
from rs_server.stations.odata import Predicate, Pushed, SortKey
from rs_server.stations.paging import Cursor
from rs_server.stations.residual import Check
from rs_server.stations.search import constraint, within_collection
from rs_server.stations.session import Session

log = structlog.get_logger(__name__)

LONGEST_FILTER = 7_500  # characters; many servers end a request line at 8 000
IDS_PER_QUERY = 50

_CANNOT = (400, 501)

type Again = asyncio.Task[Retransfers | None]


@dataclass(frozen=True, slots=True)
class Collection:
    """A STAC collection of a station, and the filter that defines it."""

    id: str
    station: str
    title: str
    description: str
    constraints: Mapping[str, Sequence[str]]
    filter: Filter


@dataclass(frozen=True, slots=True)
class Row:
    """One entity that matches, with the properties of its item (``id`` and ``collection`` among them)."""

    entity: Entity
    properties: dict[str, Any]
    collection: str

    def cursor(self, order: Sequence[SortKey], *, backwards: bool) -> Cursor:
        """The place beside this row."""
        values = tuple(value_at(self.entity, key.path) for key in order)
        return Cursor(values, self.collection, self.entity["Id"], backwards)


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which rows of a collection are wanted: how many, in which order, beyond which place."""

    filter: Filter
    order: tuple[SortKey, ...]
    count: int
    cursor: Cursor | None = None

    @property
    def backwards(self) -> bool:
        """Whether the rows before the place are wanted, nearest first."""
        return self.cursor is not None and self.cursor.backwards

    @property
    def direction(self) -> tuple[SortKey, ...]:
        """The order in which the station is read."""
        return odata.flipped(self.order) if self.backwards else self.order


class Retransfers:
    """The entities that a station published again, by the id of their item; ``all`` unless they are too many."""

    def __init__(self, rule: Files, entities: Iterable[Entity], *, all: bool) -> None:  # noqa: A002
        self.rule = rule
        self.all = all
        self._newest: dict[str, tuple[int, str]] = {}
        for entity in entities:
            item_id = str(entity.get(rule.belongs_to))
            self._newest[item_id] = max(self._newest.get(item_id, (0, "")), _age(entity))

    def __bool__(self) -> bool:
        return bool(self._newest) or not self.all

    def is_newest(self, row: Row) -> bool:
        """Whether nothing newer than this row was published under its id."""
        return self._newest.get(row.properties["id"], (0, "")) <= _age(row.entity)


@dataclass(frozen=True, slots=True)
class Found:
    """Rows of a collection, and how many there are in all where the station can count them exactly."""

    rows: list[Row]
    matched: int | None = None


@dataclass(frozen=True, slots=True)
class _Page:
    entities: list[Entity]
    last: bool
    count: int | None = None


class Station:
    """One station of the settings."""

    def __init__(
        self, kind: StationKind, settings: StationSettings, session: Session, issuer: str | None = None
    ) -> None:
        self.name = session.name
        self.kind = kind
        self.session = session
        self.mapper = Mapper(kind, issuer, idle_s=settings.session_idle_s)
        self.collections = {
            name: Collection(name, session.name, c.title, c.description, c.constraints, constraint(kind, c.constraints))
            for name, c in settings.collections.items()
        }
        self._page_size = settings.page_size
        self._scan_rows = settings.scan_rows
        self._counts = settings.counts
        self._lists = settings.lists
        self._expansions = _expansions(kind)

    async def ping(self) -> None:
        """Raise a ``StationError`` unless a small query works."""
        self._read(await self.session.query(self.kind.entity_set, {"$top": 1}), 1)

    async def search(self, collections: Sequence[str], wanted: Wanted) -> list[Found]:
        """The first rows of each of the collections in the direction wanted; each one is checked here again."""
        again = asyncio.create_task(self.retransfers())
        try:
            return await asyncio.gather(*(self._rows(collection, wanted, again) for collection in collections))
        finally:
            again.cancel()
            await asyncio.gather(again, return_exceptions=True)  # whoever needed it has seen how it failed

    async def _rows(self, collection: str, wanted: Wanted, again: Again) -> Found:
        defined = self.collections[collection].filter
        found = within_collection(filters.conjunction([defined, wanted.filter]), collection)
        asked = odata.push(found, lists=self._lists)
        if asked.filter is False:
            return Found([], 0)
        return await _Scan(self, collection, wanted, asked, Check(found)).run(again)

    async def items(self, rows: Sequence[Row], service_url: str) -> list[dict[str, Any]]:
        """The STAC items of rows, whose files are fetched for all of them at once."""
        files = await self._files(self.kind.assets.files, rows) if self.kind.assets.files else {}
        try:
            return [
                self.mapper.item(Place(service_url, row.collection), row.entity, row.properties, files.get(at, ()))
                for at, row in enumerate(rows)
            ]
        except Malformed as error:
            raise StationRefused(self.name, f"it sent what cannot be read: {error}") from error

    async def page(self, filter_: Predicate, wanted: Wanted, top: int, *, with_files: bool, count: bool) -> _Page:
        """Up to ``top`` entities in order, whether they are the last ones, and how many there are if asked."""
        options: dict[str, str | int] = {"$filter": filter_} if isinstance(filter_, str) else {}
        if count and self._counts:
            options["$count"] = "true"
        options["$orderby"] = odata.order_by(wanted.direction, id_descending=wanted.backwards)
        options["$top"] = top
        try:
            return self._read(await self._expanded(options, with_files=with_files), top)
        except StationRefused as error:
            if "$count" not in options or error.members.get("answered") not in _CANNOT:
                raise
        del options["$count"]
        answer = self._read(await self._expanded(options, with_files=with_files), top)
        self._counts = False  # it was the count
        log.info("station_does_not_count", station=self.name)
        return answer

    async def retransfers(self) -> Retransfers | None:
        """All entities that were published again, where one call tells them; None for kinds that have none."""
        rule = self.kind.assets.files
        if rule is None:
            return None
        options: dict[str, str | int] = {
            "$filter": f"{rule.again} eq true",
            "$orderby": odata.order_by([], id_descending=False),
            "$top": self._page_size,
        }
        page = self._read(await self.session.query(self.kind.entity_set, options), self._page_size)
        return Retransfers(rule, page.entities, all=page.last)

    async def live(self, rows: list[Row], again: Retransfers | None) -> list[Row]:
        """The rows that were not published again later under the same id."""
        if again is None or not rows:
            return rows
        if not again.all:
            rule = again.rule
            of_these = await self._of_items(self.kind.entity_set, rule, rows, f"{rule.again} eq true and ")
            again = Retransfers(rule, of_these, all=True)
        return [row for row in rows if again.is_newest(row)]

    def top(self, missing: int, asked: Pushed) -> int:
        """How many rows to ask for: a whole page where only some of them will do."""
        return self._page_size if asked.left_out else min(missing, self._page_size)

    def check_scan(self, scanned: int, asked: Pushed) -> None:
        """Refuse to read on beyond the bound; the message names the terms that the station cannot evaluate."""
        if scanned < self._scan_rows:
            return
        if not asked.left_out:
            raise StationRefused(self.name, "it answers many rows that do not match what it was asked")
        terms = "; ".join(residual.describe(leaf) for leaf in asked.left_out)
        raise BadInput(
            f"station {self.name} cannot evaluate: {terms}. More than {self._scan_rows} rows would have to be read",
            hint="narrow the search with terms that the station can evaluate, such as datetime or platform",
            station=self.name,
        )

    async def _expanded(self, options: dict[str, str | int], *, with_files: bool) -> dict[str, Any]:
        """A page of entities, expanded with what their items need; files only where the station can."""
        entity_set, ways = self.kind.entity_set, self._expansions
        if self.kind.assets.files is not None and not with_files:
            ways = ({},)
        for at, expand in enumerate(ways):
            try:
                answer = await self.session.query(entity_set, {**options, **expand})
            except StationRefused as error:
                if error.members.get("answered") not in _CANNOT or expand is ways[-1]:
                    raise  # if the last way fails too, it was not the expansion
                continue
            if at:
                self._expansions = ways[at:]
                log.info("station_does_not_expand", station=self.name, **ways[at - 1])
            return answer
        raise AssertionError("there is always a last way")

    async def _files(self, rule: Files, rows: Sequence[Row]) -> dict[int, list[Entity]]:
        """The files of each row: those that came along with it, else asked for together."""
        found: dict[int, list[Entity]] = {}
        missing: dict[str, int] = {}
        for at, row in enumerate(rows):
            files = row.entity.get(self.kind.expand)
            whole = isinstance(files, list) and f"{self.kind.expand}@odata.nextLink" not in row.entity
            if whole and row.entity.get(rule.again) is not True:  # the files of both transfers make the session
                found[at] = files or []
            else:
                missing[row.properties["id"]] = at
                found[at] = []
        for file in await self._of_items(rule.entity_set, rule, [rows[at] for at in missing.values()]):
            if file.get(rule.belongs_to) in missing:
                found[missing[file[rule.belongs_to]]].append(file)
        return found

    async def _of_items(self, entity_set: str, rule: Files, rows: Sequence[Row], condition: str = "") -> list[Entity]:
        """All entities of a set that carry the id of one of these rows' items."""
        groups = batched((row.properties["id"] for row in rows), IDS_PER_QUERY, strict=False)
        asked = (
            self._all(entity_set, f"{condition}({odata.any_equal(rule.belongs_to, ids, lists=self._lists)})")
            for ids in groups
        )
        return [entity for group in await asyncio.gather(*asked) for entity in group]

    async def _all(self, entity_set: str, filter_: str) -> list[Entity]:
        """Every entity of a filter, page by page in the order of their keys."""
        found: list[Entity] = []
        position: Predicate = True
        while True:
            options: dict[str, str | int] = {"$filter": str(odata.both(filter_, position)), "$orderby": "Id asc"}
            page = self._read(
                await self.session.query(entity_set, {**options, "$top": self._page_size}), self._page_size
            )
            found += page.entities
            if page.last:
                return found
            position = odata.beyond_id(page.entities[-1]["Id"], descending=False)

    def _read(self, answer: dict[str, Any], top: int) -> _Page:
        """The entities of an answer. A short page is the last one, unless the station says that there is more."""
        found = answer.get("value")
        if not isinstance(found, list) or not all(isinstance(each, dict) and "Id" in each for each in found):
            raise StationRefused(self.name, "it answered JSON that is not a list of entities")
        more = any(name.lower() == "@odata.nextlink" for name in answer)
        count = answer.get("@odata.count")
        known = int(count) if isinstance(count, int) or (isinstance(count, str) and count.isdecimal()) else None
        return _Page(found, last=not found or (len(found) < top and not more), count=known)


class _Scan:
    """Reads one collection page by page until enough rows match."""

    def __init__(self, station: Station, collection: str, wanted: Wanted, asked: Pushed, check: Check) -> None:
        self._station = station
        self._collection = collection
        self._wanted = wanted
        self._asked = asked
        self._check = check

    async def run(self, again: Again) -> Found:
        found: list[Row] = []
        scanned, position, seen = 0, self._start(), self._seen()
        total: int | None = None
        while True:
            page = await self._page(position, self._wanted.count - len(found), first=not scanned)
            fresh = list({each["Id"]: each for each in page.entities if each["Id"] not in seen}.values())
            matching = self._matching(fresh)
            total = self._counted(page, honest=len(matching) == len(fresh)) if not scanned else total
            known = await again
            found += await self._station.live(matching, known)
            if len(found) >= self._wanted.count or page.last:
                whole = page.last and self._wanted.cursor is None and len(found) <= self._wanted.count
                return Found(found[: self._wanted.count], len(found) if whole else None if known else total)
            if not fresh:
                raise StationRefused(self._station.name, "it gives the same rows again instead of the next ones")
            scanned += len(fresh)
            self._station.check_scan(scanned, self._asked)
            position = self._after(Row(fresh[-1], {}, self._collection).cursor(self._wanted.order, backwards=False))
            seen = {entity["Id"] for entity in fresh}

    def _counted(self, page: _Page, *, honest: bool) -> int | None:
        """How many rows the station counts, where it was asked for exactly what was wanted, and kept to it."""
        return page.count if honest and self._asked.exact and self._wanted.cursor is None else None

    async def _page(self, position: Predicate, missing: int, *, first: bool) -> _Page:
        filter_ = odata.both(self._asked.filter, position)
        if filter_ is False:
            return _Page([], last=True)
        if isinstance(filter_, str) and len(filter_) > LONGEST_FILTER:
            raise BadInput("the search is too long for a station", hint="ask for less at once, in several searches")
        top = self._station.top(missing, self._asked)
        count = first and self._asked.exact and self._wanted.cursor is None
        return await self._station.page(filter_, self._wanted, top, with_files=not self._asked.left_out, count=count)

    def _matching(self, entities: Iterable[Entity]) -> list[Row]:
        rows = (Row(entity, self._properties(entity), self._collection) for entity in entities)
        return [row for row in rows if self._check.matches({**row.properties, "collection": self._collection})]

    def _properties(self, entity: Entity) -> dict[str, Any]:
        try:
            return self._station.mapper.properties(entity)
        except Malformed as error:
            raise StationRefused(self._station.name, f"it sent what cannot be read: {error}") from error

    def _start(self) -> Predicate:
        cursor = self._wanted.cursor
        if cursor is None:
            return True
        if cursor.collection == self._collection:
            return self._after(cursor)
        comes_later = (self._collection > cursor.collection) is not cursor.backwards
        return odata.after(self._wanted.direction, cursor.values, comes_later)

    def _after(self, cursor: Cursor) -> Predicate:
        tie = odata.beyond_id(cursor.id, descending=self._wanted.backwards)
        return odata.after(self._wanted.direction, cursor.values, tie)

    def _seen(self) -> set[str]:
        cursor = self._wanted.cursor
        return {cursor.id} if cursor and cursor.collection == self._collection else set()


def _expansions(kind: StationKind) -> tuple[dict[str, str], ...]:
    """What is asked for along with entities, from the most that a station may tell down to what it must."""
    if kind.assets.files is None:
        return ({"$expand": kind.expand},)
    whole = [{"$expand": f"{kind.expand},{kind.quality}"}] if kind.quality else []
    return (*whole, {"$expand": kind.expand}, {})


def _age(entity: Entity) -> tuple[int, str]:
    return instants.micros(entity["PublicationDate"]), entity["Id"]
