"""One authenticated conversation with rs-server: time-outs everywhere, retries only where nothing can happen twice."""

from __future__ import annotations

import time
from typing import Any

import httpx

from rs_client.auth import Auth
from rs_client.errors import Invalid, ServiceUnavailable, Timeout, from_problem

TIMEOUT = httpx.Timeout(60, connect=10)
_TRIES = 3
_AGAIN = frozenset({502, 503, 504})


class Http:
    """Requests to rs-server in your name; answers are JSON, refusals are the errors of ``rs_client.errors``."""

    def __init__(self, server_url: str, auth: Auth, client: httpx.Client) -> None:
        self.server_url = server_url.rstrip("/")
        self.auth = auth
        self._addresses = {self.server_url}
        self._client = client

    def get(self, path: str, **parameters: Any) -> Any:
        """The JSON answer of a path; tried again when the server is away for a moment."""
        for attempt in range(1, _TRIES):
            try:
                answer = self._send("GET", path, params=parameters)
            except ServiceUnavailable:
                answer = None
            if answer is not None and answer.status_code not in _AGAIN:
                return self._read(answer)
            time.sleep(0.2 * 2**attempt)
        return self._read(self._send("GET", path, params=parameters))

    def post(self, path: str, body: Any) -> Any:
        """Send JSON once."""
        return self._read(self._send("POST", path, json=body))

    def delete(self, path: str) -> Any:
        """Delete once."""
        return self._read(self._send("DELETE", path))

    def also_at(self, url: str) -> None:
        """Take another address for this server's: the one that it calls its own in its links."""
        self._addresses.add(url.rstrip("/"))

    def owns(self, url: str) -> bool:
        """Whether an address lies at this server, so that it may be shown your identity."""
        return any(url == address or url.startswith(f"{address}/") for address in self._addresses)

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def _send(self, method: str, path: str, **options: Any) -> httpx.Response:
        url = f"{self.server_url}{path}" if path.startswith("/") else path
        if not self.owns(url):
            raise Invalid(f"{url} is not an address of {self.server_url}")
        try:
            return self._client.request(method, url, headers=self.auth.headers(), **options)
        except httpx.TimeoutException as error:
            raise Timeout(f"{url} did not answer in time", hint="try again later") from error
        except httpx.HTTPError as error:
            raise ServiceUnavailable(
                f"{self.server_url} does not answer: {error}", hint="is the platform up? try `rs status`"
            ) from error

    def _read(self, answer: httpx.Response) -> Any:
        if answer.is_error:
            raise from_problem(answer.status_code, _document(answer))
        return answer.json() if answer.content else None


def _document(answer: httpx.Response) -> dict[str, Any]:
    try:
        document = answer.json()
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}
