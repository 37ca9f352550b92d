"""The programs the platform runs that are not Python packages: their pinned versions, and where they stand.

Standard library only, Python 3.11 at least: it is read before the project's environment exists.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]

UV_VERSION = "0.13.9"
PYTHON_VERSION = "3.13"
KEYCLOAK_VERSION = "26.7.3"
VERSITYGW_VERSION = "1.8.0"
PROXY_VERSION = "5.3.0"

POSTGRESQL_ROOT = Path("/usr/lib/postgresql")
_POSTGIS_CONTROL = "/usr/share/postgresql/{version}/extension/postgis.control"


@dataclass(frozen=True)
class Tools:
    """Where the tools stand; several installations of the platform share them."""

    root: Path

    @property
    def uv(self) -> Path:
        """The `uv` program, in an environment of its own."""
        return self.root / f"uv-{UV_VERSION}" / "bin" / "uv"

    @property
    def keycloak(self) -> Path:
        """The unpacked and built Keycloak distribution."""
        return self.root / f"keycloak-{KEYCLOAK_VERSION}"

    @property
    def versitygw(self) -> Path:
        """The S3 server."""
        return self.root / f"versitygw-{VERSITYGW_VERSION}" / "versitygw"

    @property
    def proxy(self) -> Path:
        """The folder of programs that holds `configurable-http-proxy`."""
        return self.root / f"configurable-http-proxy-{PROXY_VERSION}" / "node_modules" / ".bin"


def data_home() -> Path:
    """The user's folder for data of programs (XDG base directories)."""
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share")


def cache_home() -> Path:
    """The user's folder for what can be fetched again (XDG base directories)."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")


def tools() -> Tools:
    """The tools of this user."""
    return Tools(data_home() / "rs-python" / "tools")


def postgresql_versions(root: Path = POSTGRESQL_ROOT) -> tuple[int, ...]:
    """Major versions of PostgreSQL servers that are installed with PostGIS, newest first."""
    found = (int(entry.name) for entry in _folders(root) if re.fullmatch(r"\d+", entry.name))
    return tuple(
        sorted(
            (
                version
                for version in found
                if (root / str(version) / "bin" / "postgres").exists()
                and Path(_POSTGIS_CONTROL.format(version=version)).exists()
            ),
            reverse=True,
        )
    )


def _folders(root: Path) -> Iterable[Path]:
    return [entry for entry in root.iterdir() if entry.is_dir()] if root.is_dir() else []
