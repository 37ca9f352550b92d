"""Settings for the tests of the hub, with secrets that are easy to look for."""

import base64
from pathlib import Path
from typing import Any

import pytest

from rs_hub.settings import HubSettings

SECRETS = {
    "crypt_key": "c0" * 32,
    "client_secret": "client-secret-of-the-hub",
    "token_service": "70" * 32,
    "gateway": "6a" * 32,
    "dpr": "d0" * 32,
    "encrypt_key": base64.urlsafe_b64encode(b"e" * 32).decode(),
    "database": "sqlite:////with/password-of-the-database",
}


@pytest.fixture
def hub_secrets() -> dict[str, str]:
    return dict(SECRETS)


@pytest.fixture
def hub_values(tmp_path: Path) -> dict[str, Any]:
    return {
        "public_url": "http://127.0.0.1:18000/",
        "data_dir": str(tmp_path / "data"),
        "homes_dir": str(tmp_path / "homes"),
        "notebooks_dir": str(tmp_path / "notebooks"),
        "venv_bin": "/venv/bin",
        "server_url": "http://127.0.0.1:18010",
        "s3_endpoint": "http://127.0.0.1:18020",
        "hub": {
            "port": 18001,
            "proxy_api_port": 18002,
            "proxy_command": ["node", "configurable-http-proxy"],
            "db_url": SECRETS["database"],
            "cookie_secret_file": str(tmp_path / "cookie_secret"),
            "crypt_key": SECRETS["crypt_key"],
        },
        "login": {
            "issuer": "http://127.0.0.1:18080/realms/rs-python",
            "client_secret": SECRETS["client_secret"],
        },
        "tokens": {"port": 18003, "api_token": SECRETS["token_service"]},
        "gateway": {
            "api_port": 18004,
            "proxy_port": 18005,
            "scheduler_port": 18006,
            "hub_token": SECRETS["gateway"],
            "dpr_token": SECRETS["dpr"],
            "db_url": SECRETS["database"],
            "encrypt_key": SECRETS["encrypt_key"],
        },
    }


@pytest.fixture
def hub_settings(hub_values: dict[str, Any]) -> HubSettings:
    return HubSettings.model_validate(hub_values)
