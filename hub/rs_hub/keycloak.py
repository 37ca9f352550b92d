"""Keycloak's admin API, as far as a realm kept as code needs it."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Self

import httpx

from rs_hub.settings import KeycloakAdministrator

_NOT_FOUND = 404


class KeycloakError(Exception):
    """Keycloak cannot be reached, or refused a request; the text says which and why, and holds no secret."""


class KeycloakAdmin:
    """One administrator's conversation with one Keycloak."""

    def __init__(
        self, url: str, administrator: KeycloakAdministrator, transport: httpx.BaseTransport | None = None
    ) -> None:
        self._administrator = administrator
        self._http = httpx.Client(base_url=url, timeout=60, transport=transport)

    def __enter__(self) -> Self:
        self.log_in()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._http.close()

    def log_in(self) -> None:
        """Get a token; needed again after a realm was made, for only a new token carries the right to change it."""
        form = {
            "grant_type": "password",
            "client_id": "admin-cli",
            "username": self._administrator.user,
            "password": self._administrator.password.get_secret_value(),
        }
        answer = self._request("POST", "/realms/master/protocol/openid-connect/token", data=form)
        self._http.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"

    def exists(self, path: str) -> bool:
        """Whether there is something below ``/admin/realms/``."""
        return self._send("GET", f"/admin/realms/{path}").status_code != _NOT_FOUND

    def get(self, path: str, **query: str | int) -> Any:
        """Read something below ``/admin/realms/``."""
        return self._request("GET", f"/admin/realms/{path}", params=query).json()

    def post(self, path: str, body: Any) -> None:
        """Add something below ``/admin/realms/``."""
        self._request("POST", f"/admin/realms/{path}".rstrip("/"), json=body)

    def put(self, path: str, body: Any = None) -> None:
        """Change something below ``/admin/realms/``."""
        self._request("PUT", f"/admin/realms/{path}", json=body)

    def delete(self, path: str, body: Any = None) -> None:
        """Take something away below ``/admin/realms/``."""
        self._request("DELETE", f"/admin/realms/{path}", json=body)

    def _request(self, method: str, path: str, **content: Any) -> httpx.Response:
        answer = self._send(method, path, **content)
        if answer.is_error:
            raise KeycloakError(f"Keycloak refused {method} {path}: {answer.status_code} {_reason(answer)}".rstrip())
        return answer

    def _send(self, method: str, path: str, **content: Any) -> httpx.Response:
        try:
            return self._http.request(method, path, **content)
        except httpx.TransportError as error:
            raise KeycloakError(f"Keycloak at {self._http.base_url} does not answer: {error}") from error


def _reason(answer: httpx.Response) -> str:
    """The text that Keycloak gives for a refusal, under one of three names."""
    try:
        body = answer.json()
    except ValueError:
        return ""
    names = ("errorMessage", "error_description", "error")
    return str(next((body[name] for name in names if name in body), "")) if isinstance(body, dict) else ""
