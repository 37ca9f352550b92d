"""Starts the platform: everything as soon as what it needs is ready, side by side where nothing forbids it."""

from __future__ import annotations

import fcntl
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_EXCEPTION, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass

from rs_platform import ports as port_choice
from rs_platform import processes, render, supervisor
from rs_platform.installation import Installation, private_folder
from rs_platform.ports import Ports, Replaced
from rs_platform.probes import Heartbeat
from rs_platform.services import Node, Service, Step, graph, selection, services
from rs_platform.site import Site, site
from rs_platform.supervisor import Supervisor

_PAUSE_S = 0.2
_STARTS_GIVEN = 3
_LOG_LINES = 12
_KEYCLOAK_PARTS = ("lib", "conf", "providers", "themes")

Report = Callable[[str], None]


class StartFailed(Exception):
    """A service or step did not become ready; the message says which, why, and shows the end of its log."""


class Cancelled(Exception):
    """Something else failed, or the person gave up."""


@dataclass(frozen=True)
class Started:
    """One service or step that is ready, and how long that took in seconds."""

    name: str
    seconds: float


def up(
    installation: Installation, *, only: Iterable[str] = (), free_ports: bool = False, report: Report
) -> tuple[Started, ...]:
    """Start the platform, or the named services with all that they need; returns when everything is ready.

    Raises ``StartFailed`` for the first part that does not become ready, ``KeyError`` for an unknown name.
    """
    installation.prepare()
    with _one_at_a_time(installation):
        site, nodes, running = _ready_to_start(installation, report, free_ports=free_ports)
        chosen = selection(nodes, only) if only else nodes
        return _start(site, running, chosen, report)


@contextmanager
def _one_at_a_time(installation: Installation) -> Iterator[None]:
    with (installation.run / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _ready_to_start(
    installation: Installation, report: Report, *, free_ports: bool
) -> tuple[Site, tuple[Node, ...], Supervisor]:
    """Settle ports, write settings, and have a supervisord that knows them."""
    before = site(installation, _known_ports(installation, free_ports=free_ports))
    running = supervisor.connect(before)
    if running is None:
        _end_leftovers(installation, report)
    ports, replaced = port_choice.settle(before.ports, _ports_in_use(before, running))
    for change in replaced:
        report(_told(change))
    port_choice.remember(installation, ports)
    now = site(installation, ports)
    nodes = graph(now)
    _prepare_folders(now, services(nodes))
    render.write_settings(now)
    render.write_supervisor(now, services(nodes))
    if running is None:
        return now, nodes, supervisor.launch(now)
    running.reload()
    return now, nodes, running


def _known_ports(installation: Installation, *, free_ports: bool) -> Ports:
    known = port_choice.remembered(installation)
    if known is not None:
        return known
    return port_choice.any_free() if free_ports else Ports(port_choice.PREFERRED)


def _end_leftovers(installation: Installation, report: Report) -> None:
    """Without a supervisord nothing of ours should run; what does, outlived one that was killed."""
    left = processes.belonging(installation)
    if left:
        report(f"ending {len(left)} processes left behind by a start that was killed")
        processes.end(left)


def _ports_in_use(site: Site, running: Supervisor | None) -> set[str]:
    """The names of the ports that services of this installation listen on now."""
    if running is None:
        return set()
    up = {name for name, program in running.programs().items() if program.pid}
    return {port for service in services(graph(site)) if service.name in up for port in service.ports}


def _told(change: Replaced) -> str:
    return f"port {change.old} ({change.name}) is taken by another program: using {change.new}"


def _prepare_folders(site: Site, programs: Iterable[Service]) -> None:
    private_folder(site.data("home"))
    for service in programs:
        if service.data is not None and service.name != "postgres":  # that one is made whole, by another user
            private_folder(service.data)
    _link_keycloak(site)


def _link_keycloak(site: Site) -> None:
    """A home for Keycloak of this installation, whose program is shared: it writes beside its parts."""
    for part in _KEYCLOAK_PARTS:
        link = site.data("keycloak") / part
        if not link.is_symlink() or link.readlink() != site.tools.keycloak / part:
            _remove(link)
            link.symlink_to(site.tools.keycloak / part)


def _remove(path: os.PathLike[str]) -> None:
    if os.path.islink(path):  # noqa: PTH114
        os.unlink(path)  # noqa: PTH108
    else:
        shutil.rmtree(path, ignore_errors=True)


def _start(site: Site, running: Supervisor, nodes: tuple[Node, ...], report: Report) -> tuple[Started, ...]:
    stop = threading.Event()
    made: dict[str, Future[Started]] = {}
    with ThreadPoolExecutor(max_workers=len(nodes)) as pool:
        for node in nodes:
            needed = [made[name] for name in node.needs]
            made[node.name] = pool.submit(_bring_up, site, running, node, needed, stop, report)
        try:
            wait(made.values(), return_when=FIRST_EXCEPTION)
        finally:
            stop.set()
    return _results(made.values())


def _results(futures: Iterable[Future[Started]]) -> tuple[Started, ...]:
    failures = [error for future in futures if (error := future.exception()) is not None]
    for error in failures:
        if not isinstance(error, Cancelled):
            raise error
    return tuple(future.result() for future in futures)


def _bring_up(
    site: Site, running: Supervisor, node: Node, needed: list[Future[Started]], stop: threading.Event, report: Report
) -> Started:
    for future in needed:
        if future.exception() is not None:
            raise Cancelled(node.name)
    begin = time.monotonic()
    if isinstance(node, Step):
        _do(node)
    else:
        _run(site, running, node, stop)
    seconds = time.monotonic() - begin
    report(f"{node.name:<18} {seconds:6.1f} s  {getattr(node, 'url', None) or ''}".rstrip())
    return Started(node.name, seconds)


def _do(step: Step) -> None:
    try:
        step.run()
    except Exception as error:
        raise StartFailed(f"{step.name} failed: {error}") from error


def _run(site: Site, running: Supervisor, service: Service, stop: threading.Event) -> None:
    if isinstance(service.ready, Heartbeat) and not running.program(service.name).pid:
        service.ready.path.unlink(missing_ok=True)  # of an earlier run
    running.start(service.name)
    deadline = time.monotonic() + service.patience_s
    starts: set[int] = set()
    while (reason := _not_ready(running, service, starts)) is not None:
        if stop.is_set():
            raise Cancelled(service.name)
        if len(starts) > _STARTS_GIVEN or time.monotonic() > deadline:
            raise StartFailed(f"{service.name} is not ready: {reason}\n{tail(site.installation, service.name)}")
        time.sleep(_PAUSE_S)


def _not_ready(running: Supervisor, service: Service, starts: set[int]) -> str | None:
    program = running.program(service.name)
    starts.add(program.started)
    if not program.pid:
        return f"it is {program.state}, having ended by itself"
    return service.ready.check()


def tail(installation: Installation, name: str, lines: int = _LOG_LINES) -> str:
    """The end of a service's log."""
    try:
        text = installation.log(name).read_text(errors="replace")
    except FileNotFoundError:
        return ""
    return "\n".join(f"  | {line}" for line in text.splitlines()[-lines:])
