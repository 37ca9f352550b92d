"""Talking to one station over HTTP: one retry policy, its redirects, its limits, and its failures as our errors."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl, quote

import aiohttp
import httpx
import orjson
import structlog
from httpx_aiohttp import AiohttpTransport
from httpx_aiohttp.transport import AiohttpResponseStream

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
from rs_server.stations.manners import Book, Breaker, Clock, Gate, Sleep
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
        downloads: httpx.AsyncClient | None = None,
        metrics: StationMetrics | None = None,
        book: Book | None = None,
        sleep: Sleep = asyncio.sleep,
        clock: Clock = time.monotonic,
    ) -> None:
        self.name = name
        self._root = settings.url.rstrip("/")
        self._settings = settings
        self._for_queries = http
        self._for_downloads = downloads or http
        self._sleep = sleep
        self._hosts = {httpx.URL(self._root).host, *settings.redirect_hosts}
        self._metrics = metrics or StationMetrics()
        self._under_way = 0
        self._quiet = asyncio.Event()
        self._quiet.set()
        self._breaker = Breaker(name, settings.failures, settings.pause_s, clock=clock)
        self._queries = Gate(
            name,
            settings.queries_at_once,
            per_second=settings.queries_per_s,
            patience_s=settings.timeout_s,
            book=book,
            clock=clock,
            sleep=sleep,
        )
        self._downloads = Gate(
            name, settings.downloads_at_once, patience_s=settings.timeout_s, clock=clock, sleep=sleep
        )

    def circuit(self) -> int:
        """0 while the station is in use, 1 when the next request tries whether it is back, 2 while it is left alone."""
        return self._breaker.state

    async def query(self, path: str, options: Mapping[str, str | int]) -> dict[str, Any]:
        """The JSON object that an OData query answers."""
        text = "&".join(f"{name}={quote(str(value), safe=_PLAIN)}" for name, value in options.items())
        async with self._watched(self._queries, "query"):
            request = self._for_queries.build_request("GET", f"{self._root}/{path}?{text}")
            return self._object(await self._read(request))

    async def send(self, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """Post a JSON object, once, and read the one that is answered; ``TooManyRequests`` where a quota is used up."""
        async with self._watched(self._queries, "order"):
            request = self._for_queries.build_request("POST", f"{self._root}/{path}", json=dict(body))
            content = await self._read(request)
            return self._object(content) if content else {}  # 204

    def _object(self, content: bytes) -> dict[str, Any]:
        """An answer, which has been read in pieces against its greatest length, parsed as a whole.

        Parsing it in a stream (ijson with its C library) costs 2 to 3 times the CPU of orjson: 8.3 ms for 2.9 ms of
        1 000 products, 126 ms for 62 ms of 1 000 sessions with 38 000 files. It saves little memory, as all rows of a
        page are kept until it is sent. What bounds the memory is the length of a page: ``most_items`` of a kind.
        """
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
            async with (
                asyncio.timeout(timeout_s),
                self._open(self._for_queries, request, self._queries.turn) as response,
            ):
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
        asked = {"Accept-Encoding": "identity", **headers}
        request = self._for_downloads.build_request("GET", f"{self._root}/{path}", headers=asked)
        async with (
            self._watched(self._downloads, "download"),
            self._open(self._for_downloads, request, again) as response,
        ):
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
    async def _watched(self, gate: Gate, op: str) -> AsyncIterator[None]:
        """One request: within the limits, counted as that operation, and its failures remembered."""
        self._breaker.check()
        async with self._counted(), gate.passed():
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
                self._metrics.answered(self.name, op, outcome, time.perf_counter() - begin)

    @asynccontextmanager
    async def _counted(self) -> AsyncIterator[None]:
        self._under_way += 1
        self._quiet.clear()
        try:
            yield
        finally:
            self._under_way -= 1
            if not self._under_way:
                self._quiet.set()

    async def quiet(self) -> None:
        """Wait until no request is under way."""
        await self._quiet.wait()

    def _note(self, error: StationUnavailable | StationTimeout) -> None:
        wait = error.members.get("retry_after_s")
        if wait:
            self._breaker.leave_alone(min(float(wait), self._settings.pause_s))
        else:
            self._breaker.failed()

    @asynccontextmanager
    async def _open(
        self, http: httpx.AsyncClient, request: httpx.Request, again: Callable[[], Awaitable[None]] | None = None
    ) -> AsyncIterator[httpx.Response]:
        opened = self._attempts(http, request, again) if request.method == "GET" else self._posted(http, request)
        response = await opened
        try:
            yield response
        finally:
            await response.aclose()

    async def _posted(self, http: httpx.AsyncClient, request: httpx.Request) -> httpx.Response:
        """An order, sent once: whether one that failed was taken nobody knows."""
        response = await self._send(http, request, signed=False)
        if response.status_code in _QUOTA:
            await response.aclose()
            wait = _seconds(response.headers.get("retry-after", ""))
            raise TooManyRequests(
                f"station {self.name} takes no more orders now", station=self.name, retry_after_s=wait
            )
        return await self._checked(response)

    async def _attempts(
        self, http: httpx.AsyncClient, request: httpx.Request, again: Callable[[], Awaitable[None]] | None = None
    ) -> httpx.Response:
        """One retry policy: what may pass by itself is tried again after a wait of random length."""
        for attempt in range(1, ATTEMPTS + 1):
            try:
                return await self._once(http, request, again)
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

    async def _once(
        self, http: httpx.AsyncClient, request: httpx.Request, again: Callable[[], Awaitable[None]] | None
    ) -> httpx.Response:
        step, signed = request, False
        for _ in range(REDIRECTS + 1):
            response = await self._send(http, step, signed=signed)
            if not response.has_redirect_location:
                return await self._checked(response)
            await response.aclose()
            url, signed = self._redirect(step.url, response)
            step = http.build_request("GET", url, headers=_again(request))
            if again is not None and url.host == request.url.host:  # the station is asked once more
                await again()
        raise StationRefused(self.name, f"it redirects more than {REDIRECTS} times")

    async def _send(self, http: httpx.AsyncClient, request: httpx.Request, *, signed: bool) -> httpx.Response:
        auth = None if signed else httpx.USE_CLIENT_DEFAULT
        try:
            return await http.send(request, stream=True, auth=auth)
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
    book: Book | None = None,
) -> AsyncIterator[Session]:
    """A session that is closed at the end; ``transport`` stands in for the network in tests.

    With ``book``, the pace of its queries is that of all who book in the same place.

    Queries and downloads have connections of their own. An answer costs aiohttp, whose parser is C, a third of what it
    costs httpx's own transport (0.3 ms of CPU in place of 0.85), and of downloads a gigabyte costs a fifth less.
    """
    known = login(name, settings)

    def client() -> httpx.AsyncClient:
        return httpx.AsyncClient(
            auth=known,
            transport=transport or _Connections(limits=_CONNECTIONS, trust_env=False),
            timeout=httpx.Timeout(settings.idle_s, connect=min(CONNECT_S, settings.timeout_s), pool=None),
            limits=_CONNECTIONS,
            trust_env=False,
        )

    async with client() as http, client() as files:
        yield Session(name, settings, http, downloads=files, metrics=metrics, book=book)


class _Connections(AiohttpTransport):
    """Requests over aiohttp, with what it makes of an answer that is no HTTP as an error of httpx."""

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send a request."""
        try:
            response = await super().handle_async_request(request)
        except aiohttp.ClientError as error:
            raise httpx.RemoteProtocolError(str(error)) from error
        assert isinstance(response.stream, AiohttpResponseStream)
        response.stream.CHUNK_SIZE = _CHUNK_BYTES
        return response


_CHUNK_BYTES = 256 * 1024  # at once; with its 16 KiB a gigabyte costs a third more
_CONNECTIONS = httpx.Limits(max_connections=None, max_keepalive_connections=20)
_A_YEAR_S = 365 * 86_400.0
_PLAIN = "$'(),:/"  # stays readable in a query; all of it is legal there (RFC 3986 §3.4)


def _again(request: httpx.Request) -> dict[str, str]:
    """The headers that a request keeps on its way through redirects; a login is added again where it may be."""
    return {name: value for name, value in request.headers.items() if name not in ("host", "authorization")}


def _seconds(retry_after: str) -> float | None:
    """A ``Retry-After``, seconds or a date, in seconds from now on; nonsense counts as no wish."""
    if retry_after.isascii() and retry_after.isdigit():
        return min(float(retry_after), _A_YEAR_S)  # a number of any length may come, and is to be passed on
    try:
        until = parsedate_to_datetime(retry_after)
    except (ValueError, OverflowError):  # of numbers without end
        return None
    return max(0.0, (until.replace(tzinfo=until.tzinfo or UTC) - datetime.now(UTC)).total_seconds())
