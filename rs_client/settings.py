"""Where the platform is and who you are, from the environment and your configuration file; nobody else reads them."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rs_client import prefectrun
from rs_client.errors import NotConfigured

_NAMES: Mapping[str, tuple[str, ...]] = {
    "server_url": ("RS_SERVER_URL", "RSPY_WEBSITE"),
    "api_key": ("RS_API_KEY", "RSPY_APIKEY"),
    "client_id": ("RS_CLIENT_ID",),
    "client_secret": ("RS_CLIENT_SECRET",),
    "issuer": ("RS_ISSUER",),
    "token_url": ("RS_TOKEN_URL",),
    "hub_token": ("JUPYTERHUB_API_TOKEN",),
    "gateway": ("DASK_GATEWAY__ADDRESS",),
    "token_store": ("RS_TOKEN_STORE",),
}
"""The variables of each setting; the first that says something counts. Those with RSPY are the predecessor's."""

_UNATTENDED = ("CI", "PREFECT__FLOW_RUN_ID")
"""Variables that say that nobody sits in front of this."""

_FOLDER = "rs-python"


@dataclass(frozen=True, slots=True)
class Settings:
    """What a place offers; empty where it offers nothing. ``token_store`` is ``keyring``, ``file`` or empty: either."""

    server_url: str = ""
    api_key: str = field(default="", repr=False)
    client_id: str = ""
    client_secret: str = field(default="", repr=False)
    issuer: str = ""
    token_url: str = ""
    hub_token: str = field(default="", repr=False)
    gateway: str = ""
    token_store: str = ""
    unattended: bool = False
    state_folder: Path = Path()
    file: Path = Path()

    @classmethod
    def of(cls, environment: Mapping[str, str]) -> Settings:
        """Read an environment, and the configuration file that it points to; the environment goes first.

        Raises ``NotConfigured`` for a file that is not TOML.
        """
        file = _home(environment, "XDG_CONFIG_HOME", ".config") / "config.toml"
        kept = _read(file)
        found = {
            setting: next((environment[name] for name in names if environment.get(name)), kept.get(setting, ""))
            for setting, names in _NAMES.items()
        }
        return cls(
            **found,
            unattended=any(environment.get(name) for name in _UNATTENDED),
            state_folder=_home(environment, "XDG_STATE_HOME", ".local/state"),
            file=file,
        )

    @classmethod
    def here(cls) -> Settings:
        """The settings of this process. Raises as ``of``: ``NotConfigured``."""
        found = cls.of(os.environ)
        return replace(found, unattended=found.unattended or prefectrun.running())


def remember(file: Path, server_url: str) -> None:
    """Keep the platform's address in the configuration file, as ``rs login`` does. ``NotConfigured`` if damaged."""
    file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    others = {name: value for name, value in _read(file).items() if name != "server_url"}
    lines = (f"{name} = {_quoted(value)}\n" for name, value in {"server_url": server_url, **others}.items())
    file.write_text("".join(lines))


def _read(file: Path) -> dict[str, str]:
    """The settings in a file, secrets excepted: those do not belong there."""
    try:
        document: dict[str, Any] = tomllib.loads(file.read_text())
    except FileNotFoundError:
        return {}
    except tomllib.TOMLDecodeError as error:
        raise NotConfigured(f"{file} cannot be read: {error}", hint="mend it, or take it away") from error
    allowed = ("server_url", "issuer", "client_id", "token_store")
    return {name: value for name, value in document.items() if name in allowed and isinstance(value, str)}


def _home(environment: Mapping[str, str], variable: str, otherwise: str) -> Path:
    stated = environment.get(variable)
    return (Path(stated) if stated else Path.home() / otherwise) / _FOLDER


def _quoted(text: str) -> str:
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'
