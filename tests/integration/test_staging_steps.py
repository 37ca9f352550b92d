"""Steps of staging jobs in a database of their own, with a station and a catalog in memory: who carries is the test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from rs_server.access.policy import Principal
from rs_server.catalog.names import CollectionName
from rs_server.database import Database, open_database
from rs_server.errors import Conflict, StationUnavailable
from rs_server.processes.model import Ended, Failure, Outcome, Pause, Turn
from rs_server.processes.rows import JobRows
from rs_server.processes.run import Run
from rs_server.settings import DatabaseSettings, StagingSettings
from rs_server.staging.found import SESSIONS_AT_ONCE
from rs_server.staging.process import Staging
from rs_server.staging.rows import StagingRows
from rs_server.stations.client import Page
from rs_server.stations.kinds import KINDS
from rs_server.stations.search import SearchRequest
from rs_server.stations.station import Collection
from rs_server.stations.totals import Totals, against, sizes_of
from rs_server.storage.layout import Buckets
from rs_server.storage.stac import Place
from tests.conftest import Platform
from tests.integration.databases import own_database
from tests.unit.staging.station import SESSION, Station, asset, item, name_of

TABLES = ("20", "21", "22", "23", "24", "50", "60", "61", "62", "63", "64", "67", "71", "73", "80", "81")
HOST = "http://127.0.0.1:8000"
ANN = Principal("ann", roles=frozenset({"rs_cadip_*_read", "rs_cadip_*_download"}))
PATH = f"/cadip/collections/s1-sgs/items/{SESSION}"
OTHER = "/cadip/collections/s1-mti/items/OTHER"
IDLE_S = 60.0
TOTALS_S = 20.0


@pytest.fixture(scope="module")
def tables(platform: Platform) -> Iterator[DatabaseSettings]:
    with own_database(platform, "steps", TABLES) as made:
        yield made


@pytest.fixture
async def database(tables: DatabaseSettings) -> AsyncIterator[Database]:
    async with open_database(tables) as opened:
        async with opened.connection() as conn:
            await conn.execute("TRUNCATE rs.jobs, rs.lines, rs.stations, rs.leftovers CASCADE")
        yield opened


class Catalog:
    """One collection."""

    def __init__(self) -> None:
        self.there: dict[str, dict[str, Any]] = {}

    async def has_collection(self, name: CollectionName) -> bool:
        return True

    async def collection_ids(self) -> list[str]:
        return []

    async def ensure_collection(self, name: CollectionName, *, title: str) -> None: ...

    async def item(self, collection_id: str, item_id: str) -> dict[str, Any]:
        return self.there[item_id]

    async def items(self, collection_id: str, item_ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        return {name: self.there[name] for name in item_ids if name in self.there}

    async def search(self, body: Mapping[str, Any], collections: Sequence[str]) -> dict[str, Any]:
        raise NotImplementedError

    async def lock(self, conn: Any, collection_id: str, item_ids: Sequence[str]) -> None: ...

    async def publish(self, conn: Any, items: Sequence[Mapping[str, Any]]) -> None:
        self.there |= {each["id"]: dict(each) for each in items}


class TwoStations(Station):
    """Beside the station with the session, another one with an item that is whole, and one with any number of them.

    ``told`` are totals of channels, None of a station that never tells them.
    """

    told: Sequence[Mapping[str, Any]] | None = None
    meanwhile: Callable[[], Awaitable[None]] | None = None

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[str] = []
        self.beside: list[dict[str, Any]] = []  # what a search finds as well

    async def totals(self, service: str, collection: str, item: Mapping[str, Any]) -> Totals:
        if self.meanwhile is not None:
            await self.meanwhile()
        return against(KINDS["cadip"], sizes_of(KINDS["cadip"], item), self.told)

    async def search(self, service: str, request: SearchRequest, collections: Sequence[str]) -> Page:
        found = [{**item(), "collection": "s1-sgs"}, {**item(), "collection": "s1-mti"}]
        return Page([*found, {**item(), "collection": "s1-mti", "id": "OTHER"}, *self.beside])

    async def item(self, service: str, collection: str, item_id: str) -> dict[str, Any]:
        if collection == "s1-many":
            self.asked.append(item_id)
            return {**item(), "id": item_id}
        if collection == "s1-mti":
            return {**item(), "id": "OTHER"}
        return await super().item(service, collection, item_id)

    def station_of(self, service: str, collection: str) -> str:
        return "mti" if collection in ("s1-mti", "s1-many") else super().station_of(service, collection)

    def collections(self, service: str) -> list[Collection]:
        return [replace(super().collections(service)[0], id=f"s1-{name}", station=name) for name in ("sgs", "mti")]


class Bench:
    """A job, whose steps are done one by one."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.rows = JobRows(database)
        self.station = TwoStations()
        self.catalog = Catalog()
        self.staging = Staging(
            self.station,
            self.catalog,
            StagingRows(database, "own", 60),
            Place("own", "http://s3", "r", HOST),
            Buckets("own"),
            StagingSettings(follow_idle_s=IDLE_S, patience_s=IDLE_S, totals_s=TOTALS_S),
        )

    async def ask(self, query: str, *values: Any) -> list[dict[str, Any]]:
        async with self.database.connection() as conn:
            found = await conn.execute(query.encode(), values)
            return await found.fetchall() if found.description else []

    async def job(self, *paths: str, **options: Any) -> None:
        request = {"items": [*paths], "collection": "ann_x", **options}
        made, _ = await self.rows.add("staging", ANN, request, None)
        self.id = made.id

    async def step(self) -> Ended:
        await self.ask("UPDATE rs.jobs SET held_until = NULL WHERE id = %s", self.id)
        job = await self.rows.begin(self.id)
        assert job is not None
        engine: Any = None
        return await self.staging.run(Run(self.rows, job, engine))

    async def carry(self) -> None:
        """All files are carried, at once."""
        await self.ask("UPDATE rs.transfers SET state = 'done', digest = '1220aa' WHERE job = %s", self.id)
        await self.ask(
            "UPDATE rs.staging_items SET state = 'whole' WHERE job = %s AND state = 'carrying'",
            self.id,
        )

    async def items(self) -> dict[str, tuple[str, str | None]]:
        rows = await self.ask("SELECT item, state, reason FROM rs.staging_items WHERE job = %s", self.id)
        return {row["item"]: (row["state"], row["reason"]) for row in rows}

    async def files(self) -> set[str]:
        return {row["name"] for row in await self.ask("SELECT name FROM rs.transfers WHERE job = %s", self.id)}

    async def log(self) -> list[str]:
        return [each.line for each in await self.rows.log(self.id)]


@pytest.fixture
def bench(database: Database) -> Bench:
    return Bench(database)


@pytest.mark.parametrize(("existing", "state"), [("skip", "skipped"), ("fail", "failed")])
async def test_what_another_job_published_meanwhile_is_not_replaced(bench: Bench, existing: str, state: str) -> None:
    await bench.job(PATH, existing=existing)
    assert isinstance(await bench.step(), Pause)
    theirs = {"id": SESSION, "properties": {}, "assets": {}}
    bench.catalog.there[SESSION] = theirs
    await bench.carry()
    ended = await bench.step()
    assert bench.catalog.there[SESSION] is theirs
    assert await bench.items() == {SESSION: (state, "it is in the collection already")}
    assert isinstance(ended, Outcome if existing == "skip" else Failure)


async def test_strict_publishes_nothing_when_one_is_there_meanwhile(bench: Bench) -> None:
    await bench.job(PATH, OTHER, existing="fail", strict=True)
    await bench.step()
    bench.catalog.there["OTHER"] = {"id": "OTHER"}
    await bench.carry()
    assert isinstance(await bench.step(), Failure)
    assert set(bench.catalog.there) == {"OTHER"}


async def test_an_item_that_is_there_is_a_conflict_and_no_fault_of_its_station(bench: Bench) -> None:
    bench.catalog.there[SESSION] = {"id": SESSION}
    await bench.job(PATH, existing="fail")
    ended = await bench.step()
    assert isinstance(ended, Failure)
    assert isinstance(ended.error, Conflict)
    assert ended.error.detail == f"nothing was published: {SESSION}: it is in the collection already"


async def test_the_log_says_that_a_session_was_not_complete(bench: Bench) -> None:
    bench.station.session["properties"]["rs:complete"] = False
    await bench.job(PATH, OTHER)
    await bench.step()
    assert (await bench.log())[0] == "1 of the sessions are still growing, and only what is there now is staged"


async def test_an_asset_wanted_of_a_growing_session_may_come_later(bench: Bench) -> None:
    wanted = name_of(2, 2)
    session = bench.station.session
    session["properties"]["rs:complete"] = False
    last = session["assets"].pop(wanted)
    await bench.job(PATH, follow=True, assets=[wanted])
    assert isinstance(await bench.step(), Pause)
    assert (await bench.items())[SESSION] == ("growing", None)
    session["assets"][wanted] = last
    await bench.step()
    assert await bench.files() == {wanted}
    session["properties"]["rs:complete"] = True
    await bench.step()
    await bench.carry()
    assert isinstance(await bench.step(), Outcome)
    assert set(bench.catalog.there[SESSION]["assets"]) == {wanted}
    assert f"{SESSION} is complete" in await bench.log()


async def test_an_asset_that_never_comes_fails_its_item_not_the_job(bench: Bench) -> None:
    bench.station.session["properties"]["rs:complete"] = False
    await bench.job(PATH, OTHER, follow=True, assets=[name_of(1, 1), "x"])
    await bench.step()
    bench.station.session["properties"]["rs:complete"] = True
    await bench.step()
    assert (await bench.items())[SESSION] == ("failed", f"{SESSION} has no asset x")


async def test_a_station_that_is_away_holds_up_its_own_items_alone(bench: Bench) -> None:
    bench.station.session["properties"]["rs:complete"] = False
    await bench.job(PATH, OTHER, follow=True)
    await bench.step()
    bench.station.down = True
    await bench.carry()
    assert isinstance(await bench.step(), Pause)
    assert set(bench.catalog.there) == {"OTHER"}
    assert (await bench.rows.get(bench.id)).progress.waiting == "station sgs: did not answer"
    assert "waiting: station sgs: did not answer" in await bench.log()


async def test_a_session_whose_station_stays_away_fails_in_the_end(bench: Bench) -> None:
    bench.station.session["properties"]["rs:complete"] = False
    await bench.job(PATH, OTHER, follow=True)
    await bench.step()
    bench.station.down = True
    await bench.carry()
    long_ago = datetime.now(UTC) - timedelta(seconds=IDLE_S + 1)
    await bench.ask("UPDATE rs.staging_items SET grown = %s WHERE job = %s", long_ago, bench.id)
    ended = await bench.step()
    assert isinstance(ended, Outcome)
    assert (await bench.items())[SESSION] == ("failed", "station sgs: did not answer")


async def test_the_log_says_once_what_a_job_waits_for(bench: Bench) -> None:
    await bench.job(PATH)
    await bench.step()
    assert [line for line in await bench.log() if "waiting" in line] == []  # every job waits for a moment
    closed = datetime.now(UTC) + timedelta(minutes=1)
    await bench.ask("INSERT INTO rs.stations (name, closed_until, reason) VALUES ('sgs', %s, 'no answer; x')", closed)
    await bench.step()
    await bench.step()
    assert [line for line in await bench.log() if "waiting" in line] == ["waiting: no answer"]


async def test_items_of_a_station_that_stays_away_fail_alone_while_it_is_planned(bench: Bench) -> None:
    bench.station.down = True
    await bench.job(PATH, OTHER)
    assert isinstance(await bench.step(), Pause)
    assert await bench.items() == {}
    long_ago = datetime.now(UTC) - timedelta(seconds=IDLE_S + 1)
    await bench.ask("UPDATE rs.jobs SET created = %s WHERE id = %s", long_ago, bench.id)
    await bench.step()
    assert (await bench.items())[SESSION] == ("failed", str(StationUnavailable("sgs", "did not answer")))
    await bench.carry()
    assert isinstance(await bench.step(), Outcome)
    assert set(bench.catalog.there) == {"OTHER"}


async def test_a_session_in_doubt_is_followed_until_its_last_files_are_listed(bench: Bench) -> None:
    session = bench.station.session
    session["properties"]["rs:complete"] = True
    last = session["assets"].pop(name_of(2, 2))
    bench.station.told = [{"Channel": 1, "TotalChunks": 2}, {"Channel": 2, "TotalChunks": 2}]
    await bench.job(PATH, follow=True, assets=[name_of(2, 1), name_of(2, 2)])
    await bench.step()
    assert (await bench.items())[SESSION] == ("growing", None)
    session["assets"][name_of(2, 2)] = last
    await bench.step()
    assert (await bench.items())[SESSION] == ("carrying", None)
    assert await bench.files() == {name_of(2, 1), name_of(2, 2)}


async def test_without_follow_a_session_in_doubt_fails(bench: Bench) -> None:
    bench.station.session["properties"]["rs:complete"] = True
    bench.station.told = [{"Channel": 2, "TotalChunks": 3}]
    await bench.job(PATH)
    assert isinstance(await bench.step(), Failure)


async def test_a_session_that_fails_while_it_is_looked_at_stays_failed(bench: Bench) -> None:
    """Else it would be carried for ever: none of its files is to come, and not all are there."""
    bench.station.session["properties"]["rs:complete"] = False
    await bench.job(PATH, OTHER, follow=True)
    await bench.step()

    async def fail() -> None:
        await bench.ask(
            "UPDATE rs.transfers SET state = 'failed' WHERE job = %s AND name = %s", bench.id, name_of(1, 1)
        )
        await bench.ask("UPDATE rs.staging_items SET state = 'failed' WHERE job = %s AND item = %s", bench.id, SESSION)

    bench.station.session["properties"]["rs:complete"] = True
    bench.station.session["assets"]["late.raw"] = asset(1, 3)
    bench.station.meanwhile = fail
    await bench.step()
    assert "late.raw" not in await bench.files()
    assert (await bench.items())[SESSION][0] == "failed"


async def test_a_plan_that_takes_long_lets_others_have_their_turn(bench: Bench) -> None:
    number = 2 * SESSIONS_AT_ONCE + 1
    paths = [f"/cadip/collections/s1-many/items/I{n}" for n in range(number)]
    bench.staging = replace(bench.staging, plan_s=0.0)
    await bench.job(*paths)
    for planned in (SESSIONS_AT_ONCE, 2 * SESSIONS_AT_ONCE, number):
        assert isinstance(await bench.step(), Turn)
        assert len(await bench.items()) == planned
        await bench.carry()  # what is planned is carried; the job does not end with it
    assert bench.station.asked == [f"I{n}" for n in range(number)]  # none of them twice
    assert isinstance(await bench.step(), Outcome)
    assert len(bench.catalog.there) == number
    assert (await bench.log())[0].startswith(f"staging {4 * number} files of {number} items")


async def test_the_log_says_whose_checksums_cannot_be_checked(bench: Bench) -> None:
    bench.station.session["assets"][name_of(1, 1)]["file:checksum"] = "99aa"
    bench.station.session["assets"][name_of(1, 2)]["file:checksum"] = "d50110" + "a" * 32
    await bench.job(PATH)
    await bench.step()
    assert "1 of the files have checksums of no known kind: their sizes alone are checked" in await bench.log()


WHOLE = [{"Channel": channel, "TotalChunks": 2} for channel in (1, 2)]


async def _complete_without_totals(bench: Bench, **options: Any) -> None:
    """A session whose files are all there, at a station that tells totals, and has not told those of this one yet."""
    bench.station.session["properties"]["rs:complete"] = True
    bench.station.told = []
    await bench.job(PATH, **options)
    await bench.step()


async def test_totals_that_come_after_the_last_file_are_waited_for_and_held_against_it(bench: Bench) -> None:
    await _complete_without_totals(bench, follow=True)
    await bench.carry()
    assert isinstance(await bench.step(), Pause)
    assert (await bench.items())[SESSION] == ("growing", None)
    bench.station.told = [{"Channel": 1, "TotalChunks": 3}, *WHOLE[1:]]
    assert isinstance(await bench.step(), Pause)
    bench.station.session["assets"]["late.raw"] = asset(1, 3)
    await bench.step()
    assert (await bench.items())[SESSION] == ("carrying", None)
    assert "late.raw" in await bench.files()


async def test_a_session_is_whole_once_its_totals_say_so(bench: Bench) -> None:
    await _complete_without_totals(bench, follow=True)
    await bench.carry()
    bench.station.told = WHOLE
    assert isinstance(await bench.step(), Outcome)
    assert f"{SESSION} is complete" in await bench.log()


async def test_totals_that_never_come_are_not_waited_for_for_ever(bench: Bench) -> None:
    await _complete_without_totals(bench, follow=True)
    await bench.carry()
    long_ago = datetime.now(UTC) - timedelta(seconds=TOTALS_S + 1)
    await bench.ask("UPDATE rs.staging_items SET grown = %s WHERE job = %s", long_ago, bench.id)
    assert isinstance(await bench.step(), Outcome)
    (line,) = [line for line in await bench.log() if line.startswith(f"{SESSION} is complete")]
    assert line.endswith("s no totals of channel 1 and 2 came")


async def test_a_file_that_comes_late_begins_the_wait_for_the_totals_anew(bench: Bench) -> None:
    await _complete_without_totals(bench, follow=True)
    long_ago = datetime.now(UTC) - timedelta(seconds=TOTALS_S + 1)
    await bench.ask("UPDATE rs.staging_items SET grown = %s WHERE job = %s", long_ago, bench.id)
    bench.station.session["assets"]["late.raw"] = asset(1, 3)
    await bench.step()
    assert (await bench.items())[SESSION] == ("growing", None)


async def test_without_follow_a_session_is_staged_before_its_totals_come_and_the_log_says_so(bench: Bench) -> None:
    await _complete_without_totals(bench)
    assert (await bench.items())[SESSION] == ("carrying", None)
    told = "of 1 of the sessions the station has not told the totals yet, and what it lists is staged"
    assert told in await bench.log()


async def test_an_edition_that_is_the_same_is_not_staged_again_for_want_of_totals(bench: Bench) -> None:
    bench.catalog.there[SESSION] = bench.station.session
    await _complete_without_totals(bench, follow=True, existing="replace")
    assert (await bench.items())[SESSION][0] == "skipped"


async def test_the_second_of_two_items_of_one_id_is_told_of(bench: Bench) -> None:
    await bench.job(searches=[{"service": "cadip", "body": {}}])
    await bench.step()
    await bench.carry()
    ended = await bench.step()
    assert isinstance(ended, Outcome)
    told = {each["source"]: (each["outcome"], each.get("reason")) for each in ended.report}
    assert told == {
        PATH: ("published", None),
        PATH.replace("sgs", "mti"): (
            "failed",
            f"{PATH} has the same id, and one collection has no two items of one id",
        ),
        OTHER: ("published", None),
    }


async def test_an_item_that_is_named_and_found_is_staged_once(bench: Bench) -> None:
    await bench.job(PATH, searches=[{"service": "cadip", "body": {}}])
    await bench.step()
    rows = await bench.ask("SELECT item, state FROM rs.staging_items WHERE job = %s ORDER BY id", bench.id)
    assert [(row["item"], row["state"]) for row in rows] == [
        (SESSION, "carrying"),
        (SESSION, "failed"),
        ("OTHER", "carrying"),
    ]


async def test_what_a_station_says_and_cannot_be_is_the_failure_of_its_item_alone(bench: Bench) -> None:
    huge = {"file:size": 2**63}
    for item_id, files in (("nul\0", {}), ("nul-in-file", {"a\0b": asset(1, 1)}), ("huge", {"a": asset(1, 1) | huge})):
        bench.station.beside.append({**item(), "collection": "s1-mti", "id": item_id, "assets": files})
    await bench.job(searches=[{"service": "cadip", "body": {}}])
    assert isinstance(await bench.step(), Pause)
    await bench.carry()
    assert isinstance(await bench.step(), Outcome)
    items = await bench.items()
    assert items["OTHER"] == ("published", None)
    nul = "a text of the item has a NUL character, which cannot be stored"
    assert items["nul\N{SYMBOL FOR NULL}"] == items["nul-in-file"] == ("failed", nul)
    assert items["huge"] == ("failed", f"a has {2**63} bytes, and an object has {5 * 1024**4} at most")


async def test_a_growing_session_that_comes_to_say_what_cannot_be_fails_alone(bench: Bench) -> None:
    bench.station.session["properties"]["rs:complete"] = False
    await bench.job(PATH, OTHER, follow=True)
    await bench.step()
    bench.station.session["assets"]["late.raw"] = asset(1, 3) | {"file:size": 2**63}
    await bench.carry()
    assert isinstance(await bench.step(), Outcome)
    items = await bench.items()
    assert (items["OTHER"][0], items[SESSION][0]) == ("published", "failed")


async def test_sizes_that_are_too_many_in_sum_are_told_as_the_most_there_is(bench: Bench) -> None:
    await bench.job(PATH)
    await bench.step()
    await bench.ask("UPDATE rs.transfers SET size = %s WHERE job = %s", 2**62, bench.id)
    assert isinstance(await bench.step(), Pause)
    assert (await bench.rows.get(bench.id)).progress.bytes_total == 2**63 - 1
    await bench.carry()
    assert isinstance(await bench.step(), Outcome)
