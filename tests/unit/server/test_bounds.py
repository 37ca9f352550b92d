"""Requests that are too large are refused, and nothing of them is kept."""

from __future__ import annotations

from collections.abc import AsyncIterator

import httpx
import pytest
from fastapi import FastAPI, Request

from rs_server import errors
from rs_server.bounds import MOST_HEADER_BYTES, MOST_HEADERS, Bounds
from tests.asgi import client

MOST = 1000


def app() -> FastAPI:
    app = FastAPI()
    errors.install(app)

    @app.post("/length")
    async def length(request: Request) -> int:
        return len(await request.body())

    @app.post("/json")
    async def members(body: dict[str, str]) -> int:
        return len(body)

    app.add_middleware(Bounds, most_bytes=MOST)
    return app


async def chunks(count: int, size: int = 100) -> AsyncIterator[bytes]:
    for _ in range(count):
        yield b"x" * size


async def endless() -> AsyncIterator[bytes]:
    while True:
        yield b"x" * 100


def _same(answer: httpx.Response) -> None:
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == answer.status_code


async def test_bodies_within_the_bound_come_through() -> None:
    async with client(app()) as http:
        for body in (b"", b"x", b"x" * MOST):
            assert (await http.post("/length", content=body)).json() == len(body)
        assert (await http.post("/length", content=chunks(10))).json() == MOST


@pytest.mark.parametrize("path", ["/length", "/json"])
async def test_larger_ones_do_not(path: str) -> None:
    async with client(app()) as http:
        for answer in (
            await http.post(path, content=b"x" * (MOST + 1)),
            await http.post(path, content=b"", headers={"content-length": "1000000000000"}),
            await http.post(path, content=chunks(11)),
            await http.post(path, content=endless()),
        ):
            assert answer.status_code == 413
            _same(answer)


@pytest.mark.parametrize(
    "headers",
    [{f"x-{number}": "y" for number in range(MOST_HEADERS + 1)}, {"x-long": "y" * MOST_HEADER_BYTES}],
    ids=["many", "long"],
)
async def test_too_many_headers(headers: dict[str, str]) -> None:
    async with client(app()) as http:
        answer = await http.post("/length", headers=headers)
        assert answer.status_code == 431
        _same(answer)
