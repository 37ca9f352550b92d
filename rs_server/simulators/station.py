"""A station: what it holds, who may come in, what is wrong with it, and what happened to it so far."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path

from pydantic import TypeAdapter

from rs_server.simulators import auxiliary, odata, sessions
from rs_server.simulators.clock import Clock
from rs_server.simulators.faults import Faults
from rs_server.simulators.limits import Limits
from rs_server.simulators.model import Entity, EntityType
from rs_server.simulators.redirects import Presigner
from rs_server.simulators.requestlog import RequestLog
from rs_server.simulators.scenario import NewSession, Scenario
from rs_server.simulators.settings import Kind, SimulatorSettings
from rs_server.simulators.store import Store
from rs_server.simulators.tokens import Credentials, TokenIssuer

_TYPES: Mapping[Kind, Mapping[str, EntityType]] = {
    "cadip": {"Sessions": sessions.SESSION, "Files": sessions.FILE},
    "auxip": {"Products": auxiliary.PRODUCT},
}


_FIRST_OF_OURS = 900_000
"""Orbit numbers from here on belong to sessions that a fault publishes."""

_SESSIONS = TypeAdapter(list[NewSession])


class AlreadyThere(Exception):
    """The session to be added exists."""


@dataclass
class Station:
    """Everything that requests, the admin API and scenarios act on."""

    kind: Kind
    store: Store
    clock: Clock
    tokens: TokenIssuer
    faults: Faults
    limits: Limits
    presigner: Presigner
    log: RequestLog
    scenario: Scenario
    seed: int
    scale: float
    page_size: int
    other_url: str | None = None
    state: Path | None = None  # where sessions that were added are kept
    added: list[NewSession] = field(default_factory=list)
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def now(self) -> datetime:
        """The station's time."""
        return self.clock.now()

    def put(self, name: str, entities: Iterable[Entity]) -> None:
        """Add entities, which go at their eviction dates if the scenario says so."""
        self.store.put(name, map(self._evicted, entities))

    def _evicted(self, entity: Entity) -> Entity:
        eviction = entity.values.get("EvictionDate")
        if not self.scenario.eviction or not isinstance(eviction, datetime):
            return entity
        return replace(entity, vanishes=min(eviction, entity.vanishes or eviction))

    def add_session(self, new: NewSession) -> Entity:
        """Make a session and keep it, or raise AlreadyThere."""
        session = self.make_session(new)
        self.added.append(new)
        if self.state is not None:
            _write(self.state, self.added)
        return session

    def make_session(self, new: NewSession) -> Entity:
        """Make a session for as long as the station runs, or raise AlreadyThere."""
        plan = plan_of(new)
        if self._has(plan.session_id):
            raise AlreadyThere(plan.session_id)
        if new.life is None:
            session = sessions.build(plan, seed=self.seed, scale=self.scale)
            made = sessions.Pass((session,), session.related["Files"])
        else:
            made = sessions.come_in(plan, new.life, seed=self.seed, scale=self.scale)
        self.put("Sessions", made.sessions)
        self.put("Files", made.files)
        return replace(made.sessions[-1], related={"Files": made.files})

    def _has(self, session_id: str) -> bool:
        there = odata.Compare("SessionId", "eq", session_id)
        return self.store.sets["Sessions"].ever(there)

    def publish(self, count: int, late: timedelta = timedelta()) -> None:
        """New entities appear now; their publication dates lie as far back as said."""
        now = self.now()
        date = (now - late).replace(microsecond=0)
        for _ in range(count):
            number = next(self._numbers)
            if self.kind == "cadip":
                plan = sessions.Plan("S1A", _FIRST_OF_OURS + number, date, channels=1, chunks=1)
                session = sessions.build(plan, seed=self.seed, scale=self.scale)
                self.put("Files", (_appearing(file, date, now) for file in session.related["Files"]))
                self.put("Sessions", [_appearing(session, date, now)])
            else:
                self.put("Products", [_appearing(auxiliary.another(date, number), date, now)])

    def evict(self, pattern: str) -> int:
        """The files of such names are gone from now on; returns how many went."""
        entities = self.store.sets["Files" if self.kind == "cadip" else "Products"]
        return sum(entities.end(key, self.now()) for key in entities.named(pattern, self.now()))

    def play(self, scenario: Scenario) -> None:
        """Behave as a scenario says from now on. What the station holds stays; the scenario's sessions are added."""
        self.scenario = scenario
        self.faults.seed = scenario.seed
        self.faults.replace(scenario.faults)
        self.limits.quotas = scenario.quotas
        self.clock.set(at=scenario.clock.start, speed=scenario.clock.speed)
        if self.kind == "cadip":
            for new in scenario.sessions:
                with contextlib.suppress(AlreadyThere):
                    self.make_session(new)


def open_station(settings: SimulatorSettings) -> Station:
    """The station of the settings, with what it holds."""
    scenario = settings.scenario
    clock = Clock(scenario.clock.start, scenario.clock.speed)
    secret = settings.client_secret.get_secret_value()
    station = Station(
        kind=settings.kind,
        store=Store(_TYPES[settings.kind]),
        clock=clock,
        tokens=_issuer(settings),
        faults=Faults(scenario.seed, scenario.faults),
        limits=Limits(scenario.quotas, clock.now),
        presigner=Presigner(hashlib.sha256(b"presigned\0" + secret.encode()).digest()),
        log=RequestLog(),
        scenario=scenario,
        seed=settings.seed,
        scale=settings.scale,
        page_size=settings.page_size,
        other_url=settings.other_url,
        state=settings.state_dir / "sessions.json" if settings.state_dir else None,
    )
    _fill(station)
    return station


def _fill(station: Station) -> None:
    if station.kind == "cadip":
        known = sessions.real()
        station.make_session(
            NewSession(
                satellite="S1A", orbit=known.orbit, start=known.start, channels=known.channels, chunks=known.chunks
            )
        )
        station.added = _read(station.state) if station.state else []
        for new in (*station.added, *station.scenario.sessions):
            with contextlib.suppress(AlreadyThere):
                station.make_session(new)
    else:
        station.put("Products", auxiliary.products())


def _issuer(settings: SimulatorSettings) -> TokenIssuer:
    credentials = Credentials(
        settings.client_id,
        settings.client_secret.get_secret_value(),
        settings.username,
        settings.password.get_secret_value() if settings.password else None,
    )
    return TokenIssuer(credentials, settings.token_ttl_s, settings.login)


def _appearing(entity: Entity, date: datetime, now: datetime) -> Entity:
    return replace(entity, values={**entity.values, "PublicationDate": date}, appears=now)


def _read(state: Path) -> list[NewSession]:
    return _SESSIONS.validate_json(state.read_bytes()) if state.exists() else []


def _write(state: Path, added: list[NewSession]) -> None:
    """Replace the file in one step: a station killed meanwhile finds the old one or the new one."""
    state.parent.mkdir(parents=True, exist_ok=True)
    draft = state.with_suffix(".new")
    draft.write_bytes(_SESSIONS.dump_json(added, indent=1))
    draft.replace(state)


def plan_of(new: NewSession) -> sessions.Plan:
    """The session as the station makes it; its dates count whole milliseconds."""
    start = new.start.replace(microsecond=new.start.microsecond // 1000 * 1000)
    return sessions.Plan(new.satellite, new.orbit or sessions.orbit_at(start), start, new.channels, new.chunks)
