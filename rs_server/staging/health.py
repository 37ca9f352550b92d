"""How the stations are, as all workers together have met them, and the paces that all of them keep."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from rs_server.database import Database

_FAILURES = 5  # in a row, of any files, until a station counts as down
_LONGEST_CLOSED_S = 60.0
_LONGEST_TOLD_S = 3600.0  # whatever a station says, it is asked again
_RECENT_S = 600.0  # a failure that is older belongs to another outage: nobody has asked since
_RECENTLY = "s.failures > 0 AND s.failed_at > now() - make_interval(secs => %(recent)s)"
_LATE_S = 0.2  # how late a request may be for its turn: a busy machine should not lose all turns of a fast pace
_TURNS = 5  # that are missed in a row, until a request goes out all the same
_WELL_S = 1.0  # how often it is noted that a station is well: small files come by the hundred, and each note costs
_SLICE_S = 0.1  # of a pace, booked at a time: each booking is a transaction


@dataclass(frozen=True, slots=True)
class Pace:
    """Most downloads begun, and bytes fetched by all and by one user, per second; None: any."""

    requests_per_s: float | None = None
    bytes_per_s: int | None = None
    user_bytes_per_s: int | None = None


def _booking(table: str, column: str, **keys: str) -> str:
    """Books the next free stretch of time, ``secs`` long, of a row: what is given for each of its key columns."""
    names, given = ", ".join(keys), ", ".join(f"%({each})s" for each in keys.values())
    return (
        f"INSERT INTO {table} AS s ({names}, {column}) "  # noqa: S608 - constants of ours
        f"VALUES ({given}, clock_timestamp() + make_interval(secs => %(secs)s)) ON CONFLICT ({names}) DO UPDATE "
        f"SET {column} = greatest(s.{column}, clock_timestamp()) + make_interval(secs => %(secs)s) "
        f"RETURNING extract(epoch FROM {column} - clock_timestamp())::float AS ahead"
    )


_NEXT_REQUEST = _booking("rs.stations", "next_request", name="station")
_NEXT_BYTE = _booking("rs.stations", "next_byte", name="station")
_NEXT_OF_USER = _booking("rs.user_paces", "next_byte", station="station", owner="owner")


def _missing(name: str) -> str:
    """Why files wait for a station that is in no settings, as SQL; ``name`` is the column that names it."""
    return f"'station ' || {name} || ' is not in the settings any more'"


class Health:
    """The table of stations."""

    def __init__(self, database: Database, paces: Mapping[str, Pace]) -> None:
        self._database = database
        self._paces = paces
        self._well_until: dict[str, float] = {}  # by station, when it is worth noting again
        self._owed: Counter[tuple[str, str]] = Counter()  # bytes that came and were not booked, by station and user

    async def failed(self, station: str, reason: str, retry_after_s: float | None) -> None:
        """A station did not answer, or said that it cannot: after several times in a row it is left alone for a while.

        One that names the time at which to come back is left alone until then, an hour at most.
        """
        self._well_until.pop(station, None)
        async with self._database.connection() as conn:
            await conn.execute(
                "INSERT INTO rs.stations AS s (name, failures, down_since, failed_at, reason, closed_until) "  # noqa: S608
                "VALUES (%(name)s, 1, now(), now(), %(reason)s, now() + make_interval(secs => %(wait)s)) "
                "ON CONFLICT (name) DO UPDATE SET failed_at = now(), reason = excluded.reason, "
                f"failures = CASE WHEN {_RECENTLY} THEN s.failures ELSE 0 END + 1, "
                f"down_since = CASE WHEN {_RECENTLY} THEN coalesce(s.down_since, now()) ELSE now() END, "
                "closed_until = greatest(s.closed_until, now() + make_interval(secs => %(wait)s), "
                f"CASE WHEN {_RECENTLY} AND s.failures + 1 >= %(most)s THEN "
                "now() + make_interval(secs => least(%(longest)s, power(2, least(s.failures - %(most)s, 9) + 1))) END)",
                {
                    "name": station,
                    "reason": reason,
                    "wait": None if retry_after_s is None else min(max(0.0, retry_after_s), _LONGEST_TOLD_S),
                    "most": _FAILURES,
                    "longest": _LONGEST_CLOSED_S,
                    "recent": _RECENT_S,
                },
            )

    async def well(self, station: str) -> None:
        """Bytes came from a station."""
        if (now := time.monotonic()) < self._well_until.get(station, now):
            return
        self._well_until[station] = now + _WELL_S
        async with self._database.connection() as conn:
            await conn.execute(
                "UPDATE rs.stations SET failures = 0, down_since = NULL, closed_until = NULL, reason = NULL "
                "WHERE name = %s AND failures > 0",
                [station],
            )

    async def note_missing(self) -> None:
        """Stations that files wait for and that have left the settings are down, until they are in them again.

        So what waits for them says so, and is given up like the files of any station that stays away.
        """
        async with self._database.connection() as conn:
            known = {"known": ["", *self._paces]}
            await conn.execute(
                f"INSERT INTO rs.stations AS s (name, failures, down_since, reason, closed_until) "  # noqa: S608
                f"SELECT DISTINCT station, 1, now(), {_missing('station')}, now() + interval '1 min' FROM rs.lines "
                "WHERE station <> ALL(%(known)s) ON CONFLICT (name) DO UPDATE SET reason = excluded.reason, "
                "down_since = coalesce(s.down_since, now()), closed_until = excluded.closed_until "
                "WHERE s.reason IS DISTINCT FROM excluded.reason OR s.closed_until < now() + interval '30 s'",
                known,
            )
            await conn.execute(
                "UPDATE rs.stations SET failures = 0, down_since = NULL, closed_until = NULL, reason = NULL "  # noqa: S608
                f"WHERE name = ANY(%(known)s) AND reason = {_missing('name')}",
                known,
            )

    async def before_request(self, station: str) -> None:
        """Wait for the turn of a request to a station; who comes too late for it, into that of another, waits again."""
        pace = self._paces.get(station, Pace())
        if pace.requests_per_s is None:
            return
        interval = 1 / pace.requests_per_s
        for _ in range(_TURNS):
            if await self._wait(_NEXT_REQUEST, station, "", interval) < max(interval, _LATE_S):
                return

    async def after_bytes(self, station: str, owner: str, count: int) -> None:
        """Wait until so many bytes may have been fetched from a station by a user, to within a tenth of a second."""
        pace = self._paces.get(station, Pace())
        if pace.bytes_per_s is not None:
            await self._book(_NEXT_BYTE, station, "", count, pace.bytes_per_s)
        if pace.user_bytes_per_s is not None:
            await self._book(_NEXT_OF_USER, station, owner, count, pace.user_bytes_per_s)

    def is_paced(self, station: str) -> bool:
        """Whether the bytes of a station are counted."""
        pace = self._paces.get(station, Pace())
        return pace.bytes_per_s is not None or pace.user_bytes_per_s is not None

    async def _book(self, pace: str, station: str, owner: str, count: int, per_s: int) -> None:
        self._owed[station, owner] += count
        if self._owed[station, owner] >= _SLICE_S * per_s:
            owed = self._owed.pop((station, owner))  # of all files: whoever comes to a slice waits for all of it
            await self._wait(pace, station, owner, owed / per_s)

    async def _wait(self, pace: str, station: str, owner: str, seconds: float) -> float:
        """Book the next free stretch of time, of all workers', and wait for it to begin; how late it is then, in s."""
        asked = time.monotonic()
        async with self._database.connection() as conn:
            found = await conn.execute(pace, {"station": station, "owner": owner, "secs": seconds})
            row = await found.fetchone()
        assert row is not None  # it was inserted or updated
        begin = max(0.0, float(row["ahead"]) - seconds)
        await asyncio.sleep(begin - (time.monotonic() - asked))
        return time.monotonic() - asked - begin
