"""Measures what it costs to know who is calling: tokens and API keys, warm, and wrong keys by the million.

Run ``python tests/benchmarks/bench_access.py``; with ``RS_HOME`` of a running platform the keys are measured too, and
what a caller who asks 1 000 times a second costs the others. Each figure is the median of rounds that take turns, so
that a busy machine weighs on all alike.
"""

from __future__ import annotations

import asyncio
import gc
import json
import os
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager, suppress
from pathlib import Path
from urllib.parse import urlsplit
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
from tests.conftest import Platform
from tests.identity import ISSUER, Issuer

ROUNDS, CALLS = 15, 200
GUESSES = 1_000_000
MB = 1_000_000
GREEDY_PER_S, GREEDY_CONNECTIONS = 1000, 8
QUIET_CALLS, QUIET_PAUSE_S, QUIET_ROUNDS = 150, 0.02, 7


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
        _greedy(Platform(Path(home)))


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


def _greedy(platform: Platform) -> None:
    """The searches of one caller: alone, and beside another who asks a thousand times a second.

    The one who asks takes its share of the machine as well. So that this is not taken for what refusing costs, it also
    asks a server that does nothing else than to refuse.
    """
    url, key = platform.url("rs-server"), platform.env("operator")["RS_API_KEY"]
    took: dict[str, list[float]] = {"alone": [], "elsewhere": [], "here": []}
    answers = Counter[str]()
    with (
        httpx.Client(base_url=url, headers={"x-api-key": key}, trust_env=False) as http,
        subprocess.Popen([sys.executable, __file__, "refuse"], stdout=subprocess.PIPE, text=True) as refusing,
    ):
        assert refusing.stdout is not None
        elsewhere = refusing.stdout.readline().strip()
        greedy = platform.env("alice")["RS_API_KEY"]
        _searches(http)
        for _ in range(QUIET_ROUNDS):
            took["alone"].append(_p95(_searches(http)))
            took["elsewhere"].append(_beside(http, elsewhere, greedy)[0])
            p95, told = _beside(http, url, greedy)
            took["here"].append(p95)
            answers.update(told)
        refusing.terminate()
    seconds = answers.pop("ms") / 1000
    _say("a greedy caller: requests a second", answers.total() / seconds, "")
    _say("  refused with 429", 100 * answers["429"] / answers.total(), "%")
    for name, times in took.items():
        _say(f"searches of another, p95, greedy {name}", statistics.median(times) * 1e3, "ms")
    for name in ("alone", "elsewhere"):
        ratio = statistics.median(one / other for one, other in zip(took["here"], took[name], strict=True))
        _say(f"  here / {name}, median of the rounds", 100 * ratio, "%")


def _beside(http: httpx.Client, url: str, key: str) -> tuple[float, dict[str, int]]:
    """The p95 of searches while a process asks ``url`` without end; and what it was answered."""
    command = [sys.executable, __file__, "greedy", url]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as sending:
        assert sending.stdin is not None
        sending.stdin.write(key + "\n")
        sending.stdin.flush()
        time.sleep(1)  # until what may be sent at once is used up
        p95 = _p95(_searches(http))
        told, _ = sending.communicate("", timeout=30)
    return p95, json.loads(told)


def _searches(http: httpx.Client) -> list[float]:
    """Seconds that each of some searches took."""
    took = []
    for _ in range(QUIET_CALLS):
        begin = time.perf_counter()
        http.post("/catalog/search", json={"limit": 10}).raise_for_status()
        took.append(time.perf_counter() - begin)
        time.sleep(QUIET_PAUSE_S)
    return took


def _p95(took: list[float]) -> float:
    return statistics.quantiles(took, n=20)[-1]


async def _be_greedy(url: str) -> None:
    """Send requests at a steady pace until standard input, whose first line is an API key, ends; print the answers."""
    key, place = sys.stdin.readline().strip(), urlsplit(url)
    request = f"GET /auth/me HTTP/1.1\r\nHost: {place.netloc}\r\nx-api-key: {key}\r\n\r\n".encode()
    ended = asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    answers, begin = Counter[str](), time.perf_counter()

    async def send(number: int) -> None:
        reader, writer = await asyncio.open_connection(place.hostname, place.port)
        turn = begin + number / GREEDY_PER_S
        while not ended.done():
            await asyncio.sleep(max(0.0, turn - time.perf_counter()))
            turn += GREEDY_CONNECTIONS / GREEDY_PER_S
            writer.write(request)
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
            await reader.readexactly(int(head.partition("content-length: ")[2].partition("\r")[0]))
            answers[head.split()[1]] += 1
        writer.close()

    await asyncio.gather(*map(send, range(GREEDY_CONNECTIONS)))
    sys.stdout.write(json.dumps({**answers, "ms": round(1000 * (time.perf_counter() - begin))}))


async def _refuse() -> None:
    """Refuse everybody until the end; print the address."""

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError):
            while await reader.readuntil(b"\r\n\r\n"):
                writer.write(b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    sys.stdout.write(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}\n")
    sys.stdout.flush()
    await server.serve_forever()


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
    match sys.argv[1:]:
        case ["greedy", url]:
            asyncio.run(_be_greedy(url))
        case ["refuse"]:
            asyncio.run(_refuse())
        case _:
            asyncio.run(main())
