"""What a script needs to work with the platform as one of its users: addresses, and an API key that is real."""

from __future__ import annotations

import json
from typing import Any

import httpx

from rs_platform import ports as port_choice
from rs_platform.installation import Installation, write_private
from rs_platform.site import Site, site

_KEY_DAYS = 30
_KEY_NAME = "rs env"
_CREATED = (200, 201)
_OK = 200


class AccessProblem(Exception):
    """No key can be had; the message says why."""


def known_site(installation: Installation) -> Site:
    """The site of a platform that was started before; raises ``AccessProblem`` when it never was."""
    ports = port_choice.remembered(installation)
    if ports is None:
        raise AccessProblem(f"there is no platform in {installation.home} yet: rs up -d")
    return site(installation, ports)


def user_environment(installation: Installation, user: str) -> dict[str, str]:
    """The variables a script of this user needs; raises ``AccessProblem``."""
    site = known_site(installation)
    return {
        "RS_HOME": str(installation.home),
        "RS_SERVER_URL": site.ports.url("rs-server"),
        "RS_API_KEY": _api_key(site, user),
        "RS_HUB_URL": site.ports.url("hub"),
        "RS_S3_ENDPOINT": site.ports.url("s3"),
        "RS_KEYCLOAK_URL": site.ports.url("keycloak"),
    }


def _api_key(site: Site, user: str) -> str:
    """The key handed out before while it is still good, else a new one."""
    path = site.installation.secrets / "keys.json"
    keys: dict[str, str] = json.loads(path.read_text()) if path.exists() else {}
    with httpx.Client(timeout=30, trust_env=False) as http:
        if user not in keys or not _is_good(http, site, keys[user]):
            keys[user] = _new_key(http, site, user)
            write_private(path, json.dumps(keys, indent=1))
    return keys[user]


def _is_good(http: httpx.Client, site: Site, key: str) -> bool:
    answer = _send(http, "GET", site.ports.url("rs-server", "/auth/me"), headers={"x-api-key": key})
    return answer.status_code == _OK


def _new_key(http: httpx.Client, site: Site, user: str) -> str:
    answer = _send(
        http,
        "POST",
        site.ports.url("rs-server", "/auth/api_keys"),
        headers={"Authorization": f"Bearer {_platform_token(http, site)}"},
        json={"owner": user, "name": _KEY_NAME, "expires_in_days": _KEY_DAYS},
    )
    if answer.status_code not in _CREATED:
        raise AccessProblem(f"rs-server gives no key for {user}: {answer.status_code} {answer.text[:300]}")
    return str(answer.json()["api_key"])


def _platform_token(http: httpx.Client, site: Site) -> str:
    """An access token of the platform's own account, which may make keys for users."""
    answer = _send(
        http,
        "POST",
        f"{site.issuer}/protocol/openid-connect/token",
        data={
            "grant_type": "client_credentials",
            "client_id": "rs-platform",
            "client_secret": site.secrets.platform_client_secret,
        },
    )
    if answer.status_code != _OK:
        raise AccessProblem(f"Keycloak gives the platform no token: {answer.status_code} {answer.text[:300]}")
    return str(answer.json()["access_token"])


def _send(http: httpx.Client, method: str, url: str, **content: Any) -> httpx.Response:
    try:
        return http.request(method, url, **content)
    except httpx.TransportError as error:
        raise AccessProblem(f"{url} does not answer: is the platform up? (rs status)") from error
