"""The hub's login at Keycloak: who comes in, how a login stays fresh, how it ends."""

from __future__ import annotations

import asyncio
import time
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, Protocol
from urllib.parse import urlencode

from oauthenticator.generic import GenericOAuthenticator  # type: ignore[import-untyped]
from oauthenticator.oauth2 import OAuthCallbackHandler, OAuthLogoutHandler  # type: ignore[import-untyped]
from tornado.httpclient import HTTPClientError
from tornado.web import HTTPError
from traitlets import Float, Unicode

from rs_hub.claims import life_left

AuthModel = dict[str, Any]  # JupyterHub's own form: name, admin, groups, auth_state

# What Keycloak answers when it will not renew a login; anything else means that it is ailing.
_REFUSALS = frozenset({400, 401})


class HubUser(Protocol):
    """The part of JupyterHub's user that a login needs."""

    name: str

    async def get_auth_state(self) -> dict[str, Any] | None:
        """The stored tokens, decrypted."""
        ...

    async def save_auth_state(self, auth_state: dict[str, Any] | None) -> None:
        """Store tokens, encrypted."""
        ...


class Refused(HTTPError):
    """Keycloak knows this person, but no group of theirs may use the hub; templates/403.html tells them."""

    def __init__(self, person: str, groups: Iterable[str], allowed: Iterable[str], contact: str) -> None:
        super().__init__(403, "%s is in none of the groups that may use the hub", person)
        self.person = person
        self.groups = sorted(groups)
        self.allowed = sorted(allowed)
        self.contact = contact


def groups_of(auth_state: Mapping[str, Any]) -> set[str]:
    """The Keycloak groups in a stored login; a person without groups carries no such claim at all."""
    return {str(path).removeprefix("/") for path in auth_state["oauth_user"].get("groups", ())}


class KeycloakCallbackHandler(OAuthCallbackHandler):  # type: ignore[misc]  # no types there
    """Where a browser comes back from Keycloak with a code."""

    def _request_summary(self) -> str:
        """Tornado's name for a request in its log, without the query: the code and the state are secrets."""
        return f"{self.request.method} {self.request.path} ({self.request.remote_ip})"


class KeycloakLogoutHandler(OAuthLogoutHandler):  # type: ignore[misc]  # no types there
    """Ends the session at Keycloak too, or the next visit would log the same person in again unasked."""

    _id_token: str | None = None

    async def handle_logout(self) -> None:
        """Forget the user's tokens: after a logout nobody is handed one until the next login."""
        await super().handle_logout()
        user: HubUser | None = self.current_user
        if user is not None:
            state = await user.get_auth_state() or {}
            self._id_token = state.get("id_token")
            await user.save_auth_state(None)

    async def render_logout_page(self) -> None:
        """Go on to Keycloak, which comes back to the hub's login; without a hint it asks before it ends a session."""
        authenticator = self.authenticator
        query = {"client_id": authenticator.client_id, "post_logout_redirect_uri": authenticator.after_logout_url}
        if self._id_token:
            query["id_token_hint"] = self._id_token
        self.redirect(f"{authenticator.end_session_url}?{urlencode(query)}")


class KeycloakAuthenticator(GenericOAuthenticator):  # type: ignore[misc]  # no types there
    """Code flow with PKCE at Keycloak, whose tokens are renewed one at a time and before they expire."""

    callback_handler = KeycloakCallbackHandler
    logout_handler = KeycloakLogoutHandler

    end_session_url = Unicode(config=True, help="Where Keycloak ends a session")
    after_logout_url = Unicode(config=True, help="Where Keycloak sends the browser after that")
    contact = Unicode(config=True, help="Whom a refused person is told to ask")
    life_margin_s = Float(90, config=True, help="Access tokens with less life than this are renewed, in seconds")

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._renewing: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def check_allowed(self, username: str, auth_model: AuthModel | None) -> bool:
        """Whether the person may come in; raises ``Refused``, so that the page can tell them why not."""
        if auth_model is None or await super().check_allowed(username, auth_model):
            return True
        raise Refused(username, auth_model["groups"], self.allowed_groups, self.contact)

    async def refresh_user(self, user: HubUser, handler: Any = None, **_: Any) -> bool | AuthModel:
        """Renew a login whose access token ends soon.

        True: nothing to do, or Keycloak cannot be asked now. False: the person must log in again.
        The inherited method waits until the token is refused and locks nothing: where Keycloak rotates
        refresh tokens, requests side by side would present a spent one, which ends the session.
        """
        async with self._renewing[user.name]:
            state = await user.get_auth_state()  # inside the lock: the request before us may have renewed it
            if not state or not state.get("refresh_token"):
                return False
            if life_left(state["access_token"], time.time()) > self.life_margin_s:
                return True
            return await self._renew(user, state, handler)

    async def _renew(self, user: HubUser, state: Mapping[str, Any], handler: Any) -> bool | AuthModel:
        try:
            parameters = self.build_refresh_token_request_params(state["refresh_token"])
            answer = await self.get_token_info(handler, parameters)
        except HTTPClientError as error:
            self.log.warning("Keycloak did not renew the login of %s: status %s", user.name, error.code)
            return error.code not in _REFUSALS
        except OSError as error:
            self.log.warning("Keycloak cannot be asked to renew the login of %s: %s", user.name, error)
            return True
        kept = {name: state[name] for name in ("refresh_token", "id_token") if state.get(name)}
        model: AuthModel = await self._token_to_auth_model({**kept, **answer})
        await user.save_auth_state(model["auth_state"])  # before the lock is given up
        return await self._if_still_allowed(user.name, model)

    async def _if_still_allowed(self, name: str, model: AuthModel) -> bool | AuthModel:
        """Who has left the groups must log in again, and is told there."""
        return model if await super().check_allowed(name, model) else False
