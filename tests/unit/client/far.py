"""The far side of the client for its tests: an rs-server that answers from a table and keeps what it was asked."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pystac
import xarray as xr

from rs_client.asynchttp import AsyncHttp
from rs_client.auth import ApiKey
from rs_client.http import Http
from rs_client.session import RsClient

SERVER = "http://server.test"

type Answer = Callable[[httpx.Request], httpx.Response]


class Far:
    """Answers one after the other, the last one for ever; keeps the requests."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self._answers = list(answers)
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Exception):
            raise answer
        return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)

    @property
    def forms(self) -> list[dict[str, str]]:
        """The bodies of the requests, read as HTML forms."""
        return [dict(httpx.QueryParams(request.content.decode())) for request in self.requests]


def client(answer: Answer) -> httpx.Client:
    """An HTTP client whose other end is this."""
    return httpx.Client(transport=httpx.MockTransport(answer))


def http(answer: Answer) -> Http:
    """A conversation with a server that answers so."""
    return Http(SERVER, ApiKey("rsk_alice"), client(answer), pause=lambda seconds: None)


def async_http(answer: Answer) -> AsyncHttp:
    """The same for asyncio."""

    async def pause(seconds: float) -> None:
        pass

    return AsyncHttp(SERVER, ApiKey("rsk_alice"), httpx.AsyncClient(transport=httpx.MockTransport(answer)), pause=pause)


def session(answer: Answer) -> RsClient:
    """A session with a server that answers so."""
    return RsClient(http(answer))


class Shelf:
    """An object storage where every product is an empty tree of its item's name."""

    def open(self, item: pystac.Item) -> xr.DataTree:
        """An empty product."""
        return xr.DataTree(name=item.id)


def real_session(url: str, key: str = "rsk_alice") -> RsClient:
    """A session with a server of this process; its storage is a shelf."""
    opened = RsClient(Http(url, ApiKey(key), pause=lambda seconds: None))
    opened.__dict__["storage"] = Shelf()
    return opened


def without_events(answer: Answer) -> Answer:
    """A server that answers so, and has no events of jobs."""

    def wrapped(request: httpx.Request) -> httpx.Response:
        return httpx.Response(404) if request.url.path.endswith("/events") else answer(request)

    return wrapped


def table(answers: dict[str, Any]) -> Answer:
    """A server that knows these paths (JSON documents) and answers 404 to others."""

    def answer(request: httpx.Request) -> httpx.Response:
        found = answers.get(f"{request.method} {request.url.path}")
        return httpx.Response(404, json={"detail": "not here"}) if found is None else httpx.Response(200, json=found)

    return answer


@contextmanager
def serving(answer: Callable[[str, str, dict[str, str]], tuple[int, Any]]) -> Iterator[str]:
    """The address of a real HTTP server of this process; ``answer`` gets method, path with query, and headers."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            headers = {name.lower(): value for name, value in self.headers.items()}
            status, document = answer(self.command, self.path, headers)
            body = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815 - the base class's name

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's name
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}"
        finally:
            server.shutdown()
            thread.join(10)
