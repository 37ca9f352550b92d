"""Notes what became of transfers, and what that means for their items: the queries of an end, in its transaction."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from psycopg import AsyncConnection

from rs_server.database import Row
from rs_server.staging.model import Ended

# Where a file goes that is carried anew: nobody who carried it before, and sleeps, writes there.
KEY_ANEW = r"regexp_replace(t.key, '(~\d+)?/([^/]+)$', '~' || (t.fence + 1) || '/\2')"
OF_END = ("id", "item", "job", "state", "reason", "station", "size", "name")  # what is to be known of one


async def note(conn: AsyncConnection[Row], ended: Sequence[Ended]) -> list[Row]:
    """Note them where the fence is still the carrier's; what is to be known of those (``OF_END``)."""
    found = await conn.execute(
        "UPDATE rs.transfers t SET state = CASE WHEN i.state IN ('failed', 'gone') AND e.state IN "  # noqa: S608
        "('paused', 'waiting', 'ordered') THEN 'cancelled' ELSE e.state END, "
        "digest = e.digest, reason = e.reason, rate = NULL, lane = NULL, "
        "lease_until = NULL, not_before = now() + make_interval(secs => e.pause_s), wrong = t.wrong + e.wrong, "
        "tries = CASE WHEN e.state = 'paused' THEN t.tries + 1 ELSE 0 END, "
        "stuck_since = CASE WHEN e.state = 'paused' THEN coalesce(t.stuck_since, now()) END, "
        "bytes_done = CASE WHEN e.state = 'done' THEN t.size "
        "WHEN t.upload IS NULL OR e.anew THEN 0 ELSE t.bytes_done END, "
        "upload = CASE WHEN e.state = 'done' OR e.anew THEN NULL ELSE t.upload END, "
        f"key = CASE WHEN e.anew THEN {KEY_ANEW} ELSE t.key END, "
        "validator = CASE WHEN e.anew THEN NULL ELSE t.validator END "
        "FROM unnest(%(ids)s::bigint[], %(fences)s::int[], %(states)s::text[], %(digests)s::text[], "
        "%(reasons)s::text[], %(pauses)s::float[], %(wrongs)s::int[], %(anews)s::bool[]) "
        "AS e (id, fence, state, digest, reason, pause_s, wrong, anew), rs.staging_items i "
        "WHERE t.id = e.id AND t.fence = e.fence AND t.state = 'running' AND i.id = t.item "
        f"RETURNING e.anew, {', '.join(f't.{name}' for name in OF_END)}",
        {
            "ids": [each.transfer.id for each in ended],
            "fences": [each.transfer.fence for each in ended],
            "states": [str(each.state) for each in ended],
            "digests": [each.digest for each in ended],
            "reasons": [each.reason and each.reason.replace("\0", "\ufffd") for each in ended],  # PostgreSQL has no NUL
            "pauses": [each.pause_s for each in ended],
            "wrongs": [int(each.wrong) for each in ended],
            "anews": [each.anew for each in ended],
        },
    )
    rows = await found.fetchall()
    if again := [row["item"] for row in rows if row["state"] == "ordered"]:
        await conn.execute("UPDATE rs.staging_items SET archive_order = NULL WHERE id = ANY(%s)", [again])
    if done := [row["id"] for row in rows if row["state"] == "done" or row["anew"]]:
        await conn.execute("DELETE FROM rs.parts WHERE transfer = ANY(%s)", [done])
    return rows


async def settle(conn: AsyncConnection[Row], rows: Sequence[Row]) -> set[UUID]:
    """What the ends of transfers mean for their items: whole with the last file, failed with the first that failed."""
    final = [row for row in rows if row["state"] in ("done", "failed", "gone")]
    if not final:
        return set()
    items = sorted({row["item"] for row in final})
    # In one order, and each under a lock: of two carriers that end its last two files, the second sees both.
    await conn.execute("SELECT 1 FROM rs.staging_items WHERE id = ANY(%s) ORDER BY id FOR UPDATE", [items])
    changed = await conn.execute(
        "UPDATE rs.staging_items i SET state = 'whole' WHERE id = ANY(%s) AND state = 'carrying' "
        "AND NOT EXISTS (SELECT 1 FROM rs.transfers WHERE item = i.id AND state <> 'done') RETURNING job",
        [items],
    )
    jobs = {row["job"] for row in await changed.fetchall()}
    for row in final:
        if row["state"] != "done":
            jobs.add(row["job"])
            await _fail_item(conn, row)
    await _count(conn, final)  # last, for all carriers count in the same rows
    return jobs


async def _fail_item(conn: AsyncConnection[Row], row: Row) -> None:
    await conn.execute(
        "UPDATE rs.staging_items SET state = %s, reason = %s WHERE id = %s AND state IN ('growing', 'carrying')",
        [row["state"], f"{row['name']}: {row['reason']}", row["item"]],
    )
    await cancel_others(conn, row["item"], "another file of its item failed")


async def cancel_others(conn: AsyncConnection[Row], item: int, reason: str | None) -> None:
    """No more files of an item are carried; those under way keep their connections until their carriers have let go."""
    await conn.execute(
        "UPDATE rs.transfers SET state = 'cancelled', reason = %s WHERE item = %s "
        "AND state IN ('waiting', 'paused', 'ordered')",
        [reason, item],
    )


async def _count(conn: AsyncConnection[Row], rows: Sequence[Row]) -> None:
    totals: dict[tuple[str, str], list[int]] = {}
    for row in rows:
        files_bytes = totals.setdefault((row["station"], row["state"]), [0, 0])
        files_bytes[0] += 1
        files_bytes[1] += row["size"]
    for (station, outcome), (files, size) in sorted(totals.items()):
        await conn.execute(
            "INSERT INTO rs.staging_totals AS mine (station, outcome, files, bytes) VALUES (%s, %s, %s, %s) "
            "ON CONFLICT (station, outcome) DO UPDATE "
            "SET files = mine.files + excluded.files, bytes = mine.bytes + excluded.bytes",
            [station, outcome, files, size],
        )
