"""What a station holds: its entity sets, and the sessions that were added, kept in a file."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from uuid import UUID

from rs_server.simulators import auxiliary, sessions
from rs_server.simulators.model import Entity, EntityType
from rs_server.simulators.settings import SimulatorSettings


class AlreadyThere(Exception):
    """The session to be added exists."""


class Store:
    """Entity sets by name; each maps keys to entities, in the order they came."""

    def __init__(self, types: dict[str, EntityType]) -> None:
        self.types = types
        self.sets: dict[str, dict[UUID, Entity]] = {name: {} for name in types}

    def put(self, name: str, entities: Iterable[Entity]) -> None:
        """Add entities to a set."""
        for entity in entities:
            assert isinstance(entity.id, UUID)
            self.sets[name][entity.id] = entity


class SessionStore(Store):
    """A CADIP station's sessions and files."""

    def __init__(self, *, seed: int, scale: float, state: Path | None) -> None:
        super().__init__({"Sessions": sessions.SESSION, "Files": sessions.FILE})
        self._seed = seed
        self._scale = scale
        self._state = state
        self._added = _read(state) if state else []
        for plan in (sessions.real(), *self._added):
            self._make(plan)

    def add(self, plan: sessions.Plan) -> Entity:
        """Make a session and keep it, or raise AlreadyThere."""
        if any(entity.values["SessionId"] == plan.session_id for entity in self.sets["Sessions"].values()):
            raise AlreadyThere(plan.session_id)
        session = self._make(plan)
        self._added.append(plan)
        if self._state:
            _write(self._state, self._added)
        return session

    def _make(self, plan: sessions.Plan) -> Entity:
        session = sessions.build(plan, seed=self._seed, scale=self._scale)
        self.put("Sessions", [session])
        self.put("Files", session.related["Files"])
        return session


def open_store(settings: SimulatorSettings) -> Store:
    """The store of the configured station."""
    if settings.kind == "cadip":
        state = settings.state_dir / "sessions.json" if settings.state_dir else None
        return SessionStore(seed=settings.seed, scale=settings.scale, state=state)
    store = Store({"Products": auxiliary.PRODUCT})
    store.put("Products", auxiliary.products())
    return store


def _read(state: Path) -> list[sessions.Plan]:
    if not state.exists():
        return []
    rows = json.loads(state.read_text())
    return [sessions.Plan(**{**row, "start": datetime.fromisoformat(row["start"])}) for row in rows]


def _write(state: Path, plans: list[sessions.Plan]) -> None:
    """Replace the file in one step: a station killed meanwhile finds the old one or the new one."""
    state.parent.mkdir(parents=True, exist_ok=True)
    rows = [asdict(plan) | {"start": plan.start.isoformat()} for plan in plans]
    draft = state.with_suffix(".new")
    draft.write_text(json.dumps(rows, indent=1))
    draft.replace(state)
