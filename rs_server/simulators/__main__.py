"""Runs one simulated station: ``python -m rs_server.simulators --settings FILE [--scenario FILE]``."""

from __future__ import annotations

import argparse
from pathlib import Path

from rs_server import telemetry
from rs_server.simulators import scenario
from rs_server.simulators.serving import serve
from rs_server.simulators.settings import load


def main() -> None:
    """Serve until told to stop."""
    parser = argparse.ArgumentParser(prog="rs_server.simulators", description=__doc__)
    parser.add_argument("--settings", type=Path, required=True, help="YAML file of one station")
    parser.add_argument("--scenario", type=Path, help="YAML file of what happens there")
    given = parser.parse_args()
    settings = load(given.settings)
    if given.scenario:
        settings = settings.model_copy(update={"scenario": scenario.load(given.scenario)})
    telemetry.configure_logging(settings.log_level)
    serve(settings)


if __name__ == "__main__":
    main()
