"""Turns our settings into the configuration of JupyterHub and of Dask Gateway."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from traitlets.config import Config

from rs_hub.auth import KeycloakAuthenticator, groups_of
from rs_hub.environment import DPR_SERVICE, GATEWAY_SERVICE, TOKEN_SERVICE, service_path, user_environment
from rs_hub.notebooks import deliver
from rs_hub.profiles import LOCAL
from rs_hub.settings import HubSettings, LoginSettings

_TEMPLATES = Path(__file__).parent / "templates"
_GIB = 2**30

# The scheduler has a dashboard; the gateway replaces a worker that has ended, and the preload ends one that has used up
# its memory, which is what a nanny would be there for.
_WORKER_OPTIONS = ("--no-dashboard", "--no-nanny", "--preload", "rs_hub.worker_memory")


def configure_hub(c: Config, settings: HubSettings) -> None:
    """Configure the hub and everything that it starts."""
    _hub_process(c, settings)
    _proxy(c, settings)
    _login(c, settings.login, settings.public_url)
    _spawner(c, settings)
    _services(c, settings)
    _roles(c, settings.login)


def _hub_process(c: Config, settings: HubSettings) -> None:
    c.JupyterHub.bind_url = settings.public_url
    c.JupyterHub.hub_bind_url = f"http://127.0.0.1:{settings.hub.port}"
    c.JupyterHub.db_url = settings.hub.db_url.get_secret_value()
    c.JupyterHub.cookie_secret_file = str(settings.hub.cookie_secret_file)
    c.CryptKeeper.keys = [bytes.fromhex(settings.hub.crypt_key.get_secret_value())]
    c.JupyterHub.template_paths = [str(_TEMPLATES)]
    c.JupyterHub.log_level = _level(settings)
    c.JupyterHub.cleanup_servers = True  # stopped with the hub; a hub that was killed finds them again


def _proxy(c: Config, settings: HubSettings) -> None:
    c.ConfigurableHTTPProxy.command = settings.hub.proxy_command
    c.ConfigurableHTTPProxy.api_url = f"http://127.0.0.1:{settings.hub.proxy_api_port}"
    # Names the proxy of a hub that was killed, so that the next one ends it first.
    c.ConfigurableHTTPProxy.pid_file = str(settings.data_dir / "proxy.pid")


def _login(c: Config, login: LoginSettings, public_url: str) -> None:
    c.JupyterHub.authenticator_class = KeycloakAuthenticator
    keycloak, endpoints = c.KeycloakAuthenticator, f"{login.issuer}/protocol/openid-connect"
    keycloak.login_service = "Keycloak"
    keycloak.client_id = login.client_id
    keycloak.client_secret = login.client_secret.get_secret_value()
    keycloak.authorize_url = f"{endpoints}/auth"
    keycloak.token_url = f"{endpoints}/token"
    keycloak.end_session_url = f"{endpoints}/logout"
    keycloak.oauth_callback_url = f"{public_url}/hub/oauth_callback"
    keycloak.after_logout_url = f"{public_url}/hub/login"
    keycloak.scope = ["openid", "profile", "email"]
    keycloak.enable_pkce = True
    keycloak.auto_login = True
    _identity(c, login)
    _freshness(c, login)


def _identity(c: Config, login: LoginSettings) -> None:
    keycloak = c.KeycloakAuthenticator
    keycloak.userdata_from_id_token = True  # it comes from Keycloak itself, with the access token: one answer, one step
    keycloak.username_claim = "preferred_username"
    keycloak.manage_groups = True
    # A function: the path "oauth_user.groups" logs an error for everyone without groups.
    keycloak.auth_state_groups_key = groups_of
    keycloak.allowed_groups = set(login.allowed_groups)
    keycloak.admin_groups = set(login.admin_groups)
    keycloak.allow_existing_users = False  # else who has been here once may always come back
    keycloak.contact = login.contact


def _freshness(c: Config, login: LoginSettings) -> None:
    keycloak = c.KeycloakAuthenticator
    keycloak.enable_auth_state = True
    keycloak.auth_refresh_age = login.refresh_age_s
    keycloak.refresh_pre_spawn = True
    keycloak.life_margin_s = float(login.life_margin_s)


def _spawner(c: Config, settings: HubSettings) -> None:
    home = settings.homes_dir / "{username}"
    c.JupyterHub.spawner_class = "simple"
    c.SimpleLocalProcessSpawner.home_dir_template = str(home)
    c.Spawner.notebook_dir = str(home)
    c.Spawner.cmd = [str(settings.venv_bin / LOCAL.program)]
    # Below warnings a server writes the values of its cookies, and its log is the hub's.
    c.Spawner.args = ["--log-level=WARN", *(["--allow-root"] if settings.runs_as_root else [])]
    c.Spawner.default_url = LOCAL.landing_path
    c.Spawner.http_timeout = settings.spawn_timeout_s
    c.Spawner.environment = user_environment(settings)
    c.Spawner.pre_spawn_hook = _furnish(settings)
    # This replaces the default scopes of a server's token, so it says the usual ones too.
    c.Spawner.server_token_scopes = ["users:activity!user", "access:servers!server", *_user_services()]


def _furnish(settings: HubSettings) -> Callable[[Any], Awaitable[None]]:
    async def furnish(spawner: Any) -> None:
        home = settings.homes_dir / str(spawner.user.name)
        await asyncio.to_thread(deliver, settings.notebooks_dir, home)

    return furnish


def _services(c: Config, settings: HubSettings) -> None:
    c.JupyterHub.services = [
        {
            "name": TOKEN_SERVICE,
            "url": f"http://127.0.0.1:{settings.tokens.port}",
            "api_token": settings.tokens.api_token.get_secret_value(),
            "command": [sys.executable, "-m", "rs_hub.tokens"],
        },
        {
            "name": GATEWAY_SERVICE,
            "url": f"http://127.0.0.1:{settings.gateway.proxy_port}",
            "api_token": settings.gateway.hub_token.get_secret_value(),
        },
        {"name": DPR_SERVICE, "api_token": settings.gateway.dpr_token.get_secret_value()},
    ]


def _roles(c: Config, login: LoginSettings) -> None:
    c.JupyterHub.load_roles = [
        {"name": TOKEN_SERVICE, "services": [TOKEN_SERVICE], "scopes": ["read:users:name", "admin:auth_state"]},
        {
            "name": GATEWAY_SERVICE,
            "services": [GATEWAY_SERVICE],
            "scopes": ["read:users:name", "read:users:groups"],
        },
        {"name": DPR_SERVICE, "services": [DPR_SERVICE], "scopes": [_access(GATEWAY_SERVICE)]},
        # Bound to the groups: leaving them takes the services away from servers that are running.
        {"name": "rs-users", "groups": sorted(login.allowed_groups), "scopes": _user_services()},
    ]


def _user_services() -> list[str]:
    return [_access(TOKEN_SERVICE), _access(GATEWAY_SERVICE)]


def _access(service: str) -> str:
    return f"access:services!service={service}"


def configure_gateway(c: Config, settings: HubSettings) -> None:
    """Configure Dask Gateway as a service of the hub, its clusters as processes of this machine."""
    _gateway_process(c, settings)
    _gateway_login(c, settings)
    _clusters(c, settings)
    _cluster_sizes(c, settings)


def _gateway_process(c: Config, settings: HubSettings) -> None:
    gateway = settings.gateway
    c.DaskGateway.address = f"127.0.0.1:{gateway.api_port}"
    c.DaskGateway.log_level = _level(settings)
    c.Proxy.log_level = {"warning": "warn"}.get(settings.log_level, settings.log_level)  # a Go program's names
    c.Proxy.address = f"127.0.0.1:{gateway.proxy_port}"
    c.Proxy.tcp_address = f"127.0.0.1:{gateway.scheduler_port}"
    c.Proxy.prefix = service_path(GATEWAY_SERVICE)


def _gateway_login(c: Config, settings: HubSettings) -> None:
    c.DaskGateway.authenticator_class = "rs_hub.gateway_auth.HubTokenAuthenticator"
    c.JupyterHubAuthenticator.jupyterhub_api_url = f"http://127.0.0.1:{settings.hub.port}/hub/api"
    c.JupyterHubAuthenticator.jupyterhub_api_token = settings.gateway.hub_token.get_secret_value()
    # Without the name any hub token could start clusters; with it, the scope of _user_services is asked for.
    c.JupyterHubAuthenticator.jupyterhub_service_name = GATEWAY_SERVICE


def _clusters(c: Config, settings: HubSettings) -> None:
    c.DaskGateway.backend_class = "rs_hub.warm.WarmBackend"
    backend = c.WarmBackend
    backend.python = str(settings.venv_bin / "python")
    backend.clusters_directory = str(settings.data_dir / "clusters")
    # By the last, the processes of this installation are told from others.
    backend.inherited_environment = ["PATH", "LANG", "RS_INSTALLATION"]
    backend.sigint_timeout = 3
    backend.stop_clusters_on_shutdown = True
    backend.db_url = settings.gateway.db_url.get_secret_value()
    backend.db_encrypt_keys = [settings.gateway.encrypt_key.get_secret_value()]


def _cluster_sizes(c: Config, settings: HubSettings) -> None:
    from dask_gateway_server.options import Float, Integer, Options  # type: ignore[import-untyped]

    gateway, python = settings.gateway, str(settings.venv_bin / "python")
    # What a caller may say of a worker; the rest of a cluster's size is how many of them it asks for.
    c.WarmBackend.cluster_options = Options(
        Integer("worker_cores", default=gateway.worker_cores, min=1, max=gateway.most_worker_cores),
        Float("worker_memory", default=gateway.worker_memory_gib, min=0.25, max=gateway.most_worker_memory_gib),
        handler=worker_size,
    )
    cluster = c.ClusterConfig
    # Not through the command ``dask``, which first looks for the subcommands of every package that is installed.
    cluster.scheduler_cmd = [python, "-m", "distributed.cli.dask_scheduler"]
    cluster.worker_cmd = [python, "-m", "distributed.cli.dask_worker", *_WORKER_OPTIONS]
    cluster.worker_cores = gateway.worker_cores
    cluster.worker_memory = int(gateway.worker_memory_gib * _GIB)
    cluster.scheduler_memory = int(gateway.scheduler_memory_gib * _GIB)
    cluster.cluster_max_workers = gateway.max_workers
    cluster.idle_timeout = gateway.idle_timeout_s


def worker_size(options: Any) -> dict[str, int]:
    """The chosen options as the backend takes them: memory in bytes."""
    return {"worker_cores": options.worker_cores, "worker_memory": int(options.worker_memory * _GIB)}


def _level(settings: HubSettings) -> int:
    return logging.getLevelNamesMapping()[settings.log_level.upper()]
