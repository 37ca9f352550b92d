"""Measures what it costs to know who is calling: tokens and API keys, warm, and wrong keys by the million.

Run ``python tests/benchmarks/bench_access.py``; with ``RS_HOME`` of a running platform the keys are measured too.
Each figure is the median of rounds that take turns, so that a busy machine weighs on all alike.
"""

from __future__ import annotations

import asyncio
import gc
import os
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from uuid import uuid4

import httpx
import psutil  # type: ignore[import-untyped]  # its types are a package of their own
import yaml
from psycopg import AsyncConnection

from rs_server.access.apikeys import ApiKeys, digest, new_key
from rs_server.access.changes import open_changes
from rs_server.access.limits import Guesses
from rs_server.access.policy import Principal
from rs_server.access.tokens import KeySet, TokenVerifier, key_set_url
from rs_server.database import Database, Row, open_database
from rs_server.errors import TooManyRequests
from rs_server.settings import AccessSettings, Settings
from tests.identity import ISSUER, Issuer

ROUNDS, CALLS = 15, 200
GUESSES = 1_000_000
MB = 1_000_000


class Counted(Database):
    """A database that counts how often it is asked."""

    def __init__(self, inner: Database) -> None:
        self._inner = inner
        self.asked = 0

    def connection(self) -> AbstractAsyncContextManager[AsyncConnection[Row]]:  # type: ignore[override]
        self.asked += 1
        return self._inner.connection()


async def main() -> None:
    """Measure, and print a line for each figure."""
    await _tokens()
    _guesses()
    if home := os.environ.get("RS_HOME"):
        await _keys(Settings(**yaml.safe_load((Path(home) / "config" / "server.yaml").read_text())))


async def _tokens() -> None:
    issuer, settings = Issuer(), AccessSettings(issuer=ISSUER)
    answers = httpx.MockTransport(lambda _: httpx.Response(200, json=issuer.key_set()))
    async with httpx.AsyncClient(transport=answers) as http:
        keys = KeySet(key_set_url(settings, ISSUER), http)
        verifier = TokenVerifier(settings, ISSUER, keys)
        roles = [f"rs_catalog_owner{number}:collection_read" for number in range(60)]
        small, large = issuer.token("alice"), issuer.token("alice", roles)
        calls: dict[str, Callable[[], Awaitable[object]]] = {
            "token check, first sight": lambda: TokenVerifier(settings, ISSUER, keys).verify(small),
            "token check, warm, no roles": lambda: verifier.verify(small),
            "token check, warm, 60 roles": lambda: verifier.verify(large),
        }
        for name, us in (await _medians(calls)).items():
            _say(name, us, "us")


async def _keys(settings: Settings) -> None:
    who = Principal(f"bench-{uuid4().hex[:8]}", "bench")
    async with open_database(settings.database) as inner, open_changes(settings.database) as changes:
        database = Counted(inner)
        keys = ApiKeys(database, changes)
        while changes.version is None:  # noqa: ASYNC110 - there is nothing to wait on
            await asyncio.sleep(0.05)
        key, made = await keys.create(who, name="bench", owner=who.login, subject=who.subject)
        await asyncio.sleep(1)
        await keys.valid(key)
        asked = database.asked
        _say("API key check, warm", (await _medians({"key": lambda: keys.valid(key)}))["key"], "us")
        _say("  looks into the database meanwhile", database.asked - asked, "")
        await keys.revoke(who, made.id)


def _guesses() -> None:
    """A million wrong keys from a thousand addresses: what each costs once its address has to wait, and in memory."""
    guesses = Guesses(30)
    process = psutil.Process()

    def guess(count: int) -> None:
        for number in range(count):
            address, known_as = f"10.0.{number % 250}.{number % 4}", digest(new_key())
            try:
                guesses.admit(address, known_as)
            except TooManyRequests:
                continue
            guesses.wrong(address)

    guess(50_000)
    gc.collect()
    before, begin = process.memory_info().rss, time.perf_counter()
    guess(GUESSES)
    _say("a wrong key, refused", (time.perf_counter() - begin) / GUESSES * 1e6, "us")
    gc.collect()
    _say("memory grown by a million wrong keys", (process.memory_info().rss - before) / MB, "MB")


async def _medians(calls: Mapping[str, Callable[[], Awaitable[object]]]) -> dict[str, float]:
    """Microseconds a call, of rounds that take turns."""
    took: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(ROUNDS):
        for name, call in calls.items():
            begin = time.perf_counter()
            for _ in range(CALLS):
                await call()
            took[name].append((time.perf_counter() - begin) / CALLS * 1e6)
    return {name: statistics.median(times) for name, times in took.items()}


def _say(name: str, value: float, unit: str) -> None:
    sys.stdout.write(f"{name:<45} {value:9.1f} {unit}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(main())
