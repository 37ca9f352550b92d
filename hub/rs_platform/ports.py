"""Which port each service listens on: a preferred one, or a free one where that is taken; remembered."""

from __future__ import annotations

import json
import random
import socket
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from rs_platform.installation import Installation, write_private

PREFERRED: Mapping[str, int] = {
    "hub": 8000,
    "hub-proxy-api": 8001,
    "hub-api": 8081,
    "rs-token": 8082,
    "rs-server": 8100,
    "dask-gateway": 8101,
    "dask-gateway-api": 8102,
    "dask-gateway-scheduler": 8786,
    "keycloak": 8180,
    "keycloak-management": 8181,
    "cadip-station": 8301,
    "auxip-station": 8302,
    "prip-station": 8303,
    "lta-station": 8304,
    "postgres": 5442,
    "s3": 9010,
    "s3-iam": 9011,
}

# Below the range from which the kernel takes the near end of outgoing connections: a service that restarts
# must not find its port lent to one.
_FREE_RANGE = range(20_000, 32_000)
_TRIES = 200

IsFree = Callable[[int], bool]


class NoFreePort(Exception):
    """No port can be had in the range that is searched."""


@dataclass(frozen=True)
class Ports:
    """The port of each name."""

    numbers: Mapping[str, int]

    def __getitem__(self, name: str) -> int:
        """The port of that name."""
        return self.numbers[name]

    def url(self, name: str, path: str = "") -> str:
        """The address on loopback of what listens there."""
        return f"http://127.0.0.1:{self.numbers[name]}{path}"


@dataclass(frozen=True)
class Replaced:
    """A port that someone else had taken, and the one used instead."""

    name: str
    old: int
    new: int


def is_free(port: int) -> bool:
    """Whether this port of the loopback address can be listened on now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as servers do: old connections do not count
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def free_port(taken: Iterable[int] = (), *, free: IsFree = is_free) -> int:
    """A port nobody listens on; raises ``NoFreePort``."""
    used = set(taken)
    for _ in range(_TRIES):
        port = random.choice(_FREE_RANGE)  # noqa: S311 - no secret, a spread
        if port not in used and free(port):
            return port
    raise NoFreePort(f"no free port among {_FREE_RANGE.start}..{_FREE_RANGE.stop - 1}")


def settle(ports: Ports, ours: Iterable[str], *, free: IsFree = is_free) -> tuple[Ports, tuple[Replaced, ...]]:
    """Replace each port that someone else has taken; those named in ``ours`` are held by running services of ours."""
    running = set(ours)
    changes: list[Replaced] = []
    for name, number in ports.numbers.items():
        if name in running or free(number):
            continue
        new = free_port(ports.numbers.values(), free=free)
        ports = replace(ports, numbers={**ports.numbers, name: new})
        changes.append(Replaced(name, number, new))
    return ports, tuple(changes)


def any_free(*, free: IsFree = is_free) -> Ports:
    """Ports that are all free now, none of them preferred."""
    numbers: dict[str, int] = {}
    for name in PREFERRED:
        numbers[name] = free_port(numbers.values(), free=free)
    return Ports(numbers)


def state_file(installation: Installation) -> Path:
    """Where the ports are remembered."""
    return installation.run / "state.json"


def remembered(installation: Installation) -> Ports | None:
    """The ports of the last start, completed for names that are new; ``None`` when there was none."""
    try:
        stored = json.loads(state_file(installation).read_text())["ports"]
    except (FileNotFoundError, ValueError, KeyError):
        return None
    return Ports({name: int(stored.get(name, preferred)) for name, preferred in PREFERRED.items()})


def remember(installation: Installation, ports: Ports) -> None:
    """Keep the ports for the next start, so that addresses stay."""
    write_private(state_file(installation), json.dumps({"ports": dict(ports.numbers)}, indent=1))
