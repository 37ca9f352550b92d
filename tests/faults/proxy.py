"""Stands between the workers and the object storage, and lets some of the requests fail.

The bytes pass as they are, so that signatures hold; only the heads of requests are read.
"""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from random import Random

_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_HOPS = 65536


@dataclass
class Trouble:
    """What happens to how large a share of the requests; ``full`` refuses all writes, as a full disk does."""

    share: float = 0.0
    full: bool = False
    dice: Random = field(default_factory=lambda: Random(1))
    struck: int = 0

    def strikes(self, head: bytes) -> bytes | None:
        """The answer in place of the storage's own, or None."""
        writes = head.startswith((b"PUT", b"POST"))
        if self.full and writes:
            code, status = b"InternalError", b"500 Internal Server Error"
        elif self.dice.random() < self.share:
            code, status = self.dice.choice(
                [(b"SlowDown", b"503 Slow Down"), (b"InternalError", b"500 Internal Error")]
            )
        else:
            return None
        self.struck += 1
        body = b"<Error><Code>" + code + b"</Code><Message>no</Message></Error>"
        head = b"HTTP/1.1 " + status + b"\r\nContent-Type: application/xml\r\nConnection: close\r\n"
        return head + b"Content-Length: " + str(len(body)).encode() + b"\r\n\r\n" + body


@contextmanager
def proxied(host: str, port: int, trouble: Trouble) -> Iterator[int]:
    """A proxy in front of a storage; its port."""
    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(
        asyncio.start_server(lambda r, w: _serve(r, w, host, port, trouble), "127.0.0.1", 0, limit=2**20)
    )
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        asyncio.run_coroutine_threadsafe(_closed(server), loop).result(10)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
        loop.close()


async def _closed(server: asyncio.Server) -> None:
    """End the server and all that it serves."""
    server.close()
    mine = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in mine:
        task.cancel()
    await asyncio.gather(*mine, return_exceptions=True)


async def _serve(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str, port: int, trouble: Trouble
) -> None:
    back, there = await asyncio.open_connection(host, port)
    answers = asyncio.create_task(_pass(back, writer))
    try:
        await _forward(reader, writer, there, trouble)
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    finally:
        answers.cancel()
        there.close()
        writer.close()


async def _forward(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, there: asyncio.StreamWriter, trouble: Trouble
) -> None:
    """One request after the other, until one is struck or the caller is gone."""
    while True:
        head = await reader.readuntil(b"\r\n\r\n")
        if answer := trouble.strikes(head):
            writer.write(answer)
            await writer.drain()
            return
        there.write(head)
        found = _LENGTH.search(head)
        left = int(found[1]) if found else 0
        while left:
            piece = await reader.read(min(_HOPS, left))
            if not piece:
                return
            there.write(piece)
            await there.drain()
            left -= len(piece)
        await there.drain()


async def _pass(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while piece := await source.read(_HOPS):
            target.write(piece)
            await target.drain()
    target.close()
