"""What is set right now and then, whoever has died: leases that ran out, patience, uploads and objects of nobody."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from uuid import UUID

from psycopg import AsyncConnection

from rs_server.database import Row
from rs_server.staging.model import ItemState, Remains, Upload
from rs_server.staging.rows import ends
from rs_server.staging.rows.base import CHANNEL, UNWANTED, WANTED_OF, Rows
from rs_server.storage.layout import Location

# Jobs that pause although they could publish something, or end.
_UNWOKEN = (
    "SELECT j.id FROM rs.jobs j WHERE j.process = 'staging' AND j.status = 'running' AND j.held_until IS NULL "
    "AND j.wake > now() + interval '1 s' AND (NOT EXISTS ("
    "SELECT 1 FROM rs.staging_items WHERE job = j.id AND state IN ('growing', 'carrying')) OR EXISTS ("
    "SELECT 1 FROM rs.staging_items WHERE job = j.id AND state = ANY(CASE WHEN coalesce((j.request->>'strict')::bool, "
    "false) THEN ARRAY['failed', 'gone'] ELSE ARRAY['whole'] END)))"
)
_TRIES = 3  # of a file, at least, before it is given up: it may have waited for its turn all the time


class UpkeepRows(Rows):
    """The tables, as those need them who keep them in order."""

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
                f"FROM {WANTED_OF} WHERE t.state = 'running' AND t.lease_until < now() AND {UNWANTED}"
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

    async def swept(self, remains: Sequence[Remains], kept: Sequence[Remains], later_s: float) -> None:
        """These were looked at, and need not be again, but for those that were ``kept``, in so many seconds."""
        keys = [each.place.key for each in remains]
        async with self._database.connection() as conn:
            await conn.execute("UPDATE rs.transfers SET swept = true WHERE key = ANY(%s)", [keys])
            await conn.execute("DELETE FROM rs.leftovers WHERE key = ANY(%s)", [keys])
            if kept:
                await conn.execute(
                    "INSERT INTO rs.leftovers (bucket, key, collection, item, due) "
                    "SELECT kept.*, now() + make_interval(secs => %s) "
                    "FROM unnest(%s::text[], %s::text[], %s::text[], %s::text[]) AS kept ON CONFLICT (key) DO NOTHING",
                    [
                        later_s,
                        [each.place.bucket for each in kept],
                        [each.place.key for each in kept],
                        [each.collection for each in kept],
                        [each.item for each in kept],
                    ],
                )
