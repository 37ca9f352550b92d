"""When a station may be asked next: turns that all processes of the installation book in the database."""

from __future__ import annotations

from dataclasses import dataclass

from rs_server.database import Database

_BOOK = """
    INSERT INTO rs.stations AS s (name, next_query)
    VALUES (%(station)s, clock_timestamp() + make_interval(secs => %(interval_s)s))
    ON CONFLICT (name) DO UPDATE
    SET next_query = greatest(s.next_query, clock_timestamp()) + make_interval(secs => %(interval_s)s)
    WHERE s.next_query IS NULL OR s.next_query <= clock_timestamp() + make_interval(secs => %(within_s)s)
    RETURNING extract(epoch FROM next_query - clock_timestamp())::float - %(interval_s)s AS wait_s
"""


@dataclass(frozen=True, slots=True)
class BookedTurns:
    """The table of stations, as far as it tells when each may be asked."""

    database: Database

    async def book(self, station: str, interval_s: float, within_s: float) -> float | None:
        """Book the next turn, which is ``interval_s`` long, and answer in how many seconds it begins.

        None, and nothing is booked, when that is later than ``within_s``; ``Unavailable``.
        """
        values = {"station": station, "interval_s": interval_s, "within_s": within_s}
        async with self.database.connection() as conn:
            row = await (await conn.execute(_BOOK, values)).fetchone()
        return None if row is None else float(row["wait_s"])
