"""What carriers read and write, while a fence is theirs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from psycopg import AsyncConnection

from rs_server.database import Row
from rs_server.staging import claim
from rs_server.staging.claim import Busy, Lane, Limits
from rs_server.staging.model import Ended, Lost, Pulse, Spared, Transfer
from rs_server.staging.rows import claiming, ends
from rs_server.staging.rows.base import CHANNEL, UNWANTED, WANTED, WANTED_OF, Rows


class CarrierRows(Rows):
    """The tables, as carriers need them."""

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
                f"AS p (id, fence, bytes_done, rate), {WANTED_OF} "
                f"WHERE t.id = p.id AND t.fence = p.fence AND t.state = 'running' AND {WANTED} RETURNING t.id",
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
            f"SELECT t.id FROM rs.transfers t, {WANTED_OF} WHERE t.id = %(id)s "  # noqa: S608
            f"AND t.fence = %(fence)s AND t.state = 'running' AND {WANTED}",
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
                f"FROM unnest(%s::bigint[], %s::int[]) AS mine (id, fence), {WANTED_OF} WHERE t.id = mine.id "
                f"AND t.fence = mine.fence AND t.state = 'running' AND {UNWANTED}",
                [[each.id for each in transfers], [each.fence for each in transfers]],
            )

    async def _mine(self, transfer: Transfer, query: str, **values: Any) -> None:
        async with self._database.connection() as conn:
            found = await conn.execute(query, {"id": transfer.id, "fence": transfer.fence, **values})
            if await found.fetchone() is None:
                raise Lost
