"""Runs one simulated station: ``--settings FILE`` as a service, ``--kind KIND`` by itself, with secrets of its own.

By itself it prints how to reach it, as lines that a shell can read, and serves until Ctrl-C. What is wrong with the
words or the files is a sentence on stderr and exit code 2.
"""

from __future__ import annotations

import argparse
import contextlib
import secrets
import socket
import sys
from pathlib import Path
from typing import NoReturn

import yaml
from pydantic import ValidationError

from rs_server import telemetry
from rs_server.simulators import scenario
from rs_server.simulators.app import ODATA_ROOT, TOKEN_PATH
from rs_server.simulators.kinds import KINDS
from rs_server.simulators.serving import serve
from rs_server.simulators.settings import SimulatorSettings, load

_SCALE = 0.001
_MOST_PORT = 65_535


def main() -> None:
    """Serve until told to stop."""
    given = _parser().parse_args()
    with contextlib.ExitStack() as until_served:
        try:
            listening = None if given.settings else until_served.enter_context(_listening(given.port))
            settings = _settings(given, listening)
        except scenario.BadScenario as bad:
            _refuse(f"{given.scenario}: {bad}")
        except ValidationError as invalid:
            where = given.scenario or given.settings or "the settings"
            _refuse(f"{where}: " + "\n".join(scenario.problems(invalid)))
        except (OSError, yaml.YAMLError) as problem:
            _refuse(str(problem))
        telemetry.configure_logging(settings.log_level)
        if listening is not None:
            sys.stdout.write(_introduction(settings))
            sys.stdout.flush()
        with contextlib.suppress(KeyboardInterrupt):
            serve(settings, listening)


def _settings(given: argparse.Namespace, listening: socket.socket | None) -> SimulatorSettings:
    """The settings of the file or those of a station by itself, with the scenario if one is given."""
    settings = load(given.settings) if listening is None else _own_settings(given, listening.getsockname()[1])
    if given.scenario is None:
        return settings
    return SimulatorSettings.model_validate({**dict(settings), "scenario": scenario.load(given.scenario)})


def _refuse(problem: str) -> NoReturn:
    sys.stderr.write(f"error: {problem}\n")
    raise SystemExit(2)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="rs_server.simulators", description=__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--settings", type=Path, help="YAML file of one station")
    what.add_argument("--kind", choices=sorted(KINDS), help="a station by itself")
    parser.add_argument("--scenario", type=Path, help="YAML file of what happens there")
    parser.add_argument("--port", type=int, default=0, help="where it listens (with --kind); a free one if left out")
    parser.add_argument(
        "--scale", type=float, default=_SCALE, help="size of its files relative to real ones (with --kind)"
    )
    return parser


def _listening(port: int) -> socket.socket:
    """A socket on a port of the loopback interface; 0: a free one. Raises ``OSError``."""
    if not 0 <= port <= _MOST_PORT:
        raise OSError(f"there is no port {port}")
    try:
        return socket.create_server(("127.0.0.1", port))
    except OSError as taken:
        raise OSError(f"port {port} cannot be had: {taken.strerror}") from taken


def _own_settings(given: argparse.Namespace, port: int) -> SimulatorSettings:
    return SimulatorSettings.model_validate(
        {
            "kind": given.kind,
            "port": port,
            "client_id": "client",
            "client_secret": secrets.token_urlsafe(18),
            "admin_token": secrets.token_urlsafe(18),
            "scale": given.scale,
            "other_url": f"http://localhost:{port}",
            "log_level": "warning",
        }
    )


def _introduction(settings: SimulatorSettings) -> str:
    """What a client must know, as lines that a shell can read."""
    address = f"http://{settings.host}:{settings.port}"
    told = {
        "STATION_URL": f"{address}{ODATA_ROOT}",
        "STATION_TOKEN_URL": f"{address}{TOKEN_PATH}",
        "STATION_CLIENT_ID": settings.client_id,
        "STATION_CLIENT_SECRET": settings.client_secret.get_secret_value(),
        "STATION_ADMIN_URL": f"{address}/admin",
        "STATION_ADMIN_TOKEN": settings.admin_token.get_secret_value(),
    }
    return "".join(f"export {name}={value}\n" for name, value in told.items())


if __name__ == "__main__":
    main()
