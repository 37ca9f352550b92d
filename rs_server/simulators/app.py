"""One simulated station over HTTP: OData behind its login, and an admin API beside it (see ``admin``)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from email.utils import format_datetime
from functools import partial
from http import HTTPStatus
from urllib.parse import parse_qsl

import httpx
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, RedirectResponse, Response
from starlette.routing import Route

from rs_server.simulators import admin, answers, query
from rs_server.simulators.answers import ODataError
from rs_server.simulators.delivery import Delivered
from rs_server.simulators.faults import Operation, Strikes
from rs_server.simulators.kinds import open_station
from rs_server.simulators.limits import OverQuota
from rs_server.simulators.notifier import Notifier
from rs_server.simulators.odata import FilterError
from rs_server.simulators.redirects import MIRROR_ROOT, OBJECTS_ROOT
from rs_server.simulators.requestlog import Record
from rs_server.simulators.service import Resource, Service, client_of, resource
from rs_server.simulators.settings import SimulatorSettings
from rs_server.simulators.station import Station
from rs_server.simulators.tokens import Refused, basic

type _Answer = Callable[[Request, Resource, Strikes], Awaitable[Response]]

ODATA_ROOT = "/odata/v1"
TOKEN_PATH = "/auth/realms/station/protocol/openid-connect/token"  # noqa: S105  # a path, no secret


def create_app(settings: SimulatorSettings) -> Starlette:
    """The station of the settings as an ASGI application."""
    station = open_station(settings)
    doors = Doors(station, Service(station))
    methods = ["GET", "POST", "PATCH", "DELETE"]
    app = Starlette(
        routes=[
            Route("/health", _health),
            Route(TOKEN_PATH, doors.token, methods=["POST"]),
            Route(ODATA_ROOT, doors.odata, methods=methods),
            Route(ODATA_ROOT + "/{path:path}", doors.odata, methods=methods),
            Route(MIRROR_ROOT + "/{path:path}", doors.mirror),
            Route(OBJECTS_ROOT + "/{path:path}", doors.objects),
            *admin.routes(station, settings.admin_token.get_secret_value()),
        ],
        lifespan=partial(_notifying, station),
    )
    app.state.station = station
    return app


@asynccontextmanager
async def _notifying(station: Station, _: Starlette) -> AsyncIterator[None]:
    """Subscribers are told while the station runs."""
    async with httpx.AsyncClient(trust_env=False) as client:
        task = asyncio.create_task(Notifier(station, client).run())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task


@dataclass(frozen=True)
class Doors:
    """The ways into a station. Each request is noted, struck by the faults, answered, and sent as they allow."""

    station: Station
    service: Service

    async def token(self, request: Request) -> Response:
        """The OAuth2 token endpoint."""
        return await self._served(request, Operation.TOKEN, Resource(""), self._token)

    async def odata(self, request: Request) -> Response:
        """Everything under the OData root."""
        wanted = resource(request.path_params.get("path", "").strip("/"))
        return await self._served(request, wanted.operation, wanted, self._odata)

    async def mirror(self, request: Request) -> Response:
        """Where redirected downloads come with their token."""
        wanted = resource(request.path_params["path"])
        return await self._served(request, Operation.DOWNLOAD, wanted, self._mirrored)

    async def objects(self, request: Request) -> Response:
        """Where redirected downloads come with a signature, and without a token."""
        wanted = resource(request.path_params["path"])
        return await self._served(request, Operation.DOWNLOAD, wanted, self._signed)

    # --- what each answers

    async def _token(self, request: Request, _: Resource, strikes: Strikes) -> Response:
        form = dict(parse_qsl((await request.body()).decode(errors="replace")))
        try:
            lives = (strike.fault.token_life_s for strike in strikes.having("token_life_s"))
            shown = basic(request.headers.get("authorization", ""))
            answer = self.station.tokens.issue(form, shown, life_s=next(lives, None))
        except Refused as refused:
            status = HTTPStatus.UNAUTHORIZED if refused.code == "invalid_client" else HTTPStatus.BAD_REQUEST
            return JSONResponse({"error": refused.code, "error_description": refused.description}, status)
        self._revoke(strikes)
        return JSONResponse(answer, headers={"Cache-Control": "no-store"})

    async def _odata(self, request: Request, wanted: Resource, strikes: Strikes) -> Response:
        self._authenticate(request, strikes)
        if request.method not in ("GET", "HEAD"):
            return self.service.act(request, wanted, await request.body(), strikes)
        if wanted.operation is not Operation.DOWNLOAD:
            return self.service.read(request, wanted, strikes)
        for strike in strikes.having("redirect"):
            address = self._elsewhere(request, wanted, str(strike.fault.redirect))
            return RedirectResponse(address, strike.fault.redirect_status)
        return self.service.download(request, wanted, strikes)

    async def _mirrored(self, request: Request, wanted: Resource, strikes: Strikes) -> Response:
        self._authenticate(request, strikes)
        return self.service.download(request, wanted, strikes)

    async def _signed(self, request: Request, wanted: Resource, strikes: Strikes) -> Response:
        if "authorization" in request.headers:
            raise ODataError(HTTPStatus.BAD_REQUEST, "only one way to authenticate is allowed, and the address has one")
        given = request.query_params
        signed = (given.get("X-Amz-Expires", ""), given.get("X-Amz-Signature", ""))
        client = given.get("X-Station-Client", "")
        if not self.station.presigner.allows(wanted.path, client, *signed, self.station.now()):
            raise ODataError(HTTPStatus.FORBIDDEN, "the signature is wrong or has expired")
        self._let_in(request, client)
        return self.service.download(request, wanted, strikes)

    def _elsewhere(self, request: Request, wanted: Resource, where: str) -> str:
        base = (self.station.other_url or str(request.base_url)).rstrip("/")
        match where:
            case "loop":
                return str(request.url)
            case "resend":
                return f"{base}{MIRROR_ROOT}/{wanted.path}"
            case "presigned":
                return self.station.presigner.address(base, wanted.path, client_of(request), self.station.now())
            case _:
                return where

    # --- what all have in common

    async def _served(self, request: Request, operation: Operation, wanted: Resource, answer: _Answer) -> Response:
        found = self.service.content_of(wanted) if operation is Operation.DOWNLOAD else None
        target = found.name if found is not None else wanted.set or wanted.path
        strikes = self.station.faults.strike(operation, target)
        record = self.station.log.open(
            operation,
            request.method,
            request.url.path,
            query="" if operation is Operation.DOWNLOAD else request.url.query,  # where a signature may be
            target=target,
            size=found.size if found is not None else None,
            range=request.headers.get("range"),
            faults=strikes.ids,
        )
        response = await self._answered(request, wanted, strikes, answer)
        record.client = client_of(request)
        response.headers["Date"] = format_datetime(self.station.now(), usegmt=True)
        if (
            operation is Operation.DOWNLOAD
            and request.method == "GET"
            and response.status_code < HTTPStatus.MULTIPLE_CHOICES
        ):
            return self._metered(response, strikes, record)
        return Delivered(response, strikes, record)

    async def _answered(self, request: Request, wanted: Resource, strikes: Strikes, answer: _Answer) -> Response:
        """The answer, or what a fault puts in its place, or what is wrong with the request."""
        await asyncio.sleep(strikes.latency_s)
        try:
            return _instead(strikes) or await answer(request, wanted, strikes)
        except ODataError as problem:
            return answers.error(problem, self.station.tokens.challenge)
        except (FilterError, query.BadQuery) as bad:
            return answers.error(ODataError(HTTPStatus.BAD_REQUEST, str(bad)), self.station.tokens.challenge)
        except OverQuota as much:
            return self._refused(much)

    def _refused(self, much: OverQuota) -> Response:
        problem = ODataError(much.quotas.status, str(much), retry_after_s=much.quotas.retry_after_s)
        return answers.error(problem, self.station.tokens.challenge)

    def _metered(self, response: Response, strikes: Strikes, record: Record) -> Response:
        """A download within the quotas."""
        limits, client = self.station.limits, record.client
        try:
            limits.begin_download(client)
        except OverQuota as much:
            return Delivered(self._refused(much), strikes, record)
        start = response.headers.get("content-range", "bytes 0").removeprefix("bytes ").partition("-")[0]
        record.first = int(start)
        return Delivered(
            response,
            strikes,
            record,
            limits.of(client).bytes_per_s,
            after=lambda: limits.end_download(client, record.sent),
        )

    def _authenticate(self, request: Request, strikes: Strikes) -> None:
        client = self.station.tokens.client_of(request.headers.get("authorization", ""))
        if client is None:
            raise ODataError(HTTPStatus.UNAUTHORIZED, "the access token is missing, unknown or expired")
        self._let_in(request, client)
        self._revoke(strikes)

    def _let_in(self, request: Request, client: str) -> None:
        """The request is that client's, and one more of it."""
        request.state.client = client
        self.station.limits.request(client)

    def _revoke(self, strikes: Strikes) -> None:
        if strikes.any("revoke_tokens"):
            self.station.tokens.revoke_all()


def _instead(strikes: Strikes) -> Response | None:
    """What a fault answers in place of the station."""
    for strike in strikes.having("html"):
        return answers.html(strike.fault.status or HTTPStatus.OK)
    for strike in strikes.having("status"):
        assert strike.fault.status is not None
        retry = strike.fault.retry_after_s
        raise ODataError(strike.fault.status, "a fault was set for this station", retry_after_s=retry)
    return None


async def _health(_: Request) -> Response:
    return JSONResponse({"status": "ok"})
