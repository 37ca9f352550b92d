"""The configuration that the hub and the gateway get, and what a user's server is told."""

import json
from pathlib import Path
from typing import Any

import pytest
from traitlets.config import Config

from rs_hub.configure import configure_gateway, configure_hub
from rs_hub.environment import user_environment
from rs_hub.profiles import LOCAL
from rs_hub.settings import HubSettings


@pytest.fixture
def hub(hub_settings: HubSettings) -> Config:
    c = Config()
    configure_hub(c, hub_settings)
    return c


@pytest.fixture
def gateway(hub_settings: HubSettings) -> Config:
    c = Config()
    configure_gateway(c, hub_settings)
    return c


def test_a_users_server_is_told_no_secret(hub_settings: HubSettings, hub_secrets: dict[str, str]) -> None:
    told = json.dumps(user_environment(hub_settings))
    assert not [name for name, secret in hub_secrets.items() if secret in told]


def test_a_users_server_is_told_every_address(hub_settings: HubSettings) -> None:
    told = user_environment(hub_settings)
    assert told["RS_SERVER_URL"] == "http://127.0.0.1:18010"
    assert told["RS_HUB_URL"] == "http://127.0.0.1:18000"
    assert told["RS_TOKEN_URL"] == "http://127.0.0.1:18000/services/rs-token/token"
    assert told["RS_S3_ENDPOINT"] == "http://127.0.0.1:18020"
    assert told["DASK_GATEWAY__ADDRESS"] == "http://127.0.0.1:18000/services/dask-gateway"
    assert told["DASK_GATEWAY__PROXY_ADDRESS"] == "gateway://127.0.0.1:18006"
    assert told["PATH"].startswith("/venv/bin:")


def test_the_lab_asks_nobody_for_news(hub_settings: HubSettings) -> None:
    folder = Path(user_environment(hub_settings)["JUPYTER_CONFIG_PATH"])
    page = json.loads((folder / "labconfig" / "page_config.json").read_text())
    assert page["disabledExtensions"]["@jupyterlab/apputils-extension:announcements"] is True


def test_workers_inherit_no_secret(gateway: Config) -> None:
    assert set(gateway.WarmBackend.inherited_environment) == {"PATH", "LANG", "RS_INSTALLATION"}


def roles(hub: Config) -> dict[str, dict[str, Any]]:
    return {role["name"]: role for role in hub.JupyterHub.load_roles}


def test_users_reach_the_services_through_their_groups(hub: Config) -> None:
    services = {"access:services!service=rs-token", "access:services!service=dask-gateway"}
    assert roles(hub)["rs-users"]["groups"] == ["rs-users"]
    assert set(roles(hub)["rs-users"]["scopes"]) == services
    assert services < set(hub.Spawner.server_token_scopes)


def test_only_the_token_service_reads_logins(hub: Config) -> None:
    assert [name for name, role in roles(hub).items() if "admin:auth_state" in role["scopes"]] == ["rs-token"]


def test_the_processing_service_may_use_the_gateway_and_nothing_else(hub: Config) -> None:
    assert roles(hub)["rs-dpr"]["scopes"] == ["access:services!service=dask-gateway"]


def test_services_have_their_tokens(hub: Config, hub_secrets: dict[str, str]) -> None:
    assert {service["name"]: service["api_token"] for service in hub.JupyterHub.services} == {
        "rs-token": hub_secrets["token_service"],
        "dask-gateway": hub_secrets["gateway"],
        "rs-dpr": hub_secrets["dpr"],
    }


def test_everything_listens_on_loopback(hub: Config, gateway: Config) -> None:
    addresses = [
        hub.JupyterHub.bind_url,
        hub.JupyterHub.hub_bind_url,
        hub.ConfigurableHTTPProxy.api_url,
        *(service["url"] for service in hub.JupyterHub.services if "url" in service),
        gateway.DaskGateway.address,
        gateway.Proxy.address,
        gateway.Proxy.tcp_address,
    ]
    assert [address for address in addresses if "127.0.0.1:" not in address] == []


def test_hub_and_gateway_agree(hub: Config, gateway: Config) -> None:
    service = next(service for service in hub.JupyterHub.services if service["name"] == "dask-gateway")
    assert service["url"] == f"http://{gateway.Proxy.address}"
    assert service["api_token"] == gateway.JupyterHubAuthenticator.jupyterhub_api_token
    assert gateway.Proxy.prefix == "/services/dask-gateway"
    assert gateway.JupyterHubAuthenticator.jupyterhub_service_name == "dask-gateway"
    assert gateway.JupyterHubAuthenticator.jupyterhub_api_url == f"{hub.JupyterHub.hub_bind_url}/hub/api"


def test_login_is_a_code_flow_with_pkce_for_the_allowed_groups(hub: Config) -> None:
    keycloak = hub.KeycloakAuthenticator
    assert keycloak.enable_pkce is True
    assert keycloak.allowed_groups == {"rs-users"}
    assert keycloak.admin_groups == {"rs-operators"}
    assert keycloak.allow_existing_users is False
    assert "allow_all" not in keycloak
    assert keycloak.oauth_callback_url == "http://127.0.0.1:18000/hub/oauth_callback"


async def test_a_home_is_furnished_before_its_server_starts(hub: Config, hub_settings: HubSettings) -> None:
    tutorial = hub_settings.notebooks_dir / "tutorials" / "first.ipynb"
    tutorial.parent.mkdir(parents=True)
    tutorial.write_text("{}")

    class Spawner:
        class user:  # noqa: N801 - JupyterHub's own name
            name = "alice"

    await hub.Spawner.pre_spawn_hook(Spawner())
    assert (hub_settings.homes_dir / "alice" / "notebooks" / "tutorials" / "first.ipynb").read_text() == "{}"
    assert hub.Spawner.notebook_dir == str(hub_settings.homes_dir / "{username}")
    assert hub.Spawner.default_url == LOCAL.landing_path
