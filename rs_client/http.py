"""One authenticated conversation with rs-server: time-outs everywhere, retries only where nothing can happen twice."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import httpx

from rs_client.auth import Auth
from rs_client.errors import Invalid, RsError, ServiceUnavailable, Timeout, from_problem

TIMEOUT = httpx.Timeout(60, connect=10)
_TRIES = 4
_FIRST_PAUSE_S = 0.2
_AWAY = frozenset({502, 503, 504})


class Http:
    """Requests to rs-server in your name; answers are JSON, refusals are the errors of ``rs_client.errors``."""

    def __init__(
        self, server_url: str, auth: Auth, client: httpx.Client, *, pause: Callable[[float], None] = time.sleep
    ) -> None:
        self.server_url = server_url.rstrip("/")
        self.auth = auth
        self._origins = {_origin(self.server_url)}
        self._client = client
        self._pause = pause

    def get(self, path: str, **parameters: Any) -> Any:
        """The JSON answer of a path, or of an address of the server; tried again when it is away for a moment."""
        return self._again("GET", path, params=parameters)

    def post(self, path: str, body: Any) -> Any:
        """Send JSON once."""
        return self._read(self._send("POST", path, json=body))

    def post_once(self, path: str, body: Any) -> Any:
        """Send JSON that must have its effect once: tried again under one Idempotency-Key, which the server knows."""
        return self._again("POST", path, json=body, headers={"Idempotency-Key": str(uuid4())})

    def delete(self, path: str) -> Any:
        """Delete once."""
        return self._read(self._send("DELETE", path))

    def close(self) -> None:
        """Give the connections back."""
        self._client.close()

    def also_at(self, url: str) -> None:
        """Take another address for this server's: the one that it calls its own in its links."""
        self._origins.add(_origin(url))

    def owns(self, url: str) -> bool:
        """Whether an address lies at this server, so that it may be shown your identity."""
        return _origin(url) in self._origins

    def _again(self, method: str, path: str, **options: Any) -> Any:
        for attempt in range(_TRIES - 1):
            try:
                answer = self._send(method, path, **options)
            except ServiceUnavailable:
                pass
            else:
                if answer.status_code not in _AWAY:
                    return self._read(answer)
            self._pause(_FIRST_PAUSE_S * 2**attempt)
        return self._read(self._send(method, path, **options))

    def _send(self, method: str, path: str, headers: dict[str, str] | None = None, **options: Any) -> httpx.Response:
        url = f"{self.server_url}{path}" if path.startswith("/") else path
        if not self.owns(url):
            raise Invalid(f"{url} is not an address of {self.server_url}")
        try:
            return self._client.request(method, url, headers={**self.auth.headers(), **(headers or {})}, **options)
        except httpx.TimeoutException as error:
            raise Timeout(f"{url} did not answer in time", hint="try again later") from error
        except httpx.HTTPError as error:
            raise away(self.server_url, error) from error

    def _read(self, answer: httpx.Response) -> Any:
        if answer.is_error:
            raise from_problem(answer.status_code, _document(answer))
        if not answer.content:
            return None
        try:
            return answer.json()
        except ValueError as error:
            raise RsError(
                f"{answer.url} answered something that is not JSON", hint="is RS_SERVER_URL the address of rs-server?"
            ) from error


def away(server_url: str, reason: Exception) -> ServiceUnavailable:
    """The error for a server that cannot be reached."""
    return ServiceUnavailable(f"{server_url} does not answer: {reason}", hint="is the platform up? try `rs status`")


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def _document(answer: httpx.Response) -> dict[str, Any]:
    try:
        document = answer.json()
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}
