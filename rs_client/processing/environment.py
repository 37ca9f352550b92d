"""What is installed where this runs: what a scheduler and its workers must agree on, and what provenance keeps.

Importable without any processing package, and by a service that has none.
"""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution, distributions, version
from pathlib import Path
from typing import Any

import rs_client

COMPUTING = (
    *("rs-python", "eopf", "dask", "distributed", "cloudpickle", "msgpack", "tornado"),
    *("numpy", "numba", "xarray", "zarr", "numcodecs", "obstore"),
)
"""Packages whose versions must be the same on the scheduler and all workers."""
TRAVELLING = ("rs-python", "dask", "distributed", "cloudpickle", "msgpack", "tornado")
"""Packages whose versions must also be those of the client: what it sends is read by them."""
PROJECT, LOCK = "rs-python", "uv.lock"


def describe(_: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The environment: ``python``, ``packages`` (name → version), ``installed`` and ``lock``.

    ``installed`` is the SHA-256 of everything installed, ``lock`` that of the lock file the project came with (None
    when there is none): two environments with the same ``installed`` run the same code. What is installed later is
    not told: this process does not run it.
    """
    return {
        "python": platform.python_version(),
        "packages": {name: found for name in COMPUTING if (found := _version(name))},
        "installed": installed(),
        "lock": lock(),
    }


@cache
def installed() -> str:
    """SHA-256 over the names and versions of all installed distributions; to look at all of them takes 0.2 s."""
    lines = sorted({f"{each.metadata['Name'].lower()}=={each.version}" for each in distributions()})
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def lock() -> str | None:
    """SHA-256 of the lock file: that of the checkout, else the one that the wheel carries among its metadata."""
    checkout = Path(rs_client.__file__).parents[1] / LOCK
    text = checkout.read_text() if checkout.is_file() else distribution(PROJECT).read_text(f"extra_metadata/{LOCK}")
    return None if text is None else hashlib.sha256(text.encode()).hexdigest()


def differences(
    one: Mapping[str, Any], other: Mapping[str, Any], packages: tuple[str, ...] = COMPUTING
) -> list[tuple[str, str | None, str | None]]:
    """What is not the same in two environments: name, version here, version there."""
    pairs = [("python", one["python"], other["python"])]
    pairs += [(name, one["packages"].get(name), other["packages"].get(name)) for name in packages]
    return [pair for pair in pairs if pair[1] != pair[2]]


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
