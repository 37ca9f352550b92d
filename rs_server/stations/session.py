"""Talking to one station over HTTP: its token, one retry policy, its redirects, and its failures as our errors."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl, quote

import httpx
import orjson
import structlog

from rs_server.errors import NotFound, NotOnline, StationRefused, StationTimeout, StationUnavailable
from rs_server.settings import StationSettings

log = structlog.get_logger(__name__)

ATTEMPTS = 3
BACKOFF_S = 0.2  # the first wait is up to this long, each further one up to twice the last
LONGEST_WAIT_S = 2.0  # a station that asks us to stay away longer is down, as far as this request goes
CONNECT_S = 5.0
REDIRECTS = 5
REFRESH_MARGIN_S = 30.0

_BUSY = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE})
_BYTES = frozenset({HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE})
_GONE = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.GONE})
_SIGNED = frozenset({"x-amz-credential", "x-amz-signature", "signature"})
_TOKEN_LIFE_S = 300.0  # where the answer does not say (RFC 6749 §5.1 only recommends it)

Sleep = Callable[[float], Awaitable[None]]


class StationToken(httpx.Auth):
    """The OAuth2 token of a station (RFC 6749): fetched when first needed, again before it expires or once refused."""

    def __init__(
        self, station: str, url: str, form: Mapping[str, str], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._station = station
        self._url = url
        self._form = dict(form)
        self._clock = clock
        self._value = ""
        self._good_until = -1.0
        self._lock = asyncio.Lock()

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """Send the request with a token that holds; with a new one, once, if the station refuses it."""
        refused = ""
        for _ in range(2):
            async with self._lock:  # however many requests wait here, one of them fetches the token
                if self._value == refused or self._clock() >= self._good_until:
                    answer = yield httpx.Request("POST", self._url, data=self._form)
                    await answer.aread()
                    self._take(answer)
                refused = self._value
            request.headers["Authorization"] = f"Bearer {refused}"
            response = yield request
            if response.status_code != HTTPStatus.UNAUTHORIZED:
                return

    def _take(self, answer: httpx.Response) -> None:
        if answer.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR or answer.status_code in _BUSY:
            raise StationUnavailable(self._station, f"its token endpoint answered {answer.status_code}")
        if answer.is_error:
            raise StationRefused(
                self._station,
                f"its token endpoint answered {answer.status_code}",
                hint="the operators must check the credentials in the settings",
            )
        try:
            token = answer.json()
            self._value, life = str(token["access_token"]), float(token.get("expires_in", _TOKEN_LIFE_S))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise StationRefused(self._station, "its token endpoint answered something that is no token") from error
        self._good_until = self._clock() + max(life - REFRESH_MARGIN_S, life / 2)


class Session:
    """All requests to one station go through here. Only GET is sent, so a failed request may be sent again."""

    def __init__(
        self, name: str, settings: StationSettings, http: httpx.AsyncClient, *, sleep: Sleep = asyncio.sleep
    ) -> None:
        self.name = name
        self._root = settings.url.rstrip("/")
        self._timeout_s = settings.timeout_s
        self._http = http
        self._sleep = sleep
        self._hosts = {httpx.URL(self._root).host, *settings.redirect_hosts}

    async def query(self, path: str, options: Mapping[str, str | int]) -> dict[str, Any]:
        """The JSON object that an OData query answers."""
        text = "&".join(f"{name}={quote(str(value), safe=_PLAIN)}" for name, value in options.items())
        content = await self._read(f"{self._root}/{path}?{text}")
        try:
            found = orjson.loads(content)
        except ValueError as error:
            raise StationRefused(self.name, "it answered something that is not JSON") from error
        if not isinstance(found, dict):
            raise StationRefused(self.name, "it answered JSON that is not an object")
        return found

    async def _read(self, url: str) -> bytes:
        """The whole body of an answer."""
        try:
            async with asyncio.timeout(self._timeout_s), self._open(url, {"Accept": "application/json"}) as response:
                return await response.aread()
        except TimeoutError as error:
            raise StationTimeout(self.name, f"no whole answer within {self._timeout_s:g} s") from error
        except httpx.TransportError as error:
            raise self._transport(error) from error
        except httpx.DecodingError as error:
            raise StationRefused(self.name, "its answer cannot be unpacked") from error
        except NotFound as error:
            raise StationRefused(self.name, "it knows nothing under the address in the settings") from error

    @asynccontextmanager
    async def stream(self, path: str, headers: Mapping[str, str]) -> AsyncIterator[httpx.Response]:
        """A download, open at its first byte; read it with ``chunks``."""
        async with self._open(f"{self._root}/{path}", {"Accept-Encoding": "identity", **headers}) as response:
            if response.status_code == HTTPStatus.ACCEPTED:
                raise NotOnline(
                    f"station {self.name} must bring it from its archive first",
                    hint="order it: POST /lta/orders",
                    station=self.name,
                )
            if response.status_code not in _BYTES:
                raise StationRefused(self.name, f"asked for a file, it answered {response.status_code}")
            yield response

    async def chunks(self, response: httpx.Response) -> AsyncIterator[bytes]:
        """The bytes of a download as they come; a broken one ends in ``StationUnavailable``, never early."""
        try:
            async for chunk in response.aiter_raw():
                yield chunk
        except httpx.TransportError as error:
            raise self._transport(error) from error

    @asynccontextmanager
    async def _open(self, url: str, headers: Mapping[str, str]) -> AsyncIterator[httpx.Response]:
        async with AsyncExitStack() as stack:
            response = await self._attempts(httpx.URL(url), headers)
            stack.push_async_callback(response.aclose)
            yield response

    async def _attempts(self, url: httpx.URL, headers: Mapping[str, str]) -> httpx.Response:
        """One retry policy: what may pass by itself is tried again after a wait of random length."""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return await self._once(url, headers)
            except StationUnavailable as error:
                wait = max(error.members.get("retry_after_s") or 0.0, self._pause(attempt))
                if attempt == ATTEMPTS or wait > LONGEST_WAIT_S:
                    raise
                log.info("station_retry", station=self.name, attempt=attempt, reason=error.detail)
            await self._sleep(wait)
        raise AssertionError("the last attempt returns or raises")

    def _pause(self, attempt: int) -> float:
        return random.uniform(0, BACKOFF_S * 2 ** (attempt - 1))  # noqa: S311 - jitter, not a secret

    async def _once(self, url: httpx.URL, headers: Mapping[str, str]) -> httpx.Response:
        signed = False
        for _ in range(REDIRECTS + 1):
            response = await self._send(url, headers, signed=signed)
            if not response.has_redirect_location:
                return await self._checked(response)
            await response.aclose()
            url, signed = self._redirect(url, response)
        raise StationRefused(self.name, f"it redirects more than {REDIRECTS} times")

    async def _send(self, url: httpx.URL, headers: Mapping[str, str], *, signed: bool) -> httpx.Response:
        request = self._http.build_request("GET", url, headers=headers)
        auth = None if signed else httpx.USE_CLIENT_DEFAULT
        try:
            return await self._http.send(request, stream=True, auth=auth)
        except httpx.TransportError as error:
            raise self._transport(error) from error

    def _redirect(self, url: httpx.URL, response: httpx.Response) -> tuple[httpx.URL, bool]:
        """Where a redirect leads, and whether that address is signed, so that our token must not be sent along.

        Stations redirect in two ways: to another host of theirs, which needs the token and the range again, or to an
        S3 address signed for us, which refuses a request that carries a token as well.
        """
        try:
            target = url.join(response.headers["location"])
        except httpx.InvalidURL as error:
            raise StationRefused(self.name, "it redirects to something that is no address") from error
        if target.scheme not in ("http", "https") or target.host not in self._hosts:
            raise StationRefused(
                self.name,
                f"it redirects to {target.host or target.scheme}, which is not an allowed host",
                hint="the operators can allow it: redirect_hosts of the station",
            )
        signed = not _SIGNED.isdisjoint(name.lower() for name, _ in parse_qsl(target.query.decode()))
        if url.scheme == "https" and target.scheme == "http" and not signed:
            raise StationRefused(self.name, "it redirects from https to http, where our token would be readable")
        return target, signed

    async def _checked(self, response: httpx.Response) -> httpx.Response:
        status = response.status_code
        if status < HTTPStatus.BAD_REQUEST or status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
            return response
        await response.aclose()
        if status in _GONE:
            raise NotFound(f"station {self.name} does not have it (any more)", station=self.name)
        if status in _BUSY or (status >= HTTPStatus.INTERNAL_SERVER_ERROR and status != HTTPStatus.NOT_IMPLEMENTED):
            wait = _seconds(response.headers.get("retry-after", ""))
            raise StationUnavailable(self.name, f"it answered {status}", hint="try again later", retry_after_s=wait)
        raise StationRefused(self.name, f"it answered {status}", answered=status)

    def _transport(self, error: httpx.TransportError) -> StationUnavailable | StationTimeout:
        if isinstance(error, httpx.ReadTimeout):
            return StationTimeout(self.name, f"silent for {self._timeout_s:g} s", hint="try again later")
        return StationUnavailable(self.name, f"it cannot be reached ({type(error).__name__})", hint="try again later")


@asynccontextmanager
async def open_session(
    name: str, settings: StationSettings, *, transport: httpx.AsyncBaseTransport | None = None
) -> AsyncIterator[Session]:
    """A session that is closed at the end; ``transport`` stands in for the network in tests."""
    form = {field: value.get_secret_value() for field, value in settings.grant.items()}
    async with httpx.AsyncClient(
        auth=StationToken(name, settings.token_url, form) if settings.token_url else None,
        transport=transport,
        timeout=httpx.Timeout(settings.timeout_s, connect=min(CONNECT_S, settings.timeout_s)),
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=20),
        trust_env=False,
    ) as http:
        yield Session(name, settings, http)


_PLAIN = "$'(),:/"  # stays readable in a query; all of it is legal there (RFC 3986 §3.4)


def _seconds(retry_after: str) -> float | None:
    """A ``Retry-After`` in seconds; a date or nonsense counts as no wish."""
    return float(retry_after) if retry_after.isascii() and retry_after.isdigit() else None
