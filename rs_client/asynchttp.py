"""Drives conversations with rs-server on the running event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import httpx

from rs_client.auth import Auth
from rs_client.flow import Call, Flow, HangUp, Hear, Identity, Listen, Listening, Pause, Person, Server, Step
from rs_client.http import TIMEOUT, listening_options, options


class AsyncHttp:
    """Drives conversations on the running event loop.

    Raises what ``rs_client.flow.Server`` and the ``auth`` do. ``pause`` waits so many seconds.
    """

    def __init__(
        self,
        server_url: str,
        auth: Auth,
        client: httpx.AsyncClient | None = None,
        *,
        pause: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self.server = Server(server_url)
        self.auth = auth
        self.client = client or httpx.AsyncClient(timeout=TIMEOUT)
        self._pause = pause
        self._renewing = asyncio.Lock()

    @property
    def server_url(self) -> str:
        """Where rs-server is."""
        return self.server.url

    async def run[T](self, flow: Flow[T]) -> T:
        """Drive a conversation to its end."""
        try:
            step = next(flow)
            while True:
                try:
                    result = await self._done(step)
                except BaseException as error:  # noqa: BLE001 - the flow's to catch, or to clean up after and raise
                    step = flow.throw(error)
                else:
                    step = flow.send(result)
        except StopIteration as end:
            value: T = end.value
            return value

    async def _done(self, step: Step) -> Any:
        match step:
            case Call():
                return await self.client.request(**options(step))
            case Listen():
                answer = await self.client.send(self.client.build_request(**listening_options(step)), stream=True)
                if answer.is_error:  # it says why, and goes on no further
                    await answer.aread()
                return Listening(answer, answer.aiter_text())
            case Hear(to):
                return await anext(to.text, "")
            case HangUp(to):
                await to.answer.aclose()
            case Pause(seconds):
                return await self._pause(seconds)
            case Person():
                pass
            case Identity(refused):
                async with self._renewing:
                    return await self.run(self.auth.identity(refused))
        return None

    async def get(self, path: str, **parameters: Any) -> Any:
        """The JSON answer of a path, or of an address of the server; tried again when it is away for a moment."""
        return await self.run(self.server.get(path, **parameters))

    def __repr__(self) -> str:
        return f"<AsyncHttp {self.server_url}>"

    async def close(self) -> None:
        """Give the connections back."""
        await self.client.aclose()
