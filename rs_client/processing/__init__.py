"""Processing units: from what a satellite sent down to open products.

>>> from rs_client.processing import run, processor
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rs_client.processing.payload import processor
    from rs_client.processing.running import run

__all__ = ["processor", "run"]

_HOMES = {"processor": "payload", "run": "running"}


def __getattr__(name: str) -> Any:
    # Late, so that a service can read task tables without the packages that processors need.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__} has no attribute {name}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
