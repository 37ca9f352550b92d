"""The Dask gateway's question to the hub: who is calling, and may they use clusters."""

from __future__ import annotations

from typing import Any

from aiohttp.web import HTTPInternalServerError, HTTPUnauthorized
from dask_gateway_server.auth import JupyterHubAuthenticator  # type: ignore[import-untyped]


class HubTokenAuthenticator(JupyterHubAuthenticator):  # type: ignore[misc]  # no types there
    """Answers 401 where the hub does not take a token; the inherited one calls that an error of its own (500)."""

    async def authenticate(self, request: Any) -> Any:
        """The user of a request, or ``HTTPUnauthorized``."""
        try:
            return await super().authenticate(request)
        except HTTPInternalServerError as error:
            raise HTTPUnauthorized(
                reason="the hub does not take this token: log in to the hub again",
                headers={"WWW-Authenticate": "jupyterhub"},
            ) from error
