"""Standing orders: every new item that a search finds is staged, none is missed, and none is staged twice.

An order looks at all that was published since its cursor, and a stretch before it: stations publish late what bears an
earlier date. What it finds is noted, item by item and each once, before a job is asked for, under a key of those noted
together: a look that is cut off between the two is taken up by the next one, which asks for the same job.

An order goes on for years after it was given: each look has the rights that its owner holds then, not those of the day
when it was given.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import structlog
from psycopg import AsyncConnection
from psycopg.types.json import Jsonb

from rs_server.access.policy import Principal
from rs_server.database import Database, Row
from rs_server.errors import BadInput, Conflict, NotFound, RsError
from rs_server.processes.references import Reference
from rs_server.settings import StagingSettings
from rs_server.staging.found import Finder
from rs_server.staging.inputs import Search

log = structlog.get_logger(__name__)

MOST_ORDERS = 100  # of one owner at a time: each is looked for every few seconds
_FAILED_S = 60.0
_HELD_S = 15.0  # by the worker that looks, from page to page; two that look at once do no harm

Submit = Callable[[Principal, Mapping[str, Any], str], Awaitable[UUID]]
"""Ask for a staging job with these inputs, once under this key; its id."""

Permit = Callable[[Principal, str], Awaitable[object]]
"""An error unless somebody may write to a collection that they name."""

RightsNow = Callable[[Principal], Awaitable[Principal]]
"""The same user with the rights they hold now; an error for who may not log in any more."""


@dataclass(frozen=True, slots=True)
class Subscription:
    """A standing order."""

    id: UUID
    owner: str
    who: Principal
    search: Search
    options: Mapping[str, Any]
    since: datetime
    cursor: datetime
    jobs: int
    items: int
    looked: datetime | None
    reason: str | None
    created: datetime
    ended: datetime | None


class Subscriptions:
    """The table of standing orders, and what becomes of them."""

    def __init__(
        self,
        database: Database,
        finder: Finder,
        settings: StagingSettings,
        submit: Submit,
        permit: Permit,
        rights_now: RightsNow,
    ) -> None:
        self._database = database
        self._finder = finder
        self._settings = settings
        self._submit = submit
        self._permit = permit
        self._rights_now = rights_now

    async def add(
        self, who: Principal, search: Search, options: Mapping[str, Any], since: datetime | None
    ) -> tuple[Subscription, bool]:
        """Give a standing order; items published from ``since`` on are wanted, or from now on.

        The same one again, while it stands, is found; whether it is new. ``Conflict`` if it is one too many.
        """
        if search.body.get("filter-lang") == "cql2-text":
            await self._finder.check(who, search)  # as it was written: an error quotes it
        await self._finder.check(who, _since(search, since or datetime.now(UTC)))
        values = {
            "owner": who.login,
            "principal": Jsonb(who.as_json()),
            "service": search.service,
            "search": Jsonb(search.body),
            "options": Jsonb(options),
            "since": since,
        }
        async with self._database.connection() as conn:
            await conn.execute(
                "SELECT pg_advisory_xact_lock(hashtextextended('standing orders:' || %s, 0))", [who.login]
            )
            if row := await (await conn.execute(_SAME, values)).fetchone():
                return _subscription(row), False
            if await _count(conn, who.login) >= MOST_ORDERS:
                raise Conflict(f"{who.login} has {MOST_ORDERS} standing orders", hint="end one that is not needed")
            row = await (await conn.execute(_NEW, values)).fetchone()
        assert row is not None  # it was inserted
        return _subscription(row), True

    async def of(self, owner: str | None) -> list[Subscription]:
        """The standing orders of one owner, or of all; the newest first."""
        async with self._database.connection() as conn:
            found = await conn.execute(
                f"{_SELECT} WHERE %(owner)s::text IS NULL OR owner = %(owner)s ORDER BY created DESC LIMIT 1000",
                {"owner": owner},
            )
            return [_subscription(row) for row in await found.fetchall()]

    async def get(self, subscription: UUID, owner: str | None) -> Subscription:
        """One of an owner's, or of anybody's; ``NotFound``."""
        row = await self._one(f"{_SELECT} WHERE id = %s AND coalesce(%s, owner) = owner", subscription, owner)
        if row is None:
            raise NotFound(f"there is no subscription {subscription}")
        return _subscription(row)

    async def end(self, subscription: UUID) -> None:
        """Take a standing order back; the jobs that it made go on."""
        await self._one(
            "UPDATE rs.subscriptions SET ended = now() WHERE id = %s AND ended IS NULL RETURNING id", subscription
        )

    async def look(self) -> int:
        """Look for those whose time has come; how many there were."""
        due = await self._due()
        for each in due:
            try:
                await self._look_for(each)
            except RsError as error:
                log.warning("subscription_not_looked_for", subscription=str(each.id), reason=error.detail)
                await self._looked(each, each.cursor, error.detail)
            except Exception as error:  # a bug holds up the order that met it, not the worker with all the others
                log.error("subscription_met_a_bug", subscription=str(each.id), exc_info=error)
                await self._looked(each, each.cursor, "the server met an error it did not expect")
        return len(due)

    async def _due(self) -> list[Subscription]:
        """Those whose time has come, each for one worker: it comes again by itself if this one dies."""
        async with self._database.connection() as conn:
            found = await conn.execute(
                "UPDATE rs.subscriptions SET next_look = now() + make_interval(secs => %s) WHERE id IN "
                "(SELECT id FROM rs.subscriptions WHERE ended IS NULL AND next_look <= now() "
                "ORDER BY next_look LIMIT 10 FOR UPDATE SKIP LOCKED) RETURNING *, 0 AS noted",
                [_HELD_S],
            )
            return [_subscription(row) for row in await found.fetchall()]

    async def _look_for(self, order: Subscription) -> None:
        order = replace(order, who=await self._rights_now(order.who))
        await self._permit(order.who, order.options["collection"])
        await self._finder.collections(order.who, order.search)
        await self._ask_for_noted(order)
        newest, now = order.cursor, datetime.now(UTC)
        async for page in self._finder.pages(order.who, _since(order.search, self._begin(order))):
            for sources in _apart(source for source, _ in page.found):
                await self._note(order, sources)
            await self._ask_for_noted(order)
            newest = max([newest, *(_published(item) for _, item in page.found)])
        # What bears a date to come does not move the cursor there: what is published until then would not be seen.
        await self._looked(order, max(order.since, min(newest, now)), None)

    def _begin(self, order: Subscription) -> datetime:
        """From when on it is looked: a stretch before the cursor, as far as the order goes back."""
        overlap = timedelta(seconds=self._settings.overlap_s)
        return order.since if order.cursor - order.since <= overlap else order.cursor - overlap

    async def _note(self, order: Subscription, sources: list[Reference]) -> None:
        """Note those that were not seen before, to be asked for together; the order stays this worker's meanwhile."""
        async with self._database.connection() as conn:
            await conn.execute(
                "INSERT INTO rs.subscription_items (subscription, batch, service, collection, item) "
                "SELECT %s, gen.batch, new.* FROM unnest(%s::text[], %s::text[], %s::text[]) AS new, "
                "(SELECT gen_random_uuid() AS batch) AS gen ON CONFLICT DO NOTHING",
                [
                    order.id,
                    [each.service for each in sources],
                    [each.collection for each in sources],
                    [each.item for each in sources],
                ],
            )
            await conn.execute(
                "UPDATE rs.subscriptions SET next_look = now() + make_interval(secs => %s) WHERE id = %s",
                [_HELD_S, order.id],
            )

    async def _ask_for_noted(self, order: Subscription) -> None:
        """Ask for a job of each batch that has none: the same one, when that was done before and not noted."""
        async with self._database.connection() as conn:
            found = await conn.execute(
                "SELECT batch, service, collection, item FROM rs.subscription_items "
                "WHERE subscription = %s AND job IS NULL AND reason IS NULL ORDER BY batch, collection, item",
                [order.id],
            )
            rows = await found.fetchall()
        batches: dict[UUID, list[Reference]] = {}
        for row in rows:
            source = Reference(row["service"], row["collection"], row["item"])
            batches.setdefault(row["batch"], []).append(source)
        for batch, sources in batches.items():
            await self._ask(order, batch, sources)

    async def _ask(self, order: Subscription, batch: UUID, sources: list[Reference]) -> None:
        inputs = {**order.options, "items": [{"href": source.path} for source in sources]}
        job, reason = None, None
        try:
            job = await self._submit(order.who, inputs, str(batch))
        except (BadInput, NotFound) as error:  # none of them can be staged, now or later
            reason = error.detail
        async with self._database.connection() as conn:
            noted = await conn.execute(
                "UPDATE rs.subscription_items SET job = %s, reason = %s "
                "WHERE subscription = %s AND batch = %s AND job IS NULL AND reason IS NULL",
                [job, reason, order.id, batch],
            )
            if noted.rowcount and job is not None:  # another worker may have been quicker
                await conn.execute("UPDATE rs.subscriptions SET jobs = jobs + 1 WHERE id = %s", [order.id])

    async def _looked(self, order: Subscription, cursor: datetime, reason: str | None) -> None:
        wait_s = _FAILED_S if reason else self._settings.subscriptions_every_s
        await self._one(
            "UPDATE rs.subscriptions SET looked = now(), cursor = %s, reason = %s, "
            "next_look = now() + make_interval(secs => %s) WHERE id = %s RETURNING id",
            cursor,
            reason,
            wait_s,
            order.id,
        )

    async def _one(self, query: str, *values: Any) -> Row | None:
        async with self._database.connection() as conn:
            return await (await conn.execute(query, values)).fetchone()


_SELECT = (
    "SELECT s.*, (SELECT count(*)::int FROM rs.subscription_items WHERE subscription = s.id) AS noted "
    "FROM rs.subscriptions s"
)


_SAME = (
    f"{_SELECT} WHERE owner = %(owner)s AND ended IS NULL AND service = %(service)s AND search = %(search)s "
    "AND options = %(options)s AND since = coalesce(%(since)s, since) ORDER BY created LIMIT 1"
)
_NEW = (
    "INSERT INTO rs.subscriptions (owner, principal, service, search, options, since, cursor) "
    "SELECT %(owner)s, %(principal)s, %(service)s, %(search)s, %(options)s, begin.at, begin.at "
    # Stations may date by whole seconds: what is published in this one is wanted.
    "FROM (SELECT coalesce(%(since)s, date_trunc('second', now())) AS at) AS begin RETURNING *, 0 AS noted"
)


async def _count(conn: AsyncConnection[Row], owner: str) -> int:
    found = await conn.execute("SELECT 1 FROM rs.subscriptions WHERE owner = %s AND ended IS NULL", [owner])
    return len(await found.fetchall())


def _apart(sources: Iterable[Reference]) -> list[list[Reference]]:
    """The same in lists none of which has two items of one id, as those of two stations: no job takes both."""
    seen: Counter[str] = Counter()
    lists: list[list[Reference]] = []
    for source in sources:
        number = seen[source.item]
        seen[source.item] += 1
        if number == len(lists):
            lists.append([])
        lists[number].append(source)
    return lists


def _since(search: Search, begin: datetime) -> Search:
    """The same search, for what was published from a moment on, in that order."""
    moment = begin.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    newer = {"op": ">=", "args": [{"property": "published"}, {"timestamp": moment}]}
    given = search.body.get("filter")
    if isinstance(given, str) and search.body.get("filter-lang") != "cql2-text":
        given = _read(given)
    if isinstance(given, str):
        both: Any = f"({given}) AND published >= TIMESTAMP('{moment}')"
    else:
        both = {"op": "and", "args": [given, newer]} if given else newer
    language = {} if given else {"filter-lang": "cql2-json"}
    order = [{"field": "published", "direction": "asc"}]
    return Search(service=search.service, body={**search.body, **language, "filter": both, "sortby": order})


def _read(text: str) -> Any:
    """A filter whose JSON is given as a text."""
    try:
        return json.loads(text)
    except ValueError as error:
        raise BadInput(f"the filter is not CQL2 JSON: {error}", hint="filter-lang=cql2-text?") from error


def _published(item: Mapping[str, Any]) -> datetime:
    return datetime.fromisoformat(item["properties"]["published"])


def _subscription(row: Row) -> Subscription:
    same = ("id", "owner", "options", "since", "cursor", "jobs", "looked", "reason", "created", "ended")
    return Subscription(
        **{name: row[name] for name in same},
        items=row["noted"] + row["forgotten"],
        who=Principal.from_json(row["principal"]),
        search=Search(service=row["service"], body=row["search"]),
    )
