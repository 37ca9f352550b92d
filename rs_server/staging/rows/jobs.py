"""What the steps of a job read and write, in transactions of theirs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.types.json import Jsonb

from rs_server.database import Row
from rs_server.processes.model import Progress
from rs_server.processes.references import Reference
from rs_server.staging.archive import Asked
from rs_server.staging.model import Carried, ItemState, NewItem, Order, StagedItem
from rs_server.staging.plan import Planned
from rs_server.staging.rows import ends
from rs_server.staging.rows.base import CHANNEL, Rows
from rs_server.staging.rows.waiting import progress_of
from rs_server.storage.layout import Location

# Files as they were planned.
_NEW = (
    "unnest(%(items)s::bigint[], %(stations)s::text[], %(names)s::text[], %(assets)s::jsonb[], %(keys)s::text[], "
    "%(sizes)s::bigint[], %(checksums)s::text[], %(states)s::text[], %(expire)s::timestamptz[]) "
    "AS new (item, station, name, asset, key, size, checksum, state, expires)"
)


class JobRows(Rows):
    """The tables, as the steps of a job need them."""

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
        return progress_of(row, station)


def _bytes(of: str) -> str:
    """The SQL of a sum that ends at the largest number there is, however much stations say that files have."""
    return f"least(coalesce(sum({of}), 0), {2**63 - 1})::bigint"
