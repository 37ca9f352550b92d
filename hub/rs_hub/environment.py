"""What a user's server is told in its environment: addresses only, never a secret."""

from __future__ import annotations

from pathlib import Path

from rs_hub.settings import HubSettings

TOKEN_SERVICE = "rs-token"  # noqa: S105 - the name of a service
GATEWAY_SERVICE = "dask-gateway"
DPR_SERVICE = "rs-dpr"

_LAB_CONFIGURATION = Path(__file__).parent / "lab"
_SYSTEM_PATH = ("/usr/local/bin", "/usr/bin", "/bin")


def service_path(name: str) -> str:
    """The path under which the proxy offers a hub service."""
    return f"/services/{name}"


def user_environment(settings: HubSettings) -> dict[str, str]:
    """The variables of a user's server; its own hub token, which the hub adds, is its only credential."""
    gateway = f"{settings.public_url}{service_path(GATEWAY_SERVICE)}"
    return {
        "PATH": ":".join((str(settings.venv_bin), *_SYSTEM_PATH)),
        "RS_SERVER_URL": settings.server_url,
        "RS_HUB_URL": settings.public_url,
        "RS_TOKEN_URL": f"{settings.public_url}{service_path(TOKEN_SERVICE)}/token",
        "RS_S3_ENDPOINT": settings.s3_endpoint,
        "DASK_GATEWAY__ADDRESS": gateway,
        "DASK_GATEWAY__PUBLIC_ADDRESS": gateway,
        "DASK_GATEWAY__PROXY_ADDRESS": f"gateway://127.0.0.1:{settings.gateway.scheduler_port}",
        "DASK_GATEWAY__AUTH__TYPE": "jupyterhub",
        "JUPYTER_CONFIG_PATH": str(_LAB_CONFIGURATION),
        # Panel asks for its files at an address that does not know the hub's prefix, and shows an error when it fails.
        "PANEL_NOTEBOOK_RESOURCES": "cdn",
    }
