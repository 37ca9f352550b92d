"""Runs one simulated station: ``python -m rs_server.simulators --settings FILE``."""

from __future__ import annotations

import argparse
from pathlib import Path

import uvicorn

from rs_server import telemetry
from rs_server.simulators.app import create_app
from rs_server.simulators.settings import load


def main() -> None:
    """Serve until told to stop."""
    parser = argparse.ArgumentParser(prog="rs_server.simulators", description=__doc__)
    parser.add_argument("--settings", type=Path, required=True, help="YAML file of one station")
    settings = load(parser.parse_args().settings)
    telemetry.configure_logging(settings.log_level)
    uvicorn.run(create_app(settings), host=settings.host, port=settings.port, access_log=False, log_config=None)


if __name__ == "__main__":
    main()
