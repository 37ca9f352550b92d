"""Drives conversations with rs-server in the calling thread; `asynchttp` has the driver for asyncio."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import httpx

from rs_client.auth import Auth
from rs_client.flow import Call, Flow, HangUp, Hear, Identity, Listen, Listening, Pause, Person, Server, Step

TIMEOUT = httpx.Timeout(120, connect=10)
"""Seconds to connect, and between two pieces of an answer: a station may take its time over a search."""


class Http:
    """Drives conversations in the calling thread; may be used from several threads.

    Raises what ``rs_client.flow.Server`` and the ``auth`` do. ``pause`` waits so many seconds.
    """

    def __init__(
        self,
        server_url: str,
        auth: Auth,
        client: httpx.Client | None = None,
        *,
        pause: Callable[[float], None] = time.sleep,
    ) -> None:
        self.server = Server(server_url)
        self.auth = auth
        self.client = client or httpx.Client(timeout=TIMEOUT)
        self._pause = pause
        self._renewing = threading.Lock()

    @property
    def server_url(self) -> str:
        """Where rs-server is."""
        return self.server.url

    def run[T](self, flow: Flow[T]) -> T:
        """Drive a conversation to its end."""
        try:
            step = next(flow)
            while True:
                try:
                    result = self._done(step)
                except BaseException as error:  # noqa: BLE001 - the flow's to catch, or to clean up after and raise
                    step = flow.throw(error)
                else:
                    step = flow.send(result)
        except StopIteration as end:
            value: T = end.value
            return value

    def _done(self, step: Step) -> Any:
        match step:
            case Call():
                return self.client.request(**options(step))
            case Listen():
                answer = self.client.send(self.client.build_request(**listening_options(step)), stream=True)
                if answer.is_error:  # it says why, and goes on no further
                    answer.read()
                return Listening(answer, answer.iter_text())
            case Hear(to):
                return next(to.text, "")
            case HangUp(to):
                to.answer.close()
            case Pause(seconds):
                return self._pause(seconds)
            case Person():
                pass
            case Identity(refused):
                with self._renewing:
                    return self.run(self.auth.identity(refused))
        return None

    def get(self, path: str, **parameters: Any) -> Any:
        """The JSON answer of a path, or of an address of the server; tried again when it is away for a moment."""
        return self.run(self.server.get(path, **parameters))

    def post(self, path: str, body: Any) -> Any:
        """Send JSON once."""
        return self.run(self.server.post(path, body))

    def post_once(self, path: str, body: Any) -> Any:
        """Send JSON that must have its effect once, however often it is tried."""
        return self.run(self.server.post_once(path, body))

    def put(self, path: str, body: Any) -> Any:
        """Put JSON in a place."""
        return self.run(self.server.put(path, body))

    def delete(self, path: str) -> Any:
        """Delete once."""
        return self.run(self.server.delete(path))

    def close(self) -> None:
        """Give the connections back."""
        self.client.close()

    def __repr__(self) -> str:
        return f"<Http {self.server_url}>"


def options(call: Call) -> dict[str, Any]:
    """The arguments of ``httpx`` for a call."""
    url = httpx.URL(call.url)
    if call.params:  # httpx puts them in the place of those that an address has already
        url = url.copy_merge_params(dict(call.params))
    stated = {"json": call.json, "data": call.form}
    given = {name: value for name, value in stated.items() if value is not None}
    return {"method": call.method, "url": url, "headers": dict(call.headers), **given}


def listening_options(listen: Listen) -> dict[str, Any]:
    """The arguments of ``httpx`` for an answer that goes on."""
    timeout = httpx.Timeout(listen.silence_s, connect=10)
    return {"method": "GET", "url": listen.url, "headers": dict(listen.headers), "timeout": timeout}
