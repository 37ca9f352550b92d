"""The environment variables that every program of the platform starts with."""

from __future__ import annotations

from pathlib import Path

from rs_platform.installation import MARKER_VARIABLE, caller_environment
from rs_platform.site import Site


def service_environment(site: Site) -> dict[str, str]:
    """A clean environment: of the caller's own, nothing but language and certificates comes through."""
    return {
        **caller_environment(),
        MARKER_VARIABLE: str(site.installation.home),
        "PATH": _path(site),
        "HOME": str(site.data("home")),
        "TMPDIR": str(site.installation.temporary),
        "PYTHONUNBUFFERED": "1",
        "PYTHONNOUSERSITE": "1",
        "PYTHONFAULTHANDLER": "1",
    }


def _path(site: Site) -> str:
    folders = (site.venv_bin, site.tools.proxy, Path(site.java).parent)
    return ":".join((*map(str, folders), "/usr/local/bin", "/usr/bin", "/bin"))
