"""What a processing job was prepared to do and has made so far, kept so that any worker can go on with it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from uuid import UUID

from psycopg.types.json import Jsonb

from rs_server.database import Database


@dataclass(frozen=True, slots=True)
class Record:
    """A prepared job, as it is kept: JSON."""

    plan: Mapping[str, Any]
    orders: Sequence[Mapping[str, Any]]
    made: Mapping[str, Any]


class Records(Protocol):
    """Where they are kept."""

    async def get(self, job: UUID) -> Record | None:
        """What was kept of a job."""
        ...

    async def prepared(self, job: UUID, plan: Mapping[str, Any], orders: Sequence[Mapping[str, Any]]) -> None:
        """Keep what a job was prepared to do; what it made by an older plan is forgotten."""
        ...

    async def made(self, job: UUID, product: str, answer: Mapping[str, Any]) -> None:
        """Keep that a product is whole."""
        ...

    async def clusters(self) -> frozenset[str]:
        """The names of the clusters that unfinished jobs use."""
        ...


class RecordRows:
    """The table."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, job: UUID) -> Record | None:
        """What was kept of a job."""
        async with self._database.connection() as conn:
            found = await conn.execute("SELECT plan, orders, made FROM rs.dpr_runs WHERE job = %s", [job])
            row = await found.fetchone()
        return None if row is None else Record(row["plan"], row["orders"], row["made"])

    async def prepared(self, job: UUID, plan: Mapping[str, Any], orders: Sequence[Mapping[str, Any]]) -> None:
        """Keep what a job was prepared to do; what it made by an older plan is forgotten."""
        async with self._database.connection() as conn:
            await conn.execute(
                "INSERT INTO rs.dpr_runs (job, plan, orders) VALUES (%s, %s, %s) ON CONFLICT (job) DO UPDATE "
                "SET plan = excluded.plan, orders = excluded.orders, made = '{}', prepared = now()",
                [job, Jsonb(plan), Jsonb(orders)],
            )

    async def made(self, job: UUID, product: str, answer: Mapping[str, Any]) -> None:
        """Keep that a product is whole."""
        async with self._database.connection() as conn:
            await conn.execute(
                "UPDATE rs.dpr_runs SET made = made || %s WHERE job = %s", [Jsonb({product: answer}), job]
            )

    async def clusters(self) -> frozenset[str]:
        """The names of the clusters that unfinished jobs use."""
        async with self._database.connection() as conn:
            found = await conn.execute(
                "SELECT memory->>'cluster' AS name FROM rs.jobs "
                "WHERE status IN ('accepted', 'running') AND memory->>'cluster' IS NOT NULL"
            )
            return frozenset(row["name"] for row in await found.fetchall())
