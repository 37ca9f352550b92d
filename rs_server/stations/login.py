"""Logging in at a station: its OAuth2 token, fetched once for many waiters, and replaced before it ends."""

from __future__ import annotations

import asyncio
import base64
import time
from collections.abc import AsyncGenerator, Callable, Mapping
from http import HTTPStatus
from urllib.parse import quote_plus

import httpx

from rs_server.errors import StationRefused, StationUnavailable
from rs_server.settings import StationSettings

REFRESH_MARGIN_S = 30.0

_TOKEN_LIFE_S = 300.0  # where the answer does not say (RFC 6749 §5.1 only recommends it)
_CLIENT = ("client_id", "client_secret")


def login(station: str, settings: StationSettings) -> httpx.Auth | None:
    """How requests to a station are authenticated: by a token, by name and password, or not at all."""
    if settings.token_url:
        form = {field: value.get_secret_value() for field, value in settings.grant.items()}
        return StationToken(station, settings.token_url, form, in_header=settings.client_in_header)
    if settings.username is not None:
        return httpx.BasicAuth(settings.username, settings.password.get_secret_value())
    return None


class StationToken(httpx.Auth):
    """The OAuth2 token of a station (RFC 6749): fetched when first needed, again before it expires or once refused.

    ``in_header`` moves the client's id and secret from the form into a Basic header (§2.3.1); some stations want it so.
    """

    def __init__(
        self,
        station: str,
        url: str,
        form: Mapping[str, str],
        *,
        in_header: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._station = station
        self._url = url
        self._form = {name: value for name, value in form.items() if not (in_header and name in _CLIENT)}
        self._headers = {"Authorization": _basic(*(form.get(name, "") for name in _CLIENT))} if in_header else {}
        self._clock = clock
        self._value = ""
        self._good_until = -1.0
        self._lock = asyncio.Lock()

    async def async_auth_flow(self, request: httpx.Request) -> AsyncGenerator[httpx.Request, httpx.Response]:
        """Send the request with a token that holds; with a new one, once, if the station refuses it."""
        refused = ""
        for _ in range(2):
            async with self._lock:  # however many requests wait here, one of them fetches the token
                if self._value == refused or self._clock() >= self._good_until:
                    answer = yield httpx.Request("POST", self._url, data=self._form, headers=self._headers)
                    await answer.aread()
                    self._take(answer)
                refused = self._value
            request.headers["Authorization"] = f"Bearer {refused}"
            response = yield request
            if response.status_code != HTTPStatus.UNAUTHORIZED:
                return

    def _take(self, answer: httpx.Response) -> None:
        if answer.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR or answer.status_code == HTTPStatus.TOO_MANY_REQUESTS:
            raise StationUnavailable(self._station, f"its token endpoint answered {answer.status_code}")
        if answer.is_error:
            raise StationRefused(
                self._station,
                f"its token endpoint answered {answer.status_code}",
                hint="the operators must check the credentials in the settings",
            )
        try:
            token = answer.json()
            self._value, life = str(token["access_token"]), float(token.get("expires_in", _TOKEN_LIFE_S))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise StationRefused(self._station, "its token endpoint answered something that is no token") from error
        self._good_until = self._clock() + max(life - REFRESH_MARGIN_S, life / 2)


def _basic(name: str, secret: str) -> str:
    return f"Basic {base64.b64encode(f'{quote_plus(name)}:{quote_plus(secret)}'.encode()).decode()}"
