"""The four kinds of station, and how one of them is opened."""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

from rs_server.simulators import archive, auxiliary, passes, sessions
from rs_server.simulators.clock import Clock
from rs_server.simulators.deletions import DELETED
from rs_server.simulators.faults import Faults
from rs_server.simulators.limits import Limits
from rs_server.simulators.model import Entity
from rs_server.simulators.orders import ORDER
from rs_server.simulators.redirects import Presigner
from rs_server.simulators.requestlog import RequestLog
from rs_server.simulators.settings import SimulatorSettings
from rs_server.simulators.station import Station, StationKind
from rs_server.simulators.store import Store
from rs_server.simulators.subscriptions import NOTIFICATION, QUEUE, SUBSCRIPTION
from rs_server.simulators.tokens import Credentials, TokenIssuer

_SHOWN = 60
"""So many products a production service or an archive always has."""

_FORM = 3
"""Of the files that stations keep: another one when what they are made of changes."""

_HELD_SINCE = datetime(2023, 1, 1, tzinfo=UTC)
_HELD_EVERY = timedelta(seconds=25)
_HELD_SCALE = 1e-6
"""Of the products held beyond those: their contents are made when their checksums are."""


def _fill_auxip(station: Station) -> None:
    held = range(station.scenario.holdings.products)
    first = datetime(2021, 1, 1, tzinfo=UTC)
    station.put("Products", auxiliary.products())
    station.put("Products", (auxiliary.another(first + number * _HELD_EVERY, number) for number in held))


def _fill_archive(kind: archive.Kind, first: datetime, every: timedelta, station: Station) -> None:
    make = partial(archive.product, kind)
    shown = (make(number, first=first, every=every, scale=station.scale) for number in range(_SHOWN))
    held = (
        make(number, first=_HELD_SINCE, every=_HELD_EVERY, scale=min(station.scale, _HELD_SCALE))
        for number in range(station.scenario.holdings.products)
    )
    station.put("Products", shown)
    station.put("Products", held)


def _another_product(make: Callable[[Station, datetime, int], Entity]) -> Callable[..., Mapping[str, Iterable[Entity]]]:
    return lambda station, date, number: {"Products": [make(station, date, number)]}


def _another_of(kind: archive.Kind, station: Station, date: datetime, number: int) -> Entity:
    """Sensed three hours before, those of other numbers a second earlier or later."""
    first, every = date - timedelta(hours=3), timedelta(seconds=1)
    return archive.product(kind, number, first=first, every=every, scale=station.scale)


_QUEUES = {QUEUE: NOTIFICATION}

KINDS: Mapping[str, StationKind] = {
    kind.name: kind
    for kind in (
        StationKind(
            name="cadip",
            types={"Sessions": sessions.SESSION, "Files": sessions.FILE},
            files="Files",
            fill=passes.fill,
            another=passes.another,
            play=passes.play,
            derive={"Files": sessions.content},
        ),
        StationKind(
            name="auxip",
            types={"Products": auxiliary.PRODUCT, "Subscriptions": SUBSCRIPTION, "Deletions": DELETED},
            files="Products",
            fill=_fill_auxip,
            another=_another_product(lambda _, date, number: auxiliary.another(date, number)),
            derive={"Products": auxiliary.content},
            deleted="Deletions",
            inner=_QUEUES,
        ),
        StationKind(
            name="prip",
            types={"Products": archive.PRIP_PRODUCT, "Subscriptions": SUBSCRIPTION, "DeletedProducts": DELETED},
            files="Products",
            fill=partial(_fill_archive, "prip", datetime(2024, 11, 14, tzinfo=UTC), timedelta(minutes=24)),
            another=_another_product(partial(_another_of, "prip")),
            derive={"Products": archive.content},
            deleted="DeletedProducts",
            inner=_QUEUES,
        ),
        StationKind(
            name="lta",
            types={
                "Products": archive.LTA_PRODUCT,
                "Orders": ORDER,
                "Subscriptions": SUBSCRIPTION,
                "DeletedProducts": DELETED,
            },
            files="Products",
            fill=partial(_fill_archive, "lta", datetime(2024, 1, 1, tzinfo=UTC), timedelta(hours=2)),
            another=_another_product(partial(_another_of, "lta")),
            derive={"Products": archive.content},
            deleted="DeletedProducts",
            inner=_QUEUES,
        ),
    )
}


def open_station(settings: SimulatorSettings) -> Station:
    """The station of the settings, with what it holds."""
    kind, scenario = KINDS[settings.kind], settings.scenario
    clock = Clock(scenario.clock.start, scenario.clock.speed)
    if scenario.clock.skew_s is not None:
        clock.skew(scenario.clock.skew_s)
    secret = settings.client_secret.get_secret_value()
    station = Station(
        kind=kind,
        store=Store(kind.types, _file(settings, kind), kind.derive, kind.inner),
        clock=clock,
        tokens=_issuer(settings),
        faults=Faults(scenario.seed, scenario.faults),
        limits=Limits(scenario.quotas, scenario.client_quotas, clock.now),
        presigner=Presigner(hashlib.sha256(b"presigned\0" + secret.encode()).digest()),
        log=RequestLog(),
        scenario=scenario,
        seed=settings.seed,
        scale=settings.scale,
        page_size=settings.page_size,
        other_url=settings.other_url,
        state=settings.state_dir / "sessions.json" if settings.state_dir else None,
    )
    if not station.store.filled:
        with station.store.filling():
            kind.fill(station)
    return station


def _file(settings: SimulatorSettings, kind: StationKind) -> Path | None:
    """Where a station keeps what it holds: products, orders and subscriptions. Other holdings are another file.

    A CADIP station of few sessions makes them at each start, so that those of another scenario are its only ones.
    """
    if settings.state_dir is None or ("Sessions" in kind.types and not settings.scenario.holdings.sessions):
        return None
    made_of = (_FORM, kind.name, settings.seed, settings.scale, settings.scenario.holdings, settings.scenario.sessions)
    name = f"store-{hashlib.sha256(repr(made_of).encode()).hexdigest()[:12]}.sqlite"
    settings.state_dir.mkdir(parents=True, exist_ok=True)
    for old in settings.state_dir.glob("store-*.sqlite*"):
        if not old.name.startswith(name) or not _complete(settings.state_dir / name):
            old.unlink()
    return settings.state_dir / name


def _complete(path: Path) -> bool:
    """Whether a station had been filled when it stopped."""
    if not path.exists():
        return False
    with contextlib.closing(sqlite3.connect(path)) as database, contextlib.suppress(sqlite3.DatabaseError):
        return bool(database.execute("PRAGMA user_version").fetchone()[0])
    return False


def _issuer(settings: SimulatorSettings) -> TokenIssuer:
    known = (
        Credentials(
            client.client_id,
            client.client_secret.get_secret_value(),
            client.username,
            client.password.get_secret_value() if client.password else None,
        )
        for client in settings.everyone
    )
    return TokenIssuer(known, settings.token_ttl_s, settings.login, refresh_ttl_s=settings.refresh_ttl_s)
