"""What can go wrong in the server, and the one table that turns it into HTTP (RFC 9457 problem documents).

::

    RsError
      BadInput             400  the request cannot be honoured as it stands
        UnsupportedFilter  400  a filter term the service cannot evaluate
      NotAuthenticated     401  no identity, or one that does not hold
      Forbidden            403  known, and may not
      NotFound             404  does not exist, as far as the caller can tell
      Conflict             409  clashes with what is there
        NotOnline          409  the station must bring it from its archive first
      PreconditionFailed   412  what is there is not what the caller believes
      TooManyRequests      429
      StationRefused       502  the station rejected our request or credentials, or answered nonsense
      StationUnavailable   503  the station is down
      Unavailable          503  one of our own dependencies is down
      StationTimeout       504  the station did not answer in time
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, ClassVar

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

log = structlog.get_logger(__name__)

PROBLEM_JSON = "application/problem+json"


def visible(text: str) -> str:
    """A text that a database takes: with a sign in the place of each NUL."""
    return text.replace("\0", "\N{SYMBOL FOR NULL}")


class RsError(Exception):
    """Base of our errors. ``detail`` says what and why, ``hint`` what to do, ``members`` join the document.

    ``denied`` is why access was refused, in a word: it is counted, and told to nobody.
    """

    uri: ClassVar[str] = ""  # where a standard names the error's type

    def __init__(self, detail: str, *, hint: str = "", denied: str = "", **members: Any) -> None:
        super().__init__(detail)
        self.detail = visible(detail)  # it may quote what others say, and is written down
        self.hint = hint
        self.denied = denied
        self.members = members


class BadInput(RsError):
    """The request cannot be honoured as it stands."""


class UnsupportedFilter(BadInput):
    """A filter term the service cannot evaluate; the message names the term."""


class NotAuthenticated(RsError):
    """No identity, or one that does not hold."""


class Forbidden(RsError):
    """The caller is known, and may not; the message names the missing right."""


class NotFound(RsError):
    """Does not exist, as far as the caller can tell: unreadable things are not found either."""


class Conflict(RsError):
    """Clashes with what is there."""


class NotOnline(Conflict):
    """The station must bring it from its archive first: it can be had after an order."""


class PreconditionFailed(RsError):
    """What is there is not what the caller believes it to be."""


class TooManyRequests(RsError):
    """The caller asks too often; the member ``retry_after_s`` says how long to wait, in seconds."""


class StationError(RsError):
    """Something between us and a station; ``station`` names it."""

    def __init__(self, station: str, detail: str, *, hint: str = "", **members: Any) -> None:
        super().__init__(f"station {station}: {detail}", hint=hint, station=station, **members)
        self.station = station


class StationRefused(StationError):
    """The station rejected our request or credentials, or answered nonsense."""


class StationUnavailable(StationError):
    """The station did not answer, or answered that it cannot."""


class StationTimeout(StationError):
    """The station did not answer in time."""


class Unavailable(RsError):
    """One of our own dependencies (database, object storage, gateway, Keycloak) is down."""


STATUS: Mapping[type[RsError], HTTPStatus] = {
    BadInput: HTTPStatus.BAD_REQUEST,
    NotAuthenticated: HTTPStatus.UNAUTHORIZED,
    Forbidden: HTTPStatus.FORBIDDEN,
    NotFound: HTTPStatus.NOT_FOUND,
    Conflict: HTTPStatus.CONFLICT,
    PreconditionFailed: HTTPStatus.PRECONDITION_FAILED,
    TooManyRequests: HTTPStatus.TOO_MANY_REQUESTS,
    StationRefused: HTTPStatus.BAD_GATEWAY,
    StationUnavailable: HTTPStatus.SERVICE_UNAVAILABLE,
    StationTimeout: HTTPStatus.GATEWAY_TIMEOUT,
    Unavailable: HTTPStatus.SERVICE_UNAVAILABLE,
}

_HEADERS: Mapping[HTTPStatus, Mapping[str, str]] = {
    HTTPStatus.UNAUTHORIZED: {"WWW-Authenticate": 'Bearer realm="rs-python"'},
    HTTPStatus.SERVICE_UNAVAILABLE: {"Retry-After": "5"},
    HTTPStatus.TOO_MANY_REQUESTS: {"Retry-After": "5"},
}


def status_of(error: RsError) -> HTTPStatus:
    """The status code of an error: that of the nearest class in the table."""
    return next((STATUS[kind] for kind in type(error).__mro__ if kind in STATUS), HTTPStatus.INTERNAL_SERVER_ERROR)


def problem(
    request: Request,
    status: HTTPStatus,
    detail: str,
    *,
    type_: str = "about:blank",
    headers: Mapping[str, str] | None = None,
    **members: Any,
) -> JSONResponse:
    """An RFC 9457 problem document that carries the request id."""
    request_id = request.scope.get("state", {}).get("request_id")
    body = document(status, detail, type_=type_, instance=request.url.path, request_id=request_id, **members)
    return JSONResponse(
        body, status_code=status, media_type=PROBLEM_JSON, headers={**_HEADERS.get(status, {}), **(headers or {})}
    )


def document(
    status: HTTPStatus, detail: str, *, type_: str, instance: str, request_id: str | None, **members: Any
) -> dict[str, Any]:
    """The members of a problem document; those without a value are left out."""
    return {
        "type": type_,
        "title": status.phrase,
        "status": int(status),
        "detail": detail,
        "instance": instance,
        "request_id": request_id,
        **{name: value for name, value in members.items() if value not in (None, "")},
    }


def install(app: FastAPI) -> None:
    """Answer every error of an application, ours and the framework's, as a problem document."""
    app.add_exception_handler(RsError, _ours)
    app.add_exception_handler(HTTPException, _framework)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_exception_handler(Exception, _unexpected)


def type_of(error: RsError) -> str:
    """The type of an error in its problem document: the standard's own name for it, else ours."""
    return error.uri or f"urn:rs-python:error:{type(error).__name__}"


def answer(request: Request, error: RsError) -> Response:
    """One of our errors as a problem document."""
    request.scope.setdefault("state", {})["denied"] = error.denied  # for the counters
    wait = error.members.get("retry_after_s")
    headers = {"Retry-After": str(math.ceil(wait))} if isinstance(wait, float | int) else None
    return problem(
        request, status_of(error), error.detail, type_=type_of(error), headers=headers, hint=error.hint, **error.members
    )


async def _ours(request: Request, error: Exception) -> Response:
    assert isinstance(error, RsError)
    return answer(request, error)


async def _framework(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return problem(request, HTTPStatus(error.status_code), str(error.detail), headers=error.headers)


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    faults = [{"where": ".".join(map(str, e["loc"])), "what": e["msg"]} for e in error.errors()]
    first = f"{faults[0]['where']}: {faults[0]['what']}" if faults else "the request is not valid"
    return problem(request, HTTPStatus.BAD_REQUEST, first, errors=faults)


async def _unexpected(request: Request, error: Exception) -> Response:
    log.error("unexpected_error", path=request.url.path, exc_info=error)
    return problem(
        request,
        HTTPStatus.INTERNAL_SERVER_ERROR,
        "the server met an error it did not expect",
        hint="tell the operators the request id",
    )
