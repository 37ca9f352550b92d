"""Runs the server: ``python -m rs_server`` takes uvicorn's options, beside a limit to how long headers may take."""

from __future__ import annotations

import sys

import uvicorn
from uvicorn.config import HTTP_PROTOCOLS

APP = "rs_server.app:from_environment"


def main() -> None:
    """Serve until told to stop."""
    HTTP_PROTOCOLS["auto"] = "rs_server.promptness:PromptProtocol"  # uvicorn's command line knows its own by name only
    uvicorn.main(["--factory", APP, *sys.argv[1:]])


if __name__ == "__main__":
    main()
