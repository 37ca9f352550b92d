"""Orders from a long-term archive: kept in a real PostgreSQL, sent to an archive in this process."""

from __future__ import annotations

import asyncio
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings, strategies
from pydantic import SecretStr
from schemathesis.core.result import Ok

from rs_server.access.policy import Principal
from rs_server.database import Database, open_database
from rs_server.errors import Forbidden, NotAuthenticated, NotFound
from rs_server.processes.references import Reference
from rs_server.settings import DatabaseSettings, OrderSettings, Settings, StationSettings
from rs_server.staging.archive import Abandoned
from rs_server.staging.archive import Archive as Brought
from rs_server.stations.app import create_app
from rs_server.stations.client import Stations, open_stations
from rs_server.stations.kinds import KINDS
from rs_server.stations.orders import Order, Orders
from tests.asgi import client
from tests.conftest import Platform
from tests.integration.databases import own_database
from tests.schemas import item_faults
from tests.serving import running
from tests.unit.stations.archive import Archive
from tests.unit.stations.stores import Dice

PUBLIC_URL = "http://server.test"
QUICK = OrderSettings(at_once=4, at_once_each=2, poll_s=0.001, again_s=0.001, tend_s=0.01)
RIGHTS = ("read", "download")
DOCUMENTED = frozenset({200, 201, 400, 404, 405, 409})
TABLES = ("20", "21", "22", "23", "24", "40", "50", "52", "60", "61", "62", "63", "64", "67", "70", "71", "81")


@dataclass(frozen=True)
class World:
    """An archive of ten products that are not online, and what orders from it."""

    station: str
    archive: Archive
    database: Database
    stations: Stations
    orders: Orders

    def caller(self, login: str, *rights: str) -> Principal:
        return Principal(login=login, roles=frozenset(f"rs_lta_{self.station}_{right}" for right in rights or RIGHTS))

    async def order(self, login: str, number: int) -> Order:
        """An order of that product by that user."""
        item = (await self.items())[number]
        return (await self.orders.place(self.caller(login), "lta", self.station, item))[0]

    async def now(self, order: Order) -> Order:
        """The order as it is now."""
        return await self.orders.get(self.caller(order.owners[0]), order.id)

    async def items(self) -> list[str]:
        """The ids of all items."""
        return [product["Name"].partition(".")[0] for product in self.archive.products]


@pytest.fixture(scope="module")
def orders_database(platform: Platform) -> Iterator[DatabaseSettings]:
    """A database with the tables of orders and of staging alone: the platform's worker knows none of the stations."""
    with own_database(platform, "orders", TABLES) as made:
        yield made


@pytest.fixture
async def world(orders_database: DatabaseSettings) -> AsyncIterator[World]:
    dice = Dice(7)
    archive = Archive({**dice.archived(number), "Online": False} for number in range(10))
    name = f"archive-{uuid4().hex[:8]}"  # each test has a station of its own
    station = StationSettings.model_validate(
        {"kind": "lta", "url": "http://far/odata/v1", "collections": {name: {"title": "All"}}}
    )
    async with (
        open_database(orders_database) as database,
        open_stations({name: station}, public_url=PUBLIC_URL, transport=archive) as stations,
    ):
        yield World(name, archive, database, stations, Orders(database, stations, QUICK))
        async with database.connection() as conn:
            await conn.execute("DELETE FROM rs.orders WHERE station = %s", [name])
            await conn.execute("DELETE FROM rs.jobs")


async def test_an_order_lives_until_its_product_is_online(world: World) -> None:
    order = await world.order("alice", 0)
    assert (order.status, order.station_order) == ("waiting", None)
    await world.orders.round()
    order = await world.now(order)
    assert (order.status, order.reason) == ("queued", "request is queued")
    assert world.archive.orders[str(order.station_order)]["Priority"] == 50
    assert world.archive.product_of[str(order.station_order)] == order.product
    world.archive.advance(str(order.station_order), "in_progress", EstimatedDate="2024-11-14T13:00:00.000Z")
    await world.orders.round()
    order = await world.now(order)
    assert order.status == "in_progress"
    assert order.estimated == datetime(2024, 11, 14, 13, tzinfo=UTC)
    expires = datetime.now(UTC).replace(microsecond=0) + timedelta(days=3)
    done = {"CompletedDate": "2024-11-14T12:30:00Z", "EvictionDate": expires.isoformat()}
    world.archive.advance(str(order.station_order), "completed", **done)
    await world.orders.round()
    order = await world.now(order)
    assert (order.status, order.expires) == ("completed", expires)
    again = await world.order("bob", 0)
    assert (again.status, again.reason) == ("completed", "it is online")
    assert len(world.archive.orders) == 1


async def test_a_product_is_ordered_once_whoever_asks(world: World) -> None:
    first, second, third = [await world.order(login, 0) for login in ("alice", "bob", "alice")]
    assert first.id == second.id == third.id
    assert third.owners == ("alice", "bob")
    await world.orders.round()
    assert len(world.archive.orders) == 1
    left = await world.orders.cancel(world.caller("alice"), first.id)
    assert (left.status, left.owners) == ("queued", ("bob",))
    with pytest.raises(NotFound):
        await world.orders.get(world.caller("alice"), first.id)
    gone = await world.orders.cancel(world.caller("bob"), first.id)
    assert (gone.status, gone.reason) == ("cancelled", "")
    assert world.archive.orders[str(first_at(world))]["Status"] == "cancelled"
    await world.orders.round()
    assert (await world.now(gone)).status == "cancelled"


async def test_what_is_said_to_be_online_and_is_not_is_ordered(world: World) -> None:
    world.archive.products[0]["Online"] = True
    assert (await world.order("alice", 0)).status == "completed"
    item, who = (await world.items())[0], world.caller("alice")
    order, new = await world.orders.place(who, "lta", world.station, item, by_hand=False, online="unbelieved")
    assert (order.status, new) == ("waiting", True)
    await world.orders.round()
    assert (await world.now(order)).status == "queued"


async def waits(world: World, login: str, number: int, *, by_hand: bool = False) -> tuple[UUID, UUID]:
    """A job of staging that waits for a product, and its order."""
    item = (await world.items())[number]
    if by_hand:
        await world.order(login, number)
    order, _ = await world.orders.place(world.caller(login), "lta", world.station, item, by_hand=False)
    async with world.database.connection() as conn:
        made = await conn.execute(
            "WITH job AS (INSERT INTO rs.jobs (process, owner, principal, request, status) "
            "VALUES ('staging', %s, '{}', '{}', 'running') RETURNING id) "
            "INSERT INTO rs.staging_items (job, service, collection, item, document, state, archive_order) "
            "SELECT id, 'lta', %s, %s, '{}', 'carrying', %s FROM job RETURNING job",
            [login, world.station, item, order.id],
        )
        row = await made.fetchone()
    assert row is not None
    return row["job"], order.id


async def dismissed(world: World, job: UUID) -> None:
    """The job is over, and what it has ordered is looked at."""
    async with world.database.connection() as conn:
        await conn.execute("UPDATE rs.jobs SET status = 'dismissed' WHERE id = %s", [job])
    abandoned = Abandoned(world.database, world.orders)
    assert await abandoned.withdraw() == 1
    assert await abandoned.withdraw() == 0


async def test_a_dismissed_job_withdraws_what_nobody_else_waits_for(world: World) -> None:
    job, placed = await waits(world, "alice", 0)
    await world.orders.round()
    await dismissed(world, job)
    order = await world.orders.get(world.caller("alice"), placed)
    assert (order.status, order.withdrawn) == ("cancelled", True)
    assert world.archive.orders[str(order.station_order)]["Status"] == "cancelled"
    source = Reference("lta", world.station, order.item)
    again = await Brought(world.orders).ask(world.caller("alice"), source, placed, tried=False)
    assert again.order != placed  # a job that was about to wait for it has it ordered again


async def test_an_order_that_others_wait_for_or_that_was_placed_by_hand_stays(world: World) -> None:
    job, placed = await waits(world, "alice", 1)
    await waits(world, "bob", 1)
    await dismissed(world, job)
    order = await world.orders.get(world.caller("bob"), placed)
    assert (order.status, order.owners) == ("waiting", ("bob",))
    job, placed = await waits(world, "alice", 2, by_hand=True)
    await dismissed(world, job)
    order = await world.orders.get(world.caller("alice"), placed)
    assert (order.status, order.owners) == ("waiting", ("alice",))
    job, placed = await waits(world, "carol", 3)
    await waits(world, "carol", 3)  # in another job of hers
    async with world.database.connection() as conn:
        await conn.execute("UPDATE rs.jobs SET status = 'dismissed' WHERE id = %s", [job])
    assert await Abandoned(world.database, world.orders).withdraw() == 0
    assert (await world.orders.get(world.caller("carol"), placed)).status == "waiting"


async def test_a_user_with_many_orders_does_not_starve_another(world: World) -> None:
    greedy = [await world.order("alice", number) for number in range(6)]
    modest = await world.order("bob", 6)
    await world.orders.round()
    sent = [(await world.now(order)).status for order in greedy]
    assert sent == ["queued", "queued", "waiting", "waiting", "waiting", "waiting"]
    assert (await world.now(modest)).status == "queued"
    others = [await world.order("carol", number) for number in (7, 8)]
    await world.orders.round()
    assert [(await world.now(order)).status for order in others] == ["queued", "waiting"]  # four in all
    world.archive.advance(str((await world.now(modest)).station_order), "completed")
    await world.orders.round()
    assert (await world.now(others[1])).status == "queued"  # alice asked long before, and has her share
    for order in greedy[:2]:
        world.archive.advance(str((await world.now(order)).station_order), "completed")
    await world.orders.round()
    assert [(await world.now(order)).status for order in greedy[2:]] == ["queued", "queued", "waiting", "waiting"]


@pytest.mark.parametrize("status", [429, 403])
async def test_a_quota_makes_an_order_wait(world: World, status: int) -> None:
    world.archive.quota, world.archive.refuses = 1, status
    orders = [await world.order("alice", number) for number in range(2)]
    await world.orders.round()
    first, second = [await world.now(order) for order in orders]
    assert (first.status, second.status) == ("queued", "waiting")
    assert "takes no more orders now" in second.reason
    world.archive.advance(str(first.station_order), "completed")
    for _ in range(3):
        await world.orders.round()
    assert (await world.now(second)).status == "queued"


async def test_a_station_that_is_down_loses_no_order(world: World) -> None:
    order = await world.order("alice", 0)
    world.archive.answer = lambda request: httpx.Response(500) if request.method == "POST" else None
    await world.orders.round()
    order = await world.now(order)
    assert order.status == "waiting"
    assert "answered 500" in order.reason
    world.archive.answer = lambda request: httpx.Response(404) if request.method == "POST" else None
    for _ in range(3):
        await world.orders.round()
    assert (await world.now(order)).status == "failed"


async def test_an_order_that_was_being_sent_is_sent_again(world: World) -> None:
    order = await world.order("alice", 0)
    async with world.database.connection() as conn:
        await conn.execute(
            "UPDATE rs.orders SET status = 'sending', due = now() - interval '1 s' WHERE id = %s", [order.id]
        )
    await world.orders.round()
    assert (await world.now(order)).status == "queued"


@pytest.mark.parametrize("refused", [404, 503])
async def test_what_a_station_cannot_be_told_is_said(world: World, refused: int) -> None:
    order = await world.order("alice", 0)
    await world.orders.round()
    world.archive.answer = lambda request: httpx.Response(refused) if "Cancel" in request.url.path else None
    gone = await world.orders.cancel(world.caller("alice"), order.id)
    assert gone.status == "cancelled"
    assert ("knows no cancelling" if refused == 404 else "could not be told") in gone.reason
    assert "may go on with it" in gone.reason


async def test_an_order_whose_answer_was_lost_is_found_again(world: World) -> None:
    orders = [await world.order("alice", number) for number in range(2)]
    world.archive.answer = _taken_and_lost(world.archive)
    await world.orders.round()
    waits = [await world.now(order) for order in orders]
    assert {order.status for order in waits} == {"waiting"}
    assert len(world.archive.orders) == 1
    world.archive.answer = lambda _: None
    for _ in range(3):
        await world.orders.round()
    found = [await world.now(order) for order in orders]
    assert {order.status for order in found} == {"queued"}
    assert sorted(world.archive.product_of.values()) == sorted(order.product for order in orders)  # each of them once


async def test_a_station_that_does_not_tell_what_orders_bring_loses_none(world: World) -> None:
    order = await world.order("alice", 0)
    world.archive.knows = set()
    world.archive.answer = _taken_and_lost(world.archive)
    await world.orders.round()
    world.archive.answer = lambda _: None
    await world.orders.round()
    assert (await world.now(order)).status == "queued"
    assert len(world.archive.orders) == 2


async def test_a_process_that_dies_while_it_sends_orders_once(world: World, orders_database: DatabaseSettings) -> None:
    """SIGKILL from the station, between taking the order and answering."""
    order = await world.order("alice", 0)
    with _killing(world.archive) as (address, victims):
        arguments = [orders_database.dsn.get_secret_value(), world.station, address]
        child = subprocess.Popen(  # noqa: ASYNC220 - the handler of the socket needs it at once
            [sys.executable, "-c", _ROUND, *arguments]
        )
        victims.append(child)
        assert await asyncio.to_thread(child.wait, 60) == -signal.SIGKILL
    assert (await world.now(order)).status == "sending"
    assert len(world.archive.orders) == 1
    async with world.database.connection() as conn:
        await conn.execute("UPDATE rs.orders SET due = now() WHERE id = %s", [order.id])
    await world.orders.round()
    found = await world.now(order)
    assert (found.status, found.station_order) == ("queued", first_at(world))
    assert len(world.archive.orders) == 1


_ROUND = """
import asyncio, sys
from pydantic import SecretStr
from rs_server.database import open_database
from rs_server.processes.references import Reference
from rs_server.settings import DatabaseSettings, OrderSettings, StationSettings
from rs_server.stations.client import open_stations
from rs_server.stations.orders import Orders

async def main(dsn, name, address):
    collections = {name: {"title": "All"}}
    station = StationSettings.model_validate({"kind": "lta", "url": address, "collections": collections})
    async with open_stations({name: station}) as stations:
        async with open_database(DatabaseSettings(dsn=SecretStr(dsn))) as database:
            await Orders(database, stations, OrderSettings()).round()

asyncio.run(main(*sys.argv[1:]))
"""


@contextmanager
def _killing(archive: Archive) -> Iterator[tuple[str, list[subprocess.Popen[bytes]]]]:
    """The archive behind a socket: it takes an order, and then kills who sent it."""
    victims: list[subprocess.Popen[bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            request = httpx.Request("POST", f"http://far{self.path}", content=body)
            asyncio.run(archive.handle_async_request(request))
            victims[0].kill()

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/odata/v1", victims
        finally:
            server.shutdown()
            thread.join()


def first_at(world: World) -> str:
    """The first order that the archive took."""
    return next(iter(world.archive.orders))


def _taken_and_lost(archive: Archive) -> Callable[[httpx.Request], httpx.Response | None]:
    """Takes an order, and breaks the connection before its answer."""

    def answer(request: httpx.Request) -> httpx.Response | None:
        if request.method != "POST":
            return None
        archive.take(request)
        raise httpx.ReadError("the connection was reset")

    return answer


async def test_what_a_station_says_of_an_order_is_read_with_care(world: World) -> None:
    order = await world.order("alice", 0)
    await world.orders.round()
    key = str((await world.now(order)).station_order)
    for nonsense in ({"Status": "lost"}, {"Status": "completed", "EvictionDate": "soon"}, {"Status": None}):
        world.archive.orders[key] = {**world.archive.orders[key], **nonsense}
        await world.orders.round()
        assert (await world.now(order)).status == "queued"
    world.archive.orders.clear()
    await world.orders.round()
    found = await world.now(order)
    assert (found.status, found.reason) == ("failed", "the station does not know the order any more")


async def test_only_who_may_download_may_order(world: World) -> None:
    item = (await world.items())[0]
    with pytest.raises(Forbidden):
        await world.orders.place(world.caller("bob", "read"), "lta", world.station, item)
    with pytest.raises(NotFound):
        await world.orders.place(world.caller("eve", "download"), "lta", world.station, item)
    with pytest.raises(NotFound):
        await world.orders.place(world.caller("alice"), "lta", world.station, "nothing")


class Anyone:
    """An authenticator that lets one user do everything."""

    async def authenticate(self, headers: Mapping[str, str], address: str) -> Principal:
        return Principal(login="alice", everything=True)


@pytest.fixture
def address(orders_database: DatabaseSettings) -> Iterator[str]:
    """The service of an archive of ten products, over HTTP; an order is there already."""
    archive = Archive({**Dice(7).archived(number), "Online": False} for number in range(10))
    known = {"collections": {"all": {"title": "All"}}, "kind": "lta", "url": "http://far/odata/v1"}
    stations_known = {"archive": StationSettings.model_validate(known)}
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"

        @asynccontextmanager
        async def lifespan(_: FastAPI) -> AsyncIterator[dict[str, Any]]:
            async with (
                open_database(orders_database) as database,
                open_stations(stations_known, public_url=url, transport=archive) as stations,
            ):
                orders = Orders(database, stations, QUICK)
                yield {"stations": stations, "orders": orders, "authenticator": Anyone()}

        app = FastAPI(lifespan=lifespan)
        app.mount("/lta", create_app(KINDS["lta"], Settings(public_url=url, secret=SecretStr("s"))))
        with running(app, listening):
            yield f"{url}/lta"


@pytest.mark.filterwarnings("ignore")
def test_no_request_about_orders_is_answered_by_an_error_of_ours(address: str) -> None:
    """Requests made up from the OpenAPI description, and among them orders that are there."""
    body = {"collection": "all", "item": Dice(7).archived(0)["Name"].partition(".")[0]}
    made = httpx.post(f"{address}/orders", json=body, trust_env=False)
    assert made.status_code == 201, made.text
    seen: set[int] = set()
    schema = schemathesis.openapi.from_dict(httpx.get(f"{address}/api", trust_env=False).json())
    for result in schema.get_all_operations():
        assert isinstance(result, Ok)
        operation = result.ok()
        if not operation.path.startswith("/orders"):
            continue

        @settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck), database=None)
        @given(case=operation.as_strategy(), there=strategies.booleans())
        def answered(case: schemathesis.Case[Any], there: bool) -> None:
            if there and "order_id" in (case.path_parameters or {}):
                case.path_parameters["order_id"] = made.json()["id"]
            answer = case.call(base_url=address)
            assert answer.status_code in DOCUMENTED, (case.method, case.path, case.query, answer.text)
            if answer.status_code >= 400 and answer.status_code != 405:
                assert answer.headers["content-type"][0] == "application/problem+json"
            seen.add(answer.status_code)

        answered()
    assert {200, 404} <= seen


class Logins:
    """An authenticator that takes the login from a header."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def authenticate(self, headers: Mapping[str, str], address: str) -> Principal:
        if "x-login" not in headers:
            raise NotAuthenticated("this needs a login")
        return self._world.caller(headers["x-login"])


@asynccontextmanager
async def _served(world: World) -> AsyncIterator[httpx.AsyncClient]:
    settings = Settings(public_url=PUBLIC_URL, secret=SecretStr("0123456789abcdef"))
    app = create_app(KINDS["lta"], settings)
    state: dict[str, Any] = {"stations": world.stations, "orders": world.orders, "authenticator": Logins(world)}
    async with client(app, **state) as http:
        yield http


async def test_orders_over_http(world: World) -> None:
    alice, bob = {"x-login": f"alice-{world.station}"}, {"x-login": f"bob-{world.station}"}
    name = (await world.items())[0]
    path = f"/collections/{world.station}/items/{name}"
    async with _served(world) as http:
        assert (await http.get("/orders")).status_code == 401
        item = (await http.get(path, headers=alice)).json()
        assert item["properties"]["order:status"] == "orderable"
        link = next(link for link in item["links"] if link["rel"] == "order")
        assert (link["method"], link["body"]) == ("POST", {"collection": world.station, "item": name})
        href = next(iter(item["assets"].values()))["href"].removeprefix(f"{PUBLIC_URL}/lta")
        refused = await http.get(href, headers=alice)
        assert (refused.status_code, refused.headers["content-type"]) == (409, "application/problem+json")
        assert "order" in refused.json()["hint"]

        made = await http.post("/orders", json=link["body"], headers=alice)
        assert made.status_code == 201
        order = made.json()
        assert made.headers["location"] == f"{PUBLIC_URL}/lta/orders/{order['id']}"
        assert (await http.post("/orders", json=link["body"], headers=bob)).status_code == 200
        await world.orders.round()
        item = (await http.get(path, headers=alice)).json()
        assert item["properties"]["order:status"] == "pending"
        assert item["properties"]["order:id"] == order["id"]
        assert item_faults(item) == []
        (searched,) = (await http.post("/search", json={"ids": [name]}, headers=bob)).json()["features"]
        assert searched["properties"]["order:status"] == "pending"

        assert [each["id"] for each in (await http.get("/orders", headers=bob)).json()["orders"]] == [order["id"]]
        assert (await http.get(f"/orders/{order['id']}", headers={"x-login": "eve"})).status_code == 404
        assert (await http.get("/orders/none", headers=alice)).status_code == 400
        assert (await http.post("/orders", json={"item": name}, headers=alice)).status_code == 400
        assert (await http.delete(f"/orders/{order['id']}", headers=alice)).json()["status"] == "queued"
        assert (await http.delete(f"/orders/{order['id']}", headers=bob)).json()["status"] == "cancelled"
        assert (await http.delete(f"/orders/{order['id']}", headers=bob)).status_code == 409
