"""One installation of the platform: the folder that holds its settings, secrets, data and logs."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from rs_platform.tools import CHECKOUT

HOME_VARIABLE = "RS_HOME"
MARKER_VARIABLE = "RS_INSTALLATION"
"""Stands in the environment of every process of an installation, so that none is ever left behind unseen."""

_INHERITED = ("LANG", "LC_ALL", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "USER", "LOGNAME")

# A Unix socket's path has room for 107 bytes; the longest name put behind this folder takes about 40.
_SHORT_ENOUGH = 60


@dataclass(frozen=True)
class Installation:
    """The folders of one installation."""

    home: Path

    @property
    def config(self) -> Path:
        """Rendered settings of the services."""
        return self.home / "config"

    @property
    def secrets(self) -> Path:
        """Random values of this installation, readable by its owner only."""
        return self.home / "secrets"

    @property
    def data(self) -> Path:
        """What must survive: one folder a service."""
        return self.home / "data"

    @property
    def logs(self) -> Path:
        """One file a service, rotated."""
        return self.home / "logs"

    @property
    def run(self) -> Path:
        """What lives as long as the processes do, and the chosen ports."""
        return self.home / "run"

    @property
    def sockets(self) -> Path:
        """A folder for Unix sockets and temporary files whose path is short enough for them."""
        if len(str(self.run)) <= _SHORT_ENOUGH:
            return self.run
        base = Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir())
        digest = hashlib.sha256(str(self.home).encode()).hexdigest()[:10]
        return base / f"rs-{os.geteuid()}-{digest}"

    @property
    def temporary(self) -> Path:
        """Temporary files of the services."""
        return self.sockets / "tmp"

    def log(self, name: str) -> Path:
        """The log of a service or step."""
        return self.logs / f"{name}.log"

    def prepare(self) -> None:
        """Make the folders. The home can be walked through, because PostgreSQL may run as another user."""
        self.home.mkdir(parents=True, exist_ok=True)
        self.home.chmod(0o711)
        self.data.mkdir(exist_ok=True)
        self.data.chmod(0o711)
        for folder in (self.config, self.secrets, self.logs, self.run, self.sockets, self.temporary):
            private_folder(folder)


def private_folder(folder: Path) -> None:
    """Make a folder that only its owner may look into; refuse one that is someone else's."""
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    if folder.stat().st_uid != os.geteuid():
        raise PermissionError(f"{folder} belongs to another user")
    folder.chmod(0o700)


def write_private(path: Path, text: str) -> None:
    """Write a file that only its owner may read, whole or not at all."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mkstemp makes it 0600
    temporary = Path(name)
    try:
        with os.fdopen(handle, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        with suppress(FileNotFoundError):
            temporary.unlink()
        raise


def default_home() -> Path:
    """The folder named by ``RS_HOME``; without it, ``.rs`` in the checkout."""
    return Path(os.environ.get(HOME_VARIABLE) or CHECKOUT / ".rs").expanduser().resolve()


def caller_environment(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """What services may inherit from the caller: language, time zone and certificates; nothing else leaks in."""
    source = os.environ if environ is None else environ
    return {name: source[name] for name in _INHERITED if name in source}


def search_path() -> str:
    """The folders the caller's programs are found in."""
    return os.environ.get("PATH", "/usr/local/bin:/usr/bin:/bin")
