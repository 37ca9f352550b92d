"""supervisord of one installation: what it runs, and orders to it."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from typing import Any
from xmlrpc.client import Fault, ServerProxy

from supervisor.xmlrpc import Faults, SupervisorTransport  # type: ignore[import-untyped]

from rs_platform.environment import service_environment
from rs_platform.render import supervisor_socket
from rs_platform.site import Site

RUNNING, STARTING, STOPPED = "running", "starting", "stopped"

_START_PATIENCE_S = 15.0
_AT_ONCE, _WAITING = False, True


class SupervisorProblem(Exception):
    """supervisord could not be started or did not do as asked."""


@dataclass(frozen=True)
class Program:
    """How supervisord sees one program; ``started`` is in seconds since 1970, ``pid`` 0 when it does not run."""

    name: str
    state: str
    pid: int
    started: int


class Supervisor:
    """Orders to a supervisord that runs."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket

    def programs(self) -> dict[str, Program]:
        """Every program it knows."""
        return {entry["name"]: _program(entry) for entry in self._call("getAllProcessInfo")}

    def program(self, name: str) -> Program:
        """One program."""
        return _program(self._call("getProcessInfo", name))

    def start(self, name: str) -> None:
        """Start a program, without waiting; nothing happens when it runs."""
        self._call("startProcess", name, _AT_ONCE, harmless={Faults.ALREADY_STARTED})

    def stop(self, name: str) -> None:
        """Stop a program and wait until it has ended."""
        self._call("stopProcess", name, _WAITING, harmless={Faults.NOT_RUNNING, Faults.BAD_NAME})

    def reload(self) -> None:
        """Read the configuration again: changed programs are stopped and known in their new form."""
        ((added, changed, removed),) = self._call("reloadConfig")
        for name in (*changed, *removed):
            self._call("stopProcessGroup", name, _WAITING)
            self._call("removeProcessGroup", name)
        for name in (*changed, *added):
            self._call("addProcessGroup", name)

    def pid(self) -> int:
        """supervisord's own process."""
        return int(self._call("getPID"))

    def shut_down(self) -> None:
        """End supervisord itself; it stops what still runs."""
        self._call("shutdown")

    def _call(self, method: str, *arguments: Any, harmless: frozenset[int] | set[int] = frozenset()) -> Any:
        """One order on a connection of its own, because the connections are not safe between threads."""
        transport = SupervisorTransport(serverurl=f"unix://{self._socket}")
        try:
            proxy = ServerProxy("http://127.0.0.1", transport=transport)
            return getattr(proxy.supervisor, method)(*arguments)
        except Fault as fault:
            if fault.faultCode not in harmless:
                raise SupervisorProblem(f"supervisord refused {method} {arguments}: {fault.faultString}") from fault
            return None
        except (OSError, HTTPException) as error:
            raise SupervisorProblem(f"supervisord does not answer: {error}") from error
        finally:
            transport.close()


def connect(site: Site) -> Supervisor | None:
    """The supervisord of this installation; ``None`` when none runs."""
    supervisor = Supervisor(supervisor_socket(site))
    try:
        supervisor.pid()
    except SupervisorProblem:
        return None
    return supervisor


def launch(site: Site) -> Supervisor:
    """Start supervisord, which detaches itself; raises ``SupervisorProblem``."""
    command = [site.python, "-m", "supervisor.supervisord", "-c", str(site.config("supervisord.conf"))]
    done = subprocess.run(
        command, env=service_environment(site), cwd="/", capture_output=True, text=True, check=False, umask=0o077
    )
    if done.returncode:
        raise SupervisorProblem(f"supervisord does not start: {done.stderr.strip() or done.stdout.strip()}")
    deadline = time.monotonic() + _START_PATIENCE_S
    while time.monotonic() < deadline:
        if supervisor := connect(site):
            return supervisor
        time.sleep(0.05)
    raise SupervisorProblem(f"supervisord does not answer; see {site.installation.logs / 'supervisord.log'}")


def _program(entry: Mapping[str, Any]) -> Program:
    return Program(entry["name"], entry["statename"].lower(), int(entry["pid"]), int(entry["start"]))
