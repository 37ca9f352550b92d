"""The hub of a running platform: login, a user's server, the token service, the gateway, the realm."""

import base64
import html
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import httpx
import psutil  # type: ignore[import-untyped]  # its types are a package of their own
import pytest
import yaml
from aiohttp import ClientResponseError
from dask_gateway import Gateway  # type: ignore[import-untyped]  # no types there
from dask_gateway.auth import JupyterHubAuth  # type: ignore[import-untyped]

from rs_platform.access import known_site
from rs_platform.installation import Installation
from rs_platform.steps import realm_environment

ROOT = Path(__file__).parents[2]
REALM = ROOT / "hub" / "keycloak" / "realm.json"


class LoopbackTransport(httpx.HTTPTransport):
    """Takes Secure cookies over plain http, as browsers do from a loopback address."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        response = super().handle_request(request)
        response.headers = httpx.Headers(
            [
                (name, re.sub(r";\s*Secure", "", value) if name.lower() == "set-cookie" else value)
                for name, value in response.headers.multi_items()
            ]
        )
        return response


class Browser:
    """A person at the hub: follows redirects, fills Keycloak's form."""

    def __init__(self, hub: str) -> None:
        self.hub = hub
        self.http = httpx.Client(follow_redirects=True, timeout=90, transport=LoopbackTransport())

    def open(self, path: str) -> httpx.Response:
        return self.http.get(f"{self.hub}{path}")

    def log_in(self, user: str, password: str, path: str = "/hub/home") -> httpx.Response:
        page = self.open(path)
        assert asks_for_password(page), page.url
        action = re.search(r'<form[^>]*id="kc-form-login"[^>]*action="([^"]+)"', page.text)
        assert action
        form = {"username": user, "password": password, "credentialId": ""}
        return self.http.post(html.unescape(action[1]), data=form)

    def start_server(self, user: str) -> httpx.Response:
        page = self.open(f"/hub/spawn/{user}")
        deadline = time.monotonic() + 60
        while "/spawn-pending/" in page.url.path and time.monotonic() < deadline:
            time.sleep(0.3)
            page = self.open(f"/hub/spawn-pending/{user}")
        return page


def asks_for_password(page: httpx.Response) -> bool:
    return page.status_code == 200 and 'id="kc-form-login"' in page.text


@contextmanager
def browser(platform: Any) -> Iterator[Browser]:
    person = Browser(platform.url("hub"))
    with person.http:
        yield person


@pytest.fixture(scope="module")
def server_of(platform: Any) -> Callable[[str], dict[str, str]]:
    """Logs a user in, starts her server, and returns the environment that her server runs in."""
    environments: dict[str, dict[str, str]] = {}

    def start(user: str) -> dict[str, str]:
        if user not in environments:
            with browser(platform) as person:
                assert person.log_in(user, platform.password(user)).status_code == 200
                page = person.start_server(user)
                assert page.url.path.startswith(f"/user/{user}/lab"), page.url
                environments[user] = _environment_of(platform, user)
        return environments[user]

    return start


def _environment_of(platform: Any, user: str) -> dict[str, str]:
    home = str(platform.home)
    for process in psutil.process_iter():
        try:
            environment: dict[str, str] = process.environ()
        except psutil.Error:
            continue
        if environment.get("JUPYTERHUB_USER") == user and environment.get("HOME", "").startswith(home):
            return environment
    raise AssertionError(f"{user} has no server")


def claims(token: str) -> dict[str, Any]:
    payload = token.split(".")[1]
    read: dict[str, Any] = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))
    return read


def ask_for_token(environment: dict[str, str], hub_token: str | None = None) -> httpx.Response:
    hub_token = hub_token or environment["JUPYTERHUB_API_TOKEN"]
    return httpx.get(environment["RS_TOKEN_URL"], headers={"Authorization": f"token {hub_token}"}, timeout=30)


def test_login_is_a_code_flow_with_pkce(platform: Any) -> None:
    with browser(platform) as person:
        page = person.open("/hub/home")
    query = dict(page.url.params)
    assert asks_for_password(page)
    assert (query["response_type"], query["code_challenge_method"]) == ("code", "S256")
    assert str(page.url).startswith(platform.url("keycloak"))


def test_a_wrong_password_stays_at_keycloak(platform: Any) -> None:
    with browser(platform) as person:
        page = person.log_in("bob", "not-the-password-of-bob")
    assert asks_for_password(page)
    assert "Invalid username or password" in page.text


def test_the_lab_opens_with_the_notebooks(platform: Any, server_of: Callable[[str], dict[str, str]]) -> None:
    environment = server_of("alice")
    with browser(platform) as person:
        person.log_in("alice", platform.password("alice"))
        page = person.open("/user/alice/lab/tree/notebooks")
    assert page.status_code == 200
    assert "<title>JupyterLab</title>" in page.text
    delivered = {path.name for path in Path(environment["HOME"], "notebooks").iterdir()}
    shelves = {path.parent.name for path in (ROOT / "notebooks").glob("*/*.ipynb")}
    assert shelves <= delivered


def test_a_users_server_holds_no_secret(platform: Any, server_of: Callable[[str], dict[str, str]]) -> None:
    environment = server_of("alice")
    files = [path for path in Path(platform.home, "secrets").rglob("*") if path.is_file()]
    words = {word for path in files for word in re.findall(r"[\w+/=-]{12,}", path.read_text(errors="ignore"))}
    secrets = {word for word in words if word not in str(platform.home) and "/" not in word[:1]}
    values = "\n".join(environment.values())
    assert secrets
    assert not [secret for secret in secrets if secret in values]
    assert not [name for name in environment if name.startswith("KC_") or "CRYPT" in name]


def test_a_users_server_gets_a_fresh_access_token_for_rs_server(
    server_of: Callable[[str], dict[str, str]],
) -> None:
    answer = ask_for_token(server_of("alice"))
    assert answer.status_code == 200
    assert answer.json().keys() == {"access_token", "token_type", "expires_in"}
    assert 0 < answer.json()["expires_in"] <= 300
    said = claims(answer.json()["access_token"])
    assert said["aud"] == "rs-server"
    assert said["preferred_username"] == "alice"
    assert {"/rs-users", "/rs-producers"} == set(said["groups"])
    assert "rs_processes_s1-l0_execute" in said["realm_access"]["roles"]
    assert not [role for role in said["realm_access"]["roles"] if not role.startswith("rs_")]
    assert said["typ"] == "Bearer"


def test_bob_gets_his_own_rights(server_of: Callable[[str], dict[str, str]]) -> None:
    said = claims(ask_for_token(server_of("bob")).json()["access_token"])
    assert said["preferred_username"] == "bob"
    assert set(said["realm_access"]["roles"]) == {f"rs_{kind}_*_read" for kind in ("cadip", "auxip", "prip", "lta")}


def test_one_users_hub_token_does_not_reach_anothers_login(server_of: Callable[[str], dict[str, str]]) -> None:
    alice, bob = server_of("alice"), server_of("bob")
    answer = ask_for_token(alice, bob["JUPYTERHUB_API_TOKEN"])
    assert claims(answer.json()["access_token"])["preferred_username"] == "bob"
    for token in (alice["JUPYTERHUB_API_TOKEN"], bob["JUPYTERHUB_API_TOKEN"]):
        user = httpx.get(f"{alice['JUPYTERHUB_API_URL']}/users/alice", headers={"Authorization": f"token {token}"})
        assert "access_token" not in user.text
        assert "refresh_token" not in user.text


@pytest.mark.parametrize("header", [{}, {"Authorization": "token nobody"}, {"Authorization": "Bearer x.y.z"}])
def test_the_token_service_refuses_strangers(platform: Any, header: dict[str, str]) -> None:
    answer = httpx.get(f"{platform.url('hub')}/services/rs-token/token", headers=header)
    assert answer.status_code == 401
    assert "access_token" not in answer.json()


def test_somebody_outside_the_groups_is_told_so(platform: Any) -> None:
    with browser(platform) as person:
        page = person.log_in("visitor", platform.password("visitor"))
        assert page.status_code == 403
        assert "You logged in as <strong>visitor</strong>" in page.text
        assert "<code>rs-users</code>" in page.text
        assert "Ask an operator" in page.text
        way_out = re.search(r'id="another-user"[^>]*href="([^"]+)"', page.text)
        assert way_out
        confirm = person.open(way_out[1])
        action = re.search(r'<form[^>]*action="([^"]*logout-confirm[^"]*)"', confirm.text)
        code = re.search(r'name="session_code" value="([^"]+)"', confirm.text)
        assert action
        assert code
        again = person.http.post(
            str(confirm.url.join(html.unescape(action[1]))), data={"session_code": code[1], "confirmLogout": "Logout"}
        )
    assert asks_for_password(again)


@asynccontextmanager
async def gateway(environment: dict[str, str], hub_token: str | None = None) -> AsyncIterator[Any]:
    connection = Gateway(
        address=environment["DASK_GATEWAY__ADDRESS"],
        proxy_address=environment["DASK_GATEWAY__PROXY_ADDRESS"],
        auth=JupyterHubAuth(api_token=hub_token or environment["JUPYTERHUB_API_TOKEN"]),
        asynchronous=True,
    )
    async with connection as opened:
        yield opened


async def _compute(opened: Any) -> int:
    async with await opened.new_cluster(shutdown_on_close=True) as cluster:
        await cluster.scale(1)
        async with cluster.get_client() as client:
            return int(await client.submit(sum, (1, 1)))


async def test_a_users_cluster_computes(server_of: Callable[[str], dict[str, str]]) -> None:
    async with gateway(server_of("alice")) as opened:
        assert await _compute(opened) == 2


async def test_the_processing_service_runs_clusters_of_its_own(
    platform: Any, server_of: Callable[[str], dict[str, str]]
) -> None:
    async with gateway(server_of("alice"), hub_settings(platform)["gateway"]["dpr_token"]) as opened:
        assert await _compute(opened) == 2


async def test_a_cluster_is_its_owners(server_of: Callable[[str], dict[str, str]]) -> None:
    async with (
        gateway(server_of("alice")) as hers,
        gateway(server_of("bob")) as his,
        await hers.new_cluster(shutdown_on_close=True) as cluster,
    ):
        assert cluster.name not in [report.name for report in await his.list_clusters()]
        with pytest.raises(ClientResponseError, match="403"):
            await his.connect(cluster.name)


@pytest.mark.parametrize("header", [{}, {"Authorization": "jupyterhub nobody"}])
def test_the_gateway_refuses_strangers(platform: Any, header: dict[str, str]) -> None:
    address = f"{platform.url('hub')}/services/dask-gateway/api/v1/clusters/"
    assert httpx.get(address, headers=header).status_code == 401
    assert httpx.post(address, headers=header, json={}).status_code == 401


def test_a_logout_ends_the_hub_keycloak_and_the_tokens(
    platform: Any, server_of: Callable[[str], dict[str, str]]
) -> None:
    environment = server_of("operator")
    with browser(platform) as person:
        person.log_in("operator", platform.password("operator"))
        assert ask_for_token(environment).status_code == 200
        assert asks_for_password(person.open("/hub/logout"))
        assert asks_for_password(person.open("/hub/home"))
        assert ask_for_token(environment).status_code == 401
        person.log_in("operator", platform.password("operator"))
        assert ask_for_token(environment).status_code == 200


@pytest.mark.parametrize("client", ["jupyterhub", "rs-client", "rs-platform", "admin-cli"])
def test_nobody_gets_a_token_for_a_password(platform: Any, client: str) -> None:
    form = {
        "grant_type": "password",
        "client_id": client,
        "username": "bob",
        "password": platform.password("bob"),
    }
    if client == "jupyterhub":
        form["client_secret"] = hub_settings(platform)["login"]["client_secret"]
    answer = httpx.post(f"{hub_settings(platform)['login']['issuer']}/protocol/openid-connect/token", data=form)
    assert answer.status_code in {400, 401}
    assert answer.json()["error"] in {"unauthorized_client", "invalid_client"}


def test_the_realm_is_as_its_file_says(platform: Any) -> None:
    applied = _apply(platform)
    assert applied.returncode == 0, applied.stderr
    assert applied.stdout.split("\n")[0] == "no change"


def hub_settings(platform: Any) -> dict[str, Any]:
    read: dict[str, Any] = yaml.safe_load(Path(platform.home, "config", "hub.yaml").read_text())
    return read


def _apply(platform: Any) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "rs_hub.realm", "apply"]
    arguments = ["--url", platform.url("keycloak"), "--file", str(REALM)]
    environment = {**os.environ, **realm_environment(known_site(Installation(platform.home)))}
    return subprocess.run([*command, *arguments], env=environment, capture_output=True, text=True, check=False)
