"""The documentation page and the document it shows; its scripts are served from here, none from elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.docs import get_swagger_ui_html, get_swagger_ui_oauth2_redirect_html
from fastapi.responses import HTMLResponse, JSONResponse
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

from rs_server.access.needs import Need
from rs_server.frontend.openapi import Route, merged
from rs_server.settings import Settings

STATIC = "/docs/static"
REDIRECT = "/docs/oauth2-redirect"


def install(app: FastAPI, settings: Settings, needs: Mapping[Route, Need]) -> None:
    """Serve ``/docs`` and ``/openapi.json`` over the application and what is mounted in it."""
    assets = Path(str(resources.files("fastapi_offline"))) / "static"
    app.mount(STATIC, StaticFiles(directory=assets), name="docs-static")
    _add_document(app, settings, needs)
    _add_page(app, settings)


def _add_document(app: FastAPI, settings: Settings, needs: Mapping[Route, Need]) -> None:
    @app.get("/openapi.json", include_in_schema=False)
    async def openapi() -> JSONResponse:
        mounted = {
            route.path: route.app.openapi()
            for route in app.routes
            if isinstance(route, Mount) and isinstance(route.app, FastAPI)
        }
        document = merged(app.openapi(), mounted, access=settings.access, needs=needs)
        return JSONResponse({**document, "servers": [{"url": settings.public_url}]})


def _add_page(app: FastAPI, settings: Settings) -> None:
    url = settings.public_url

    @app.get("/docs", include_in_schema=False)
    async def docs() -> HTMLResponse:
        return get_swagger_ui_html(
            openapi_url=f"{url}/openapi.json",
            title=app.title,
            swagger_js_url=f"{url}{STATIC}/swagger-ui-bundle.js",
            swagger_css_url=f"{url}{STATIC}/swagger-ui.css",
            swagger_favicon_url=f"{url}{STATIC}/favicon.png",
            oauth2_redirect_url=f"{url}{REDIRECT}",
            init_oauth=_login(settings),
        )

    @app.get(REDIRECT, include_in_schema=False)
    async def redirect() -> HTMLResponse:
        return get_swagger_ui_oauth2_redirect_html()


def _login(settings: Settings) -> dict[str, Any] | None:
    """What the Authorize button logs in with: the public client, by code with PKCE."""
    if settings.access.issuer is None:
        return None
    return {
        "clientId": settings.access.docs_client_id,
        "scopes": "openid",
        "usePkceWithAuthorizationCodeGrant": True,
    }
