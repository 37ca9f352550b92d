"""Sends an answer, or as much of it as the faults let through, and notes what was sent."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import socket
import struct
import termios
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

from starlette.responses import Response, StreamingResponse
from starlette.types import Receive, Scope, Send

from rs_server.simulators.faults import Strikes
from rs_server.simulators.requestlog import Record

_PIECE = 256 * 1024
_TURNS_PER_S = 20  # a slow answer comes in so many pieces a second
_FLUSH_S = 60
_LINGER_NOT = struct.pack("ii", 1, 0)  # closing discards what was not sent, and resets


class _Cut(Exception):
    """The answer ends here. ``reset``: not by closing the connection in order."""

    def __init__(self, *, reset: bool) -> None:
        super().__init__()
        self.reset = reset


class Delivered(Response):
    """A response that suffers the strikes on its way; the record learns what became of it."""

    def __init__(
        self,
        response: Response,
        strikes: Strikes,
        record: Record,
        bytes_per_s: int | None = None,
        after: Callable[[], None] = lambda: None,
    ) -> None:
        self._after = after
        self._response = response
        self._strikes = strikes
        self._record = record
        self._speed = min(
            (one for one in (bytes_per_s, *(s.fault.bytes_per_s for s in strikes)) if one is not None), default=None
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send it."""
        record, begun = self._record, time.monotonic()
        connection: asyncio.Transport | None = scope.get("state", {}).get("connection")
        line = _Line(record, send, connection)
        try:
            await self._deliver(scope, line)
        except _Cut as cut:
            await line.cut(receive, reset=cut.reset)
        finally:
            record.seconds = time.monotonic() - begun
            self._after()

    async def _deliver(self, scope: Scope, line: _Line) -> None:
        response, record = self._response, self._record
        record.status = response.status_code
        declared = int(response.headers.get("content-length", 0))
        delta = sum(strike.fault.length_delta for strike in self._strikes)
        if delta:
            response.headers["content-length"] = str(max(0, declared + delta))
        await line.start(response)
        if scope["method"] != "HEAD":
            plan = _plan(self._strikes, declared, declared + min(0, delta), self._speed)
            async for piece in _pieces(response):
                await plan.send(piece, line)
            if delta > 0:
                raise _Cut(reset=False)
        record.whole = not delta
        await line.end()


async def _pieces(response: Response) -> AsyncIterator[bytes]:
    if isinstance(response, StreamingResponse):
        async for piece in response.body_iterator:
            assert isinstance(piece, bytes)
            yield piece
    else:
        yield bytes(response.body)


@dataclass
class _Line:
    """The way to the client. In tests without a server there is no connection, and resets are exceptions."""

    record: Record
    send: Send
    connection: asyncio.Transport | None

    async def start(self, response: Response) -> None:
        await self.send(
            {"type": "http.response.start", "status": response.status_code, "headers": response.raw_headers}
        )

    async def octets(self, piece: bytes) -> None:
        if self.connection is not None and self.connection.is_closing():
            raise _Cut(reset=True)  # the client is gone
        await self.send({"type": "http.response.body", "body": piece, "more_body": True})
        self.record.sent += len(piece)

    async def end(self) -> None:
        await self.send({"type": "http.response.body", "body": b"", "more_body": False})

    async def cut(self, receive: Receive, *, reset: bool) -> None:
        """Break the connection off, once what was sent so far is on its way."""
        if self.connection is None:
            if reset:
                raise ConnectionResetError("the station reset the connection")
            await self.end()
            return
        if reset:
            self.connection.set_write_buffer_limits(0)  # the next send waits until the last ones are with the system
            await self.send({"type": "http.response.body", "body": b"", "more_body": True})
            raw: socket.socket = self.connection.get_extra_info("socket")
            await _acknowledged(raw)
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
            self.connection.abort()
        else:
            self.connection.close()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(_gone(receive), _FLUSH_S)
        self.connection.abort()


async def _acknowledged(raw: socket.socket) -> None:
    """Wait until the other side has all that was sent: a reset discards the rest."""
    deadline = time.monotonic() + _FLUSH_S
    while time.monotonic() < deadline:
        waiting = fcntl.ioctl(raw.fileno(), termios.TIOCOUTQ, bytes(4)) if raw.fileno() >= 0 else bytes(4)
        if not any(waiting):
            return
        await asyncio.sleep(0.005)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


# --- what happens at which octet --------------------------------------------------------------------------------------


@dataclass
class _Plan:
    """What is to happen to an answer, by place; ``at`` is the place of the next octet."""

    stop: int  # octets from here on are withheld
    cuts: dict[int, bool]  # place → whether by a reset
    stalls: dict[int, float]
    flips: dict[int, int]  # place → mask
    speed: int | None
    at: int = 0
    begun: float = field(default_factory=time.monotonic)

    async def send(self, piece: bytes, line: _Line) -> None:
        """One piece, as far as it gets."""
        data = memoryview(self._flipped(piece))[: max(0, self.stop - self.at)]
        while True:
            await self._happen()
            if not data:
                return
            size = min(len(data), self._until_next())
            await line.octets(bytes(data[:size]))
            data = data[size:]
            self.at += size
            await self._pace()

    async def _happen(self) -> None:
        await asyncio.sleep(self.stalls.pop(self.at, 0))
        if self.at in self.cuts:
            raise _Cut(reset=self.cuts[self.at])

    def _until_next(self) -> int:
        """How many octets can go at once."""
        most = _PIECE if self.speed is None else max(1, min(_PIECE, self.speed // _TURNS_PER_S))
        return min([most, *(place - self.at for place in (*self.cuts, *self.stalls) if place > self.at)])

    def _flipped(self, piece: bytes) -> bytes:
        inside = {place - self.at: mask for place, mask in self.flips.items() if 0 <= place - self.at < len(piece)}
        if not inside:
            return piece
        changed = bytearray(piece)
        for place, mask in inside.items():
            changed[place] ^= mask
        return bytes(changed)

    async def _pace(self) -> None:
        if self.speed is not None:
            await asyncio.sleep(max(0.0, self.begun + self.at / self.speed - time.monotonic()))


def _plan(strikes: Strikes, size: int, stop: int, speed: int | None) -> _Plan:
    plan = _Plan(stop, {}, {}, {}, speed)
    for strike in strikes:
        fault = strike.fault
        if fault.short_at is not None:
            plan.cuts[strike.place(fault.short_at, size)] = False
        if fault.reset_at is not None:
            plan.cuts[strike.place(fault.reset_at, size)] = True
        if fault.stall_at is not None:
            plan.stalls[strike.place(fault.stall_at, size)] = fault.stall_s
        if fault.flip_at is not None:
            plan.flips[strike.place(fault.flip_at, size)] = 1 << strike.dice.randrange(8)
    return plan
