"""Orders of products that a long-term archive must bring online first: kept in PostgreSQL, sent and followed there.

::

    waiting ──▶ sending ──▶ queued ──▶ in_progress ──▶ completed
       ▲           │           └────────────┴────────▶ failed
       └───────────┘ the station takes no more now, or is down: the reason says which
    waiting, queued, in_progress ──▶ cancelled

Several processes may tend the orders: a row is claimed in the database before the station is asked. One whose answer
never came, as its process died or the connection broke, may be at the station: before it is sent again, it is looked
for among what the station took since, by its product. Only a station that does not tell the product of an order may
see one twice; none is lost. Who has few orders at a station comes before who has many.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Literal, LiteralString, NoReturn, cast
from uuid import UUID

import structlog

from rs_server.access import policy
from rs_server.access.guards import require, require_visible
from rs_server.access.policy import Principal, Right
from rs_server.database import Database, Row
from rs_server.errors import BadInput, Conflict, NotFound, RsError, StationError, TooManyRequests, Unavailable
from rs_server.settings import OrderSettings
from rs_server.stations.client import OrderState, Stations

log = structlog.get_logger(__name__)

Status = Literal["waiting", "sending", "queued", "in_progress", "completed", "failed", "cancelled"]

ALIVE: tuple[Status, ...] = ("waiting", "sending", "queued", "in_progress")
STAC_STATUS: Mapping[Status, str] = {  # STAC order extension 1.1
    "waiting": "ordered",
    "sending": "ordered",
    "queued": "pending",
    "in_progress": "shipping",
    "completed": "succeeded",
    "failed": "failed",
    "cancelled": "canceled",
}

_SENT_AGAIN_AFTER_S = 120  # longer than a station may take to answer
_PRIORITY = 50
_WITHDRAWN = "what it was ordered for is over"
_CLOCKS_S = 300  # how far the clock of a station may be from ours
_NEVER = frozenset({400, 404, 409, 410, 422})  # answers that will be the same next time
_MOST_SHOWN = 1_000
_SEND_LOCK = 0x7273_6F72  # one process at a time chooses what is sent next


@dataclass(frozen=True, slots=True)
class Order:
    """One order; times are aware."""

    id: UUID
    service: str
    station: str
    collection: str
    item: str
    product: str
    owners: tuple[str, ...]
    status: Status
    reason: str
    station_order: str | None
    created: datetime
    updated: datetime
    estimated: datetime | None
    completed: datetime | None
    expires: datetime | None
    tried: datetime | None
    withdrawn: bool  # cancelled, as what it was placed for is over

    @property
    def alive(self) -> bool:
        """Whether something is still to come."""
        return self.status in ALIVE

    def as_json(self) -> dict[str, Any]:
        """The order as its owners see it."""
        times = {name: getattr(self, name) for name in ("created", "updated", "estimated", "completed", "expires")}
        return {
            "id": str(self.id),
            "status": self.status,
            **({"reason": self.reason} if self.reason else {}),
            "collection": self.collection,
            "item": self.item,
            "station": self.station,
            **{name: _text(value) for name, value in times.items() if value is not None},
        }

    def properties(self) -> dict[str, str]:
        """What the order says about its item (STAC order extension)."""
        return {"order:status": STAC_STATUS[self.status], "order:id": str(self.id), "order:date": _text(self.created)}


class Orders:
    """All orders. Every method that takes a caller asks whether they may."""

    def __init__(self, database: Database, stations: Stations, settings: OrderSettings) -> None:
        self._database = database
        self._stations = stations
        self._settings = settings
        self._held: dict[str, datetime] = {}  # stations that take no more orders, until when

    async def place(
        self,
        who: Principal,
        service: str,
        collection: str,
        item: str,
        *,
        by_hand: bool = True,
        online: Literal["believed", "unbelieved"] = "believed",
    ) -> tuple[Order, bool]:
        """Order an item, and whether that is new: who asks for what is on its way is told of the same order.

        An item that is online needs none: its order is completed at once, if its station is to be believed. One that
        is not placed ``by_hand`` may be withdrawn.
        """
        station = self._stations.station_of(service, collection)
        require_visible(who, service, station, f"collection {collection}")
        require(who, Right.DOWNLOAD, service, station)
        found = await self._stations.item(service, collection, item)
        product = str(found["properties"]["externalIds"][0]["value"])
        needless = online == "believed" and found["properties"].get("rs:online")
        if not self._stations.takes_orders(service, collection):
            raise BadInput(f"items of {collection} need no order", hint="download them")
        joined = await self._one(
            _JOIN, {"login": who.login, "station": station, "product": product, "by_hand": by_hand}
        )
        if joined:
            return joined, False
        values = {
            "service": service,
            "station": station,
            "collection": collection,
            "item": found["id"],
            "product": product,
            "login": who.login,
            "by_hand": by_hand,
            "status": "completed" if needless else "waiting",
            "reason": "it is online" if needless else "",
        }
        if made := await self._one(_INSERT, values):
            return made, True
        return await self.place(who, service, collection, item, by_hand=by_hand, online=online)  # somebody was faster

    async def get(self, who: Principal, order_id: UUID) -> Order:
        """An order of the caller's, else ``NotFound``."""
        found = await self._one("SELECT * FROM rs.orders WHERE id = %(id)s", {"id": order_id})
        if found is None or not (who.everything or who.login in found.owners):
            raise NotFound(f"order {order_id} does not exist")
        return found

    async def of(self, who: Principal, service: str, limit: int = 100) -> list[Order]:
        """The caller's orders, newest first."""
        values = {"login": who.login, "service": service, "limit": min(limit, _MOST_SHOWN)}
        return await self._all(_MINE, values)

    async def cancel(self, who: Principal, order_id: UUID) -> Order:
        """Want it no more. The order ends with the last who wants it, also at a station that knows of cancelling."""
        order = await self.get(who, order_id)
        if not order.alive:
            raise Conflict(f"order {order_id} is {order.status} already")
        login = who.login if who.login in order.owners else order.owners[0]
        found = await self._one(_LEAVE, {"id": order_id, "login": login, "reason": "", "by_hand": True})
        if found is None:
            return await self.get(who, order_id)
        return await self._left(found)

    async def withdraw(self, login: str, order_id: UUID) -> None:
        """Want it no more on behalf of somebody who did not place it by hand; nothing happens when it is over."""
        found = await self._one(_LEAVE, {"id": order_id, "login": login, "reason": _WITHDRAWN, "by_hand": False})
        if found is not None:
            await self._left(found)

    async def _left(self, order: Order) -> Order:
        return await self._call_off(order) if order.status == "cancelled" and order.station_order else order

    async def _call_off(self, order: Order) -> Order:
        """Tell the station; the order says whether it was told."""
        try:
            known = await self._stations.cancel(order.station, str(order.station_order))
            reason = order.reason if known else "cancelled here; the station knows no cancelling, and may go on with it"
        except (StationError, TooManyRequests) as error:
            reason = f"cancelled here; the station could not be told, and may go on with it: {error.detail}"
        return await self._one(_REASON, {"id": order.id, "reason": reason}) or order

    async def about(self, station: str, products: Sequence[str]) -> dict[str, Order]:
        """The last order of each product, where it is alive or its product still online because of it."""
        found = await self._all(_ABOUT, {"station": station, "products": list(products)})
        return {order.product: order for order in found}

    async def tend(self) -> NoReturn:
        """Send what waits and follow what was sent, for ever."""
        while True:
            try:
                await self.round()
            except Unavailable as error:
                log.warning("orders_not_tended", reason=error.detail)
            await asyncio.sleep(self._settings.tend_s)

    async def round(self) -> None:
        """One look at all stations that have something due."""
        names = await self._rows("SELECT DISTINCT station FROM rs.orders WHERE status = ANY(%(alive)s)", _ALIVE)
        await asyncio.gather(*(self._station(row["station"]) for row in names))

    async def _station(self, station: str) -> None:
        if station not in self._stations.names:
            await self._rows(_NO_STATION, {"station": station})
            return
        await self._follow(station)
        while datetime.now(UTC) >= self._held.get(station, _LONG_AGO):
            order = await self._claim(station)
            if order is None or not await self._send(order):
                return

    async def _claim(self, station: str) -> Order | None:
        """The order that is sent next, now marked as being sent."""
        values = {
            "station": station,
            "lock": _SEND_LOCK,
            "at_once": self._settings.at_once,
            "each": self._settings.at_once_each,
            "again_s": _SENT_AGAIN_AFTER_S,
        }
        async with self._database.connection() as conn:
            await conn.execute("SELECT pg_advisory_xact_lock(%(lock)s)", values)
            row = await (await conn.execute(_CLAIM, values)).fetchone()
        return _order(row) if row else None

    async def _send(self, order: Order) -> bool:
        """Send it; whether the station may be sent another."""
        try:
            state = await self._found(order) or await self._stations.order(order.station, order.product, _PRIORITY)
        except (TooManyRequests, StationError) as error:
            if error.members.get("answered") in _NEVER:
                await self._rows(_FAIL, {"id": order.id, "reason": error.detail})
                return True
            wait = float(error.members.get("retry_after_s") or self._settings.again_s)
            self._held[order.station] = datetime.now(UTC) + timedelta(seconds=wait)
            await self._put_back(order, error, wait)
            return False
        recorded = await self._record(order.id, state)
        if recorded and recorded.status == "cancelled":  # meanwhile
            await self._call_off(recorded)
        return True

    async def _found(self, order: Order) -> OrderState | None:
        """The order at its station, if it was sent before and its answer never came."""
        if order.tried is None:
            return None
        known = await self._rows(_KNOWN, {"station": order.station})
        since = order.tried - timedelta(seconds=_CLOCKS_S)
        others = {str(row["station_order"]) for row in known}
        state = await self._stations.ordered(order.station, order.product, since, others)
        log.info("order_sent_before", order=str(order.id), station=order.station, found=state is not None)
        return state

    async def _put_back(self, order: Order, error: RsError, wait_s: float) -> None:
        log.info("order_waits", order=str(order.id), station=order.station, reason=error.detail)
        refused = isinstance(error, TooManyRequests) or error.members.get("answered") is not None
        taken = None if refused and order.tried is None else order.tried or order.updated
        values = {"id": order.id, "reason": error.detail, "wait_s": wait_s, "tried": taken}
        await self._rows(_PUT_BACK, values)

    async def _follow(self, station: str) -> None:
        """Ask the station about its orders, all that are due in one call."""
        values = {"station": station, "poll_s": self._settings.poll_s}
        due = await self._all(_DUE, values)
        if not due:
            return
        try:
            states = await self._stations.orders(station, [str(order.station_order) for order in due])
        except StationError as error:
            log.info("orders_not_followed", station=station, reason=error.detail)
            return
        for order in due:
            state = states.get(str(order.station_order))
            if state is None:
                state = OrderState(str(order.station_order), "failed", "the station does not know the order any more")
            await self._record(order.id, state)

    async def _record(self, order_id: UUID, state: OrderState) -> Order | None:
        values = {
            "id": order_id,
            "status": state.status,
            "reason": state.message,
            "station_order": state.id,
            "estimated": state.estimated,
            "completed": state.completed,
            "expires": state.expires,
            "poll_s": self._settings.poll_s,
        }
        return await self._one(_RECORD, values)

    async def _one(self, query: LiteralString, values: Mapping[str, Any]) -> Order | None:
        found = await self._all(query, values)
        return found[0] if found else None

    async def _all(self, query: LiteralString, values: Mapping[str, Any]) -> list[Order]:
        return [_order(row) for row in await self._rows(query, values)]

    async def _rows(self, query: LiteralString, values: Mapping[str, Any]) -> list[Row]:
        async with self._database.connection() as conn:
            cursor = await conn.execute(query, values)
            return await cursor.fetchall() if cursor.description else []


def visible(who: Principal, service: str, orders: Sequence[Order]) -> list[Order]:
    """The orders at stations that the caller may still read."""
    return [order for order in orders if policy.allows(who, Right.READ, service, order.station)]


def _order(row: Row) -> Order:
    names = [name for name in Order.__dataclass_fields__ if name not in ("owners", "status")]
    status = cast("Status", row["status"])
    return Order(owners=tuple(row["owners"]), status=status, **{name: row[name] for name in names})


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


_LONG_AGO = datetime.min.replace(tzinfo=UTC)
_ALIVE = {"alive": list(ALIVE)}
_JOIN: LiteralString = """
    UPDATE rs.orders
    SET owners = CASE WHEN %(login)s = ANY(owners) THEN owners ELSE owners || %(login)s::text END,
        by_hand = CASE WHEN %(by_hand)s AND NOT %(login)s = ANY(by_hand) THEN by_hand || %(login)s::text
                  ELSE by_hand END
    WHERE station = %(station)s AND product = %(product)s
      AND status IN ('waiting', 'sending', 'queued', 'in_progress')
    RETURNING *"""
_INSERT: LiteralString = """
    INSERT INTO rs.orders (service, station, collection, item, product, owners, by_hand, status, reason,
                           completed)
    VALUES (%(service)s, %(station)s, %(collection)s, %(item)s, %(product)s, ARRAY[%(login)s::text],
            CASE WHEN %(by_hand)s THEN ARRAY[%(login)s::text] ELSE '{}' END, %(status)s, %(reason)s,
            CASE WHEN %(status)s = 'completed' THEN now() END)
    ON CONFLICT DO NOTHING
    RETURNING *"""
_MINE: LiteralString = """
    SELECT * FROM rs.orders WHERE owners @> ARRAY[%(login)s::text] AND service = %(service)s
    ORDER BY created DESC, id LIMIT %(limit)s"""
_LEAVE: LiteralString = """
    UPDATE rs.orders
    SET owners = CASE WHEN cardinality(owners) > 1 THEN array_remove(owners, %(login)s::text) ELSE owners END,
        status = CASE WHEN cardinality(owners) > 1 THEN status ELSE 'cancelled' END,
        reason = CASE WHEN cardinality(owners) > 1 THEN reason ELSE %(reason)s END,
        by_hand = array_remove(by_hand, %(login)s::text), updated = now(),
        withdrawn = cardinality(owners) = 1 AND NOT %(by_hand)s
    WHERE id = %(id)s AND %(login)s = ANY(owners) AND (%(by_hand)s OR NOT %(login)s = ANY(by_hand))
      AND status IN ('waiting', 'sending', 'queued', 'in_progress')
    RETURNING *"""
_ABOUT: LiteralString = """
    SELECT DISTINCT ON (product) * FROM rs.orders
    WHERE station = %(station)s AND product = ANY(%(products)s)
      AND (status IN ('waiting', 'sending', 'queued', 'in_progress') OR (status = 'completed' AND expires > now()))
    ORDER BY product, created DESC"""
# Those of whom least is under way come first; an order counts for the one who asked first.
_CLAIM: LiteralString = """
    WITH under_way AS (
        SELECT owners[1] AS login, count(*) AS n FROM rs.orders
        WHERE station = %(station)s
          AND (status IN ('queued', 'in_progress') OR (status = 'sending' AND due > now()))
        GROUP BY 1
    )
    UPDATE rs.orders
    SET status = 'sending', due = now() + make_interval(secs => %(again_s)s), updated = now(),
        tried = CASE WHEN status = 'sending' THEN coalesce(tried, updated) ELSE tried END
    WHERE id = (
        SELECT o.id FROM rs.orders o LEFT JOIN under_way u ON u.login = o.owners[1]
        WHERE o.station = %(station)s AND o.status IN ('waiting', 'sending') AND o.due <= now()
          AND coalesce(u.n, 0) < %(each)s AND coalesce((SELECT sum(n) FROM under_way), 0) < %(at_once)s
        ORDER BY coalesce(u.n, 0), o.created, o.id LIMIT 1
    )
    RETURNING *"""
_PUT_BACK: LiteralString = """
    UPDATE rs.orders
    SET status = 'waiting', reason = %(reason)s, due = now() + make_interval(secs => %(wait_s)s), updated = now(),
        tried = %(tried)s
    WHERE id = %(id)s AND status = 'sending'"""
_FAIL: LiteralString = """
    UPDATE rs.orders SET status = 'failed', reason = %(reason)s, updated = now()
    WHERE id = %(id)s AND status = 'sending'"""
_KNOWN: LiteralString = "SELECT station_order FROM rs.orders WHERE station = %(station)s AND station_order IS NOT NULL"
_REASON: LiteralString = """
    UPDATE rs.orders SET reason = %(reason)s, updated = now() WHERE id = %(id)s AND status = 'cancelled'
    RETURNING *"""
_DUE: LiteralString = """
    UPDATE rs.orders SET due = now() + make_interval(secs => %(poll_s)s)
    WHERE id IN (
        SELECT id FROM rs.orders
        WHERE station = %(station)s AND status IN ('queued', 'in_progress') AND due <= now()
        ORDER BY due LIMIT 50 FOR UPDATE SKIP LOCKED
    )
    RETURNING *"""
_RECORD: LiteralString = """
    UPDATE rs.orders
    SET status = CASE WHEN status = 'cancelled' THEN status ELSE %(status)s END,
        reason = %(reason)s, station_order = %(station_order)s, updated = now(),
        due = now() + make_interval(secs => %(poll_s)s),
        estimated = coalesce(%(estimated)s::timestamptz, estimated),
        completed = coalesce(%(completed)s::timestamptz, completed),
        expires = coalesce(%(expires)s::timestamptz, expires)
    WHERE id = %(id)s
    RETURNING *"""
_NO_STATION: LiteralString = """
    UPDATE rs.orders SET status = 'failed', reason = 'the station is not in the settings any more', updated = now()
    WHERE station = %(station)s AND status IN ('waiting', 'sending', 'queued', 'in_progress')"""
