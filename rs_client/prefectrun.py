"""Whether this is a run of Prefect, and its log; Prefect itself is never imported for it."""

from __future__ import annotations

import logging
import sys
from typing import Any

type Logger = logging.Logger | logging.LoggerAdapter[Any]


def running() -> bool:
    """Whether a flow or a task of Prefect runs here.

    A flow that is called as a function runs in the caller's process, without the variables that a deployed one has.
    """
    context = sys.modules.get("prefect.context")
    return context is not None and bool(context.FlowRunContext.get() or context.TaskRunContext.get())


def logger() -> Logger | None:
    """The logger of the run that we are in; none outside of one."""
    prefect = sys.modules.get("prefect")
    if prefect is None or not running():
        return None
    found: Logger = prefect.get_run_logger()
    return found
