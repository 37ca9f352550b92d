"""Every setting of the server: a laptop and a cluster differ in these values, never in code.

Values come from the YAML file named by ``RSPY_SETTINGS``, overridden by environment variables such as
``RSPY_DATABASE__DSN`` (two underscores step into a section). Unknown names are refused.
"""

from __future__ import annotations

import os
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr, SecretStr, field_validator, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

SETTINGS_VARIABLE = "RSPY_SETTINGS"

ServiceName = Literal["auth", "stations", "catalog", "processes"]


class Section(BaseModel):
    """A group of settings; a misspelt name is an error, not a default."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class DirectorySettings(Section):
    """The account that asks Keycloak which roles the owner of an API key holds now."""

    admin_url: str = Field(description="Keycloak's admin API of the realm, …/admin/realms/rs-python")
    token_url: str = Field(description="Token endpoint of the realm")
    client_id: str
    client_secret: SecretStr
    max_age_s: float = Field(60, ge=0, description="How long looked-up roles are believed, in seconds")


class AccessSettings(Section):
    """Who a caller is."""

    issuer: str | None = Field(None, description="OIDC issuer. Unset: one local user who may do everything")
    jwks_url: str | None = Field(None, description="Key set of the issuer; unset: the issuer's standard place")
    audience: str = "rs-server"
    docs_client_id: str = Field("rs-client", description="Public client that the documentation page logs in with")
    leeway_s: float = Field(5, ge=0, description="Clock difference accepted between issuer and server, in seconds")
    key_guesses: int = Field(30, ge=1, description="Wrong API keys that one address may send within a minute")
    requests_per_s: float = Field(
        50, gt=0, description="Requests of one caller in a second, on average; refused ones count a quarter"
    )
    requests_at_once: int = Field(400, ge=1, description="Requests of one caller at once, after a time of quiet")
    directory: DirectorySettings | None = None


class DatabaseSettings(Section):
    """PostgreSQL with PostGIS; pgstac and our own tables share one database."""

    dsn: SecretStr = SecretStr("postgresql://rs@127.0.0.1:5432/rs")
    pool_max: int = Field(10, ge=1)
    statement_timeout_ms: int = Field(30_000, ge=100, description="Longest that a statement of the catalog may take")


class StorageSettings(Section):
    """S3 object storage."""

    endpoint: str = "http://127.0.0.1:9000"
    region: str = "us-east-1"
    access_key: str = "local"
    secret_key: SecretStr = SecretStr("local")
    bucket: str = "rs-data"
    iam_endpoint: str | None = Field(
        None, description="IAM API that makes keys limited to prefixes. Unset: no credentials are handed out"
    )
    credentials_ttl_s: int = Field(3600, ge=60, description="Life of credentials handed to a user, in seconds")
    most_parts: int = Field(
        10_000, ge=100, le=10_000, description="Parts that an upload may have, where that is fewer than S3 allows"
    )


ANY = "*"  # of a rule: every owner, collection or product type


class LifecycleRule(Section):
    """How long items are kept, and where their files lie; ``*`` stands for any owner, collection or product type."""

    owner: str = ANY
    collection: str = Field(ANY, description="The owner's name for it, without the owner")
    product_type: str = Field(ANY, description="The item's product:type")
    days: int | None = Field(None, ge=1, description="Days from publication until the files go. Unset: for ever")
    bucket: str | None = Field(None, description="Bucket of the files. Unset: that of the storage")


class CatalogSettings(Section):
    """The catalog's own."""

    lifecycle: tuple[LifecycleRule, ...] = Field((), description="The most specific rule decides; none: for ever")
    schemas: Path | None = Field(
        None,
        description="Folder of the JSON schemas of STAC extensions, each at its address without https://. "
        "Unset: items are not validated against them",
    )
    asset_hosts: tuple[str, ...] = Field(
        (), description="Hosts that assets may name by https beside files in our buckets; the server asks them nothing"
    )
    licence: str = Field("other", description="Licence of a collection that names none")
    provider: str | None = Field(None, description="Who hosts the collections; named as their host where set")


class ClusterLimits(Section):
    """The most that the cluster of one job may have."""

    workers: int = Field(2, ge=1)
    cores: int = Field(2, ge=1, description="Of each worker")
    memory_gib: float = Field(8, gt=0, description="Of each worker, in GiB")


class DaskSettings(Section):
    """The Dask Gateway that processing jobs start their clusters on, and the identity they do it with."""

    gateway: str = "http://127.0.0.1:8000/services/dask-gateway"
    proxy_address: str = "gateway://127.0.0.1:8786"
    hub_token: SecretStr = Field(SecretStr(""), description="Token of the hub service that owns the clusters")
    limits: dict[str, ClusterLimits] = Field(
        default_factory=dict, description="By group of the caller, or * for everybody; the largest counts"
    )
    start_timeout_s: float = Field(120, gt=0)
    orphan_age_s: float = Field(
        60, gt=0, description="A cluster of ours that no job knows of is stopped when it is as old, in seconds"
    )


class StationCollectionSettings(Section):
    """One STAC collection of a station: its title and the constraints that define it."""

    title: str
    description: str = ""
    constraints: dict[str, list[str]] = Field(
        default_factory=dict, description="STAC property → allowed values, e.g. platform: [sentinel-1a]"
    )


class StationSettings(Section):
    """One station (an interface delivery point) of a known kind."""

    kind: str = Field(description="One of the kinds that the server has a description of: cadip, auxip, prip, lta")
    url: str = Field(description="OData root, e.g. https://host/odata/v1")
    token_url: str | None = None
    grant: dict[str, SecretStr] = Field(default_factory=dict, description="Form sent to the token endpoint")
    client_in_header: bool = Field(
        default=False, description="The token endpoint wants client_id and client_secret of the grant in a Basic header"
    )
    username: str | None = Field(None, description="For stations without a token endpoint: HTTP Basic")
    password: SecretStr = SecretStr("")
    timeout_s: float = Field(30, gt=0, description="Longest time until a whole answer to a query, in seconds")
    idle_s: float = Field(15, gt=0, description="Longest silence of an answer or a download, in seconds")
    answer_bytes: int = Field(256_000_000, ge=1, description="Longest answer to a query")
    queries_at_once: int = Field(8, ge=1, description="Of each process: of the server, and of each worker")
    queries_per_s: float | None = Field(
        None,
        gt=0,
        description="Of all processes together, with retries and redirects; not counted is the one request that is "
        "repeated when a token was refused. Unset: as fast as they are answered",
    )
    downloads_at_once: int = Field(4, ge=1, description="Of all workers together, and of a server beside them")
    failures: int = Field(5, ge=1, description="After so many failures in a row the station is left alone …")
    pause_s: float = Field(30, gt=0, description="… for so many seconds")
    redirect_hosts: tuple[str, ...] = Field(
        (), description="Hosts, beside the station's own, that its downloads may redirect to"
    )
    page_size: int = Field(1000, ge=1, description="Most rows asked for in one call")
    scan_rows: int = Field(
        10_000, ge=1, description="Most rows read to answer a filter that the station cannot evaluate itself"
    )
    lists: bool = Field(
        default=False,
        description="Whether the station understands 'in' (PRIP 1.9 and later); else values go out with 'or'",
    )
    counts: bool = Field(default=True, description="Whether $count is cheap enough to be asked with a first page")
    collections: dict[str, StationCollectionSettings] = Field(default_factory=dict)
    session_idle_s: float = Field(
        1800, gt=0, description="A session that is not complete, and got no file for so long, is taken to stay so"
    )
    user_downloads: int | None = Field(None, ge=1, description="Most downloads at a time for one user; unset: all")
    ranges: int = Field(4, ge=1, description="Most downloads at a time of one file, as ranges; 1: whole files only")
    bytes_per_s: int | None = Field(
        None, ge=1, description="Most bytes per second, of all staging together; unset: any"
    )
    user_bytes_per_s: int | None = Field(None, ge=1, description="Of these, most of one user; unset: all")
    downloads_per_s: float | None = Field(
        None, gt=0, description="Most downloads begun per second, of all staging together; unset: any"
    )


class StagingSettings(Section):
    """How files are carried. Times in seconds."""

    lanes: int = Field(8, ge=1, description="Connections to stations that one worker holds at a time")
    part_bytes: int = Field(8 * 1024**2, ge=5 * 1024**2, le=1024**3, description="Bytes that are kept at a time")
    lease_s: float = Field(10, gt=0, description="A worker that has not shown itself for so long is taken for dead")
    patience_s: float = Field(3600, gt=0, description="How long a file may fail to come on before it is given up")
    follow_every_s: float = Field(3, gt=0, description="Between two looks at a session that grows")
    totals_s: float = Field(
        300, ge=0, description="How long the totals of a session that is followed, and looks complete, are waited for"
    )
    follow_idle_s: float = Field(1800, gt=0, description="A session that has not grown for so long never ends")
    subscriptions_every_s: float = Field(10, gt=0, description="Between two looks for a standing order")
    overlap_s: float = Field(86_400, ge=0, description="How late stations publish items under an earlier date")
    grace_s: float = Field(3600, ge=0, description="How long objects that nothing refers to are kept")


class JobSettings(Section):
    """How long what is over is remembered, in days."""

    keep_days: int = Field(
        90,
        ge=1,
        description="Jobs, with their logs and results, and orders after their end; what standing orders found",
    )
    keep_files_days: int = Field(7, ge=1, description="The rows of the files of ended staging jobs")


class OrderSettings(Section):
    """How products of long-term archives are ordered, at each station."""

    at_once: int = Field(10, ge=1, description="Most orders that a station has of us")
    at_once_each: int = Field(2, ge=1, description="Most of them for one user; further ones wait")
    poll_s: float = Field(30, gt=0, description="How often a station is asked about an order, in seconds")
    again_s: float = Field(60, gt=0, description="Wait before a station that took no order is asked again")
    tend_s: float = Field(5, gt=0, description="How often it is looked what is due")


class TelemetrySettings(Section):
    """Where traces go."""

    collector: str | None = Field(None, description="OTLP over HTTP, e.g. http://host:4318. Unset: nothing is recorded")


class Settings(BaseSettings):
    """The whole server."""

    host: str = "127.0.0.1"
    port: int = 8000
    public_url: str = Field("http://127.0.0.1:8000", description="Address that users reach the server under")
    services: tuple[ServiceName, ...] = ("auth", "stations", "catalog", "processes")
    access: AccessSettings = AccessSettings()
    database: DatabaseSettings = DatabaseSettings()
    storage: StorageSettings = StorageSettings()
    catalog: CatalogSettings = CatalogSettings()
    dask: DaskSettings = DaskSettings()
    staging: StagingSettings = StagingSettings()
    jobs: JobSettings = JobSettings()
    telemetry: TelemetrySettings = TelemetrySettings()
    stations: dict[str, StationSettings] = Field(default_factory=dict)
    orders: OrderSettings = OrderSettings()
    most_body_bytes: int = Field(
        64 * 1024 * 1024, ge=1024, description="Longest request body: some ten thousand items in one call"
    )
    secret: SecretStr = Field(SecretStr(""), description="Signs paging tokens; 32 random bytes in hexadecimal")
    log_level: Literal["debug", "info", "warning", "error"] = "info"

    model_config = SettingsConfigDict(
        env_prefix="RSPY_",
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        nested_model_default_partial_update=True,
    )

    _source: Path | None = PrivateAttr(None)

    @property
    def source(self) -> Path | None:
        """The file that they were read from."""
        return self._source

    def read_from(self, source: Path | None) -> Settings:
        """These, and where they come from."""
        self._source = source
        return self

    @field_validator("public_url")
    @classmethod
    def _no_trailing_slash(cls, value: str) -> str:
        return value.rstrip("/")

    @model_validator(mode="after")
    def _open_only_on_loopback(self) -> Settings:
        if self.access.issuer is None and not _is_loopback(self.host):
            raise ValueError(
                "without access.issuer the server lets anyone in, "
                f"so it listens on a loopback address only, not on {self.host}"
            )
        return self

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """The environment wins over the file; a stray .env in the working directory is never read."""
        return env_settings, init_settings


def load(path: Path | None = None) -> Settings:
    """Read the settings file (default: the one ``RSPY_SETTINGS`` names; none: defaults and environment)."""
    named = path or (Path(os.environ[SETTINGS_VARIABLE]) if SETTINGS_VARIABLE in os.environ else None)
    values: dict[str, Any] = yaml.safe_load(named.read_text()) or {} if named else {}
    return Settings(**values).read_from(named)


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False
