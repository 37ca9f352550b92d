"""Talking to one station over HTTP: one retry policy, its redirects, its limits, and its failures as our errors."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl, quote

import httpx
import orjson
import structlog

from rs_server.errors import (
    NotFound,
    NotOnline,
    RsError,
    StationRefused,
    StationTimeout,
    StationUnavailable,
    TooManyRequests,
)
from rs_server.settings import StationSettings
from rs_server.stations.login import login
from rs_server.stations.manners import Breaker, Clock, Gate, Sleep
from rs_server.stations.metrics import StationMetrics

log = structlog.get_logger(__name__)

ATTEMPTS = 3
BACKOFF_S = 0.2  # the first wait is up to this long, each further one up to twice the last
LONGEST_WAIT_S = 2.0  # a station that asks us to stay away longer is down, as far as this request goes
CONNECT_S = 5.0
REDIRECTS = 5

_BUSY = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.BAD_GATEWAY, HTTPStatus.SERVICE_UNAVAILABLE})
_BYTES = frozenset({HTTPStatus.OK, HTTPStatus.PARTIAL_CONTENT, HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE})
_QUOTA = frozenset({HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.FORBIDDEN})
_GONE = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.GONE})
_SIGNED = frozenset({"x-amz-credential", "x-amz-signature", "signature"})


class Session:
    """All requests to one station go through here. What is read may be asked for again; an order is sent once."""

    def __init__(
        self,
        name: str,
        settings: StationSettings,
        http: httpx.AsyncClient,
        *,
        metrics: StationMetrics | None = None,
        sleep: Sleep = asyncio.sleep,
        clock: Clock = time.monotonic,
    ) -> None:
        self.name = name
        self._root = settings.url.rstrip("/")
        self._settings = settings
        self._http = http
        self._sleep = sleep
        self._hosts = {httpx.URL(self._root).host, *settings.redirect_hosts}
        self._metrics = metrics or StationMetrics()
        self._breaker = Breaker(name, settings.failures, settings.pause_s, clock=clock)
        self._queries = Gate(
            name,
            settings.queries_at_once,
            per_second=settings.queries_per_s,
            patience_s=settings.timeout_s,
            clock=clock,
            sleep=sleep,
        )
        self._downloads = Gate(
            name, settings.downloads_at_once, patience_s=settings.timeout_s, clock=clock, sleep=sleep
        )

    async def query(self, path: str, options: Mapping[str, str | int]) -> dict[str, Any]:
        """The JSON object that an OData query answers."""
        text = "&".join(f"{name}={quote(str(value), safe=_PLAIN)}" for name, value in options.items())
        async with self._watched(self._queries):
            return self._object(await self._read(httpx.Request("GET", f"{self._root}/{path}?{text}")))

    async def send(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Post a JSON object, once, and read the one that is answered; ``TooManyRequests`` where a quota is used up."""
        async with self._watched(self._queries):
            return self._object(await self._read(httpx.Request("POST", f"{self._root}/{path}", json=dict(body))))

    def _object(self, content: bytes) -> dict[str, Any]:
        try:
            found = orjson.loads(content)
        except ValueError as error:
            raise StationRefused(self.name, "it answered something that is not JSON") from error
        if not isinstance(found, dict):
            raise StationRefused(self.name, "it answered JSON that is not an object")
        return found

    async def _read(self, request: httpx.Request) -> bytes:
        """The whole body of an answer, if it is not too long."""
        timeout_s = self._settings.timeout_s
        try:
            async with asyncio.timeout(timeout_s), self._open(request) as response:
                return await self._body(response)
        except TimeoutError as error:
            raise StationTimeout(self.name, f"no whole answer within {timeout_s:g} s") from error
        except httpx.TransportError as error:
            raise self._transport(error) from error
        except httpx.DecodingError as error:
            raise StationRefused(self.name, "its answer cannot be unpacked") from error
        except NotFound as error:
            raise StationRefused(self.name, "it knows nothing under this address", answered=404) from error

    async def _body(self, response: httpx.Response) -> bytes:
        chunks, size, most = [], 0, self._settings.answer_bytes
        async for chunk in response.aiter_bytes():
            size += len(chunk)
            if size > most:
                raise StationRefused(self.name, f"its answer is longer than {most} bytes", hint="ask for less at once")
            chunks.append(chunk)
        self._metrics.came(self.name, size)
        return b"".join(chunks)

    @asynccontextmanager
    async def stream(
        self, path: str, headers: Mapping[str, str], again: Callable[[], Awaitable[None]] | None = None
    ) -> AsyncIterator[httpx.Response]:
        """A download, open at its first byte; read it with ``chunks``. ``again`` is awaited before each retry."""
        request = httpx.Request("GET", f"{self._root}/{path}", headers={"Accept-Encoding": "identity", **headers})
        async with self._watched(self._downloads), self._open(request, again) as response:
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
                self._metrics.came(self.name, len(chunk))
                yield chunk
        except httpx.TransportError as error:
            raise self._transport(error) from error

    @asynccontextmanager
    async def _watched(self, gate: Gate) -> AsyncIterator[None]:
        """One request: within the limits, counted, and its failures remembered."""
        self._breaker.check()
        async with gate.passed():
            begin, outcome = time.perf_counter(), "ok"
            try:
                yield
                self._breaker.worked()
            except (StationUnavailable, StationTimeout) as error:
                outcome = type(error).__name__
                self._note(error)
                raise
            except RsError as error:
                outcome = type(error).__name__
                self._breaker.worked()
                raise
            finally:
                self._metrics.answered(self.name, outcome, time.perf_counter() - begin)
                self._metrics.breaker(self.name, open=self._breaker.open)

    def _note(self, error: StationUnavailable | StationTimeout) -> None:
        wait = error.members.get("retry_after_s")
        if wait:
            self._breaker.leave_alone(min(float(wait), self._settings.pause_s))
        else:
            self._breaker.failed()

    @asynccontextmanager
    async def _open(
        self, request: httpx.Request, again: Callable[[], Awaitable[None]] | None = None
    ) -> AsyncIterator[httpx.Response]:
        async with AsyncExitStack() as stack:
            response = await (self._attempts(request, again) if request.method == "GET" else self._posted(request))
            stack.push_async_callback(response.aclose)
            yield response

    async def _posted(self, request: httpx.Request) -> httpx.Response:
        """An order, sent once: whether one that failed was taken nobody knows."""
        response = await self._send(request, signed=False)
        if response.status_code in _QUOTA:
            await response.aclose()
            wait = _seconds(response.headers.get("retry-after", ""))
            raise TooManyRequests(
                f"station {self.name} takes no more orders now", station=self.name, retry_after_s=wait
            )
        return await self._checked(response)

    async def _attempts(
        self, request: httpx.Request, again: Callable[[], Awaitable[None]] | None = None
    ) -> httpx.Response:
        """One retry policy: what may pass by itself is tried again after a wait of random length."""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return await self._once(request)
            except StationUnavailable as error:
                wait = max(error.members.get("retry_after_s") or 0.0, self._pause(attempt))
                if attempt == ATTEMPTS or wait > LONGEST_WAIT_S:
                    raise
                log.info("station_retry", station=self.name, attempt=attempt, reason=error.detail)
            await self._sleep(wait)
            if again is not None:
                await again()
        raise AssertionError("the last attempt returns or raises")

    def _pause(self, attempt: int) -> float:
        return random.uniform(0, BACKOFF_S * 2 ** (attempt - 1))  # noqa: S311 - jitter, not a secret

    async def _once(self, request: httpx.Request) -> httpx.Response:
        url, signed = request.url, False
        for _ in range(REDIRECTS + 1):
            response = await self._send(httpx.Request("GET", url, headers=_again(request)), signed=signed)
            if not response.has_redirect_location:
                return await self._checked(response)
            await response.aclose()
            url, signed = self._redirect(url, response)
        raise StationRefused(self.name, f"it redirects more than {REDIRECTS} times")

    async def _send(self, request: httpx.Request, *, signed: bool) -> httpx.Response:
        ready = self._http.build_request(request.method, request.url, headers=request.headers, content=request.content)
        auth = None if signed else httpx.USE_CLIENT_DEFAULT
        try:
            return await self._http.send(ready, stream=True, auth=auth)
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
            return StationTimeout(self.name, f"silent for {self._settings.idle_s:g} s", hint="try again later")
        return StationUnavailable(self.name, f"it cannot be reached ({type(error).__name__})", hint="try again later")


@asynccontextmanager
async def open_session(
    name: str,
    settings: StationSettings,
    *,
    transport: httpx.AsyncBaseTransport | None = None,
    metrics: StationMetrics | None = None,
) -> AsyncIterator[Session]:
    """A session that is closed at the end; ``transport`` stands in for the network in tests."""
    async with httpx.AsyncClient(
        auth=login(name, settings),
        transport=transport,
        timeout=httpx.Timeout(settings.idle_s, connect=min(CONNECT_S, settings.timeout_s), pool=None),
        limits=httpx.Limits(max_connections=None, max_keepalive_connections=20),
        trust_env=False,
    ) as http:
        yield Session(name, settings, http, metrics=metrics)


_PLAIN = "$'(),:/"  # stays readable in a query; all of it is legal there (RFC 3986 §3.4)


def _again(request: httpx.Request) -> dict[str, str]:
    """The headers that a request keeps on its way through redirects."""
    return {name: value for name, value in request.headers.items() if name != "host"}


def _seconds(retry_after: str) -> float | None:
    """A ``Retry-After``, seconds or a date, in seconds from now on; nonsense counts as no wish."""
    if retry_after.isascii() and retry_after.isdigit():
        return float(retry_after)
    try:
        until = parsedate_to_datetime(retry_after)
    except ValueError:
        return None
    return max(0.0, (until.replace(tzinfo=until.tzinfo or UTC) - datetime.now(UTC)).total_seconds())
