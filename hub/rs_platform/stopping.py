"""Stops the platform, leaving no process behind: neither a service nor anything that one has started."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from rs_platform import ports as port_choice
from rs_platform import processes, supervisor
from rs_platform.installation import Installation
from rs_platform.ports import Ports
from rs_platform.processes import Process
from rs_platform.services import Node, graph, required
from rs_platform.site import Site, site
from rs_platform.supervisor import Supervisor, SupervisorProblem

_SHUTDOWN_PATIENCE_S = 20.0


def down(installation: Installation) -> int:
    """Stop everything; how many processes were left over and had to be ended one by one."""
    if not installation.secrets.is_dir():
        return 0
    known = _known(installation)
    running = supervisor.connect(known)
    family = _family(running) if running else []
    if running:
        _stop_in_order(known, running)
        _shut_down(running)
    left = {process.pid: process for process in (*family, *processes.belonging(installation))}
    alive = [process for process in left.values() if processes.is_alive(process)]
    processes.end(alive)
    if installation.sockets != installation.run:  # outside the home, nobody else would take it away
        shutil.rmtree(installation.sockets, ignore_errors=True)
    return len(alive)


def _family(running: Supervisor) -> list[Process]:
    """supervisord and all that descends from it, seen before parents end and the lines are lost."""
    return processes.tree(running.pid(), processes.running())


def _stop_in_order(site: Site, running: Supervisor) -> None:
    """Each service after those that need it; those that nothing ties together at the same time."""
    known = running.programs()
    for layer in layers(graph(site)):
        names = [name for name in layer if name in known]
        with ThreadPoolExecutor(max_workers=max(1, len(names))) as pool:
            list(pool.map(running.stop, names))


def layers(nodes: Iterable[Node]) -> list[list[str]]:
    """The names, in the order of stopping: first what nothing needs, last what needs nothing."""
    height: dict[str, int] = {}
    for node in nodes:
        height[node.name] = 1 + max((height[name] for name in required(node)), default=0)
    levels = sorted(set(height.values()), reverse=True)
    return [[name for name, at in height.items() if at == level] for level in levels]


def _shut_down(running: Supervisor) -> None:
    me = processes.read(running.pid())
    running.shut_down()
    deadline = time.monotonic() + _SHUTDOWN_PATIENCE_S
    while me is not None and processes.is_alive(me) and time.monotonic() < deadline:
        time.sleep(0.05)


def stop(installation: Installation, name: str) -> None:
    """Stop one service; raises ``SupervisorProblem`` when nothing runs, ``KeyError`` for an unknown name."""
    running = supervisor.connect(_known(installation))
    if running is None:
        raise SupervisorProblem("the platform is not running: rs up -d")
    if name not in running.programs():
        raise KeyError(name)
    running.stop(name)


def delete(installation: Installation) -> None:
    """Delete an installation that is stopped."""
    for folder in (installation.home, installation.sockets):
        if folder.exists():
            shutil.rmtree(folder)


def _known(installation: Installation) -> Site:
    return site(installation, port_choice.remembered(installation) or Ports(port_choice.PREFERRED))
