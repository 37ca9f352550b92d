"""The settings files of the services, written from the ports and secrets of an installation."""

from __future__ import annotations

import hashlib
import os
import shlex
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import yaml

from rs_platform.environment import service_environment
from rs_platform.installation import write_private
from rs_platform.services import Service
from rs_platform.site import REALM, Site
from rs_platform.steps import BUCKET, REGION

_MEGABYTE = "MB"
_STATION_SCALE = 0.001  # of the real session's 11.5 GB: small enough for a laptop's demo
_STATION_SEED = 20241114

SIMULATORS: Mapping[str, tuple[str, str]] = {
    "sgs": ("cadip-station", "cadip"),
    "adgs": ("auxip-station", "auxip"),
    "pdgs": ("prip-station", "prip"),
    "archive": ("lta-station", "lta"),
}
"""The simulated stations: the service that is each of them, and its kind."""

STATIONS: Mapping[str, Mapping[str, Any]] = {
    "sgs": {
        "collections": {
            "s1-sgs": {
                "title": "Sentinel-1A raw sessions at SGS",
                "description": "Downlink sessions of Sentinel-1A received at Svalbard.",
                "constraints": {"platform": ["sentinel-1a"]},
            }
        },
    },
    "adgs": {
        "collections": {
            "s1-aux": {
                "title": "Sentinel-1 auxiliary files",
                "description": "Auxiliary data files of Sentinel-1.",
                "constraints": {"constellation": ["sentinel-1"]},
            }
        },
    },
    "pdgs": {
        "collections": {
            "s1-products": {
                "title": "Sentinel-1 products, fresh",
                "description": "Products of Sentinel-1 from the production service.",
                "constraints": {"constellation": ["sentinel-1"]},
            },
            "s2-products": {
                "title": "Sentinel-2 products, fresh",
                "description": "Products of Sentinel-2 from the production service.",
                "constraints": {"constellation": ["sentinel-2"]},
            },
        },
    },
    "archive": {
        "collections": {
            "s1-archive": {
                "title": "Sentinel-1 products, archived",
                "description": "Products of Sentinel-1 in the long-term archive; those not online are ordered first.",
                "constraints": {"constellation": ["sentinel-1"]},
            }
        },
    },
}
"""What the server offers of the stations that it knows."""


def settings_files(site: Site) -> dict[Path, dict[str, Any]]:
    """The content of every settings file, by its path."""
    stations = {
        site.config(f"{service}.yaml"): simulator_settings(site, service, kind) for service, kind in SIMULATORS.values()
    }
    return {site.config("server.yaml"): server_settings(site), site.config("hub.yaml"): hub_settings(site), **stations}


def write_settings(site: Site) -> None:
    """Write every settings file; all may hold secrets, so only the owner can read them."""
    for path, values in settings_files(site).items():
        write_private(path, yaml.safe_dump(values, sort_keys=False, allow_unicode=True))


def write_supervisor(site: Site, programs: Iterable[Service]) -> None:
    """Write supervisord's configuration, which mentions what the settings files hold: write those first."""
    write_private(site.config("supervisord.conf"), supervisor_settings(site, programs))


def server_settings(site: Site) -> dict[str, Any]:
    """Settings of rs-server and its worker."""
    return {
        "host": "127.0.0.1",
        "port": site.ports["rs-server"],
        "public_url": site.ports.url("rs-server"),
        "secret": site.secrets.server_secret,
        "access": _access(site),
        "database": {"dsn": site.database("rs", "rs", site.secrets.rs_database_password)},
        "storage": _storage(site),
        "dask": {
            "gateway": site.ports.url("hub", "/services/dask-gateway"),
            "proxy_address": f"gateway://127.0.0.1:{site.ports['dask-gateway-scheduler']}",
            "hub_token": site.secrets.dpr_hub_token,
        },
        "stations": {name: _station(site, name, station) for name, station in STATIONS.items()},
    }


def _access(site: Site) -> dict[str, Any]:
    return {
        "issuer": site.issuer,
        "directory": {
            "admin_url": site.ports.url("keycloak", f"/admin/realms/{REALM}"),
            "token_url": f"{site.issuer}/protocol/openid-connect/token",
            "client_id": "rs-directory",
            "client_secret": site.secrets.directory_client_secret,
        },
    }


def _storage(site: Site) -> dict[str, Any]:
    return {
        "endpoint": site.ports.url("s3"),
        "region": REGION,
        "access_key": site.secrets.s3_access_key,
        "secret_key": site.secrets.s3_secret_key,
        "bucket": BUCKET,
        "iam_endpoint": site.ports.url("s3-iam"),
        # VersityGW writes the parts of an object into one extended attribute: ext4 has 4 KiB for all of a file's.
        "most_parts": 400,
    }


def _station(site: Site, name: str, station: Mapping[str, Any]) -> dict[str, Any]:
    service, kind = SIMULATORS[name]
    address = site.ports.url(service)
    return {
        "kind": kind,
        "url": f"{address}/odata/v1",
        "token_url": f"{address}/auth/realms/station/protocol/openid-connect/token",
        "grant": {
            "grant_type": "client_credentials",
            "client_id": "rs-server",
            "client_secret": site.secrets.station_client_secret,
        },
        "collections": station["collections"],
    }


def simulator_settings(site: Site, service: str, kind: str) -> dict[str, Any]:
    """Settings of a simulated station."""
    return {
        "kind": kind,
        "host": "127.0.0.1",
        "port": site.ports[service],
        "client_id": "rs-server",
        "client_secret": site.secrets.station_client_secret,
        "admin_token": site.secrets.station_admin_token,
        "seed": _STATION_SEED,
        "scale": _STATION_SCALE,
        "other_url": f"http://localhost:{site.ports[service]}",
        "state_dir": str(site.data(service)),
        "log_level": "info",
    }


def hub_settings(site: Site) -> dict[str, Any]:
    """Settings of JupyterHub and of the Dask gateway beside it."""
    folder = site.data("hub")
    return {
        "public_url": site.ports.url("hub"),
        "data_dir": str(folder),
        "homes_dir": str(folder / "homes"),
        "notebooks_dir": str(site.checkout / "notebooks"),
        "venv_bin": str(site.venv_bin),
        "server_url": site.ports.url("rs-server"),
        "s3_endpoint": site.ports.url("s3"),
        "hub": {
            "port": site.ports["hub-api"],
            "proxy_api_port": site.ports["hub-proxy-api"],
            "proxy_command": [str(site.tools.proxy / "configurable-http-proxy")],
            "db_url": f"sqlite:///{folder / 'hub.sqlite'}",
            "cookie_secret_file": str(site.installation.secrets / "hub-cookie-secret"),
            "crypt_key": site.secrets.hub_crypt_key,
        },
        "login": {"issuer": site.issuer, "client_secret": site.secrets.hub_client_secret},
        "tokens": {"port": site.ports["rs-token"], "api_token": site.secrets.token_service_hub_token},
        "gateway": _gateway(site, folder),
    }


def _gateway(site: Site, folder: Path) -> dict[str, Any]:
    return {
        "api_port": site.ports["dask-gateway-api"],
        "proxy_port": site.ports["dask-gateway"],
        "scheduler_port": site.ports["dask-gateway-scheduler"],
        "hub_token": site.secrets.gateway_hub_token,
        "dpr_token": site.secrets.dpr_hub_token,
        "db_url": f"sqlite:///{folder / 'gateway.sqlite'}",
        "encrypt_key": site.secrets.gateway_fernet_key,
    }


def supervisor_settings(site: Site, programs: Iterable[Service]) -> str:
    """The configuration of supervisord: it keeps alive what we start, and starts nothing by itself."""
    run, logs = site.installation.run, site.installation.logs
    sections = [
        _section("unix_http_server", {"file": supervisor_socket(site), "chmod": "0600"}),
        _section(
            "supervisord",
            {
                "logfile": logs / "supervisord.log",
                "logfile_maxbytes": f"5{_MEGABYTE}",
                "logfile_backups": 2,
                "pidfile": run / "supervisord.pid",
                "childlogdir": logs,
                "directory": run,
                "umask": "077",
                **({"user": "root"} if os.geteuid() == 0 else {}),  # else it warns that this was not said
            },
        ),
        _section(
            "rpcinterface:supervisor",
            {"supervisor.rpcinterface_factory": "supervisor.rpcinterface:make_main_rpcinterface"},
        ),
        *(_program(site, service) for service in programs),
    ]
    return "\n".join(sections)


def supervisor_socket(site: Site) -> Path:
    """The socket that supervisord takes orders on."""
    return site.installation.sockets / "supervisor.sock"


def _program(site: Site, service: Service) -> str:
    variables = {**service_environment(site), **service.environment}
    if service.data is not None:
        variables["HOME"] = str(service.data)
    if service.settings is not None:  # a change of the file must restart its readers
        variables["RS_SETTINGS_DIGEST"] = hashlib.sha256(service.settings.read_bytes()).hexdigest()[:16]
    return _section(
        f"program:{service.name}",
        {
            "command": shlex.join(service.command),
            "directory": site.installation.run,
            "environment": ",".join(f"{name}={_quoted(value)}" for name, value in variables.items()),
            "autostart": "false",
            "autorestart": "true",
            "startsecs": 1,
            "startretries": 20,
            "stopsignal": service.stop_signal,
            "stopwaitsecs": 20,
            "killasgroup": "true",
            "redirect_stderr": "true",
            "stdout_logfile": site.installation.log(service.name),
            "stdout_logfile_maxbytes": f"10{_MEGABYTE}",
            "stdout_logfile_backups": 3,
        },
    )


def _section(name: str, values: Mapping[str, Any]) -> str:
    lines = (f"{key} = {str(value).replace('%', '%%')}" for key, value in values.items())
    return "\n".join((f"[{name}]", *lines, ""))


def _quoted(value: str) -> str:
    if '"' in value or "\n" in value:
        raise ValueError(f"supervisord has no way to be given a quotation mark or a line break: {value!r}")
    return f'"{value}"'
