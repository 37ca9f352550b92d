"""Headers that come drop by drop: the connection is closed, and those of others go on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from rs_server.promptness import PromptProtocol

HEADERS_S = 0.4
GOOD = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


class Hasty(PromptProtocol):
    """The same with less patience."""

    headers_s = HEADERS_S


async def _slow(_: Request) -> Response:
    await asyncio.sleep(2 * HEADERS_S)
    return PlainTextResponse("done")


@pytest.fixture
async def port() -> AsyncIterator[int]:
    app = Starlette(routes=[Route("/", _slow)])
    config = uvicorn.Config(app, port=0, http=Hasty, log_config=None, timeout_keep_alive=30)
    server = uvicorn.Server(config)
    running = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - there is nothing to wait on
        await asyncio.sleep(0.01)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    await running


@pytest.mark.parametrize("begun", [b"", b"G", GOOD[:-2] + b"X-Slow: "])
async def test_slow_headers_end_the_connection(port: int, begun: bytes) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(begun)
    answer = await asyncio.wait_for(reader.read(), 20 * HEADERS_S)
    assert answer.startswith(b"HTTP/1.1 408 Request Timeout")
    writer.close()


async def test_a_drop_now_and_then_buys_no_time(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(GOOD[:-2] + b"X-Slow: ")

    async def drip() -> None:
        for _ in range(200):
            writer.write(b"a")
            await asyncio.sleep(HEADERS_S / 4)

    dripping = asyncio.create_task(drip())
    line = await asyncio.wait_for(reader.readline(), 20 * HEADERS_S)
    assert line == b"HTTP/1.1 408 Request Timeout\r\n"
    dripping.cancel()
    writer.close()


async def test_answers_may_take_their_time_and_connections_stay(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answers: list[Any] = []
    for _ in range(2):
        writer.write(GOOD)
        answers.append(await asyncio.wait_for(reader.readuntil(b"done"), 10))
        await asyncio.sleep(2 * HEADERS_S)  # longer than headers may take: nothing was begun
    assert [answer.splitlines()[0] for answer in answers] == [b"HTTP/1.1 200 OK"] * 2
    writer.close()
