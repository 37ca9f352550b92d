"""Whose turn it is, paces, and what is forgotten, in a database of their own: no worker takes anything away."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest

from rs_server.database import Database, open_database
from rs_server.errors import Unavailable
from rs_server.processes.model import Progress
from rs_server.processes.references import Reference
from rs_server.processes.rows import JobRows
from rs_server.settings import DatabaseSettings, JobSettings
from rs_server.staging.claim import Limits
from rs_server.staging.health import Health, Pace
from rs_server.staging.model import Ended, ItemState, Lost, NewItem, Order, Pulse, Spared, State, Transfer
from rs_server.staging.plan import Planned
from rs_server.staging.retention import Retention
from rs_server.staging.rows import StagingRows
from rs_server.staging.sweep import Sweeper
from rs_server.stations.turns import BookedTurns
from rs_server.storage.multipart import Unfinished
from tests.conftest import Platform
from tests.integration.databases import own_database

TABLES = ("20", "21", "22", "23", "24", "40", "50", "52", "60", "61", "62", "63", "67", "70", "71", "72", "73", "81")
LIMITS = {"sgs": Limits(100, 100), "": Limits(100, 100)}


@pytest.fixture(scope="module")
def tables(platform: Platform) -> Iterator[DatabaseSettings]:
    """A database with the tables of jobs and of staging alone."""
    with own_database(platform, "staging", TABLES) as made:
        yield made


@pytest.fixture
async def database(tables: DatabaseSettings) -> AsyncIterator[Database]:
    """The same, with nothing in it."""
    async with open_database(tables) as opened:
        async with opened.connection() as conn:
            await conn.execute("TRUNCATE rs.jobs, rs.lines, rs.stations, rs.user_paces, rs.staging_totals CASCADE")
            await conn.execute("TRUNCATE rs.staging_buckets, rs.leftovers")
        yield opened


@pytest.fixture
def rows(database: Database) -> StagingRows:
    """What is tried."""
    return StagingRows(database, "own", 60)


async def ask(database: Database, query: str, *values: Any) -> list[dict[str, Any]]:
    """What the database says."""
    async with database.connection() as conn:
        found = await conn.execute(query.encode(), values)
        return await found.fetchall() if found.description else []


async def job(database: Database, owner: str = "ann") -> UUID:
    """A job that runs."""
    (row,) = await ask(
        database,
        "INSERT INTO rs.jobs (process, owner, principal, request, status) "
        "VALUES ('staging', %s, '{}', '{\"collection\": \"ann_c\"}', 'running') RETURNING id",
        owner,
    )
    return UUID(str(row["id"]))


async def add(
    database: Database,
    rows: StagingRows,
    of: UUID,
    names: list[str],
    owner: str = "ann",
    priority: int = 50,
    bucket: str = "own",
    size: int = 10,
    **planned: Any,
) -> None:
    """Files to be carried, of one more item."""
    async with database.connection() as conn:
        source = Reference("cadip", "c", uuid4().hex)
        (item,) = (await rows.add_items(conn, of, [NewItem(source, {}, ItemState.CARRYING, bucket=bucket)])).values()
        files = [(item, Planned(name, {}, "sgs", f"{item}/{name}", size, None, **planned)) for name in names]
        await rows.add_transfers(conn, Order(of, owner, priority), files)


async def claimed(rows: StagingRows, free: int = 1, limits: dict[str, Limits] = LIMITS) -> list[Transfer]:
    """What a carrier takes up."""
    return [each for lane in await rows.claim(limits, free, 100, 60) for each in lane]


async def test_a_line_is_there_as_long_as_somebody_stands_in_it(database: Database, rows: StagingRows) -> None:
    first, second = await job(database), await job(database, "bob")
    await add(database, rows, first, [f"a{n}" for n in range(10)])
    await add(database, rows, second, ["b"], owner="bob")
    taken = [each.name for each in await claimed(rows, 2)]
    assert sorted(taken) == sorted([f"a{n}" for n in range(6)] + ["b"])
    assert [each["job"] for each in await ask(database, "SELECT job FROM rs.lines")] == [first]
    rest = await claimed(rows)
    assert [each.name for each in rest] == ["a6", "a7", "a8", "a9"]
    assert await ask(database, "SELECT * FROM rs.lines") == []
    await rows.end([Ended(each, State.WAITING) for each in rest])
    assert [each.name for each in await claimed(rows)] == ["a6", "a7", "a8", "a9"]


async def test_jobs_that_are_over_stand_before_nobody(database: Database, rows: StagingRows) -> None:
    over = [await job(database) for _ in range(2 * LIMITS["sgs"].user_downloads)]
    for each in over:
        await add(database, rows, each, ["old"])
    await ask(database, "UPDATE rs.jobs SET status = 'dismissed'")
    await add(database, rows, await job(database), ["new"])
    await rows.tick(300)
    assert [each.name for each in await claimed(rows)] == ["new"]


async def test_of_one_users_jobs_the_urgent_then_the_old_come_first(database: Database, rows: StagingRows) -> None:
    jobs = [await job(database) for _ in range(3)]
    for of, priority in zip(jobs, (50, 90, 50), strict=True):
        await add(database, rows, of, [str(jobs.index(of))], priority=priority)
    assert [each.name for _ in jobs for each in await claimed(rows)] == ["1", "0", "2"]


async def test_what_its_source_takes_away_soon_comes_first(database: Database, rows: StagingRows) -> None:
    now = datetime.now(UTC)
    calm, urgent = await job(database), await job(database)
    await add(database, rows, calm, ["calm"], priority=100)
    await add(database, rows, urgent, ["later"], priority=0, expires=now + timedelta(days=3))
    await add(database, rows, urgent, ["soon"], priority=0, expires=now + timedelta(hours=1))
    assert [each.name for each in await claimed(rows)] == ["soon", "later"]
    assert [each.name for each in await claimed(rows)] == ["calm"]


async def test_the_line_of_a_job_that_ended_is_taken_away(database: Database, rows: StagingRows) -> None:
    over, other = await job(database), await job(database)
    await add(database, rows, over, ["over"])
    await add(database, rows, other, ["other"])
    await ask(database, "UPDATE rs.jobs SET status = 'dismissed' WHERE id = %s", over)
    assert [each.name for each in await claimed(rows, 4)] == ["other"]
    assert await ask(database, "SELECT * FROM rs.lines") == []


async def test_a_connection_that_is_spared_is_anothers_while_the_file_is_still_at_work(
    database: Database, rows: StagingRows
) -> None:
    limits = {"sgs": Limits(2, 2, 2)}
    await add(database, rows, await job(database), ["a", "b"], size=200)
    # There are as many connections as files, so each has one of its own.
    (first,), (second,) = await rows.claim(limits, 2, 1000, 60)
    assert await rows.claim(limits, 2, 100, 60) == []
    await add(database, rows, await job(database, "bob"), ["c"], owner="bob", size=200)
    late = Spared(first.id, first.fence - 1, 0)  # of a carrier that was taken for dead
    assert await rows.claim(limits, 2, 100, 60, [late]) == []
    ((third,),) = await rows.claim(limits, 2, 100, 60, [Spared(first.id, first.fence, 0)])
    assert third.name == "c"
    assert await rows.claim(limits, 2, 100, 60, [Spared(first.id, first.fence, 0)]) == []  # the answer was lost
    await rows.check(first)
    assert await rows.claim(limits, 2, 100, 60) == []
    await rows.end([Ended(each, State.DONE, "1e20") for each in (first, second)])
    states = {each["name"]: each["state"] for each in await ask(database, "SELECT name, state FROM rs.transfers")}
    assert states == {"a": "done", "b": "done", "c": "running"}


async def test_a_file_under_way_gets_a_connection_only_while_nobody_waits(
    database: Database, rows: StagingRows
) -> None:
    limits = {"sgs": Limits(3, 3, 2)}
    await add(database, rows, await job(database), ["a"], size=200)
    ((file,),) = await rows.claim({"sgs": Limits(3, 3, 1)}, 1, 100, 60)
    await add(database, rows, await job(database, "bob"), ["b"], owner="bob", size=50)
    assert await rows.widen(limits, [file], 2) == set()  # the other one comes first
    assert len(await rows.claim(limits, 1, 100, 60)) == 1
    assert await rows.widen(limits, [replace(file, fence=file.fence - 1)], 2) == set()
    assert await rows.widen(limits, [file], 2) == {file.id}
    assert await rows.widen(limits, [file], 2) == set()  # it has as many as the station serves of a file
    assert await rows.claim(limits, 1, 100, 60, [Spared(file.id, file.fence, 0)]) == []
    assert await rows.widen(limits, [file], 2) == set()  # it has been fetched


async def test_items_lie_in_the_bucket_they_were_noted_with(database: Database, rows: StagingRows) -> None:
    """Those from before buckets were noted lie in the storage's own."""
    for name, bucket in (("old", ""), ("new", "other")):
        await add(database, rows, await job(database), [name], bucket=bucket)
    taken = {each.name: each for each in await claimed(rows, 2)}
    assert {name: each.bucket for name, each in taken.items()} == {"old": "own", "new": "other"}
    assert await rows.buckets() == ["other", "own"]
    for each in taken.values():
        await rows.begin_upload(each, f"upload of {each.name}", 5)
    for name, each in taken.items():
        assert await rows.uploads_of(each.bucket, [each.key]) == {each.key: f"upload of {name}"}
        assert await rows.uploads_of("another", [each.key]) == {}
    await rows.end([Ended(each, State.FAILED, reason="no") for each in taken.values()])
    assert {each.bucket for each in await rows.unwanted_uploads()} == {"own", "other"}
    await ask(database, "UPDATE rs.jobs SET status = 'failed', finished = now() - interval '1 h'")
    remains = await rows.remains(60)
    assert {each.place.bucket for each in remains} == {"own", "other"}
    await rows.swept(remains, [], 60)
    assert await rows.remains(60) == []


async def test_files_of_a_station_that_left_the_settings_say_so_and_fail_in_the_end(
    database: Database, rows: StagingRows
) -> None:
    of = await job(database)
    await add(database, rows, of, ["a"])
    await Health(database, {"sgs": Pace()}).note_missing()
    assert await ask(database, "SELECT * FROM rs.stations") == []
    without = Health(database, {"mti": Pace()})
    await without.note_missing()
    reason = "station sgs is not in the settings any more"
    assert str((await rows.progress(of)).waiting).startswith(f"{reason}; ")
    await rows.tick(300)
    assert await states(database) == {"a": ("waiting", None)}
    await ask(database, "UPDATE rs.stations SET down_since = now() - interval '301 s'")
    await without.note_missing()
    assert await rows.tick(300) == {of}
    assert await states(database) == {"a": ("failed", reason)}


async def test_a_station_that_is_in_the_settings_again_is_well(database: Database, rows: StagingRows) -> None:
    await add(database, rows, await job(database), ["a"])
    await Health(database, {}).note_missing()
    assert await claimed(rows) == []
    await Health(database, {"sgs": Pace()}).note_missing()
    await rows.tick(0)
    assert [each.name for each in await claimed(rows)] == ["a"]


async def states(database: Database) -> dict[str, tuple[str, str | None]]:
    """What became of all files, and why."""
    found = await ask(database, "SELECT name, state, reason FROM rs.transfers")
    return {each["name"]: (each["state"], each["reason"]) for each in found}


async def test_all_that_is_due_is_swept_but_in_a_bucket_that_does_not_answer(
    database: Database, rows: StagingRows
) -> None:
    for bucket, number in (("away", 700), ("own", 1200)):
        await add(database, rows, await job(database), [f"{bucket}{n}" for n in range(number)], bucket=bucket)
    await ask(database, "UPDATE rs.transfers SET state = 'cancelled', fence = 1")
    await ask(database, "UPDATE rs.jobs SET status = 'failed', finished = now() - interval '1 h'")
    await ask(database, "UPDATE rs.staging_items SET state = 'failed'")
    await Sweeper(rows, Bucket, Bucket, NoItems(), 60).sweep()
    left = await ask(database, "SELECT name FROM rs.transfers WHERE NOT swept")
    assert {each["name"] for each in left} == {f"away{n}" for n in range(700)}


async def test_an_object_that_cannot_be_deleted_holds_up_no_other(database: Database, rows: StagingRows) -> None:
    names = [f"{n}" for n in range(7)] + ["locked"]
    await add(database, rows, await job(database), names)
    await ask(database, "UPDATE rs.transfers SET state = 'cancelled', fence = 1")
    await ask(database, "UPDATE rs.jobs SET status = 'failed', finished = now() - interval '1 h'")
    await ask(database, "UPDATE rs.staging_items SET state = 'failed'")
    keys = {row["name"]: row["key"] for row in await ask(database, "SELECT name, key FROM rs.transfers")}
    bucket = Bucket("own", locked={keys["locked"]})
    sweeper = Sweeper(rows, lambda _: bucket, lambda _: bucket, NoItems(), 60)
    await sweeper.sweep()
    assert bucket.deleted == [keys[name] for name in names[:-1]]
    assert await rows.remains(60) == []
    (left,) = await ask(database, "SELECT key, due > now() + interval '59 s' AS later FROM rs.leftovers")
    assert left == {"key": keys["locked"], "later": True}
    bucket.locked.clear()
    await ask(database, "UPDATE rs.leftovers SET due = now()")
    await sweeper.sweep()
    assert bucket.deleted[-1] == keys["locked"]
    assert await ask(database, "SELECT 1 FROM rs.leftovers") == []


class Bucket:
    """A bucket, which answers unless it is called away, and deletes what is not locked."""

    def __init__(self, name: str, locked: Iterable[str] = ()) -> None:
        self.name = name
        self.locked = set(locked)
        self.deleted: list[str] = []

    async def unfinished(self) -> list[Unfinished]:
        await self.delete([])
        return []

    async def abort(self, key: str, upload: str) -> None: ...

    async def ping(self) -> None:
        if self.name == "away":
            raise Unavailable("the object storage does not answer")

    async def delete(self, keys: Sequence[str]) -> None:
        await self.ping()
        if not self.locked.isdisjoint(keys):
            raise Unavailable("the object storage failed while deleting: it is locked")
        self.deleted += keys


class NoItems:
    """A catalog without items."""

    async def items(self, collection_id: str, item_ids: Sequence[str]) -> dict[str, dict[str, Any]]:
        return {}


async def test_a_closed_station_is_not_asked_for_anything(database: Database, rows: StagingRows) -> None:
    await add(database, rows, await job(database), ["a"])
    await ask(database, "INSERT INTO rs.stations (name, closed_until) VALUES ('sgs', now() + interval '1 h')")
    assert await claimed(rows) == []
    await ask(database, "UPDATE rs.stations SET closed_until = now() - interval '1 s'")
    assert [each.name for each in await claimed(rows)] == ["a"]


async def test_nobody_is_forgotten_in_a_line_while_others_join_and_leave(database: Database, rows: StagingRows) -> None:
    """Lines run empty and are joined at the same time, over and over; every file is taken up once."""
    jobs = [await job(database, f"user{n % 2}") for n in range(4)]
    taken: list[str] = []
    joined = asyncio.Event()

    async def join(number: int) -> None:
        for turn in range(25):
            await add(database, rows, jobs[number], [f"{number}-{turn}"], owner=f"user{number % 2}")
            await asyncio.sleep(0.001 * (turn % 4))

    async def leave() -> None:
        while True:
            over = joined.is_set()
            found = await claimed(rows, 2)
            taken.extend(each.name for each in found)
            await rows.end([Ended(each, State.DONE, "1e20") for each in found])
            if over and not found:
                return

    async with asyncio.TaskGroup() as group:
        for _ in range(2):
            group.create_task(leave())
        async with asyncio.TaskGroup() as joining:
            for number in range(4):
                joining.create_task(join(number))
        joined.set()
    assert sorted(taken) == sorted(f"{number}-{turn}" for number in range(4) for turn in range(25))


async def test_processes_share_the_turns_of_a_station(database: Database) -> None:
    """And one that would have to wait too long takes none."""
    turns = [BookedTurns(database), BookedTurns(database)]
    waits = await asyncio.gather(*(turns[n % 2].book("sgs", 1.0, 5.5) for n in range(12)))
    begun = sorted(wait for wait in waits if wait is not None)
    assert len(begun) in (6, 7)  # the last of which was booked up to half a second after the first
    assert all(abs(wait - number) < 0.5 for number, wait in enumerate(begun))
    assert await turns[0].book("mti", 1.0, 5.5) == pytest.approx(0, abs=0.1)


async def test_bytes_are_booked_in_slices_and_none_is_forgotten(database: Database) -> None:
    health = Health(database, {"sgs": Pace(bytes_per_s=1_000_000)})
    begin = time.monotonic()
    for _ in range(60):
        await health.after_bytes("sgs", "ann", 10_000)
    assert time.monotonic() - begin >= 0.45  # 0.6 s of bytes, the last slice of which is waited for by nobody
    bookings = await ask(database, "SELECT 1 FROM rs.stations WHERE name = 'sgs' AND next_byte > now()")
    assert len(bookings) == 1


async def test_a_users_bytes_have_a_pace_of_their_own(database: Database) -> None:
    health = Health(database, {"sgs": Pace(user_bytes_per_s=1_000_000)})

    async def fetch(owner: str) -> float:
        begin = time.monotonic()
        for _ in range(60):
            await health.after_bytes("sgs", owner, 10_000)
        return time.monotonic() - begin

    assert health.is_paced("sgs")
    took = await asyncio.gather(fetch("ann"), fetch("bob"))
    assert all(0.45 <= each < 1.0 for each in took)  # 0.6 s each, side by side: one pace for both would take 1.2 s


@pytest.mark.parametrize(
    ("states", "strict", "woken"),
    [
        (["whole", "carrying"], False, True),
        (["whole", "carrying"], True, False),  # all or nothing
        (["whole", "growing"], True, False),
        (["failed", "carrying"], True, True),
        (["failed", "carrying"], False, False),
        (["published", "growing"], False, False),
        (["whole", "published"], True, True),
        (["published", "failed"], False, True),
    ],
)
async def test_a_job_whose_carrier_died_before_it_woke_it_goes_on(
    database: Database, rows: StagingRows, states: list[str], *, strict: bool, woken: bool
) -> None:
    of, busy, over = await job(database), await job(database), await job(database)
    for each in (of, busy, over):
        await ask(
            database,
            "UPDATE rs.jobs SET wake = now() + interval '50 s', request = jsonb_build_object('strict', %s::bool) "
            "WHERE id = %s",
            strict,
            each,
        )
        for state in states:
            await add(database, rows, each, ["a"])
            await ask(
                database,
                "UPDATE rs.staging_items SET state = %s WHERE id = (SELECT max(id) FROM rs.staging_items)",
                state,
            )
    await ask(database, "UPDATE rs.jobs SET held_until = now() + interval '5 s' WHERE id = %s", busy)
    await ask(database, "UPDATE rs.jobs SET status = 'dismissed' WHERE id = %s", over)
    assert await rows.tick(300) == ({of} if woken else set())


async def test_what_is_long_over_is_forgotten(database: Database, rows: StagingRows) -> None:
    fresh, files_over, unswept, over, parent = [await job(database) for _ in range(5)]
    child = await job(database)
    await ask(database, "UPDATE rs.jobs SET parent = %s WHERE id = %s", parent, child)
    for of in (fresh, files_over, unswept, over):
        await add(database, rows, of, ["a", "b"])
    await claimed(rows, 50)
    await ask(database, "UPDATE rs.transfers SET state = 'done', swept = true WHERE job <> %s", unswept)
    await ask(database, "UPDATE rs.transfers SET state = 'failed' WHERE job = %s", unswept)
    for days, which in ((1, [fresh]), (10, [files_over, unswept, child]), (100, [over, parent])):
        await ask(
            database,
            "UPDATE rs.jobs SET status = 'successful', finished = now() - make_interval(days => %s) WHERE id = ANY(%s)",
            days,
            which,
        )
    assert await Retention(database, JobSettings(), 0.0).prune() == (2, 1)
    kept = await ask(database, "SELECT DISTINCT job FROM rs.transfers")
    assert {each["job"] for each in kept} == {fresh, unswept}
    left = {each["id"] for each in await ask(database, "SELECT id FROM rs.jobs")}
    assert left == {fresh, files_over, unswept, parent, child}  # the parent waits for its child
    await ask(database, "UPDATE rs.jobs SET finished = finished - interval '100 days' WHERE id = %s", child)
    assert await Retention(database, JobSettings(), 0.0).prune() == (0, 2)


async def test_files_of_an_item_that_failed_keep_their_connections_until_they_are_let_go(
    database: Database, rows: StagingRows
) -> None:
    limits = {"sgs": Limits(3, 3)}
    names = ["bad", "running", "broken", "waiting"]
    await add(database, rows, await job(database), names, size=2_000_000)
    bad, running, broken = await claimed(rows, 3, limits)
    await add(database, rows, await job(database), ["other"], size=2_000_000)
    await rows.end([Ended(bad, State.FAILED, reason="wrong")])
    (other,) = await claimed(rows, 3, limits)  # one more, not three
    assert other.name == "other"
    with pytest.raises(Lost):
        await rows.check(running)
    assert await rows.renew([Pulse(each.id, each.fence, 0, 0.0) for each in (running, broken, other)], 60) == {other.id}
    await rows.end([Ended(broken, State.PAUSED, reason="reset")])
    await rows.give_up([running, other])
    states = {each["name"]: each["state"] for each in await ask(database, "SELECT name, state FROM rs.transfers")}
    assert states == {"bad": "failed", "other": "running", **dict.fromkeys(names[1:], "cancelled")}


async def test_of_an_item_that_failed_nothing_waits_again(database: Database, rows: StagingRows) -> None:
    await add(database, rows, await job(database), ["bad", "running"], size=2_000_000)
    bad, _running = await claimed(rows, 2)
    await rows.end([Ended(bad, State.FAILED, reason="wrong")])
    await ask(database, "UPDATE rs.transfers SET lease_until = now() - interval '1 s' WHERE state = 'running'")
    await rows.tick(300)
    assert (await state_of(database, "running"))["state"] == "cancelled"


async def down(database: Database, **columns: str) -> None:
    """A station that was met as down, with some of its times (SQL)."""
    values = {"failures": "9", "reason": "'it answered 503'", **columns}
    await ask(
        database, f"INSERT INTO rs.stations (name, {', '.join(values)}) VALUES ('sgs', {', '.join(values.values())})"
    )


@pytest.mark.parametrize(
    ("since", "closed", "outcome"),
    [
        ("now() - interval '2 h'", "now() + interval '9 s'", "failed"),
        ("now() - interval '2 h'", "now() - interval '9 s'", "waiting"),  # nobody has tried since
        ("now() - interval '9 s'", "now() + interval '9 s'", "waiting"),
    ],
)
async def test_what_waits_for_a_station_is_given_up_when_it_is_down_and_was_all_the_time(
    database: Database, rows: StagingRows, since: str, closed: str, outcome: str
) -> None:
    await add(database, rows, await job(database), ["a"])
    await down(database, down_since=since, closed_until=closed)
    await rows.tick(3600)
    now = await state_of(database, "a")
    assert now["state"] == outcome


async def test_a_station_that_fails_after_long_silence_has_just_gone_down(database: Database) -> None:
    health = Health(database, {})
    old = "now() - interval '2 h'"
    await down(database, down_since=old, closed_until=old, failed_at=old)
    await health.failed("sgs", "it answered 500", None)
    (now,) = await ask(
        database,
        "SELECT failures, down_since > now() - interval '5 s' AS new, closed_until < now() AS open FROM rs.stations",
    )
    assert now == {"failures": 1, "new": True, "open": True}
    for _ in range(5):
        await health.failed("sgs", "it answered 500", None)
    (now,) = await ask(database, "SELECT failures, closed_until > now() AS closed FROM rs.stations")
    assert now == {"failures": 6, "closed": True}


@pytest.mark.parametrize("told_s", [31_536_000.0, 1e14, float("inf"), -5.0])
async def test_a_station_cannot_close_itself_for_ever(database: Database, told_s: float) -> None:
    await Health(database, {}).failed("sgs", "it answered 503", told_s)
    (now,) = await ask(database, "SELECT closed_until < now() + interval '61 min' AS soon FROM rs.stations")
    assert now["soon"]


@pytest.mark.parametrize(("tries", "outcome"), [(1, "waiting"), (4, "failed")])
async def test_waiting_for_a_turn_uses_up_no_patience(
    database: Database, rows: StagingRows, tries: int, outcome: str
) -> None:
    await add(database, rows, await job(database), ["a"])
    for _ in range(tries):
        (taken,) = await claimed(rows)
        await rows.end([Ended(taken, State.PAUSED, reason="reset", pause_s=0.0)])
        await ask(database, "UPDATE rs.transfers SET stuck_since = now() - interval '2 h'")
        await rows.tick(3600)
        if (await state_of(database, "a"))["state"] == "failed":
            break
    assert (await state_of(database, "a"))["state"] == outcome


async def state_of(database: Database, name: str) -> dict[str, Any]:
    """Where a file goes, and what is set aside of it."""
    (row,) = await ask(
        database, "SELECT id, item, key, fence, state, upload, bytes_done, size FROM rs.transfers WHERE name = %s", name
    )
    left = await ask(database, "SELECT bucket, key FROM rs.leftovers WHERE key LIKE %s", f"%/{name}")
    return {**row, "left": [(each["bucket"], each["key"]) for each in left]}


async def test_what_a_sleeper_may_still_write_is_not_where_the_next_carrier_writes(
    database: Database, rows: StagingRows
) -> None:
    await add(database, rows, await job(database), ["small", "large"])
    first = {each.name: each for each in await claimed(rows, 2)}
    await rows.begin_upload(first["large"], "upload", 100)
    await ask(database, "UPDATE rs.transfers SET lease_until = now() - interval '1 s'")
    await rows.tick(300)
    second = {each.name: each for each in await claimed(rows, 2)}
    assert second["large"].key == first["large"].key  # whose parts are fenced
    assert second["small"].key == first["small"].key.replace("/small", "~2/small")
    assert (await state_of(database, "small"))["left"] == [("own", first["small"].key)]
    assert (await state_of(database, "large"))["left"] == []
    assert await rows.end([Ended(first["small"], State.DONE, "1e20")]) == set()
    await rows.end([Ended(each, State.WAITING) for each in second.values()])
    assert (await state_of(database, "small"))["key"] == second["small"].key  # it ended in order


async def test_what_begins_anew_goes_somewhere_else_and_what_was_there_is_swept(
    database: Database, rows: StagingRows
) -> None:
    await add(database, rows, await job(database), ["file"])
    keys = []
    for turn in range(3):
        (taken,) = await claimed(rows)
        keys.append(taken.key)
        await rows.begin_upload(taken, f"upload{turn}", 100)
        wrong = Ended(taken, State.PAUSED, reason="wrong", wrong=True, anew=True)
        await rows.end([wrong])
        await rows.end([wrong])  # it is no longer the carrier's
        await rows.tick(300)
    now = await state_of(database, "file")
    assert keys == [keys[0], keys[0].replace("/file", "~2/file"), keys[0].replace("/file", "~3/file")]
    assert sorted(now["left"]) == sorted(("own", key) for key in keys)
    assert (now["upload"], now["state"]) == (None, "waiting")
    assert await rows.uploads_of("own", [*keys, "elses"]) == dict.fromkeys(keys)
    await ask(database, "UPDATE rs.leftovers SET due = now() - interval '1 s'")
    assert sorted(each.place.key for each in await rows.remains(60)) == sorted(keys)


async def test_a_file_that_its_station_sends_again_is_fetched_again(database: Database, rows: StagingRows) -> None:
    of = await job(database)
    await add(database, rows, of, ["same", "again"])
    taken = await claimed(rows, 2)
    await rows.end([Ended(each, State.DONE, "1e20aa") for each in taken])
    before = await state_of(database, "again")
    asset = {"externalIds": [{"value": "of the second try"}]}
    files = [
        Planned("same", {}, "sgs", "other/same", 10, None),
        Planned("again", asset, "sgs", "other/again", 10, None),
    ]
    async with database.connection() as conn:
        planned = [(before["item"], each) for each in files]
        assert await rows.add_transfers(conn, Order(of, "ann", 50), planned) == 1
    now = await state_of(database, "again")
    assert now["key"] == before["key"].replace("/again", f"~{before['fence'] + 1}/again")
    assert now["left"] == [("own", before["key"])]
    (anew,) = await claimed(rows, 2)
    assert (anew.name, anew.key, anew.asset) == ("again", now["key"], asset)
    await rows.end([Ended(anew, State.DONE, "1e20bb")])
    async with database.connection() as conn:
        carried = await rows.carried(conn, [before["item"]])
    assert {each.name: each.digest for each in carried[before["item"]]} == {"same": "1e20aa", "again": "1e20bb"}


async def test_whoever_notes_and_wakes_does_not_wait_for_a_step_that_publishes(database: Database) -> None:
    of = JobRows(database)
    running = await job(database)
    await ask(database, "UPDATE rs.jobs SET updated = now() - interval '5 s', queue = 'jobs' WHERE id = %s", running)
    async with database.connection() as publishing:
        await publishing.execute("SELECT 1 FROM rs.jobs WHERE id = %s FOR NO KEY UPDATE", [running])
        async with asyncio.timeout(2):
            assert await of.wake(running) == (False, None)
            await of.note(running, Progress(percent=7))
    assert await ask(database, "SELECT progress, wake FROM rs.jobs") == [{"progress": 0, "wake": None}]
    assert await of.wake(running) == (True, "jobs")
    await of.note(running, Progress(percent=7))
    (noted,) = await ask(database, "SELECT progress, wake IS NOT NULL AS woken FROM rs.jobs")
    assert noted == {"progress": 7, "woken": True}
    assert await of.noted(running, 60)
    await asyncio.sleep(0.05)
    assert not await of.noted(running, 0.01)
    await ask(database, "UPDATE rs.jobs SET status = 'dismissed'")
    assert await of.wake(running) == (True, None)
    assert await of.wake(uuid4()) == (True, None)
