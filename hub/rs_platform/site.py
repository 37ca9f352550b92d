"""One installation with its chosen ports and secrets: everything that settings and commands are made from."""

from __future__ import annotations

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from rs_platform import secrets
from rs_platform.installation import Installation
from rs_platform.ports import Ports
from rs_platform.secrets import Secrets
from rs_platform.tools import CHECKOUT, Tools, tools

REALM = "rs-python"


@dataclass(frozen=True)
class Site:
    """What is the same for every service."""

    installation: Installation
    ports: Ports
    secrets: Secrets
    tools: Tools
    checkout: Path
    venv_bin: Path
    java: str

    @property
    def issuer(self) -> str:
        """The OIDC issuer of the realm."""
        return self.ports.url("keycloak", f"/realms/{REALM}")

    @property
    def python(self) -> str:
        """The interpreter of the project's environment."""
        return str(self.venv_bin / "python")

    def config(self, name: str) -> Path:
        """The rendered settings file of that name."""
        return self.installation.config / name

    def data(self, name: str) -> Path:
        """The data folder of a service."""
        return self.installation.data / name

    def database(self, name: str, role: str, password: str) -> str:
        """How to reach a database of the cluster, as a PostgreSQL URL."""
        return f"postgresql://{role}:{password}@127.0.0.1:{self.ports['postgres']}/{name}"

    @property
    def superuser(self) -> str:
        """How to reach the cluster as its superuser."""
        return self.database("postgres", "postgres", self.secrets.postgres_password)


def site(installation: Installation, ports: Ports) -> Site:
    """Put an installation together; makes the secrets that are missing."""
    return Site(
        installation=installation,
        ports=ports,
        secrets=secrets.load(installation),
        tools=tools(),
        checkout=CHECKOUT,
        venv_bin=Path(sys.prefix) / "bin",
        java=shutil.which("java") or "java",
    )
