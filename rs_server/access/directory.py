"""What Keycloak knows about a user now: whether they may log in, and which roles and groups they hold."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import httpx

from rs_server.access.policy import Principal, Via
from rs_server.access.recent import Recent
from rs_server.errors import Unavailable
from rs_server.settings import DirectorySettings

REMEMBERED_USERS = 10_000

_EARLY_S = 10.0  # the account's own token is renewed this long before it ends


@dataclass(frozen=True, slots=True)
class User:
    """A user as the directory has them now."""

    login: str
    subject: str
    enabled: bool
    roles: frozenset[str]
    groups: frozenset[str]

    @property
    def is_service(self) -> bool:
        """Whether it is a client's own account (Keycloak keeps these names for them), not a person."""
        return self.login.startswith("service-account-")

    def principal(self, via: Via) -> Principal:
        """The same as the caller of a request."""
        return Principal(self.login, self.subject, self.roles, self.groups, via=via)


class Directory:
    """Asks Keycloak's admin API with a service account, and believes the answer for a short time."""

    def __init__(
        self, settings: DirectorySettings, http: httpx.AsyncClient, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._settings = settings
        self._http = http
        self._clock = clock
        self._known: Recent[str, User] = Recent(size=REMEMBERED_USERS, max_age_s=settings.max_age_s, clock=clock)
        self._token = ""
        self._token_ends = 0.0
        self._lock = asyncio.Lock()

    async def user(self, subject: str) -> User | None:
        """The user of that lasting id, or None if there is no such user (any more).

        Raises ``Unavailable`` when Keycloak does not answer as it should.
        """
        known = self._known.get(subject)
        if known is None and (known := await self._look_up(subject)) is not None:
            self._known.put(subject, known)
        return known

    async def find(self, login: str) -> User | None:
        """The user of that login, or None."""
        found = await self._get(f"/users?username={quote(login, safe='')}&exact=true&briefRepresentation=true")
        subjects = [entry["id"] for entry in found or [] if entry.get("username") == login]
        return await self.user(subjects[0]) if subjects else None

    async def group(self, name: str) -> str | None:
        """The name again if there is such a group, or None."""
        found = await self._get(f"/groups?search={quote(name, safe='')}&exact=true&briefRepresentation=true")
        return name if any(entry.get("path") == f"/{name}" for entry in found or []) else None

    async def _look_up(self, subject: str) -> User | None:
        path = f"/users/{quote(subject, safe='')}"
        entry, roles, groups = await asyncio.gather(
            self._get(path),
            self._get(f"{path}/role-mappings/realm/composite"),  # composite: those of groups and of roles within roles
            self._get(f"{path}/groups?briefRepresentation=true"),
        )
        if entry is None:
            return None
        return User(
            login=entry["username"],
            subject=entry["id"],
            enabled=entry.get("enabled") is True,
            roles=frozenset(role["name"] for role in roles or []),
            groups=frozenset(group["path"].removeprefix("/") for group in groups or []),
        )

    async def _get(self, path: str) -> Any:
        """The answer's JSON, or None for 404."""
        try:
            answer = await self._asked(path)
            if answer.status_code == httpx.codes.UNAUTHORIZED:  # e.g. Keycloak was restarted with new keys
                self._token_ends = 0.0
                answer = await self._asked(path)
            return None if answer.status_code == httpx.codes.NOT_FOUND else answer.raise_for_status().json()
        except (httpx.HTTPError, ValueError) as error:
            raise Unavailable("the user directory does not answer", hint="try again in a few seconds") from error

    async def _asked(self, path: str) -> httpx.Response:
        headers = {"Authorization": f"Bearer {await self._own_token()}"}
        return await self._http.get(self._settings.admin_url.rstrip("/") + path, headers=headers)

    async def _own_token(self) -> str:
        async with self._lock:
            if self._clock() >= self._token_ends:
                await self._log_in()
            return self._token

    async def _log_in(self) -> None:
        form = {
            "grant_type": "client_credentials",
            "client_id": self._settings.client_id,
            "client_secret": self._settings.client_secret.get_secret_value(),
        }
        answer = (await self._http.post(self._settings.token_url, data=form)).raise_for_status().json()
        self._token = str(answer["access_token"])
        self._token_ends = self._clock() + float(answer.get("expires_in", 60)) - _EARLY_S
