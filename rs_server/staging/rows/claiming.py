"""Asks the database whose turn it is, and takes files up: the queries of a claim, in its transaction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from psycopg import AsyncConnection
from psycopg.types.json import Jsonb

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
_CLAIMING = 0x7273_636C_6169  # any number, the same in every worker: one at a time asks whose turn it is


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


@dataclass(frozen=True, slots=True)
class Turns:
    """Who waits, who has connections, and which stations are left alone (false) or may be asked again (true)."""

    lines: Sequence[Stood]
    busy: Sequence[Busy]
    stations: Mapping[str, bool]

    def limits(self, limits: Mapping[str, Limits]) -> dict[str, Limits]:
        """The limits as they are now: nothing at a station that is left alone, and one connection, to see whether it is
        back, at one that was until now.
        """
        open_now = {name: limit for name, limit in limits.items() if self.stations.get(name, True)}
        return open_now | {name: Limits(1, 1) for name in self.stations if name in open_now}


async def turns(conn: AsyncConnection[Row], most: int) -> Turns:
    """Wait until nobody else claims, and ask whose turn it may be: ``most`` lines of each user at each station.

    Of one user's, those with files that their source is about to take away come first, then the urgent and the old.
    """
    # Not in a pipeline: a process that is frozen before its end would keep the lock, for it is not idle then.
    found = await conn.execute("SELECT * FROM rs.turns(%s, %s, %s)", [_CLAIMING, claim.SOON, most])
    told: dict[str, list[Row]] = {"line": [], "busy": [], "station": []}
    for row in await found.fetchall():
        told[row["what"]].append(row)
    return Turns(
        [_stood(row) for row in told["line"]],
        [Busy(row["job"], row["owner"], row["station"], row["connections"]) for row in told["busy"]],
        {row["station"]: row["open"] for row in told["station"]},
    )


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


async def waiting(
    conn: AsyncConnection[Row], given: Mapping[tuple[UUID, str], int]
) -> dict[tuple[UUID, str], dict[int, int]]:
    """The first files of each line, with their sizes: those that their source takes away first, then in order."""
    waiting: dict[tuple[UUID, str], dict[int, int]] = {place: {} for place in given}
    if not given:
        return waiting
    found = await conn.execute(
        "SELECT line.job, line.station, file.id, file.size "
        "FROM jsonb_to_recordset(%s) AS line (job uuid, station text, most int), "
        "LATERAL (SELECT id, size FROM rs.transfers WHERE state = 'waiting' AND job = line.job "
        "AND station = line.station ORDER BY expires, id LIMIT line.most FOR UPDATE SKIP LOCKED) AS file",
        [
            _told(
                {"job": str(job), "station": station, "most": claim.candidates(n)}
                for (job, station), n in given.items()
            )
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
        "FROM jsonb_to_recordset(%(files)s) AS c (id bigint, lane uuid, width int), "
        "rs.staging_items i, rs.jobs j WHERE t.id = c.id AND i.id = t.item AND j.id = t.job "
        f"RETURNING {_TAKEN}, i.service, i.collection, i.item AS source_item, i.bucket, j.trace",
        {
            "files": _told(
                {"id": file, "lane": str(lane.id), "width": lane.width} for lane in lanes for file in lane.files
            ),
            "lease": lease_s,
        },
    )
    by_id = {row["id"]: _transfer(row, bucket) for row in await found.fetchall()}
    return [[by_id[file] for file in lane.files] for lane in lanes]


def _told(rows: Iterable[Mapping[str, str | int]]) -> Jsonb:
    """Rows for a query: of arrays, the driver needs longer, and the server plans anew for each number of them."""
    return Jsonb(list(rows))


def _transfer(row: Row, bucket: str) -> Transfer:
    source = Reference(row["service"], row["collection"], row["source_item"])
    known = {name: row[name] for name in _OF_TRANSFER}
    return Transfer(source=source, bucket=row["bucket"] or bucket, trace=row["trace"], **known)
