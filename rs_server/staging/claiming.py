"""Asks the database whose turn it is, and takes files up: the queries of a claim, in its transaction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from psycopg import AsyncConnection

from rs_server.database import Row
from rs_server.processes.references import Reference
from rs_server.staging import claim
from rs_server.staging.claim import Busy, Lane, Limits, Line
from rs_server.staging.model import Spared, Transfer

_OF_TRANSFER = (
    *("id", "fence", "job", "station", "owner", "name", "asset", "key", "size", "checksum", "width", "tries", "wrong"),
    *("upload", "part_size", "validator", "ranges"),
)
_TAKEN = ", ".join(f"t.{name}" for name in _OF_TRANSFER)


@dataclass(frozen=True, slots=True)
class Stood:
    """A line as the table has it; one that is not ``open`` is of a job that has ended."""

    line: Line
    version: int
    open: bool

    @property
    def place(self) -> tuple[UUID, str]:
        """Of which job, and where."""
        return self.line.job, self.line.station


async def lines(conn: AsyncConnection[Row], most: int) -> list[Stood]:
    """The lines whose turn it may be, ``most`` of each user at each station: however many others there are.

    Of one user's, those with files that their source is about to take away come first, then the urgent and the old.
    """
    found = await conn.execute(
        "WITH RECURSIVE place AS ((SELECT owner, station FROM rs.lines ORDER BY owner, station LIMIT 1) "
        "UNION ALL SELECT next.* FROM place, LATERAL (SELECT owner, station FROM rs.lines "
        "WHERE (owner, station) > (place.owner, place.station) ORDER BY owner, station LIMIT 1) AS next), "
        "head AS (SELECT l.*, 1 AS urgent FROM place, LATERAL (SELECT * FROM rs.lines WHERE owner = place.owner "
        "AND station = place.station AND expires < now() + %(soon)s ORDER BY expires LIMIT %(most)s) AS l "
        "UNION ALL SELECT l.*, 0 AS urgent FROM place, LATERAL (SELECT * FROM rs.lines WHERE owner = place.owner "
        "AND station = place.station ORDER BY priority DESC, since, job LIMIT %(most)s) AS l) "
        "SELECT DISTINCT ON (since, job, station) head.*, j.status IS NOT NULL AS open FROM head "
        "LEFT JOIN rs.jobs j ON j.id = head.job AND j.status IN ('accepted', 'running') "
        "ORDER BY since, job, station, urgent DESC",
        {"soon": claim.SOON, "most": most},
    )
    return [_stood(row) for row in await found.fetchall()]


def _stood(row: Row) -> Stood:
    priority = claim.BEFORE_ALL if row["urgent"] else row["priority"]
    return Stood(Line(row["job"], row["owner"], row["station"], priority), row["version"], row["open"])


async def clear(conn: AsyncConnection[Row], lines: Sequence[Stood]) -> None:
    """Take lines away in which nobody stands any more.

    Who joins one at this moment either holds its row, and it stays, or has changed its version, or makes it anew.
    """
    if not lines:
        return
    await conn.execute(
        "DELETE FROM rs.lines WHERE (job, station) IN (SELECT l.job, l.station FROM rs.lines l JOIN "
        "unnest(%s::uuid[], %s::text[], %s::bigint[]) AS seen (job, station, version) USING (job, station, version) "
        "WHERE NOT EXISTS (SELECT 1 FROM rs.transfers t JOIN rs.jobs j ON j.id = t.job "
        "WHERE t.state = 'waiting' AND t.job = l.job AND t.station = l.station "
        "AND j.status IN ('accepted', 'running')) "
        "FOR UPDATE OF l SKIP LOCKED)",
        [[each.line.job for each in lines], [each.line.station for each in lines], [each.version for each in lines]],
    )


async def narrow(conn: AsyncConnection[Row], spared: Sequence[Spared]) -> None:
    """Transfers have fewer connections; one that has none left is in no lane."""
    await conn.execute(
        "UPDATE rs.transfers t SET width = least(width, s.kept), lane = CASE WHEN s.kept > 0 THEN lane END "
        "FROM unnest(%s::bigint[], %s::int[], %s::int[]) AS s (id, fence, kept) "
        "WHERE t.id = s.id AND t.fence = s.fence AND t.state = 'running'",
        [[each.transfer for each in spared], [each.fence for each in spared], [each.left for each in spared]],
    )


async def busy(conn: AsyncConnection[Row]) -> list[Busy]:
    """The connections in use: one step along an index for each lane, however many files it has.

    A file that has no lane any more is fetched, and only its last parts are on their way into the object storage.
    """
    found = await conn.execute(
        "WITH RECURSIVE each AS ((SELECT lane, job, owner, station, width FROM rs.transfers WHERE state = 'running' "
        "AND lane IS NOT NULL ORDER BY lane LIMIT 1) UNION ALL SELECT next.* FROM each, "
        "LATERAL (SELECT lane, job, owner, station, width FROM rs.transfers WHERE state = 'running' "
        "AND lane > each.lane ORDER BY lane LIMIT 1) AS next) "
        "SELECT job, owner, station, sum(width)::int AS connections FROM each GROUP BY job, owner, station"
    )
    return [Busy(**row) for row in await found.fetchall()]


async def open_now(conn: AsyncConnection[Row], limits: Mapping[str, Limits]) -> dict[str, Limits]:
    """The limits as they are now: nothing at a station that is left alone, and one connection, to see whether it is
    back, at one that was until now.
    """
    found = await conn.execute(
        "SELECT name, closed_until > now() AS closed FROM rs.stations WHERE closed_until IS NOT NULL"
    )
    now = dict(limits)
    for row in await found.fetchall():
        if row["closed"]:
            now.pop(row["name"], None)
        elif row["name"] in now:
            now[row["name"]] = Limits(1, 1)
    return now


async def waiting(
    conn: AsyncConnection[Row], given: Mapping[tuple[UUID, str], int]
) -> dict[tuple[UUID, str], dict[int, int]]:
    """The first files of each line, with their sizes: those that their source takes away first, then in order."""
    waiting: dict[tuple[UUID, str], dict[int, int]] = {place: {} for place in given}
    if not given:
        return waiting
    found = await conn.execute(
        "SELECT line.job, line.station, file.id, file.size "
        "FROM unnest(%s::uuid[], %s::text[], %s::int[]) AS line (job, station, most), "
        "LATERAL (SELECT id, size FROM rs.transfers WHERE state = 'waiting' AND job = line.job "
        "AND station = line.station ORDER BY expires, id LIMIT line.most FOR UPDATE SKIP LOCKED) AS file",
        [
            [job for job, _ in given],
            [station for _, station in given],
            [claim.candidates(connections) for connections in given.values()],
        ],
    )
    for row in await found.fetchall():
        waiting[row["job"], row["station"]][row["id"]] = row["size"]
    return waiting


async def take(conn: AsyncConnection[Row], lanes: Sequence[Lane], lease_s: float, bucket: str) -> list[list[Transfer]]:
    """Take the files of the lanes up, under new fences; ``bucket`` is that of items which name none."""
    if not lanes:
        return []
    found = await conn.execute(
        "UPDATE rs.transfers t SET state = 'running', fence = fence + 1, lane = c.lane, width = c.width, "  # noqa: S608
        "lease_until = now() + make_interval(secs => %(lease)s), reason = NULL, not_before = NULL "
        "FROM unnest(%(ids)s::bigint[], %(lanes)s::uuid[], %(widths)s::int[]) AS c (id, lane, width), "
        "rs.staging_items i, rs.jobs j WHERE t.id = c.id AND i.id = t.item AND j.id = t.job "
        f"RETURNING {_TAKEN}, i.service, i.collection, i.item AS source_item, i.bucket, j.trace",
        {
            "ids": [file for lane in lanes for file in lane.files],
            "lanes": [lane.id for lane in lanes for _ in lane.files],
            "widths": [lane.width for lane in lanes for _ in lane.files],
            "lease": lease_s,
        },
    )
    by_id = {row["id"]: _transfer(row, bucket) for row in await found.fetchall()}
    return [[by_id[file] for file in lane.files] for lane in lanes]


def _transfer(row: Row, bucket: str) -> Transfer:
    source = Reference(row["service"], row["collection"], row["source_item"])
    known = {name: row[name] for name in _OF_TRANSFER}
    return Transfer(source=source, bucket=row["bucket"] or bucket, trace=row["trace"], **known)
