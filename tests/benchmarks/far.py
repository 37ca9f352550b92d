"""A station that does as little as it can: it serves bytes, so that what is measured is who fetches them.

``python -m tests.benchmarks.far PORT BYTES_PER_S LATENCY_S [SLOW]`` answers ``GET /odata/v1/…(<id>)/$value``: the id
ends with the file's size in hexadecimal; ranges are served. Each connection is held to the speed; 0: none is. The
connection that is asked for the first part of a file is held to ``SLOW`` bytes per second, if that is given.
"""

from __future__ import annotations

import asyncio
import re
import sys

_BLOCK = bytes(range(256)) * 4096  # 1 MiB that repeats: any range of a file is a slice of it
_REQUEST = re.compile(rb"GET \S+\([0-9a-fA-F-]*?([0-9a-fA-F]{12})\)/\$value")
_RANGE = re.compile(rb"[Rr]ange: bytes=(\d+)-(\d+)")
_CHUNK = 256 * 1024


def content(size: int) -> bytes:
    """The bytes of a file."""
    return (_BLOCK * (size // len(_BLOCK) + 1))[:size]


async def serve(port: int, bytes_per_s: int, latency_s: float, slow: int = 0) -> None:
    """Serve for ever."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        speed = bytes_per_s
        try:
            while head := await reader.readuntil(b"\r\n\r\n"):
                await asyncio.sleep(latency_s)
                if slow and b"bytes=0-" in head:
                    speed = slow
                await _answer(head, writer, speed)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", port, limit=2**20)
    async with server:
        await server.serve_forever()


async def _answer(head: bytes, writer: asyncio.StreamWriter, bytes_per_s: int) -> None:
    found = _REQUEST.match(head)
    if found is None:
        writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
        await writer.drain()
        return
    size = int(found[1], 16)
    asked = _RANGE.search(head)
    start, stop = (int(asked[1]), min(size, int(asked[2]) + 1)) if asked else (0, size)
    status = f"206 Partial Content\r\nContent-Range: bytes {start}-{stop - 1}/{size}" if asked else "200 OK"
    writer.write(f'HTTP/1.1 {status}\r\nETag: "1"\r\nContent-Length: {stop - start}\r\n\r\n'.encode())
    loop = asyncio.get_running_loop()
    begin, sent = loop.time(), 0
    while start < stop:
        offset = start % len(_BLOCK)
        piece = memoryview(_BLOCK)[offset : offset + min(_CHUNK, stop - start)]
        writer.write(piece)
        await writer.drain()
        start += len(piece)
        sent += len(piece)
        if bytes_per_s:
            await asyncio.sleep(max(0.0, begin + sent / bytes_per_s - loop.time()))


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), *map(int, sys.argv[4:])))
