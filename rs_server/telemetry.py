"""Logs, request ids and metrics: one JSON line an event, no secret in any of them."""

from __future__ import annotations

import logging
import re
import secrets
import sys
import time
from collections.abc import Mapping, MutableMapping
from typing import Any

import structlog
from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from rs_server import tracing

REQUEST_ID_HEADER = "x-request-id"
TRACE_HEADER = "traceparent"  # W3C Trace Context

_TRACE = re.compile(r"^[0-9a-f]{2}-(?!0{32})([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}$")
_REQUEST_ID = re.compile(r"^[A-Za-z0-9._-]{1,64}$")
_SECRET_NAME = re.compile(r"authorization|token|secret|password|api[-_]?key|cookie|signature|credential", re.IGNORECASE)
_SECRET_TEXT = re.compile(r"(Bearer\s+|rsk_|X-Amz-Signature=)[^\s\"'&@]+|(://[^/\s:@]+:)[^\s/@]+(?=@)", re.IGNORECASE)
_PUBLIC_SUFFIXES = ("_url", "_id", "_count", "_type")

NO_ROUTE = "none"  # the handler of requests that came to no route: there is none, or they were refused at the door
OTHER = "other"
MOST_REQUEST_SERIES = 900

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
# Few, as each handler has a series of each. Our aims: answers within 0.5 s, and within 2 s where a station is asked.
_SECONDS = (0.1, 0.5, 2, 10)


def redact(_logger: Any, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """A structlog processor that blanks values whose name or text looks like a secret."""
    return {name: _clean(name, value) for name, value in event.items()}


def _clean(name: str, value: Any) -> Any:
    if _SECRET_NAME.search(name) and not name.endswith(_PUBLIC_SUFFIXES):
        return "[redacted]"
    if isinstance(value, str):
        return _SECRET_TEXT.sub(r"\1\2[redacted]", value)
    return value


class _RedactingFormatter(logging.Formatter):
    """Logs of the libraries pass the same sieve."""

    def format(self, record: logging.LogRecord) -> str:
        return _SECRET_TEXT.sub(r"\1\2[redacted]", super().format(record))


def configure_logging(level: str) -> None:
    """Send our events and the libraries' records to standard error."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            redact,
            structlog.processors.JSONRenderer(default=str),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_RedactingFormatter("%(asctime)s %(levelname)s %(name)s %(message)s"))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.getLogger("httpx").setLevel(logging.WARNING)  # its INFO lines carry whole URLs
    logging.getLogger("botocore").setLevel(logging.WARNING)  # its DEBUG lines carry whole answers, new keys among them


def configure_metrics() -> None:
    """Leave out when each counter began, which the library tells in a series of its own: nobody reads it."""
    disable_created_metrics()  # type: ignore[no-untyped-call]


class Metrics:
    """The counters that every service feeds; one registry for each application, none global.

    No caller can make it many series: handlers are templates of routes, methods those that are known, and beyond
    ``MOST_REQUEST_SERIES`` combinations handlers are told as one.
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "http_requests_total", "Requests answered", ["handler", "method", "status"], registry=self.registry
        )
        self._seconds = Histogram(
            "http_request_duration_seconds",
            "Time to answer, in seconds",
            ["handler"],
            buckets=_SECONDS,
            registry=self.registry,
        )
        self._denied = Counter(
            "authz_denied_total",
            "Requests of known callers that were refused: for want of a role, the right of an owner, a login in place "
            "of an API key, or a higher limit; hidden: what they may not read does not exist, as far as they can tell",
            ["reason"],
            registry=self.registry,
        )
        self._told: set[tuple[str, str, str]] = set()

    def answered(self, handler: str, method: str, status: int, seconds: float, denied: str = "") -> None:
        """Count one answered request; ``denied`` is why access was refused, if it was."""
        labels = (handler, method if method in _METHODS else OTHER, str(status))
        if labels not in self._told and len(self._told) >= MOST_REQUEST_SERIES:
            labels = (OTHER, *labels[1:])
        self._told.add(labels)
        self._requests.labels(*labels).inc()
        self._seconds.labels(labels[0]).observe(seconds)
        if denied:
            self._denied.labels(denied).inc()


class RequestLog:
    """ASGI middleware: binds each request's id and trace to the logs, and writes one line when it is answered."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app = app
        self.metrics = metrics
        self.log = structlog.get_logger("access")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        named, trace_id = request_id(headers), _trace_id(headers.get(TRACE_HEADER))
        scope.setdefault("state", {})["request_id"] = named
        root: str = scope.get("root_path", "")
        path: str = scope["path"].removeprefix(root)
        started, status = time.perf_counter(), 500

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[REQUEST_ID_HEADER] = named
            await send(message)

        parent = f"00-{trace_id}-{secrets.token_hex(8)}-01"
        with (
            structlog.contextvars.bound_contextvars(request_id=named, trace_id=trace_id),
            tracing.span(f"{scope['method']} {service(path)}", parent),
        ):
            try:
                await self.app(scope, receive, send_with_id)
            finally:
                seconds = time.perf_counter() - started
                denied = scope["state"].get("denied", "")  # as rs_server.errors has noted it
                self.metrics.answered(_handler(scope, root), scope["method"], status, seconds, denied)
                self.log.info("request", method=scope["method"], path=path, status=status, ms=round(seconds * 1e3, 1))


def request_id(headers: Mapping[str, str]) -> str:
    """The caller's own id of a request where it is harmless text, else a new one."""
    given = headers.get(REQUEST_ID_HEADER)
    return given if given and _REQUEST_ID.match(given) else secrets.token_hex(8)


def _trace_id(parent: str | None) -> str:
    """The trace that the caller says the request belongs to, else a trace of its own."""
    found = _TRACE.match(parent or "")
    return found[1] if found else secrets.token_hex(16)


def _handler(scope: Scope, root: str) -> str:
    """The template of the route that a request came to: the place of what is mounted, and the route within it.

    Routers write both into the scope. ``root`` is where the whole application is reached.
    """
    mounted: str = scope.get("root_path", "").removeprefix(root)
    within: str = getattr(scope.get("route"), "path", "")
    return mounted + within or NO_ROUTE


def service(path: str) -> str:
    """The service that a path belongs to, as traces name it."""
    first = path.strip("/").partition("/")[0]
    return first if first.isidentifier() and len(first) < 20 else "other"
