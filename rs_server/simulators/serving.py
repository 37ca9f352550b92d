"""Serves stations over HTTP, in this process or beside it, with the connection in reach of the faults that break it.

A test that wants a real connection::

    with running(settings) as address:
        httpx.get(f"{address}/health")
"""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from rs_server.simulators.app import create_app
from rs_server.simulators.settings import SimulatorSettings

_START_S = 30


class Connection(H11Protocol):
    """One connection; its transport is in the state of each of its requests, as ``connection``."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Remember the transport."""
        self.app_state = {**self.app_state, "connection": transport}
        super().connection_made(transport)


def serve(settings: SimulatorSettings, listening: socket.socket | None = None) -> None:
    """Serve until told to stop, at the address of the settings or on a socket that listens there already."""
    uvicorn.Server(_config(settings)).run([listening] if listening is not None else None)


@contextmanager
def running(settings: SimulatorSettings) -> Iterator[str]:
    """The station in a thread of this process, on a port of the system's choice; yields its address.

    Its redirects lead to another name of the same host, unless the settings name another address.
    """
    with socket.create_server((settings.host, 0)) as listening:
        port = listening.getsockname()[1]
        other = settings.other_url or f"http://localhost:{port}"
        server = uvicorn.Server(_config(settings.model_copy(update={"port": port, "other_url": other})))
        thread = threading.Thread(target=server.run, args=([listening],), daemon=True)
        thread.start()
        try:
            _await_start(server, thread)
            yield f"http://{settings.host}:{port}"
        finally:
            server.should_exit = True
            thread.join(_START_S)


def _config(settings: SimulatorSettings) -> uvicorn.Config:
    return uvicorn.Config(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        loop="asyncio",  # whose sockets can be told to reset
        http=Connection,
        ws="none",
        timeout_graceful_shutdown=1,  # answers that a fault holds back must not hold this back
        access_log=False,
        date_header=False,  # the station's clock tells the date
        log_config=None,
    )


def _await_start(server: uvicorn.Server, thread: threading.Thread) -> None:
    deadline = time.monotonic() + _START_S
    while not server.started:
        if not thread.is_alive() or time.monotonic() > deadline:
            raise RuntimeError("the station does not start")
        time.sleep(0.01)
