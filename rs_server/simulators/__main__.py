"""Runs one simulated station: ``--settings FILE`` as a service, ``--kind KIND`` by itself, with secrets of its own."""

from __future__ import annotations

import argparse
import secrets
import socket
import sys
from pathlib import Path

from rs_server import telemetry
from rs_server.simulators import scenario
from rs_server.simulators.app import ODATA_ROOT, TOKEN_PATH
from rs_server.simulators.kinds import KINDS
from rs_server.simulators.serving import serve
from rs_server.simulators.settings import SimulatorSettings, load

_SCALE = 0.001


def main() -> None:
    """Serve until told to stop."""
    given = _arguments()
    if given.settings is not None:
        settings, listening = load(given.settings), None
    else:
        listening = socket.create_server(("127.0.0.1", given.port))
        settings = _own_settings(given, listening.getsockname()[1])
        sys.stdout.write(_introduction(settings))
        sys.stdout.flush()
    if given.scenario is not None:
        settings = settings.model_copy(update={"scenario": scenario.load(given.scenario)})
    telemetry.configure_logging(settings.log_level)
    serve(settings, listening)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="rs_server.simulators", description=__doc__)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--settings", type=Path, help="YAML file of one station")
    what.add_argument("--kind", choices=sorted(KINDS), help="a station by itself")
    parser.add_argument("--scenario", type=Path, help="YAML file of what happens there")
    parser.add_argument("--port", type=int, default=0, help="where it listens (with --kind); a free one if left out")
    parser.add_argument(
        "--scale", type=float, default=_SCALE, help="size of its files relative to real ones (with --kind)"
    )
    return parser.parse_args()


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
