"""Standing orders in a database of their own: whose rights they have, what they find, what stops none of the others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from rs_server.access.policy import Principal
from rs_server.database import Database, open_database
from rs_server.errors import BadInput, Conflict, Forbidden
from rs_server.processes.references import Reference
from rs_server.settings import DatabaseSettings, JobSettings, StagingSettings
from rs_server.staging.found import FoundPage
from rs_server.staging.inputs import Search
from rs_server.staging.retention import Retention
from rs_server.staging.subscriptions import MOST_ORDERS, Subscription, Subscriptions
from tests.conftest import Platform
from tests.integration.databases import own_database

TABLES = ("20", "21", "22", "23", "24", "40", "50", "52", "61", "62", "70", "72")
ANN = Principal("ann", roles=frozenset({"then"}))
SINCE = datetime(2026, 11, 25, tzinfo=UTC)
SEARCH = Search(service="auxip", body={})


@pytest.fixture(scope="module")
def tables(platform: Platform) -> Iterator[DatabaseSettings]:
    with own_database(platform, "orders", TABLES) as made:
        yield made


@pytest.fixture
async def database(tables: DatabaseSettings) -> AsyncIterator[Database]:
    async with open_database(tables) as opened:
        async with opened.connection() as conn:
            await conn.execute("TRUNCATE rs.subscriptions CASCADE")
        yield opened


class World:
    """What is found, who may what, and what was asked for."""

    def __init__(self) -> None:
        self.pages_found: list[list[Reference]] = []
        self.times: datetime | None = SINCE
        self.roles = frozenset({"now"})
        self.banned = False
        self.submitted: list[tuple[Principal, list[str]]] = []
        self.begun: list[Any] = []

    async def check(self, who: Principal, search: Search) -> None:
        if "nonsense" in (text := str(search.body.get("filter"))):
            raise BadInput(f"the filter cannot be read: {text}")

    async def collections(self, who: Principal, search: Search) -> list[str]:
        return ["a", "b"]

    async def pages(self, who: Principal, search: Search) -> AsyncIterator[FoundPage]:
        self.begun.append(search.body["filter"]["args"][1]["timestamp"])
        properties = {} if self.times is None else {"published": self.times.isoformat()}
        for page in self.pages_found:
            yield FoundPage([(each, {"properties": properties}) for each in page], None)

    async def submit(self, who: Principal, inputs: Mapping[str, Any], key: str) -> UUID:
        self.submitted.append((who, [each["href"] for each in inputs["items"]]))
        return uuid4()

    async def permit(self, who: Principal, collection: str) -> None:
        if self.banned:
            raise Forbidden(f"{who.login} may not write catalog {collection}")

    async def now(self, who: Principal) -> Principal:
        return replace(who, roles=self.roles)


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def orders(database: Database, world: World) -> Subscriptions:
    finder: Any = world
    settings = StagingSettings(subscriptions_every_s=0.001)
    return Subscriptions(database, finder, settings, world.submit, world.permit, world.now)


async def given(orders: Subscriptions, since: datetime = SINCE, collection: str = "ann_x") -> Subscription:
    return (await orders.add(ANN, SEARCH, {"collection": collection}, since))[0]


def ref(item: str, collection: str = "a") -> Reference:
    return Reference("auxip", collection, item)


async def test_a_look_has_the_rights_of_now(orders: Subscriptions, world: World) -> None:
    await given(orders)
    world.pages_found = [[ref("one")]]
    assert await orders.look() == 1
    assert [who.roles for who, _ in world.submitted] == [world.roles]


async def test_who_lost_access_is_told_and_misses_nothing_once_it_is_back(orders: Subscriptions, world: World) -> None:
    made = await given(orders)
    world.pages_found, world.banned = [[ref("one")]], True
    await orders.look()
    told = await orders.get(made.id, "ann")
    assert (told.reason, told.cursor, told.items) == ("ann may not write catalog ann_x", SINCE, 0)
    world.banned = False
    await due(orders)
    await orders.look()
    assert [hrefs for _, hrefs in world.submitted] == [["/auxip/collections/a/items/one"]]
    assert (await orders.get(made.id, "ann")).reason is None


async def test_a_filter_that_cannot_be_read_is_quoted_as_it_was_written(orders: Subscriptions) -> None:
    search = Search(service="auxip", body={"filter": "nonsense = = 3", "filter-lang": "cql2-text"})
    with pytest.raises(BadInput) as refused:
        await orders.add(ANN, search, {"collection": "ann_x"}, SINCE)
    assert refused.value.detail == "the filter cannot be read: nonsense = = 3"


async def test_items_of_one_id_come_in_different_jobs(orders: Subscriptions, world: World) -> None:
    """Two stations often publish the same file, and no job takes two items of one id."""
    made = await given(orders)
    world.pages_found = [[ref("one"), ref("one", "b"), ref("two")]]
    await orders.look()
    hrefs = sorted(hrefs for _, hrefs in world.submitted)
    a = "/auxip/collections/a/items"
    assert hrefs == [[f"{a}/one", f"{a}/two"], ["/auxip/collections/b/items/one"]]
    told = await orders.get(made.id, "ann")
    assert (told.items, told.jobs) == (3, 2)


async def test_a_bug_that_one_order_meets_holds_up_no_other(orders: Subscriptions, world: World) -> None:
    made = [await given(orders), await given(orders, collection="ann_y")]
    world.pages_found, world.times = [[ref("one")]], None  # an item without its time of publication
    assert await orders.look() == 2
    reasons = {(await orders.get(each.id, "ann")).reason for each in made}
    assert reasons == {"the server met an error it did not expect"}


async def test_an_order_reaches_back_as_far_as_it_was_given_and_no_further(orders: Subscriptions, world: World) -> None:
    await given(orders, datetime(1, 1, 1, tzinfo=UTC))
    await orders.look()
    assert world.begun == ["0001-01-01T00:00:00.000Z"]


async def test_the_same_order_is_given_once_however_often_it_is_asked_for(orders: Subscriptions) -> None:
    async def give(since: datetime | None = SINCE, **options: Any) -> UUID:
        return (await orders.add(ANN, SEARCH, {"collection": "ann_x", **options}, since))[0].id

    (same,) = set(await asyncio.gather(*(give() for _ in range(20))))
    assert await give(since=None) == same
    others = {await give(priority=1), await give(since=SINCE - timedelta(days=1)), same}
    assert len(others) == 3
    await orders.end(same)
    assert await give() not in others


async def test_nobody_gives_orders_without_end(orders: Subscriptions, database: Database) -> None:
    await given(orders)
    async with database.connection() as conn:
        await conn.execute(
            "INSERT INTO rs.subscriptions (owner, principal, service, search, options, since, cursor) "
            "SELECT owner, principal, service, search, to_jsonb(n), since, cursor FROM rs.subscriptions, "
            "generate_series(2, %s) AS n",
            [MOST_ORDERS],
        )
    with pytest.raises(Conflict, match=f"ann has {MOST_ORDERS}"):
        await given(orders, collection="ann_y")


async def test_the_end_of_an_order_is_its_first(orders: Subscriptions) -> None:
    made = await given(orders)
    await orders.end(made.id)
    first = (await orders.get(made.id, "ann")).ended
    await orders.end(made.id)
    assert (await orders.get(made.id, "ann")).ended == first is not None


async def due(orders: Subscriptions) -> None:
    """Let the time come at which those are looked for again that failed."""
    await orders._one("UPDATE rs.subscriptions SET next_look = %s RETURNING id", datetime.now(UTC) - timedelta(days=1))


async def test_a_date_to_come_does_not_move_the_cursor_there(orders: Subscriptions, world: World) -> None:
    made = await given(orders)
    world.pages_found, world.times = [[ref("one")]], datetime.now(UTC) + timedelta(days=40)
    await orders.look()
    assert SINCE < (await orders.get(made.id, "ann")).cursor <= datetime.now(UTC)


async def test_a_cursor_in_time_to_come_is_fetched_back(orders: Subscriptions, database: Database) -> None:
    made, late = await given(orders), datetime.now(UTC) + timedelta(days=40)
    later = await given(orders, late)
    async with database.connection() as conn:
        await conn.execute("UPDATE rs.subscriptions SET cursor = %s", [late])
    await orders.look()
    assert (await orders.get(made.id, "ann")).cursor <= datetime.now(UTC)
    assert (await orders.get(later.id, "ann")).cursor == late  # it wants nothing before


async def test_what_was_seen_is_forgotten_when_it_is_not_looked_for_any_more(
    database: Database, orders: Subscriptions, world: World
) -> None:
    made = await given(orders)
    ended = await given(orders, collection="ann_y")
    world.pages_found = [[ref("old"), ref("young")]]
    await orders.look()
    overlap_s, keep = 86_400.0, timedelta(days=90)
    retention = Retention(database, JobSettings(), overlap_s)
    for item, age in (("old", timedelta(days=200)), ("young", timedelta(days=1))):
        async with database.connection() as conn:
            await conn.execute(
                "UPDATE rs.subscription_items SET at = now() - %s::interval WHERE item = %s", [age, item]
            )
    async with database.connection() as conn:
        await conn.execute("UPDATE rs.subscriptions SET cursor = now() - interval '200 days'")
    await retention.prune()  # no look has succeeded since: both are looked for still
    assert await noted(database) == {(made.id, "old"), (made.id, "young"), (ended.id, "old"), (ended.id, "young")}
    async with database.connection() as conn:
        await conn.execute("UPDATE rs.subscriptions SET cursor = now() WHERE id = %s", [made.id])
        await conn.execute("UPDATE rs.subscriptions SET ended = now() - %s::interval WHERE id = %s", [keep, ended.id])
    await retention.prune()
    assert await noted(database) == {(made.id, "young"), (ended.id, "young")}
    assert [(each.id, each.items) for each in await orders.of("ann")] == [(ended.id, 2), (made.id, 2)]
    async with database.connection() as conn:
        await conn.execute("UPDATE rs.subscription_items SET at = now() - %s::interval", [2 * keep])
    await retention.prune()
    assert [each.id for each in await orders.of("ann")] == [made.id]


async def noted(database: Database) -> set[tuple[UUID, str]]:
    """What orders remember that they have seen."""
    async with database.connection() as conn:
        found = await conn.execute("SELECT subscription, item FROM rs.subscription_items")
        return {(row["subscription"], row["item"]) for row in await found.fetchall()}


async def test_orders_of_archives_are_forgotten_when_they_are_over(database: Database) -> None:
    async with database.connection() as conn:
        for number, (status, days, expires) in enumerate(
            (("completed", 100, -1), ("completed", 100, 1), ("queued", 100, None), ("failed", 10, None))
        ):
            await conn.execute(
                "INSERT INTO rs.orders (service, station, collection, item, product, owners, status, updated, expires) "
                "VALUES ('lta', 's', 'c', %s, %s, '{ann}', %s, now() - make_interval(days => %s), "
                "now() + make_interval(days => %s))",
                [str(number), str(number), status, days, expires],
            )
    await Retention(database, JobSettings(), 0.0).prune()
    async with database.connection() as conn:
        found = await conn.execute("SELECT item FROM rs.orders ORDER BY item")
        assert [row["item"] for row in await found.fetchall()] == ["1", "2", "3"]


async def test_the_order_of_a_worker_that_died_is_taken_up_within_seconds(
    orders: Subscriptions, database: Database
) -> None:
    await given(orders)
    assert len(await orders._due()) == 1
    assert await orders.look() == 0
    async with database.connection() as conn:
        await conn.execute("UPDATE rs.subscriptions SET next_look = next_look - interval '16 s'")
    assert await orders.look() == 1
