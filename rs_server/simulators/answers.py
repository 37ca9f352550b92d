"""OData answers as documents, and what faults make of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from http import HTTPStatus
from typing import Any

import orjson
from starlette.responses import HTMLResponse, JSONResponse, Response

from rs_server.simulators import odata
from rs_server.simulators.faults import Feature, Strikes
from rs_server.simulators.query import Query

_HEADERS = {"OData-Version": "4.0"}
_RETRY_AFTER_S = 5
_WRONG_MD5 = "d41d8cd98f00b204e9800998ecf8427e"  # that of no octet at all


class ODataError(Exception):
    """An answer that is an error, with the body that OData prescribes."""

    def __init__(self, status: int, message: str, *, retry_after_s: int | None = None) -> None:
        super().__init__(message)
        self.status = HTTPStatus(status)
        self.message = message
        self.retry_after_s = retry_after_s


def error(problem: ODataError, challenge: str) -> Response:
    """The answer to a request that failed; ``challenge`` says how to authenticate."""
    headers: dict[str, str] = {}
    if problem.status is HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = challenge
    if problem.status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE):
        seconds = _RETRY_AFTER_S if problem.retry_after_s is None else problem.retry_after_s
        headers["Retry-After"] = str(seconds)
    body = {"error": {"code": problem.status.phrase, "message": problem.message}}
    return JSONResponse(body, problem.status, headers)


def html(status: int = HTTPStatus.OK) -> Response:
    """What a proxy in front of a station says when it does not mean to."""
    return HTMLResponse("<!DOCTYPE html><html><body><h1>Scheduled maintenance</h1></body></html>", status)


def document(values: Mapping[str, Any], status: int = HTTPStatus.OK) -> Response:
    """A JSON document."""
    return Response(orjson.dumps(values), status, _HEADERS, "application/json")


def entity(context: str, text: str) -> Response:
    """One entity, given as JSON text."""
    return _json(f'{{"@odata.context":{_quoted(context)},{text[1:]}')


def page(context: str, rows: list[str], total: int | None, next_link: str | None) -> Response:
    """A page of entities, each given as JSON text."""
    count = "" if total is None else f',"@odata.count":{total}'
    link = "" if next_link is None else f',"@odata.nextLink":{_quoted(next_link)}'
    return _json(f'{{"@odata.context":{_quoted(context)}{count},"value":[{",".join(rows)}]{link}}}')


def rows(shown: list[str]) -> Response:
    """A plain list of entities, each given as JSON text."""
    return _json(f"[{','.join(shown)}]")


def _json(text: str) -> Response:
    return Response(text, headers=_HEADERS, media_type="application/json")


def _quoted(text: str) -> str:
    return orjson.dumps(text).decode()


def context(name: str, asked: Query) -> str:
    """The context of an answer: the set, what was selected and expanded."""
    shown = ",".join((*asked.select, *(f"{name}({','.join(nested.select)})" for name, nested in asked.expand.items())))
    return f"$metadata#{name}({shown})" if shown else f"$metadata#{name}"


def selected(text: str, names: Iterable[str]) -> str:
    """An entity with the selected properties only, and all annotations of them and of itself."""
    given, shown = orjson.loads(text), {"", *names}
    return orjson.dumps({name: value for name, value in given.items() if name.partition("@")[0] in shown}).decode()


# --- faults of documents ----------------------------------------------------------------------------------------------


def spoiled(rows: list[str], strikes: Strikes) -> list[str]:
    """The entities of an answer with the faults that queries show."""
    changes = [spoiler(strike.fault) for effect, spoiler in _SPOILERS.items() for strike in strikes.having(effect)]
    if changes:
        documents = [orjson.loads(row) for row in rows]
        for one in documents:
            for spoil in changes:
                spoil(one)
        rows = [orjson.dumps(one).decode() for one in documents]
    repeated = max((strike.fault.duplicate_rows for strike in strikes), default=0)
    return [*rows, *rows[:repeated]]


type _Spoiler = Callable[[dict[str, Any]], None]


def _sizes(delta: int) -> _Spoiler:
    def spoil(document: dict[str, Any]) -> None:
        for one in _objects(document):
            for name in ("Size", "ContentLength"):
                if name in one:
                    one[name] += delta

    return spoil


def _checksums(how: str) -> _Spoiler:
    def spoil(document: dict[str, Any]) -> None:
        if "Checksum" in document and how == "missing":
            document["Checksum"] = []
        for checksum in document.get("Checksum", ()):
            checksum["Value"] = _WRONG_MD5

    return spoil


def _string_integers(document: dict[str, Any]) -> None:
    for one in _objects(document):
        for name, value in one.items():
            if isinstance(value, int) and not isinstance(value, bool):
                one[name] = str(value)


def _objects(value: Any) -> Iterator[dict[str, Any]]:
    """All objects within a document, itself included."""
    if isinstance(value, dict):
        yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _objects(inner)


_SPOILERS: Mapping[str, Callable[[Any], _Spoiler]] = {
    "size_delta": lambda fault: _sizes(fault.size_delta),
    "checksum": lambda fault: _checksums(fault.checksum),
    "string_integers": lambda _: _string_integers,
}


# --- parts of OData that a station refuses ----------------------------------------------------------------------------


def features(asked: Query) -> Iterator[Feature]:
    """Which parts of OData a query uses."""
    if asked.expand:
        yield "expand"
    for nested in asked.expand.values():
        yield from features(nested)
    if asked.select:
        yield "select"
    if asked.count:
        yield "count"
    if asked.order:
        yield "orderby"
    if asked.filter is not None:
        yield from _features(asked.filter)


def _features(expression: odata.Expression) -> Iterator[Feature]:
    match expression:
        case odata.In():
            yield "in"
        case odata.Constant():
            yield "bool"
        case odata.TextMatch():
            yield "contains"
        case odata.Intersects():
            yield "intersects"
        case odata.Not(term):
            yield "not"
            yield from _features(term)
        case odata.AnyOf(_, term):
            yield "any"
            yield from _features(term)
        case odata.Or(terms):
            yield "or"
            yield from (found for term in terms for found in _features(term))
        case odata.And(terms):
            yield from (found for term in terms for found in _features(term))
        case odata.Compare():
            pass
