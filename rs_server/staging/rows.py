"""Items, transfers and parts as rows of PostgreSQL.

A carrier takes a transfer up under a new number, its fence, and for the time of a lease that it renews. It writes only
while the fence is its own: one that was taken for dead learns so at its next write, and changes nothing any more.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.types.json import Jsonb

from rs_server.database import Database, Row
from rs_server.processes.model import Progress
from rs_server.processes.references import Reference
from rs_server.staging import claim, claiming, ends
from rs_server.staging.archive import Asked
from rs_server.staging.claim import Busy, Lane, Limits
from rs_server.staging.model import (
    Carried,
    Ended,
    ItemState,
    Lost,
    NewItem,
    Order,
    Pulse,
    Remains,
    Spared,
    StagedItem,
    Transfer,
    Upload,
)
from rs_server.staging.plan import Planned
from rs_server.storage.layout import Location

CHANNEL = "rs_transfers"
# Jobs that pause although they could publish something, or end.
_UNWOKEN = (
    "SELECT j.id FROM rs.jobs j WHERE j.process = 'staging' AND j.status = 'running' AND j.held_until IS NULL "
    "AND j.wake > now() + interval '1 s' AND (NOT EXISTS ("
    "SELECT 1 FROM rs.staging_items WHERE job = j.id AND state IN ('growing', 'carrying')) OR EXISTS ("
    "SELECT 1 FROM rs.staging_items WHERE job = j.id AND state = ANY(CASE WHEN coalesce((j.request->>'strict')::bool, "
    "false) THEN ARRAY['failed', 'gone'] ELSE ARRAY['whole'] END)))"
)
_TRIES = 3  # of a file, at least, before it is given up: it may have waited for its turn all the time


# Of a transfer t: whether it is still wanted, by its item and its job.
_WANTED_OF = "rs.staging_items i, rs.jobs j"
_WANTED = "i.id = t.item AND j.id = t.job AND i.state NOT IN ('failed', 'gone') AND j.status IN ('accepted', 'running')"
_UNWANTED = (
    "i.id = t.item AND j.id = t.job AND (i.state IN ('failed', 'gone') OR j.status NOT IN ('accepted', 'running'))"
)
# Files as they were planned.
_NEW = (
    "unnest(%(items)s::bigint[], %(stations)s::text[], %(names)s::text[], %(assets)s::jsonb[], %(keys)s::text[], "
    "%(sizes)s::bigint[], %(checksums)s::text[], %(states)s::text[], %(expire)s::timestamptz[]) "
    "AS new (item, station, name, asset, key, size, checksum, state, expires)"
)


class StagingRows:
    """The tables of staging; items that name no bucket, as the older ones, are at home in ``bucket``.

    What is in nobody's way any more is left alone for ``grace_s`` seconds, and swept then.
    """

    def __init__(self, database: Database, bucket: str, grace_s: float) -> None:
        self._database = database
        self._bucket = bucket
        self._grace_s = grace_s

    # What the steps of a job write, in a transaction of theirs.

    async def add_items(self, conn: AsyncConnection[Row], job: UUID, items: Sequence[NewItem]) -> dict[Reference, int]:
        """Note items; the ids of those that were not noted before."""
        buckets = [new.bucket for new in items]
        await conn.execute(
            "INSERT INTO rs.staging_buckets SELECT unnest(%s::text[]) ON CONFLICT DO NOTHING",
            [sorted(set(buckets) - {""})],
        )
        made = await conn.execute(
            "INSERT INTO rs.staging_items (job, service, collection, item, document, state, reason, bucket) "
            "SELECT %(job)s, new.* FROM unnest(%(services)s::text[], %(collections)s::text[], %(items)s::text[], "
            "%(documents)s::jsonb[], %(states)s::text[], %(reasons)s::text[], %(buckets)s::text[]) AS new "
            "ON CONFLICT DO NOTHING RETURNING id, service, collection, item",
            {
                "job": job,
                "services": [new.source.service for new in items],
                "collections": [new.source.collection for new in items],
                "items": [new.source.item for new in items],
                "documents": [Jsonb(new.document) for new in items],
                "states": [str(new.state) for new in items],
                "reasons": [new.reason for new in items],
                "buckets": buckets,
            },
        )
        return {Reference(row["service"], row["collection"], row["item"]): row["id"] for row in await made.fetchall()}

    async def named(self, conn: AsyncConnection[Row], job: UUID, names: Sequence[str]) -> list[Reference]:
        """The items of a job that have one of these ids and have not failed."""
        found = await conn.execute(
            "SELECT service, collection, item FROM rs.staging_items "
            "WHERE job = %s AND item = ANY(%s) AND state NOT IN ('failed', 'gone') ORDER BY id",
            [job, list(names)],
        )
        return [Reference(**row) for row in await found.fetchall()]

    async def update_item(self, conn: AsyncConnection[Row], item: int, document: Mapping[str, Any]) -> None:
        """Note how the source has the item now."""
        await conn.execute("UPDATE rs.staging_items SET document = %s WHERE id = %s", [Jsonb(document), item])

    async def set_item(
        self, conn: AsyncConnection[Row], item: int, state: ItemState, reason: str | None = None
    ) -> None:
        """Note what has become of an item; of one that failed, no more files are carried."""
        await conn.execute("UPDATE rs.staging_items SET state = %s, reason = %s WHERE id = %s", [state, reason, item])
        if state in (ItemState.FAILED, ItemState.GONE):
            await ends.cancel_others(conn, item, reason)

    async def add_transfers(
        self, conn: AsyncConnection[Row], order: Order, planned: Sequence[tuple[int, Planned]]
    ) -> int:
        """Note files of items to be carried, and answer how many are new: those noted already stay as they are.

        A file that its source has replaced since begins anew.
        """
        values = {
            "job": order.job,
            "owner": order.owner,
            "priority": order.priority,
            "items": [item for item, _ in planned],
            "stations": [each.station for _, each in planned],
            "names": [each.name for _, each in planned],
            "assets": [Jsonb(each.asset) for _, each in planned],
            "keys": [each.key for _, each in planned],
            "sizes": [each.size for _, each in planned],
            "checksums": [each.checksum for _, each in planned],
            "expire": [each.expires for _, each in planned],
            "states": ["ordered" if each.offline else "waiting" for _, each in planned],
        }
        made = await conn.execute(
            "INSERT INTO rs.transfers "  # noqa: S608 - a constant of ours
            "(job, item, owner, station, priority, name, asset, key, size, checksum, state, expires) "
            "SELECT %(job)s, item, %(owner)s, station, %(priority)s, name, asset, key, size, checksum, state, expires "
            f"FROM {_NEW} ON CONFLICT (item, name) DO NOTHING RETURNING item",
            values,
        )
        grown = [row["item"] for row in await made.fetchall()]
        if len(grown) < len(planned):
            grown += await self._replaced(conn, values)
        if grown:
            await conn.execute("UPDATE rs.staging_items SET grown = now() WHERE id = ANY(%s)", [grown])
        await conn.execute("SELECT pg_notify(%s, '')", [CHANNEL])
        return len(grown)

    async def _replaced(self, conn: AsyncConnection[Row], new: Mapping[str, Any]) -> list[int]:
        """Begin files anew that their source has replaced since they were noted; their items."""
        found = await conn.execute(
            f"SELECT t.id, t.fence, t.item FROM rs.transfers t JOIN {_NEW} USING (item, name) "  # noqa: S608
            "WHERE t.asset->'externalIds' IS DISTINCT FROM new.asset->'externalIds' OR t.size <> new.size "
            "ORDER BY t.id FOR UPDATE OF t",
            new,
        )
        rows = await found.fetchall()
        if not rows:
            return []
        ids = [row["id"] for row in rows]
        await self._set_aside(conn, rows)
        await conn.execute(
            "UPDATE rs.transfers t SET asset = new.asset, size = new.size, checksum = new.checksum, "  # noqa: S608
            f"state = new.state, expires = new.expires, key = {ends.KEY_ANEW}, fence = t.fence + 1, bytes_done = 0, "
            "digest = NULL, upload = NULL, validator = NULL, lane = NULL, lease_until = NULL, rate = NULL "
            f"FROM {_NEW} WHERE t.item = new.item AND t.name = new.name AND t.id = ANY(%(ids)s)",
            {**new, "ids": ids},
        )
        await conn.execute("DELETE FROM rs.parts WHERE transfer = ANY(%s)", [ids])
        return [row["item"] for row in rows]

    async def _set_aside(self, conn: AsyncConnection[Row], rows: Sequence[Row]) -> None:
        """What carriers have written of transfers (``id``, ``fence``), or may still write, is swept when it is due."""
        await conn.execute(
            "INSERT INTO rs.leftovers (bucket, key, collection, item, due) "
            "SELECT i.bucket, t.key, j.request->>'collection', i.item, now() + make_interval(secs => %s) "
            "FROM rs.transfers t JOIN unnest(%s::bigint[], %s::int[]) AS mine (id, fence) USING (id, fence) "
            "JOIN rs.staging_items i ON i.id = t.item JOIN rs.jobs j ON j.id = t.job ON CONFLICT (key) DO NOTHING",
            [self._grace_s, [row["id"] for row in rows], [row["fence"] for row in rows]],
        )

    async def published(self, conn: AsyncConnection[Row], items: Sequence[int]) -> None:
        """Note that items are in the catalog."""
        await conn.execute(
            "UPDATE rs.staging_items SET state = 'published', reason = NULL WHERE id = ANY(%s)", [list(items)]
        )

    async def items(
        self, job: UUID, states: Iterable[ItemState], limit: int, conn: AsyncConnection[Row] | None = None
    ) -> list[StagedItem]:
        """Items of a job that are in some states, in the order they were asked for."""
        query = "SELECT * FROM rs.staging_items WHERE job = %s AND state = ANY(%s) ORDER BY id LIMIT %s"
        values = [job, [str(state) for state in states], limit]
        if conn is not None:
            return [self._item(row) for row in await (await conn.execute(query, values)).fetchall()]
        async with self._database.connection() as own:
            return [self._item(row) for row in await (await own.execute(query, values)).fetchall()]

    async def counts(self, job: UUID) -> dict[ItemState, int]:
        """How many items of a job are in each state."""
        async with self._database.connection() as conn:
            found = await conn.execute(
                "SELECT state, count(*) AS number FROM rs.staging_items WHERE job = %s GROUP BY state", [job]
            )
            return {ItemState(row["state"]): row["number"] for row in await found.fetchall()}

    async def carried(self, conn: AsyncConnection[Row], items: Sequence[int]) -> dict[int, list[Carried]]:
        """The files of whole items."""
        found = await conn.execute(
            "SELECT item, name, asset, key, size, digest FROM rs.transfers "
            "WHERE item = ANY(%s) AND state = 'done' ORDER BY id",
            [list(items)],
        )
        files: dict[int, list[Carried]] = {item: [] for item in items}
        for row in await found.fetchall():
            files[row.pop("item")].append(Carried(**row))
        return files

    async def idle_s(self, item: int) -> float:
        """Seconds since a file was last added to an item."""
        row = await self._one(
            "SELECT extract(epoch FROM now() - grown)::float AS idle FROM rs.staging_items WHERE id = %s", [item]
        )
        return 0.0 if row is None else float(row["idle"])

    async def grows(self, conn: AsyncConnection[Row], item: int) -> bool:
        """Whether an item is one that grows, until the end of the transaction."""
        found = await conn.execute(
            "SELECT 1 FROM rs.staging_items WHERE id = %s AND state = 'growing' FOR UPDATE", [item]
        )
        return await found.fetchone() is not None

    async def grown_up(self, conn: AsyncConnection[Row], item: int) -> None:
        """All files of an item are known: it is whole once they are there."""
        await conn.execute(
            "UPDATE rs.staging_items SET state = CASE WHEN EXISTS (SELECT 1 FROM rs.transfers "
            "WHERE item = %(item)s AND state <> 'done') THEN 'carrying' ELSE 'whole' END WHERE id = %(item)s",
            {"item": item},
        )

    async def leave(
        self, conn: AsyncConnection[Row], collection: str, item: str, places: Sequence[Location], grace_s: float
    ) -> None:
        """Note objects that an edition published now has taken the place of."""
        await conn.execute(
            "INSERT INTO rs.leftovers (bucket, key, collection, item, due) "
            "SELECT place.*, %s, %s, now() + make_interval(secs => %s) FROM unnest(%s::text[], %s::text[]) AS place "
            "ON CONFLICT (key) DO NOTHING",  # no two jobs write the same key
            [collection, item, grace_s, [each.bucket for each in places], [each.key for each in places]],
        )

    async def outcomes(self, job: UUID) -> list[StagedItem]:
        """What became of all items of a job, in the order they were asked for; without the documents."""
        async with self._database.connection() as conn:
            found = await conn.execute(
                "SELECT id, service, collection, item, '{}'::jsonb AS document, state, reason, bucket "
                "FROM rs.staging_items WHERE job = %s ORDER BY id",
                [job],
            )
            return [self._item(row) for row in await found.fetchall()]

    async def totals(self, job: UUID) -> tuple[int, int]:
        """Files and bytes of a job that were carried."""
        row = await self._one(
            f"SELECT count(*) AS files, {_bytes('size')} AS bytes FROM rs.transfers "  # noqa: S608
            "WHERE job = %s AND state = 'done'",
            [job],
        )
        assert row is not None  # an aggregate always answers
        return row["files"], row["bytes"]

    async def ordered(self, job: UUID) -> list[tuple[StagedItem, UUID | None, str, bool]]:
        """Items whose files must be ordered first, with their order if there is one, and their station.

        And whether it was tried to fetch a file of theirs.
        """
        async with self._database.connection() as conn:
            found = await conn.execute(
                "SELECT DISTINCT ON (i.id) i.*, t.station, t.fence > 0 AS tried FROM rs.staging_items i "
                "JOIN rs.transfers t ON t.item = i.id "
                "WHERE t.job = %s AND t.state = 'ordered' ORDER BY i.id, tried DESC LIMIT 1000",
                [job],
            )
            return [
                (self._item(row), row["archive_order"], row["station"], row["tried"]) for row in await found.fetchall()
            ]

    async def note_order(self, conn: AsyncConnection[Row], item: int, asked: Asked) -> None:
        """Note the order of an item's files and what it waits for; with nothing left to wait for they are fetched."""
        await conn.execute("UPDATE rs.staging_items SET archive_order = %s WHERE id = %s", [asked.order, item])
        await conn.execute(
            "UPDATE rs.transfers SET reason = %(waiting)s, expires = coalesce(%(expires)s::timestamptz, expires), "
            "state = CASE WHEN %(waiting)s::text IS NULL THEN 'waiting' ELSE state END "
            "WHERE item = %(item)s AND state = 'ordered'",
            {"waiting": asked.waiting, "expires": asked.expires, "item": item},
        )
        await conn.execute("SELECT pg_notify(%s, '')", [CHANNEL])

    # What carriers write.

    async def claim(
        self,
        limits: Mapping[str, Limits],
        free: int,
        wide_from: int,
        lease_s: float,
        spared: Sequence[Spared] = (),
    ) -> list[list[Transfer]]:
        """Take up to ``free`` connections' worth of transfers up: what is carried on each connection, in order.

        Those that were ``spared`` are free, first of all.
        """
        async with self._database.connection() as conn:
            if spared:
                await claiming.narrow(conn, spared)
            turns = await claiming.turns(conn, claim.lines_of_user(limits, free))
            lines = turns.lines
            given = claim.choose([each.line for each in lines if each.open], turns.busy, turns.limits(limits), free)
            waiting = await claiming.waiting(conn, given)
            lanes: list[Lane] = []
            for (job, station), connections in given.items():
                sizes = waiting[job, station]
                lanes += claim.lanes(sizes, connections, limits[station].ranges, wide_from)
            done = {
                place for place, connections in given.items() if len(waiting[place]) < claim.candidates(connections)
            }
            taken = await claiming.take(conn, lanes, lease_s, self._bucket)
            await claiming.clear(conn, [each for each in lines if not each.open or each.place in done])
            return taken

    async def widen(self, limits: Mapping[str, Limits], transfers: Sequence[Transfer], free: int) -> set[int]:
        """Give running transfers one more of ``free`` connections each, where nobody waits for the station; which."""
        async with self._database.connection() as conn:
            turns = await claiming.turns(conn, 0)
            found = await conn.execute(
                "SELECT t.id, t.job, t.owner, t.station, t.width::int AS connections FROM rs.transfers t "
                "JOIN unnest(%s::bigint[], %s::int[]) AS mine (id, fence) ON t.id = mine.id AND t.fence = mine.fence "
                "WHERE t.state = 'running' AND t.lane IS NOT NULL "
                "AND NOT EXISTS (SELECT 1 FROM rs.lines WHERE station = t.station)",
                [[each.id for each in transfers], [each.fence for each in transfers]],
            )
            running = {row.pop("id"): Busy(**row) for row in await found.fetchall()}
            chosen = claim.widened(running, turns.busy, turns.limits(limits), free)
            await conn.execute("UPDATE rs.transfers SET width = width + 1 WHERE id = ANY(%s)", [chosen])
            return set(chosen)

    async def renew(self, pulses: Sequence[Pulse], lease_s: float) -> set[int]:
        """Renew the leases of running transfers; those that are still the carrier's."""
        async with self._database.connection() as conn:
            found = await conn.execute(
                "UPDATE rs.transfers t SET lease_until = now() + make_interval(secs => %(lease)s), "  # noqa: S608
                "bytes_done = p.bytes_done, rate = p.rate "
                "FROM unnest(%(ids)s::bigint[], %(fences)s::int[], %(bytes)s::bigint[], %(rates)s::float[]) "
                f"AS p (id, fence, bytes_done, rate), {_WANTED_OF} "
                f"WHERE t.id = p.id AND t.fence = p.fence AND t.state = 'running' AND {_WANTED} RETURNING t.id",
                {
                    "ids": [pulse.id for pulse in pulses],
                    "fences": [pulse.fence for pulse in pulses],
                    "bytes": [pulse.bytes_done for pulse in pulses],
                    "rates": [pulse.rate for pulse in pulses],
                    "lease": lease_s,
                },
            )
            return {row["id"] for row in await found.fetchall()}

    async def parts(self, transfer: Transfer) -> dict[int, str]:
        """The parts that are in the object storage: number to ETag."""
        async with self._database.connection() as conn:
            found = await conn.execute("SELECT number, etag FROM rs.parts WHERE transfer = %s", [transfer.id])
            return {row["number"]: row["etag"] for row in await found.fetchall()}

    async def begin_upload(self, transfer: Transfer, upload: str, part_size: int) -> None:
        """Note the upload that the parts go to from now on; it has none yet. ``Lost``."""
        await self._mine(
            transfer,
            "WITH mine AS (UPDATE rs.transfers SET upload = %(upload)s, part_size = %(part)s, validator = NULL "
            "WHERE id = %(id)s AND fence = %(fence)s AND state = 'running' RETURNING id), "
            "gone AS (DELETE FROM rs.parts WHERE transfer IN (SELECT id FROM mine)) SELECT id FROM mine",
            upload=upload,
            part=part_size,
        )

    async def add_part(self, transfer: Transfer, number: int, etag: str) -> None:
        """Note a part that is in the object storage; with it, the transfer has come on. ``Lost``."""
        await self._mine(
            transfer,
            "WITH mine AS (UPDATE rs.transfers SET tries = 0, stuck_since = NULL "
            "WHERE id = %(id)s AND fence = %(fence)s AND state = 'running' RETURNING id) "
            "INSERT INTO rs.parts (transfer, number, etag) SELECT id, %(number)s, %(etag)s FROM mine "
            "ON CONFLICT (transfer, number) DO UPDATE SET etag = excluded.etag RETURNING transfer AS id",
            number=number,
            etag=etag,
        )

    async def set_validator(self, transfer: Transfer, validator: str | None, *, ranges: bool) -> None:
        """Note what the parts are of, and whether the station serves ranges of it. ``Lost``."""
        await self._mine(
            transfer,
            "UPDATE rs.transfers SET validator = %(validator)s, ranges = %(ranges)s "
            "WHERE id = %(id)s AND fence = %(fence)s AND state = 'running' RETURNING id",
            validator=validator,
            ranges=ranges,
        )

    async def check(self, transfer: Transfer) -> None:
        """``Lost`` when the transfer is no longer the carrier's."""
        await self._mine(
            transfer,
            f"SELECT t.id FROM rs.transfers t, {_WANTED_OF} WHERE t.id = %(id)s "  # noqa: S608
            f"AND t.fence = %(fence)s AND t.state = 'running' AND {_WANTED}",
        )

    async def end(self, ended: Sequence[Ended]) -> set[UUID]:
        """Note what became of transfers; the jobs that have something to do with it now."""
        async with self._database.connection() as conn:
            await self._aside_before(conn, [each.transfer for each in ended if each.anew])
            rows = await ends.note(conn, ended)
            if not rows:
                return set()
            await conn.execute("SELECT pg_notify(%s, '')", [CHANNEL])
            return await ends.settle(conn, rows)

    async def _aside_before(self, conn: AsyncConnection[Row], anew: Sequence[Transfer]) -> None:
        """Of those transfers that are still the carrier's, and begin anew, what was written is of no use."""
        if not anew:
            return
        mine = await conn.execute(
            "SELECT t.id, t.fence FROM rs.transfers t JOIN unnest(%s::bigint[], %s::int[]) AS mine (id, fence) "
            "USING (id, fence) WHERE t.state = 'running' ORDER BY t.id FOR UPDATE OF t",
            [[each.id for each in anew], [each.fence for each in anew]],
        )
        await self._set_aside(conn, await mine.fetchall())

    async def give_up(self, transfers: Sequence[Transfer]) -> None:
        """Transfers whose jobs have ended, or whose items have failed, are at work no more."""
        async with self._database.connection() as conn:
            await conn.execute(
                "UPDATE rs.transfers t SET state = 'cancelled', lane = NULL, lease_until = NULL, rate = NULL "  # noqa: S608
                f"FROM unnest(%s::bigint[], %s::int[]) AS mine (id, fence), {_WANTED_OF} WHERE t.id = mine.id "
                f"AND t.fence = mine.fence AND t.state = 'running' AND {_UNWANTED}",
                [[each.id for each in transfers], [each.fence for each in transfers]],
            )

    async def progress(self, job: UUID) -> Progress:
        """How far a job is, and what it waits for."""
        row = await self._one(
            f"SELECT count(*) AS files, {_bytes('size')} AS size, "  # noqa: S608 - constants of ours
            f"{_bytes('least(bytes_done, size)')} AS done, "
            "count(*) FILTER (WHERE state = 'done')::int AS files_done, "
            "count(*) FILTER (WHERE state IN ('failed', 'gone', 'cancelled'))::int AS files_failed, "
            "count(*) FILTER (WHERE state = 'running')::int AS files_running, "
            "sum(rate) FILTER (WHERE state = 'running') AS rate, "
            "count(*) FILTER (WHERE state = 'waiting')::int AS waiting, "
            "count(*) FILTER (WHERE state = 'ordered')::int AS ordered, "
            "(array_agg(station) FILTER (WHERE state IN ('waiting', 'paused')))[1] AS station, "
            "(array_agg(reason) FILTER (WHERE state = 'paused'))[1] AS paused, "
            "(array_agg(reason) FILTER (WHERE state = 'ordered'))[1] AS ordering "
            "FROM rs.transfers WHERE job = %s",
            [job],
        )
        assert row is not None  # an aggregate always answers
        station = await self._one(
            "SELECT reason, closed_until FROM rs.stations WHERE name = %s AND closed_until > now()", [row["station"]]
        )
        return _progress(row, station)

    async def tick(self, patience_s: float) -> set[UUID]:
        """What time alone brings about: dead carriers, pauses that are over, jobs that have ended, lost patience.

        The jobs that have something to do, among them those whose carrier died before it could wake them.
        """
        async with self._database.connection() as conn:
            await conn.execute(
                "UPDATE rs.transfers t SET state = 'cancelled' FROM rs.jobs j WHERE j.id = t.job "
                "AND j.status NOT IN ('accepted', 'running') AND t.state IN ('waiting', 'paused', 'ordered')"
            )
            await conn.execute(
                "UPDATE rs.transfers t SET state = 'cancelled', lane = NULL, lease_until = NULL, rate = NULL "  # noqa: S608
                f"FROM {_WANTED_OF} WHERE t.state = 'running' AND t.lease_until < now() AND {_UNWANTED}"
            )
            await conn.execute(  # those of one user would stand before her other jobs
                "DELETE FROM rs.lines WHERE (job, station) IN (SELECT l.job, l.station FROM rs.lines l "
                "JOIN rs.jobs j ON j.id = l.job WHERE j.status NOT IN ('accepted', 'running') "
                "FOR UPDATE OF l SKIP LOCKED)"
            )
            failed = await self._out_of_patience(conn, patience_s)
            await self._wait_again(conn)
            unwoken = await conn.execute(_UNWOKEN)
            jobs = {row["id"] for row in await unwoken.fetchall()}
            return jobs | await ends.settle(conn, failed)

    async def _out_of_patience(self, conn: AsyncConnection[Row], patience_s: float) -> list[Row]:
        """Give files up that did not come on for too long, and all that wait for a station that is down for so long.

        What a station said when it was down long ago says nothing of now: it counts while it is left alone for it. Nor
        does the time count alone in which a file waited for its turn.
        """
        failed = f"RETURNING {', '.join(f't.{name}' for name in ends.OF_END)}"
        values = {"patience": patience_s, "tries": _TRIES}
        stuck = await conn.execute(
            "UPDATE rs.transfers t SET state = 'failed', rate = NULL "  # noqa: S608 - constants of ours
            "WHERE state = 'paused' AND tries >= %(tries)s "
            f"AND stuck_since < now() - make_interval(secs => %(patience)s) {failed}",
            values,
        )
        down = await conn.execute(
            "UPDATE rs.transfers t SET state = 'failed', reason = s.reason, rate = NULL FROM rs.stations s "  # noqa: S608
            "WHERE s.closed_until > now() AND s.down_since < now() - make_interval(secs => %(patience)s) "
            f"AND t.station = s.name AND t.state IN ('waiting', 'paused') {failed}",
            values,
        )
        return [*await stuck.fetchall(), *await down.fetchall()]

    async def _wait_again(self, conn: AsyncConnection[Row]) -> None:
        """Files whose pause is over, and those whose carrier is dead, or sleeps.

        Such a one may yet write: where there is no upload to go on with, the next carrier writes somewhere else. Of a
        database that is just back nobody could renew a lease.
        """
        found = await conn.execute(
            "SELECT id, fence, state = 'running' AND upload IS NULL AS anew FROM rs.transfers "
            "WHERE state = 'running' AND lease_until < now() AND pg_postmaster_start_time() < now() - interval '3 s' "
            "OR state = 'paused' AND not_before <= now() FOR UPDATE SKIP LOCKED"
        )
        rows = await found.fetchall()
        if not rows:
            return
        anew = [row for row in rows if row["anew"]]
        await self._set_aside(conn, anew)
        await conn.execute(
            "UPDATE rs.transfers t SET state = 'waiting', lane = NULL, lease_until = NULL, rate = NULL, "  # noqa: S608
            f"key = CASE WHEN t.id = ANY(%s) THEN {ends.KEY_ANEW} ELSE t.key END WHERE t.id = ANY(%s)",
            [[row["id"] for row in anew], [row["id"] for row in rows]],
        )
        await conn.execute("SELECT pg_notify(%s, '')", [CHANNEL])

    async def unwanted_uploads(self, after: int = 0) -> list[Upload]:
        """Multipart uploads of transfers that came to nothing: some, of transfers that come after one, in order."""
        async with self._database.connection() as conn:
            found = await conn.execute(
                "SELECT t.id, i.bucket, t.key, t.upload FROM rs.transfers t JOIN rs.staging_items i ON i.id = t.item "
                "WHERE t.upload IS NOT NULL AND t.state IN ('failed', 'gone', 'cancelled') AND t.id > %s "
                "ORDER BY t.id LIMIT 100",
                [after],
            )
            return [
                Upload(row["id"], row["bucket"] or self._bucket, row["key"], row["upload"])
                for row in await found.fetchall()
            ]

    async def forget_upload(self, upload: Upload) -> None:
        """The upload is aborted."""
        async with self._database.connection() as conn:
            await conn.execute(
                "WITH mine AS (UPDATE rs.transfers SET upload = NULL WHERE id = %s AND upload = %s RETURNING id) "
                "DELETE FROM rs.parts WHERE transfer IN (SELECT id FROM mine)",
                [upload.transfer, upload.upload],
            )

    async def buckets(self) -> list[str]:
        """All that files were ever staged to."""
        async with self._database.connection() as conn:
            found = await conn.execute("SELECT name FROM rs.staging_buckets")
            return sorted({self._bucket, *(row["name"] for row in await found.fetchall())})

    async def uploads_of(self, bucket: str, keys: Sequence[str]) -> dict[str, str | None]:
        """Of the keys that are, or were, of transfers to a bucket: the upload that one still goes on with, if any."""
        async with self._database.connection() as conn:
            found = await conn.execute(
                "SELECT t.key, CASE WHEN t.state IN ('waiting', 'paused', 'ordered', 'running') THEN t.upload END "
                "AS upload FROM rs.transfers t JOIN rs.staging_items i ON i.id = t.item "
                "WHERE t.key = ANY(%(keys)s) AND coalesce(nullif(i.bucket, ''), %(own)s) = %(bucket)s "
                "UNION ALL SELECT key, NULL FROM rs.leftovers "
                "WHERE key = ANY(%(keys)s) AND coalesce(nullif(bucket, ''), %(own)s) = %(bucket)s",
                {"keys": list(keys), "own": self._bucket, "bucket": bucket},
            )
            return {row["key"]: row["upload"] for row in await found.fetchall()}

    async def remains(self, grace_s: float, away: Collection[str] = ()) -> list[Remains]:
        """Objects that jobs which ended some time ago may have left, and those that newer editions replaced: some.

        None in buckets that are ``away``.
        """
        absent = [*away, *([""] if self._bucket in away else [])]
        async with self._database.connection() as conn:
            found = await conn.execute(
                "(SELECT i.bucket, t.key, j.request->>'collection' AS collection, i.item FROM rs.jobs j "
                "JOIN rs.staging_items i ON i.job = j.id AND i.state = ANY(%s) JOIN rs.transfers t ON t.item = i.id "
                "WHERE j.process = 'staging' AND j.finished < now() - make_interval(secs => %s) "
                "AND NOT t.swept AND t.fence > 0 AND i.bucket <> ALL(%s) LIMIT 500) "
                "UNION ALL (SELECT bucket, key, collection, item FROM rs.leftovers WHERE due < now() "
                "AND bucket <> ALL(%s) LIMIT 500)",
                [[str(state) for state in ItemState if state is not ItemState.PUBLISHED], grace_s, absent, absent],
            )
            return [
                Remains(Location(row["bucket"] or self._bucket, row["key"]), row["collection"], row["item"])
                for row in await found.fetchall()
            ]

    async def swept(self, remains: Sequence[Remains]) -> None:
        """These were looked at, and need not be again."""
        keys = [each.place.key for each in remains]
        async with self._database.connection() as conn:
            await conn.execute("UPDATE rs.transfers SET swept = true WHERE key = ANY(%s)", [keys])
            await conn.execute("DELETE FROM rs.leftovers WHERE key = ANY(%s)", [keys])

    async def _mine(self, transfer: Transfer, query: str, **values: Any) -> None:
        async with self._database.connection() as conn:
            found = await conn.execute(query, {"id": transfer.id, "fence": transfer.fence, **values})
            if await found.fetchone() is None:
                raise Lost

    def _item(self, row: Row) -> StagedItem:
        source = Reference(row["service"], row["collection"], row["item"])
        bucket = row["bucket"] or self._bucket
        return StagedItem(row["id"], source, row["document"], ItemState(row["state"]), row["reason"], bucket)

    async def _one(self, query: str, values: Sequence[Any]) -> Row | None:
        async with self._database.connection() as conn:
            return await (await conn.execute(query, values)).fetchone()


def _bytes(of: str) -> str:
    """The SQL of a sum that ends at the largest number there is, however much stations say that files have."""
    return f"least(coalesce(sum({of}), 0), {2**63 - 1})::bigint"


def _progress(row: Row, station: Row | None) -> Progress:
    """The last percent is the publication."""
    return Progress(
        percent=min(99, row["done"] * 99 // max(1, row["size"])),
        bytes_done=row["done"],
        bytes_total=row["size"],
        files_done=row["files_done"],
        files_total=row["files"],
        files_failed=row["files_failed"],
        files_running=row["files_running"],
        rate=row["rate"],
        waiting=None if row["files_running"] else _waits_for(row, station),
    )


def _waits_for(row: Row, station: Row | None) -> str | None:
    """What a job none of whose files is under way waits for, in plain words."""
    if station is not None:
        return f"{station['reason']}; trying again at {station['closed_until'].astimezone(UTC):%H:%M:%S} UTC"
    if row["waiting"]:
        return f"waiting for a free connection to {_called(row['station'])}"
    if row["paused"]:
        return f"{row['paused']}; trying again soon"
    if row["ordered"]:
        return str(row["ordering"] or "waiting for the archive to bring files back")
    return None


def _called(station: str) -> str:
    return f"station {station}" if station else "the object storage"
