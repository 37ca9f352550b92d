"""A server in this process, on a free port, for tests that need to choose its settings."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import uvicorn
from fastapi import FastAPI

from rs_server.app import create_app
from rs_server.promptness import PromptProtocol
from rs_server.settings import AccessSettings, Settings
from tests.identity import Issuer

PATIENCE_S = 30.0


@contextmanager
def serving(values: dict[str, Any]) -> Iterator[str]:
    """A running server with these settings (as in the settings file); its address."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        with running(create_app(Settings(**{**values, "host": "127.0.0.1", "public_url": url})), listening):
            yield url


@contextmanager
def running(app: FastAPI, listening: socket.socket) -> Iterator[None]:
    """Serve an application on a socket, in a thread of its own."""
    config = uvicorn.Config(
        app, http=PromptProtocol, log_config=None, access_log=False, proxy_headers=False, timeout_keep_alive=120
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    try:
        _wait(server, thread)
        yield
    finally:
        server.should_exit = True
        thread.join(PATIENCE_S)


@contextmanager
def issuing(issuer: Issuer) -> Iterator[dict[str, Any]]:
    """The access settings of a server that trusts this issuer, whose keys are served meanwhile."""

    class Keys(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = json.dumps(issuer.key_set()).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Keys) as keys:
        thread = threading.Thread(target=keys.serve_forever, daemon=True)
        thread.start()
        try:
            yield AccessSettings(
                issuer=issuer.url, jwks_url=f"http://127.0.0.1:{keys.server_address[1]}/certs"
            ).model_dump(exclude_none=True)
        finally:
            keys.shutdown()
            thread.join(PATIENCE_S)


def _wait(server: uvicorn.Server, thread: threading.Thread) -> None:
    end = time.monotonic() + PATIENCE_S
    while not server.started:
        if not thread.is_alive() or time.monotonic() > end:
            raise AssertionError("the server did not start")
        time.sleep(0.02)


class Wire:
    """A TCP connection to somewhere that a test can cut and mend."""

    def __init__(self, host: str, port: int) -> None:
        self._there = (host, port)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listening.getsockname()[1])
        self._open: list[socket.socket] = []
        self._whole = True
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def cut(self) -> None:
        """End all connections and take no more."""
        self._whole = False
        for end in self._open:
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def mend(self) -> None:
        """Take connections again."""
        self._whole = True

    def close(self) -> None:
        """Stop for good."""
        self.cut()
        with suppress(OSError):
            self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join(PATIENCE_S)
        for end in self._open:
            end.close()

    def _accept(self) -> None:
        while True:
            try:
                here, _ = self._listening.accept()
            except OSError:
                return
            if not self._whole:
                here.close()
                continue
            there = socket.create_connection(self._there)
            self._open += [here, there]
            for source, target in ((here, there), (there, here)):
                threading.Thread(target=_copy, args=(source, target), daemon=True).start()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while chunk := source.recv(65536):
            target.sendall(chunk)
    with suppress(OSError):
        target.shutdown(socket.SHUT_RDWR)
