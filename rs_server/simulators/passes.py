"""The sessions of a CADIP station: those it always has, those that were added, and those of a scenario."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from pydantic import TypeAdapter

from rs_server.simulators import odata, sessions
from rs_server.simulators.model import Entity
from rs_server.simulators.scenario import NewSession
from rs_server.simulators.station import Station

_FIRST_OF_OURS = 900_000
"""Orbit numbers from here on belong to sessions that are published at a word."""

_HELD_SINCE = datetime(2024, 1, 1, tzinfo=UTC)
_HELD_EVERY = timedelta(minutes=7)
_TOGETHER = 200
_SESSIONS = TypeAdapter(list[NewSession])


class AlreadyThere(Exception):
    """The session to be added exists."""


def fill(station: Station) -> None:
    """The real session, as many others as the scenario holds, those that were added, and those of the scenario."""
    known = sessions.real()
    held = (
        sessions.Plan("S1A", number + 1, _HELD_SINCE + number * _HELD_EVERY, known.channels, known.chunks)
        for number in range(station.scenario.holdings.sessions)
    )
    for plans in itertools.batched((known, *held), _TOGETHER, strict=False):
        built = [sessions.build(plan, seed=station.seed, scale=station.scale) for plan in plans]
        station.put("Sessions", built)
        station.put("Files", (file for session in built for file in session.related["Files"]))
    for new in _read(station.state) if station.state else []:
        make(station, new)
    play(station)


def play(station: Station) -> None:
    """The scenario's sessions, but for those that are there."""
    for new in station.scenario.sessions:
        with contextlib.suppress(AlreadyThere):
            make(station, new)


def add(station: Station, new: NewSession) -> Entity:
    """Make a session and keep it, or raise ``AlreadyThere``."""
    session = make(station, new)
    if station.state is not None:
        _write(station.state, [*_read(station.state), new])
    return session


def make(station: Station, new: NewSession) -> Entity:
    """Make a session for as long as the station runs, or raise ``AlreadyThere``."""
    plan = plan_of(new)
    if station.store.sets["Sessions"].ever(odata.Compare("SessionId", "eq", plan.session_id)):
        raise AlreadyThere(plan.session_id)
    if new.life is None:
        return _put_whole(station, plan)
    made = sessions.come_in(plan, new.life, seed=station.seed, scale=station.scale)
    station.put("Sessions", made.sessions)
    station.put("Files", made.files)
    return replace(made.sessions[-1], related={"Files": made.files})


def another(station: Station, date: datetime, number: int) -> Mapping[str, Iterable[Entity]]:
    """A short session, complete."""
    plan = sessions.Plan("S1A", _FIRST_OF_OURS + number, date, channels=1, chunks=1)
    session = sessions.build(plan, seed=station.seed, scale=station.scale)
    return {"Files": session.related["Files"], "Sessions": [session]}


def plan_of(new: NewSession) -> sessions.Plan:
    """The session as the station makes it; its dates count whole milliseconds."""
    start = new.start.replace(microsecond=new.start.microsecond // 1000 * 1000)
    return sessions.Plan(new.satellite, new.orbit or sessions.orbit_at(start), start, new.channels, new.chunks)


def _put_whole(station: Station, plan: sessions.Plan) -> Entity:
    session = sessions.build(plan, seed=station.seed, scale=station.scale)
    station.put("Sessions", [session])
    station.put("Files", session.related["Files"])
    return session


def _read(state: Path) -> list[NewSession]:
    return _SESSIONS.validate_json(state.read_bytes()) if state.exists() else []


def _write(state: Path, added: list[NewSession]) -> None:
    """Replace the file in one step: a station killed meanwhile finds the old one or the new one."""
    state.parent.mkdir(parents=True, exist_ok=True)
    draft = state.with_suffix(".new")
    draft.write_bytes(_SESSIONS.dump_json(added, indent=1))
    draft.replace(state)
