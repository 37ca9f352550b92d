"""The admin API of a simulated station: look at its sessions, add one, set a fault."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from http import HTTPStatus
from typing import Annotated, Any

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from rs_server.simulators import packets, sessions
from rs_server.simulators.faults import Fault, Faults
from rs_server.simulators.model import Entity, to_json
from rs_server.simulators.store import AlreadyThere, SessionStore, Store

type Endpoint = Callable[[Request], Awaitable[Response]]


class NewSession(BaseModel):
    """A session to be added. By default the satellite passes now, on the orbit that it is on now."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    satellite: Annotated[str, Field(pattern=r"^S1[A-D]$")] = "S1A"
    orbit: int | None = Field(None, ge=1, le=999_999)
    start: AwareDatetime = Field(default_factory=partial(datetime.now, UTC))
    channels: int = Field(packets.MAX_CHANNELS, ge=1, le=packets.MAX_CHANNELS)
    chunks: int = Field(19, ge=1, le=99_999)

    def plan(self) -> sessions.Plan:
        """The session as the station makes it; its dates count whole milliseconds."""
        start = self.start.replace(microsecond=self.start.microsecond // 1000 * 1000)
        return sessions.Plan(self.satellite, self.orbit or sessions.orbit_at(start), start, self.channels, self.chunks)


@dataclass(frozen=True)
class Admin:
    """What an operator, or a test, may do to a station."""

    store: Store
    faults: Faults

    async def list_sessions(self, _: Request) -> Response:
        """The sessions, with how much each holds."""
        found = self.store.sets.get("Sessions", {})
        return JSONResponse([_summary(session) for session in found.values()])

    async def add_session(self, request: Request) -> Response:
        """Make a session after the model of the real one."""
        if not isinstance(self.store, SessionStore):
            return _error(HTTPStatus.NOT_FOUND, "this station has no sessions")
        given = NewSession.model_validate_json(await request.body())
        try:
            session = self.store.add(given.plan())
        except AlreadyThere as there:
            return _error(HTTPStatus.CONFLICT, f"session {there} exists")
        return JSONResponse(_summary(session), HTTPStatus.CREATED)

    async def show_faults(self, _: Request) -> Response:
        """The present fault."""
        return JSONResponse(self.faults.now.model_dump())

    async def set_faults(self, request: Request) -> Response:
        """Another fault in place of the present one."""
        self.faults.now = Fault.model_validate_json(await request.body())
        return JSONResponse(self.faults.now.model_dump())

    async def clear_faults(self, _: Request) -> Response:
        """No fault any more."""
        self.faults.now = Fault()
        return Response(status_code=HTTPStatus.NO_CONTENT)


def routes(store: Store, faults: Faults, admin_token: str) -> list[Route]:
    """The routes under ``/admin``."""
    admin = Admin(store, faults)
    table: list[tuple[str, str, Endpoint]] = [
        ("/admin/sessions", "GET", admin.list_sessions),
        ("/admin/sessions", "POST", admin.add_session),
        ("/admin/faults", "GET", admin.show_faults),
        ("/admin/faults", "PUT", admin.set_faults),
        ("/admin/faults", "DELETE", admin.clear_faults),
    ]
    return [Route(path, _guarded(endpoint, admin_token), methods=[method]) for path, method, endpoint in table]


def _guarded(endpoint: Endpoint, admin_token: str) -> Endpoint:
    """The endpoint, for those who show the admin token; bad bodies are answered with what is wrong."""

    async def guarded(request: Request) -> Response:
        given = request.headers.get("authorization", "")
        if not hmac.compare_digest(given.encode(), f"Bearer {admin_token}".encode()):
            return _error(HTTPStatus.UNAUTHORIZED, "the admin token is missing or wrong")
        try:
            return await endpoint(request)
        except ValidationError as invalid:
            faults = [f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in invalid.errors()]
            return _error(HTTPStatus.BAD_REQUEST, "; ".join(faults))

    return guarded


def _summary(session: Entity) -> dict[str, Any]:
    """The session as CADIP shows it, with how many files and octets it has."""
    files = session.related["Files"]
    volume = sum(file.content.size for file in files if file.content)
    return {**to_json(session), "files": len(files), "bytes": volume}


def _error(status: HTTPStatus, message: str) -> Response:
    return JSONResponse({"error": {"code": status.phrase, "message": message}}, status)
