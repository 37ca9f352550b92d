"""One simulated station over HTTP: OData behind OAuth2 tokens, and an admin API beside it."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qsl, unquote_plus, urlencode
from uuid import UUID

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from rs_server.simulators import admin, content, metadata, query
from rs_server.simulators.faults import Faults
from rs_server.simulators.model import Entity, to_json
from rs_server.simulators.odata import FilterError
from rs_server.simulators.settings import SimulatorSettings
from rs_server.simulators.store import Store, open_store
from rs_server.simulators.tokens import Credentials, Refused, TokenIssuer

ODATA_ROOT = "/odata/v1"
TOKEN_PATH = "/auth/realms/station/protocol/openid-connect/token"  # noqa: S105  # a path, no secret

_RESOURCE = re.compile(r"(?P<set>\w+)(?:\('?(?P<key>[^()']*)'?\))?(?:/(?P<rest>[$\w]+))?")


class ODataError(Exception):
    """An answer that is an error, with the body that OData prescribes."""

    def __init__(self, status: HTTPStatus, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.message = message


def create_app(settings: SimulatorSettings) -> Starlette:
    """The station of the settings as an ASGI application."""
    station = Station(open_store(settings), _issuer(settings), Faults(), settings.page_size)
    app = Starlette(
        routes=[
            Route("/health", _health),
            Route(TOKEN_PATH, station.token, methods=["POST"]),
            Route(ODATA_ROOT, station.odata),
            Route(ODATA_ROOT + "/{path:path}", station.odata),
            *admin.routes(station.store, station.faults, settings.admin_token.get_secret_value()),
        ],
        exception_handlers={ODataError: _odata_error},
    )
    app.state.station = station
    return app


@dataclass(frozen=True)
class Station:
    """What a station is made of."""

    store: Store
    tokens: TokenIssuer
    faults: Faults
    page_size: int

    async def token(self, request: Request) -> Response:
        """The OAuth2 token endpoint."""
        await self._strike(odata=False)
        form = dict(parse_qsl((await request.body()).decode(errors="replace")))
        try:
            answer = self.tokens.issue(form, _basic(request))
        except Refused as refused:
            status = HTTPStatus.UNAUTHORIZED if refused.code == "invalid_client" else HTTPStatus.BAD_REQUEST
            return JSONResponse({"error": refused.code, "error_description": refused.description}, status)
        return JSONResponse(answer, headers={"Cache-Control": "no-store"})

    async def odata(self, request: Request) -> Response:
        """Everything under the OData root."""
        await self._strike(odata=True)
        self._authenticate(request)
        try:
            return self._answer(request, request.path_params.get("path", "").strip("/"))
        except (FilterError, query.BadQuery) as bad:
            raise ODataError(HTTPStatus.BAD_REQUEST, str(bad)) from bad

    async def _strike(self, *, odata: bool) -> None:
        status = await self.faults.strike(odata=odata)
        if status is not None:
            raise ODataError(status, "a fault was set for this station")

    def _authenticate(self, request: Request) -> None:
        scheme, _, token = request.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer" or not self.tokens.accepts(token.strip()):
            raise ODataError(HTTPStatus.UNAUTHORIZED, "the access token is missing, unknown or expired")

    def _answer(self, request: Request, path: str) -> Response:
        if path == "":
            return _json(metadata.service_document(self.store.types))
        if path == "$metadata":
            return Response(metadata.csdl(self.store.types), media_type="application/xml")
        match = _RESOURCE.fullmatch(path)
        if match is None or match["set"] not in self.store.types:
            raise ODataError(HTTPStatus.NOT_FOUND, f"there is no {path}")
        if match["key"] is None:
            return self._collection(request, match["set"], match["rest"])
        return self._single(request, match["set"], self._find(match["set"], match["key"]), match["rest"])

    def _find(self, name: str, key: str) -> Entity:
        try:
            return self.store.sets[name][UUID(key)]
        except (ValueError, KeyError) as missing:
            raise ODataError(HTTPStatus.NOT_FOUND, f"{name} has no {key!r}") from missing

    def _collection(self, request: Request, name: str, rest: str | None) -> Response:
        schema = self.store.types[name]
        asked = query.parse(request.query_params, schema)
        page = query.page(asked, self.store.sets[name].values(), self.page_size)
        if rest == "$count":
            return PlainTextResponse(str(page.total))
        if rest is not None:
            raise ODataError(HTTPStatus.NOT_FOUND, f"{name} has no {rest}")
        document: dict[str, Any] = {"@odata.context": _context(name, asked)}
        if asked.count:
            document["@odata.count"] = page.total
        document["value"] = [to_json(entity, expand=asked.expand, select=asked.select) for entity in page.entities]
        if page.next_skip is not None:
            document["@odata.nextLink"] = _next_link(request, asked, page.next_skip)
        return _json(document)

    def _single(self, request: Request, name: str, entity: Entity, rest: str | None) -> Response:
        if rest == "$value" and entity.content:
            return content.respond(request, entity.content)
        schema = self.store.types[name]
        if rest is not None and rest in schema.navigations:
            related = [to_json(one) for one in entity.related[rest]]
            return _json({"@odata.context": f"$metadata#{name}({entity.id})/{rest}", "value": related})
        if rest is not None:
            raise ODataError(HTTPStatus.NOT_FOUND, f"{schema.name} has no {rest}")
        asked = query.parse(request.query_params, schema)
        shown = to_json(entity, expand=asked.expand, select=asked.select)
        return _json({"@odata.context": f"{_context(name, asked)}/$entity", **shown})


async def _health(_: Request) -> Response:
    return JSONResponse({"status": "ok"})


async def _odata_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, ODataError)
    headers: Mapping[str, str] = {
        HTTPStatus.UNAUTHORIZED: {"WWW-Authenticate": 'Bearer realm="station"'},
        HTTPStatus.TOO_MANY_REQUESTS: {"Retry-After": "5"},
        HTTPStatus.SERVICE_UNAVAILABLE: {"Retry-After": "5"},
    }.get(error.status, {})
    body = {"error": {"code": error.status.phrase, "message": error.message}}
    return JSONResponse(body, error.status, headers)


def _json(document: dict[str, Any]) -> Response:
    return JSONResponse(document, headers={"OData-Version": "4.0"})


def _context(name: str, asked: query.Query) -> str:
    shown = ",".join((*asked.select, *(f"{expanded}()" for expanded in asked.expand)))
    return f"$metadata#{name}({shown})" if shown else f"$metadata#{name}"


def _next_link(request: Request, asked: query.Query, next_skip: int) -> str:
    """The address of the next page; ``$top`` shrinks by what was already shown."""
    parameters = dict(request.query_params) | {"$skip": str(next_skip)}
    if asked.top is not None:
        parameters["$top"] = str(asked.top - (next_skip - asked.skip))
    return str(request.url.replace(query=urlencode(parameters, safe="$")))


def _issuer(settings: SimulatorSettings) -> TokenIssuer:
    credentials = Credentials(
        settings.client_id,
        settings.client_secret.get_secret_value(),
        settings.username,
        settings.password.get_secret_value() if settings.password else None,
    )
    return TokenIssuer(credentials, settings.token_ttl_s)


def _basic(request: Request) -> tuple[str, str] | None:
    """Client id and secret of a Basic header (RFC 6749 §2.3.1)."""
    scheme, _, encoded = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        name, _, secret = base64.b64decode(encoded, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return ("", "")
    return unquote_plus(name), unquote_plus(secret)
