"""Every setting of the hub and of the Dask gateway beside it, and the only place that reads their environment."""

from __future__ import annotations

import base64
import os
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

SETTINGS_VARIABLE = "RS_HUB_SETTINGS"

_KEY_BYTES = 32
_URL_SAFE_TO_STANDARD = str.maketrans("-_", "+/")

Port = Annotated[int, Field(ge=1, le=65535)]
Url = Annotated[str, AfterValidator(lambda value: value.rstrip("/"))]


class Section(BaseModel):
    """A group of settings; a misspelt name is an error, not a default."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class HubProcessSettings(Section):
    """The hub process and the proxy that it starts."""

    port: Port = Field(description="Where the hub itself listens; the proxy and the services talk to it")
    proxy_api_port: Port = Field(description="Where the proxy takes the hub's orders")
    proxy_command: list[str] = Field(description="Command that starts configurable-http-proxy")
    db_url: SecretStr = Field(description="SQLAlchemy address of the hub's database, e.g. sqlite:////path/hub.sqlite")
    cookie_secret_file: Path = Field(description="Signs login cookies; the hub makes it if absent, mode 0600")
    crypt_key: SecretStr = Field(description="Encrypts the users' Keycloak tokens at rest; 32 bytes in hexadecimal")

    @field_validator("crypt_key")
    @classmethod
    def _hex_key(cls, value: SecretStr) -> SecretStr:
        if len(bytes.fromhex(value.get_secret_value())) != _KEY_BYTES:
            raise ValueError(f"must be {_KEY_BYTES} bytes in hexadecimal")
        return value


class LoginSettings(Section):
    """Keycloak, and who of its users may come in."""

    issuer: Url = Field(description="OIDC issuer, e.g. http://127.0.0.1:8080/realms/rs-python")
    client_id: str = "jupyterhub"
    client_secret: SecretStr
    allowed_groups: frozenset[str] = Field(frozenset({"rs-users"}), description="Groups whose members may log in")
    admin_groups: frozenset[str] = Field(frozenset({"rs-operators"}), description="Groups whose members run the hub")
    contact: str = Field("an operator of this platform", description="Whom a refused person is told to ask")
    refresh_age_s: int = Field(60, ge=1, description="How often a user's login is looked at again, in seconds")
    life_margin_s: int = Field(
        90, ge=1, description="An access token with less life than this is renewed, in seconds; above refresh_age_s"
    )


class TokenServiceSettings(Section):
    """The hub service that hands a user's server a fresh access token."""

    port: Port
    api_token: SecretStr = Field(description="Its own hub token; any random text of 32 bytes in hexadecimal")


class GatewaySettings(Section):
    """Dask Gateway: three ports of its own, two hub tokens and the size of a cluster."""

    api_port: Port = Field(description="The gateway's API; private, reached through its proxy")
    proxy_port: Port = Field(description="HTTP of the gateway's proxy; the hub service points here")
    scheduler_port: Port = Field(description="TLS port that clients reach their schedulers through")
    hub_token: SecretStr = Field(description="The hub token of the gateway itself, which asks the hub who a caller is")
    dpr_token: SecretStr = Field(
        description="The hub token of the service rs-dpr, with which rs-server runs clusters of its own"
    )
    db_url: SecretStr = Field(description="SQLAlchemy address of the gateway's database")
    encrypt_key: SecretStr = Field(description="Encrypts cluster credentials at rest; base64 of 32 bytes")
    worker_cores: int = Field(1, ge=1)
    worker_memory_gib: float = Field(2, gt=0, description="Memory limit of one worker, in GiB")
    most_worker_cores: int = Field(4, ge=1, description="The most cores that a caller may ask for, for one worker")
    most_worker_memory_gib: float = Field(8, gt=0, description="The most memory, in GiB, for one worker")
    scheduler_memory_gib: float = Field(2, gt=0, description="Memory limit of a scheduler, in GiB")
    max_workers: int = Field(4, ge=1, description="Workers that one cluster may have")
    idle_timeout_s: int = Field(1800, ge=0, description="A cluster without work stops after this, in seconds; 0: never")

    @field_validator("encrypt_key")
    @classmethod
    def _base64_key(cls, value: SecretStr) -> SecretStr:
        standard = value.get_secret_value().translate(_URL_SAFE_TO_STANDARD)
        if len(base64.b64decode(standard, validate=True)) != _KEY_BYTES:
            raise ValueError(f"must be base64 of {_KEY_BYTES} bytes")
        return value


class HubSettings(Section):
    """The whole hub."""

    public_url: Url = Field(description="Address that browsers reach the hub under; the proxy listens there")
    data_dir: Path = Field(description="Working files of the hub and of the clusters")
    homes_dir: Path = Field(description="Holds one home folder for each user")
    notebooks_dir: Path = Field(description="Tutorials and chains, copied into each home")
    venv_bin: Path = Field(description="Folder of the programs of the Python environment that users work in")
    server_url: Url = Field(description="Address of rs-server, as a user's server reaches it")
    s3_endpoint: Url = Field(description="Address of the object storage, as a user's server reaches it")
    hub: HubProcessSettings
    login: LoginSettings
    tokens: TokenServiceSettings
    gateway: GatewaySettings
    spawn_timeout_s: int = Field(60, ge=1, description="A user's server that takes longer to start is given up")
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    @property
    def runs_as_root(self) -> bool:
        """Whether users' servers must be told that running as root is meant."""
        return os.geteuid() == 0


class TokenServiceEnvironment(BaseSettings):
    """What the hub tells a service that it starts, in ``JUPYTERHUB_…`` variables."""

    model_config = SettingsConfigDict(env_prefix="JUPYTERHUB_", frozen=True, extra="ignore")

    api_url: Url = Field(description="The hub's API")
    api_token: SecretStr = Field(description="The service's own hub token")
    service_name: str
    service_prefix: Url = Field(description="Path that the proxy forwards")
    service_url: Url = Field(description="Address to listen on")


class KeycloakAdministrator(BaseSettings):
    """Who changes the realm."""

    model_config = SettingsConfigDict(frozen=True, extra="ignore", validate_by_name=True, validate_by_alias=True)

    user: str = Field(validation_alias="KC_ADMIN_USER")
    password: SecretStr = Field(validation_alias="KC_ADMIN_PASSWORD")


def load(path: Path | None = None) -> HubSettings:
    """Read the settings file (default: the one ``RS_HUB_SETTINGS`` names)."""
    named = path or Path(os.environ[SETTINGS_VARIABLE])
    return HubSettings.model_validate(yaml.safe_load(named.read_text()))


def realm_values(names: frozenset[str]) -> dict[str, str]:
    """The values of the placeholders of a realm file, from environment variables of the same names."""
    absent = sorted(name for name in names if not os.environ.get(name))
    if absent:
        raise ValueError(f"the realm file needs the environment variables {', '.join(absent)}")
    return {name: os.environ[name] for name in names}
