"""The stations as the rest of the server sees them: search their collections, get an item, stream its files."""

from __future__ import annotations

import asyncio
import heapq
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cmp_to_key
from http import HTTPStatus
from itertools import islice
from typing import Any, Literal, get_args

import httpx
import orjson

from rs_server.errors import BadInput, NotFound, StationRefused
from rs_server.settings import StationSettings
from rs_server.stations import filters, instants, odata
from rs_server.stations.items import value_at
from rs_server.stations.kinds import KINDS
from rs_server.stations.metrics import StationMetrics
from rs_server.stations.model import Orders, StationKind, ValueType
from rs_server.stations.odata import SortKey
from rs_server.stations.paging import Cursor
from rs_server.stations.search import SearchRequest, sort_order
from rs_server.stations.session import Session, open_session
from rs_server.stations.station import Collection, Found, Row, Station, Wanted

OrderStatus = Literal["queued", "in_progress", "completed", "failed", "cancelled"]

_ENTITY_ID = re.compile(r"[0-9A-Za-z-]{1,64}")
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)")


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


class Stations:
    """All configured stations."""

    def __init__(self, stations: Sequence[Station], public_url: str, metrics: StationMetrics) -> None:
        self.metrics = metrics
        self._stations = {station.name: station for station in stations}
        self._public_url = public_url
        self._owner: dict[tuple[str, str], Station] = {}
        for station in stations:
            for collection in station.collections:
                other = self._owner.setdefault((station.kind.name, collection), station)
                if other is not station:
                    raise ValueError(f"stations {other.name} and {station.name} both have a collection {collection}")

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all stations."""
        return tuple(self._stations)

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

    async def quality(self, service: str, collection: str, item: Mapping[str, Any]) -> list[Mapping[str, Any]]:
        """What the station says of each series of the item's files; empty where it says nothing, or not yet."""
        station = self._station(service, collection)
        kind = station.kind
        if not kind.quality:
            return []
        key = f"{kind.entity_set}({_entity_id(item['properties'])})"
        try:
            answer = await station.session.query(key, {"$expand": kind.quality})
        except StationRefused as error:
            if error.members.get("answered") not in (HTTPStatus.BAD_REQUEST, HTTPStatus.NOT_IMPLEMENTED):
                raise
            return []
        return list(answer.get(kind.quality) or ())

    def takes_orders(self, service: str, collection: str) -> bool:
        """Whether items of the collection may have to be ordered."""
        return self._station(service, collection).kind.orders is not None

    async def order(self, station: str, product: str, priority: int) -> OrderState:
        """Order a product; ``TooManyRequests`` where the station takes no more orders now."""
        rule, session = _ordering(self._stations[station]), self._stations[station].session
        answer = await session.send(rule.place.format(id=product), {"Priority": priority})
        return _state(station, answer)

    async def orders(self, station: str, ids: Sequence[str]) -> dict[str, OrderState]:
        """How far these orders are, by id; one that the station does not know is left out."""
        rule, session = _ordering(self._stations[station]), self._stations[station].session
        asked = " or ".join(map(odata.is_key, ids))
        answer = await session.query(rule.entity_set, {"$filter": asked, "$top": len(ids)})
        found = answer.get("value")
        if not isinstance(found, list):
            raise StationRefused(station, "it answered JSON that is not a list of orders")
        states = [_state(station, each) for each in found]
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
) -> AsyncIterator[Stations]:
    """The stations of the settings, closed at the end; nothing is sent to them yet.

    ``ValueError`` names a station or collection that cannot be honoured. ``issuer`` is where callers log in.
    ``transport`` stands in for the network.
    """
    async with AsyncExitStack() as stack:
        opened, metrics = [], StationMetrics()
        for name, each in settings.items():
            session = await stack.enter_async_context(open_session(name, each, transport=transport, metrics=metrics))
            opened.append(_station(name, each, session, kinds, issuer))
        yield Stations(opened, public_url.rstrip("/"), metrics)


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
    sign = -1 if wanted.backwards else 1

    def compared(a: Row, b: Row) -> int:
        for key in wanted.direction:
            order = _compared(key, value_at(a.entity, key.path), value_at(b.entity, key.path))
            if order:
                return order
        return sign * ((a.collection > b.collection) - (a.collection < b.collection))

    return heapq.merge(*found, key=cmp_to_key(compared)) if len(found) > 1 else iter(found[0] if found else ())


def _compared(key: SortKey, a: Any, b: Any) -> int:
    """Which of two raw values comes first; an absent one before all others."""
    if a is None or b is None:
        order = (a is not None) - (b is not None)
    else:
        left, right = (_comparable(key.by.type, value) for value in (a, b))
        order = (left > right) - (left < right)
    return -order if key.descending else order


def _comparable(type_: ValueType, value: Any) -> Any:
    match type_:
        case ValueType.INSTANT:
            return instants.micros(value)
        case ValueType.INTEGER | ValueType.DOUBLE:
            return float(value)
        case _:
            return value


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
