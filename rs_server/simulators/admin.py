"""The admin API of a simulated station, for operators, the ``rs station`` command, and tests.

Every request carries ``Authorization: Bearer <admin_token>``, of the station's settings. Bodies and answers are JSON.

Faults (the fields of ``faults.Fault``)
    ``GET /admin/faults``              ``{"seed", "faults": [{"id", …as given, "met", "struck"}]}``
    ``PUT /admin/faults``              replace all, by one fault, a list, or ``{"seed", "faults": […]}``; same answer
    ``POST /admin/faults``             add one → 201, ``{"id"}``
    ``DELETE /admin/faults[/{id}]``    heal all, or one
What was asked and sent
    ``GET /admin/requests?operation=download&name=PATTERN&since=N``
        the records of ``requestlog.Record``: number, operation, target (a file's name), client, range, status, first,
        sent, whole, faults, began, seconds
    ``DELETE /admin/requests``         forget them
    ``GET /admin/downloads?name=PATTERN``
        for each file: requests, sent, ``again`` (octets sent before) and ``after_whole`` (answers that carried octets
        although all of the file had been sent)
Time
    ``GET /admin/clock``               ``{"now", "speed"}``
    ``PUT /admin/clock``               any of ``{"at", "speed", "skew_s", "advance_s"}``; sessions grow, orders
        complete and files are evicted by this clock, so that ``advance_s`` brings what is to come at once
Contents
    ``GET /admin/sessions``            the sessions as they are now, with ``files`` and ``bytes``
    ``POST /admin/sessions``           add one (``scenario.NewSession``); with ``life`` it comes in chunk by chunk → 201
    ``POST /admin/publish``            ``{"count", "late_s"}``: new entities appear now, dated so far back
    ``POST /admin/evictions``          ``{"name": PATTERN}``: files of such names are gone from now on → ``{"evicted"}``
    ``POST /admin/deletions``          the same, and the station tells that it deleted them → ``{"deleted"}``
Scenario
    ``GET /admin/scenario``, ``PUT /admin/scenario``
        a whole ``scenario.Scenario``: faults, quotas and clock are replaced, its sessions are added
"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from datetime import timedelta
from http import HTTPStatus
from typing import Any

import orjson
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from rs_server.simulators import passes
from rs_server.simulators.deletions import CAUSES
from rs_server.simulators.faults import Fault
from rs_server.simulators.model import text, to_json
from rs_server.simulators.passes import AlreadyThere
from rs_server.simulators.query import ALL, Order, Query
from rs_server.simulators.scenario import NewSession, Scenario, problems
from rs_server.simulators.station import Station

_ALL = 1_000_000

type Endpoint = Callable[[Request], Awaitable[Response]]


class FaultList(BaseModel):
    """All faults at once."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    seed: int | None = Field(None, ge=0)
    faults: tuple[Fault, ...]


class ClockChange(BaseModel):
    """Another time for a station."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    at: AwareDatetime | None = None
    speed: float | None = Field(None, ge=0)
    skew_s: float | None = None
    advance_s: float = Field(0.0, ge=0)


class Publication(BaseModel):
    """New entities."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    count: int = Field(1, ge=1, le=1000)
    late_s: float = Field(0.0, ge=0)


class Eviction(BaseModel):
    """What is to go."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(min_length=1)


class Deletion(Eviction):
    """What is to go, and why."""

    cause: str = CAUSES[-1]


@dataclass(frozen=True)
class Admin:
    """What an operator, or a test, may do to a station."""

    station: Station

    # --- faults

    async def show_faults(self, _: Request) -> Response:
        """The faults, and how often they struck."""
        return JSONResponse(self.station.faults.shown())

    async def set_faults(self, request: Request) -> Response:
        """Others in place of the present ones."""
        given = _fault_list(await request.body())
        if given.seed is not None:
            self.station.faults.seed = given.seed
        self.station.faults.replace(given.faults)
        return JSONResponse(self.station.faults.shown())

    async def add_fault(self, request: Request) -> Response:
        """One more."""
        name = self.station.faults.add(Fault.model_validate_json(await request.body()))
        return JSONResponse({"id": name}, HTTPStatus.CREATED)

    async def clear_faults(self, _: Request) -> Response:
        """No fault any more."""
        self.station.faults.replace(())
        return Response(status_code=HTTPStatus.NO_CONTENT)

    async def remove_fault(self, request: Request) -> Response:
        """One fault less."""
        try:
            self.station.faults.remove(request.path_params["fault"])
        except KeyError:
            return _error(HTTPStatus.NOT_FOUND, f"there is no fault {request.path_params['fault']}")
        return Response(status_code=HTTPStatus.NO_CONTENT)

    # --- what was asked and sent

    async def requests(self, request: Request) -> Response:
        """The last requests."""
        given = request.query_params
        since = int(given.get("since", "0")) if given.get("since", "0").isdigit() else 0
        records = self.station.log.records(given.get("operation"), given.get("name", "*"), since)
        return JSONResponse([asdict(record) for record in records])

    async def forget_requests(self, _: Request) -> Response:
        """An empty log."""
        self.station.log.clear()
        return Response(status_code=HTTPStatus.NO_CONTENT)

    async def downloads(self, request: Request) -> Response:
        """What was sent of each file."""
        found = self.station.log.downloads(request.query_params.get("name", "*"))
        return JSONResponse([asdict(one) for one in found])

    # --- time

    async def show_clock(self, _: Request) -> Response:
        """The station's time."""
        clock = self.station.clock
        return JSONResponse({"now": text(clock.now()), "speed": clock.speed})

    async def set_clock(self, request: Request) -> Response:
        """Another time, or another speed."""
        given = ClockChange.model_validate_json(await request.body())
        self.station.clock.set(at=given.at, speed=given.speed)
        if given.skew_s is not None:
            self.station.clock.skew(given.skew_s)
        self.station.clock.advance(given.advance_s)
        return await self.show_clock(request)

    # --- contents

    async def list_sessions(self, _: Request) -> Response:
        """The sessions as they are now, with how much each holds."""
        entities = self.station.store.sets.get("Sessions")
        if entities is None:
            return JSONResponse([])
        page = entities.page(Query(order=(Order("PublicationDate"),), expand={"Files": ALL}), _ALL, self.station.now())
        return JSONResponse([_summary(orjson.loads(row.text)) for row in page.rows])

    async def add_session(self, request: Request) -> Response:
        """Make a session after the model of the real one."""
        if "Sessions" not in self.station.store.sets:
            return _error(HTTPStatus.NOT_FOUND, "this station has no sessions")
        given = NewSession.model_validate_json(await request.body())
        try:
            session = passes.add(self.station, given)
        except AlreadyThere as there:
            return _error(HTTPStatus.CONFLICT, f"session {there} exists")
        return JSONResponse(_summary(to_json(session, expand=("Files",))), HTTPStatus.CREATED)

    async def publish(self, request: Request) -> Response:
        """New entities."""
        given = Publication.model_validate_json(await request.body())
        self.station.publish(given.count, timedelta(seconds=given.late_s))
        return Response(status_code=HTTPStatus.NO_CONTENT)

    async def evict(self, request: Request) -> Response:
        """Files go."""
        given = Eviction.model_validate_json(await request.body())
        return JSONResponse({"evicted": self.station.evict(given.name)})

    async def delete(self, request: Request) -> Response:
        """Products are deleted."""
        given = Deletion.model_validate_json(await request.body())
        return JSONResponse({"deleted": self.station.delete(given.name, given.cause)})

    # --- scenario

    async def show_scenario(self, _: Request) -> Response:
        """What was said about the station's behaviour."""
        return JSONResponse(self.station.scenario.model_dump(mode="json", exclude_defaults=True))

    async def set_scenario(self, request: Request) -> Response:
        """Behave otherwise."""
        given = Scenario.model_validate_json(await request.body())
        if foreign := list(given.foreign(self.station.kind.name)):
            return _error(HTTPStatus.BAD_REQUEST, "; ".join(foreign))
        self.station.play(given)
        return await self.show_scenario(request)


def routes(station: Station, admin_token: str) -> list[Route]:
    """The routes under ``/admin``."""
    admin = Admin(station)
    table: list[tuple[str, str, Endpoint]] = [
        ("faults", "GET", admin.show_faults),
        ("faults", "PUT", admin.set_faults),
        ("faults", "POST", admin.add_fault),
        ("faults", "DELETE", admin.clear_faults),
        ("faults/{fault}", "DELETE", admin.remove_fault),
        ("requests", "GET", admin.requests),
        ("requests", "DELETE", admin.forget_requests),
        ("downloads", "GET", admin.downloads),
        ("clock", "GET", admin.show_clock),
        ("clock", "PUT", admin.set_clock),
        ("sessions", "GET", admin.list_sessions),
        ("sessions", "POST", admin.add_session),
        ("publish", "POST", admin.publish),
        ("evictions", "POST", admin.evict),
        ("deletions", "POST", admin.delete),
        ("scenario", "GET", admin.show_scenario),
        ("scenario", "PUT", admin.set_scenario),
    ]
    return [
        Route(f"/admin/{path}", _guarded(endpoint, admin_token), methods=[method]) for path, method, endpoint in table
    ]


def _guarded(endpoint: Endpoint, admin_token: str) -> Endpoint:
    """The endpoint, for those who show the admin token; bad bodies are answered with what is wrong."""

    async def guarded(request: Request) -> Response:
        given = request.headers.get("authorization", "")
        if not hmac.compare_digest(given.encode(), f"Bearer {admin_token}".encode()):
            return _error(HTTPStatus.UNAUTHORIZED, "the admin token is missing or wrong")
        try:
            return await endpoint(request)
        except ValidationError as invalid:
            return _error(HTTPStatus.BAD_REQUEST, "; ".join(problems(invalid)))

    return guarded


_FAULTS = TypeAdapter(list[Fault])


def _fault_list(body: bytes) -> FaultList:
    """One fault, several, or all with a seed."""
    start = body.lstrip()
    if start.startswith(b"["):
        return FaultList(faults=tuple(_FAULTS.validate_json(body)))
    if b'"faults"' in start:
        return FaultList.model_validate_json(body)
    return FaultList(faults=(Fault.model_validate_json(body),))


def _summary(session: dict[str, Any]) -> dict[str, Any]:
    """The session as CADIP shows it, with how many files and octets it has."""
    files = session.pop("Files")
    return {**session, "files": len(files), "bytes": sum(file["Size"] for file in files)}


def _error(status: HTTPStatus, message: str) -> Response:
    return JSONResponse({"error": {"code": status.phrase, "message": message}}, status)
