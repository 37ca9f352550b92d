"""The stations as the rest of the server sees them: search their collections, get an item, stream its files."""

from __future__ import annotations

import asyncio
import heapq
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Container, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cmp_to_key
from http import HTTPStatus
from itertools import islice
from typing import Any, Literal, get_args

import httpx
import orjson

from rs_server.errors import BadInput, NotFound, StationRefused, Unavailable
from rs_server.settings import StationSettings
from rs_server.stations import filters, instants, odata
from rs_server.stations.items import COMPLETE, incomplete, value_at
from rs_server.stations.kinds import KINDS
from rs_server.stations.manners import Book
from rs_server.stations.metrics import StationMetrics
from rs_server.stations.model import Orders, StationKind
from rs_server.stations.odata import compared
from rs_server.stations.paging import Cursor
from rs_server.stations.search import SearchRequest, sort_order
from rs_server.stations.session import Session, open_session
from rs_server.stations.station import Collection, Found, Row, Station, Wanted
from rs_server.stations.totals import Totals, against, sizes_of

OrderStatus = Literal["queued", "in_progress", "completed", "failed", "cancelled"]

RETIRE_S = 60.0  # how long a station that left the settings stays open at least

MOST_LOOKED_AT = 50  # orders, to find one that may have been taken

_UNKNOWN = frozenset({400, 404, 405, 501})  # how stations say that they do not know an address or an option
_ENTITY_ID = re.compile(r"[0-9A-Za-z-]{1,64}")
_CONTENT_RANGE = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19}|\*)", re.ASCII)


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a search; a cursor that is None means that there is no such page.

    ``features`` are the items ready to be written by ``orjson``: their assets are JSON text already. ``matched`` is the
    number of items on all pages, where it is known exactly.
    """

    features: list[dict[str, Any]]
    next: Cursor | None = None
    prev: Cursor | None = None
    matched: int | None = None

    @property
    def items(self) -> list[dict[str, Any]]:
        """The items as plain values."""
        found: list[dict[str, Any]] = orjson.loads(orjson.dumps(self.features))
        return found


@dataclass(frozen=True, slots=True)
class OrderState:
    """How far an order is, as its station says."""

    id: str
    status: OrderStatus
    message: str = ""
    estimated: datetime | None = None
    completed: datetime | None = None
    expires: datetime | None = None


@dataclass(frozen=True, slots=True)
class Download:
    """An asset's bytes on their way: status 200, 206 or 416, the headers that describe them, and the bytes."""

    status: int
    headers: Mapping[str, str]
    chunks: AsyncIterator[bytes]


@dataclass(frozen=True, slots=True)
class Opened:
    """A station, the settings that it was opened with, and what closes it."""

    station: Station
    settings: StationSettings
    closing: AsyncExitStack


Opener = Callable[[str, StationSettings], Awaitable[Opened]]


class Stations:
    """All configured stations."""

    def __init__(self, opener: Opener, public_url: str, metrics: StationMetrics) -> None:
        self.metrics = metrics
        self.refused = ""  # why the settings that are there now are not in use
        self.retire_s = RETIRE_S
        self._public_url = public_url
        self._opener = opener
        self._opened: dict[str, Opened] = {}
        self._retiring: set[asyncio.Task[None]] = set()
        self._stations: dict[str, Station] = {}
        self._owner: dict[tuple[str, str], Station] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all stations."""
        return tuple(self._stations)

    @property
    def settings(self) -> Mapping[str, StationSettings]:
        """The settings of each."""
        return {name: each.settings for name, each in self._opened.items()}

    async def renew(self, settings: Mapping[str, StationSettings]) -> None:
        """Take on other settings. Stations whose settings are the same go on untouched.

        ``ValueError`` names a station or collection that cannot be honoured; then all goes on as it was.
        """
        kept = {name: each for name, each in self._opened.items() if settings.get(name) == each.settings}
        fresh: dict[str, Opened] = {}
        try:
            for name in settings.keys() - kept.keys():
                fresh[name] = await self._opener(name, settings[name])
            opened = {name: kept.get(name) or fresh[name] for name in settings}
            owner = _owners([each.station for each in opened.values()])
        except ValueError:
            for each in fresh.values():
                await each.closing.aclose()
            raise
        gone = [each for name, each in self._opened.items() if name not in kept]
        for name in self._opened.keys() - opened.keys():
            self.metrics.forget(name)
        for name, each in fresh.items():
            self.metrics.watch(name, each.station.session.circuit)
        self._opened, self._owner = opened, owner
        self._stations = {name: each.station for name, each in opened.items()}
        for each in gone:
            self._retire(each)

    async def settled(self) -> None:
        """Raise ``Unavailable`` while the settings that are there now are not in use."""
        if self.refused:
            raise Unavailable(f"the settings of the stations are those from before: {self.refused}")

    async def aclose(self) -> None:
        """Close all of them."""
        for task in self._retiring:
            task.cancel()
        await asyncio.gather(*self._retiring, return_exceptions=True)
        for each in self._opened.values():
            await each.closing.aclose()

    def _retire(self, opened: Opened) -> None:
        """Close a station that is in the settings no more, once what is under way there has ended."""

        async def close() -> None:
            try:
                await asyncio.sleep(self.retire_s)  # a search that has found it may still ask it for a further page
                await opened.station.session.quiet()
            finally:
                await opened.closing.aclose()

        task = asyncio.create_task(close())
        self._retiring.add(task)
        task.add_done_callback(self._retiring.discard)

    def collections(self, service: str) -> list[Collection]:
        """The collections of one kind of station, by id."""
        owned = sorted((name, station) for name, station in self._of_service(service).items())
        return [station.collections[name] for name, station in owned]

    def station_of(self, service: str, collection: str) -> str:
        """The station that a collection belongs to, or ``NotFound``."""
        return self._station(service, collection).name

    async def ping(self, station: str) -> None:
        """Raise a ``StationError`` unless the station answers a small query."""
        await self._stations[station].ping()

    async def search(self, service: str, request: SearchRequest, collections: Sequence[str]) -> Page:
        """One page of the rows of these collections, merged in order."""
        names = _asked(request, collections)
        wanted = Wanted(request.filter, request.order, request.limit + 1, request.cursor)
        found = await self._found(service, names, wanted)
        merged = list(islice(_merged([each.rows for each in found], wanted), wanted.count))
        rows, more = merged[: request.limit], len(merged) > request.limit
        if wanted.backwards:
            rows.reverse()
        before, after = _neighbours(wanted, more=more)
        return Page(
            features=await self.features(service, rows),
            prev=rows[0].cursor(request.order, backwards=True) if before and rows else None,
            next=rows[-1].cursor(request.order, backwards=False) if after and rows else None,
            matched=_sum([each.matched for each in found]),
        )

    async def item(self, service: str, collection: str, item_id: str) -> dict[str, Any]:
        """The STAC item of that id with all its assets, or ``NotFound``."""
        kind = self._station(service, collection).kind
        this = filters.one_of(kind.by_name["id"], [item_id])
        page = await self.search(service, SearchRequest(this, order=sort_order(kind, ()), limit=1), [collection])
        if not page.features:
            raise NotFound(f"collection {collection} has no item {item_id}")
        return page.items[0]

    async def quality(self, service: str, collection: str, item: Mapping[str, Any]) -> list[Mapping[str, Any]] | None:
        """What the station says of each series of the item's files so far; None where it never says anything."""
        station = self._station(service, collection)
        kind = station.kind
        if not kind.quality:
            return None
        key = f"{kind.entity_set}({_entity_id(item['properties'])})"
        try:
            answer = await station.session.query(key, {"$expand": kind.quality})
        except StationRefused as error:
            if error.members.get("answered") not in (HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_IMPLEMENTED):
                raise
            return None
        told = answer.get(kind.quality)
        return None if told is None else list(told)

    async def totals(self, service: str, collection: str, item: Mapping[str, Any]) -> Totals:
        """The item's files, held against what the station says of each series of them so far."""
        kind = self._station(service, collection).kind
        return against(kind, sizes_of(kind, item), await self.quality(service, collection, item))

    async def verified(self, service: str, collection: str, item: dict[str, Any]) -> None:
        """Hold a session that looks complete against what its station says of it: it is not, where they disagree."""
        if item["properties"].get(COMPLETE) is True:
            found = await self.totals(service, collection, item)
            if found.differing:
                item["properties"].update(incomplete(found.differing))

    def takes_orders(self, service: str, collection: str) -> bool:
        """Whether items of the collection may have to be ordered."""
        return self._station(service, collection).kind.orders is not None

    async def order(self, station: str, product: str, priority: int) -> OrderState:
        """Order a product; ``TooManyRequests`` where the station takes no more orders now."""
        rule, session = _ordering(self._stations[station]), self._stations[station].session
        answer = await session.send(rule.place.format(id=product), {"Priority": priority})
        return _state(station, answer)

    async def ordered(self, station: str, product: str, since: datetime, others: Container[str]) -> OrderState | None:
        """The order of a product that the station took since then, newest first; ``others`` are not looked at.

        None where there is no such order, or where the station does not tell which product an order brings.
        """
        rule, session = _ordering(self._stations[station]), self._stations[station].session
        options: dict[str, str | int] = {
            "$filter": f"{rule.submitted} ge {instants.utc(since.isoformat())}",
            "$orderby": f"{rule.submitted} desc",
            "$top": MOST_LOOKED_AT,
        }
        try:
            for each in _listed(station, await session.query(rule.entity_set, options)):
                state = _state(station, each)
                if state.id in others or state.status in ("failed", "cancelled"):
                    continue
                brings = await session.query(f"{rule.entity_set}({state.id})/{rule.product}", {})
                if any(one.get("Id") == product for one in brings.get("value") or [brings]):
                    return state
        except StationRefused as error:
            if error.members.get("answered") not in _UNKNOWN:
                raise
        return None

    async def cancel(self, station: str, order: str) -> bool:
        """Tell the station that an order is not wanted any more; whether it knows of such a thing."""
        rule, session = _ordering(self._stations[station]), self._stations[station].session
        try:
            await session.send(rule.cancel.format(id=order), {})
        except StationRefused as error:
            return error.members.get("answered") is None  # then it was done, and only the answer was nothing to read
        return True

    async def orders(self, station: str, ids: Sequence[str]) -> dict[str, OrderState]:
        """How far these orders are, by id; one that the station does not know is left out."""
        rule, session = _ordering(self._stations[station]), self._stations[station].session
        asked = " or ".join(map(odata.is_key, ids))
        answer = await session.query(rule.entity_set, {"$filter": asked, "$top": len(ids)})
        states = [_state(station, each) for each in _listed(station, answer)]
        return {state.id: state for state in states if state.id in ids}

    @asynccontextmanager
    async def download(
        self,
        service: str,
        collection: str,
        asset: Mapping[str, Any],
        *,
        range_: str | None = None,
        if_range: str | None = None,
        again: Callable[[], Awaitable[None]] | None = None,
    ) -> AsyncIterator[Download]:
        """The bytes of an asset of ``item``; ``range_`` is the value of a Range header, which a station may ignore.

        With ``if_range``, an ETag or a date, the whole is sent when it is another file by now. ``again`` is awaited
        before a request is repeated: who keeps a pace with others waits for another turn there.
        """
        station = self._station(service, collection)
        path = station.kind.assets.download.format(id=_entity_id(asset))
        headers = (
            {"Range": range_, "If-Range": if_range} if range_ and if_range else {"Range": range_} if range_ else {}
        )
        async with station.session.stream(path, headers, again) as response:
            yield Download(response.status_code, response.headers, station.session.chunks(response))

    @asynccontextmanager
    async def stream(
        self, service: str, collection: str, asset: Mapping[str, Any], *, offset: int = 0
    ) -> AsyncIterator[AsyncIterator[bytes]]:
        """The bytes of an asset from an offset on, wherever the station lets the answer start."""
        range_ = f"bytes={offset}-" if offset else None
        async with self.download(service, collection, asset, range_=range_) as download:
            yield _from(download, offset, self.station_of(service, collection))

    async def _found(self, service: str, collections: Sequence[str], wanted: Wanted) -> list[Found]:
        """What each collection has, each station asked for all of its own."""
        by_station: dict[str, list[str]] = {}
        for name in collections:
            by_station.setdefault(self._station(service, name).name, []).append(name)
        groups = [self._stations[station].search(names, wanted) for station, names in by_station.items()]
        return [found for group in await asyncio.gather(*groups) for found in group]

    def _of_service(self, service: str) -> dict[str, Station]:
        return {name: station for (kind, name), station in self._owner.items() if kind == service}

    def _station(self, service: str, collection: str) -> Station:
        try:
            return self._owner[service, collection]
        except KeyError:
            raise NotFound(f"collection {collection} does not exist") from None

    async def rows(self, service: str, request: SearchRequest, collections: Sequence[str]) -> list[Row]:
        """The first rows of these collections, merged in order, up to the limit of the request."""
        wanted = Wanted(request.filter, request.order, request.limit, request.cursor)
        found = await self._found(service, _asked(request, collections), wanted)
        return list(islice(_merged([each.rows for each in found], wanted), wanted.count))

    async def features(self, service: str, rows: Sequence[Row]) -> list[dict[str, Any]]:
        """The items of rows, ready to be written; each station is asked once for the files of its own."""
        places: dict[str, list[int]] = {}
        for at, row in enumerate(rows):
            places.setdefault(self.station_of(service, row.collection), []).append(at)
        made = await asyncio.gather(*(self._group(name, service, [rows[at] for at in places[name]]) for name in places))
        items: dict[int, dict[str, Any]] = {}
        for group, found in zip(places.values(), made, strict=True):
            items.update(zip(group, found, strict=True))
        return [items[at] for at in range(len(rows))]

    async def _group(self, station: str, service: str, rows: list[Row]) -> list[dict[str, Any]]:
        return await self._stations[station].items(rows, f"{self._public_url}/{service}")


@asynccontextmanager
async def open_stations(
    settings: Mapping[str, StationSettings],
    *,
    public_url: str = "",
    issuer: str | None = None,
    transport: httpx.AsyncBaseTransport | None = None,
    kinds: Mapping[str, StationKind] = KINDS,
    book: Book | None = None,
) -> AsyncIterator[Stations]:
    """The stations of the settings, closed at the end; nothing is sent to them yet.

    ``ValueError`` names a station or collection that cannot be honoured. ``issuer`` is where callers log in.
    ``transport`` stands in for the network. With ``book``, queries keep the pace of all who book in the same place.
    """
    metrics = StationMetrics()

    async def opener(name: str, each: StationSettings) -> Opened:
        async with AsyncExitStack() as stack:
            opened = open_session(name, each, transport=transport, metrics=metrics, book=book)
            session = await stack.enter_async_context(opened)
            return Opened(_station(name, each, session, kinds, issuer), each, stack.pop_all())

    stations = Stations(opener, public_url.rstrip("/"), metrics)
    try:
        await stations.renew(settings)
        yield stations
    finally:
        await stations.aclose()


def _owners(stations: Sequence[Station]) -> dict[tuple[str, str], Station]:
    """Which station has a collection of a service."""
    owner: dict[tuple[str, str], Station] = {}
    for station in stations:
        for collection in station.collections:
            other = owner.setdefault((station.kind.name, collection), station)
            if other is not station:
                raise ValueError(f"stations {other.name} and {station.name} both have a collection {collection}")
    return owner


def _station(
    name: str,
    settings: StationSettings,
    session: Session,
    kinds: Mapping[str, StationKind],
    issuer: str | None,
) -> Station:
    if settings.kind not in kinds:
        raise ValueError(f"station {name}: this version does not know the kind {settings.kind}")
    try:
        return Station(kinds[settings.kind], settings, session, issuer)
    except ValueError as error:
        raise ValueError(f"station {name}: {error}") from error


def _asked(request: SearchRequest, collections: Sequence[str]) -> list[str]:
    return [name for name in collections if request.collections is None or name in request.collections]


def _sum(counts: Sequence[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if len(known) == len(counts) else None


def _ordering(station: Station) -> Orders:
    if station.kind.orders is None:
        raise BadInput(f"station {station.name} takes no orders")
    return station.kind.orders


def _listed(station: str, answer: Mapping[str, Any]) -> list[Any]:
    """The orders of an answer."""
    found = answer.get("value")
    if not isinstance(found, list):
        raise StationRefused(station, "it answered JSON that is not a list of orders")
    return found


def _state(station: str, answer: Mapping[str, Any]) -> OrderState:
    """An order of a station, read."""
    try:
        status = answer["Status"]
        if status not in get_args(OrderStatus):
            raise ValueError(f"{status!r} is no state of an order")
        times = [_moment(answer.get(name)) for name in ("EstimatedDate", "CompletedDate", "EvictionDate")]
        key = str(answer["Id"])
        if not _ENTITY_ID.fullmatch(key):
            raise ValueError(f"{key!r} is no key")
        return OrderState(key, status, str(answer.get("StatusMessage") or ""), *times)
    except (KeyError, ValueError, TypeError) as error:
        raise StationRefused(station, f"it sent an order that cannot be read: {error!r}") from error


def _moment(text: Any) -> datetime | None:
    return None if text is None else instants.EPOCH + timedelta(microseconds=instants.micros(text))


def _neighbours(wanted: Wanted, *, more: bool) -> tuple[bool, bool]:
    """Whether there are pages before and after this one; where we come from, there is one."""
    return (more, True) if wanted.backwards else (wanted.cursor is not None, more)


def _merged(found: Sequence[list[Row]], wanted: Wanted) -> Iterator[Row]:
    """The rows of several collections in one order; among equals, collection by collection."""
    sign, falls = -1 if wanted.backwards else 1, [key.descending for key in wanted.direction]
    type Place = tuple[list[Any], str]

    def order(a: Place, b: Place) -> int:
        return compared(a[0], b[0], falls) or sign * ((a[1] > b[1]) - (a[1] < b[1]))

    place = cmp_to_key(order)

    def key(row: Row) -> Any:
        return place(([each.comparable(value_at(row.entity, each.path)) for each in wanted.direction], row.collection))

    return heapq.merge(*found, key=key) if len(found) > 1 else iter(found[0] if found else ())


def _entity_id(asset: Mapping[str, Any]) -> str:
    """The station's key of an asset; only what cannot be anything but a key goes into an address."""
    match asset.get("externalIds"):
        case [{"value": str(key)}, *_] if _ENTITY_ID.fullmatch(key):
            return key
    raise BadInput("the asset does not say what the station calls it (externalIds)")


async def _from(download: Download, offset: int, station: str) -> AsyncIterator[bytes]:
    """The chunks from an offset on; a station that ignored the range sends what comes before as well."""
    if download.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
        return  # nothing lies beyond the end
    begins = _first_byte(download, station)
    if begins > offset:
        raise StationRefused(station, f"asked for the bytes from {offset} on, it sends those from {begins} on")
    skip = offset - begins
    async for chunk in download.chunks:
        if len(chunk) > skip:
            yield chunk[skip:] if skip else chunk
        skip = max(0, skip - len(chunk))


def _first_byte(download: Download, station: str) -> int:
    if download.status != HTTPStatus.PARTIAL_CONTENT:
        return 0
    found = _CONTENT_RANGE.fullmatch(download.headers.get("content-range", ""))
    if not found:
        raise StationRefused(station, "it sends a part of a file without saying which")
    return int(found[1])
