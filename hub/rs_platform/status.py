"""How each service is: the answer of `rs status`, whose JSON form is a stable contract."""

from __future__ import annotations

import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from rs_platform import ports as port_choice
from rs_platform import processes, supervisor
from rs_platform.installation import Installation
from rs_platform.ports import Ports
from rs_platform.processes import Process
from rs_platform.services import Service, graph, services
from rs_platform.site import site
from rs_platform.supervisor import Program


@dataclass(frozen=True)
class ServiceStatus:
    """One service; memory is that of its whole process tree. ``pid`` and ``uptime_s`` are null while it is stopped."""

    name: str
    state: str
    ready: bool
    url: str | None
    pid: int | None
    rss_bytes: int
    uptime_s: float | None


def status(installation: Installation) -> list[ServiceStatus]:
    """Every service of the graph, in starting order."""
    installation.prepare()
    known = site(installation, port_choice.remembered(installation) or Ports(port_choice.PREFERRED))
    running = supervisor.connect(known)
    programs = running.programs() if running else {}
    table = processes.running()
    parts = services(graph(known))
    with ThreadPoolExecutor(max_workers=len(parts)) as pool:
        return list(pool.map(lambda service: _status(service, programs.get(service.name), table), parts))


def _status(service: Service, program: Program | None, table: Mapping[int, Process]) -> ServiceStatus:
    if program is None or not program.pid:
        state = program.state if program else supervisor.STOPPED
        return ServiceStatus(service.name, state, ready=False, url=service.url, pid=None, rss_bytes=0, uptime_s=None)
    return ServiceStatus(
        service.name,
        program.state,
        ready=service.ready.check() is None,
        url=service.url,
        pid=program.pid,
        rss_bytes=sum(processes.memory_bytes(process.pid) for process in processes.tree(program.pid, table)),
        uptime_s=round(max(0.0, time.time() - program.started), 1),
    )
