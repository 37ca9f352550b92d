"""The running Keycloak, as people log in at it and as its administrator changes it."""

from __future__ import annotations

import base64
import hashlib
import re
from typing import Any
from urllib.parse import parse_qs, urlsplit

import httpx

from rs_platform import secrets
from rs_platform.installation import Installation
from tests.conftest import Platform


def log_in(server: httpx.Client, user: str, password: str) -> str:
    """An access token of that user."""
    return tokens(server, user, password)["access_token"]


def tokens(server: httpx.Client, user: str, password: str) -> dict[str, str]:
    """Follow the documentation page's login: Keycloak's form, the code, the tokens."""
    document = server.get("/openapi.json").json()
    flow = document["components"]["securitySchemes"]["login"]["flows"]["authorizationCode"]
    redirect = f"{document['servers'][0]['url']}/docs/oauth2-redirect"
    verifier = "v" * 64
    challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
    with httpx.Client(timeout=60, trust_env=False) as browser:
        page = browser.get(
            flow["authorizationUrl"],
            params={
                "response_type": "code",
                "client_id": "rs-client",
                "redirect_uri": redirect,
                "scope": "openid",
                "code_challenge": challenge,
                "code_challenge_method": "S256",
            },
        )
        action = re.search(r'action="([^"]+)"', page.text)
        assert action, page.text[:500]
        # Keycloak marks its cookies Secure; browsers send them to a loopback address all the same, httpx does not.
        cookies = "; ".join(cookie.partition(";")[0] for cookie in page.headers.get_list("set-cookie"))
        done = browser.post(
            action[1].replace("&amp;", "&"),
            data={"username": user, "password": password},
            headers={"Cookie": cookies},
        )
        assert done.headers["location"].startswith(redirect), done.text[:500]
        (code,) = parse_qs(urlsplit(done.headers["location"]).query)["code"]
        form = {"grant_type": "authorization_code", "client_id": "rs-client", "redirect_uri": redirect, "code": code}
        answer = browser.post(
            flow["tokenUrl"],
            data=form | {"code_verifier": verifier},
            headers={"Origin": document["servers"][0]["url"]},
        )
    assert answer.status_code == 200, answer.text
    assert answer.headers["access-control-allow-origin"] == document["servers"][0]["url"]
    return {name: value for name, value in answer.json().items() if isinstance(value, str)}


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


class Admin:
    """Keycloak's admin API, as its administrator."""

    def __init__(self, platform: Platform) -> None:
        self.url = platform.url("keycloak").rstrip("/")
        self._http = httpx.Client(timeout=60, trust_env=False)
        self._password = secrets.load(Installation(platform.home)).keycloak_admin_password

    def token(self) -> str:
        """An access token of the administrator, issued by Keycloak's own realm."""
        form = {"grant_type": "password", "client_id": "admin-cli", "username": "admin", "password": self._password}
        token = self._http.post(f"{self.url}/realms/master/protocol/openid-connect/token", data=form).json()
        return str(token["access_token"])

    def ask(self, method: str, path: str, **content: Any) -> Any:
        """What the admin API of our realm answers."""
        headers = bearer(self.token())
        answer = self._http.request(method, f"{self.url}/admin/realms/rs-python{path}", headers=headers, **content)
        answer.raise_for_status()
        return answer.json() if answer.content else None

    def close(self) -> None:
        self._http.close()
