"""Every route of the server asks who is calling, but for those on one list."""

from __future__ import annotations

from collections.abc import Iterator

from fastapi import FastAPI
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute, iter_route_contexts
from starlette.routing import BaseRoute, Mount

from rs_server.access.guards import current_principal
from rs_server.app import create_app
from rs_server.needs import NEEDS, PUBLIC
from rs_server.settings import AccessSettings, Settings
from tests.identity import ISSUER

SETTINGS = Settings(access=AccessSettings(issuer=ISSUER))


def routes(app: FastAPI, prefix: str = "") -> Iterator[tuple[str, str, bool]]:
    """Path, method and whether the route asks who is calling, through all that is mounted."""
    for route in app.routes:
        if isinstance(route, Mount) and isinstance(route.app, FastAPI):
            yield from routes(route.app, prefix + route.path)
        elif isinstance(route, Mount):
            yield prefix + route.path, "GET", False
        else:
            yield from _methods(route, prefix)


def _methods(route: BaseRoute, prefix: str) -> Iterator[tuple[str, str, bool]]:
    for context in iter_route_contexts([route]):
        guarded = isinstance(context.original_route, APIRoute) and _guarded(context.dependant)
        for method in context.methods or {"?"}:
            yield f"{prefix}{context.path}", method, guarded


def _guarded(dependant: Dependant) -> bool:
    return dependant.call is current_principal or any(map(_guarded, dependant.dependencies))


def test_every_route_asks_who_is_calling() -> None:
    found = list(routes(create_app(SETTINGS)))
    assert len(found) > 40
    assert {"/catalog/search", "/auth/me", "/jobs", "/storage/credentials"} <= {path for path, _, _ in found}
    assert [(path, method) for path, method, guarded in found if not guarded and path not in PUBLIC] == []


def test_every_route_declares_its_need() -> None:
    found = {(method, path) for path, method, _ in routes(create_app(SETTINGS))}
    assert found - set(NEEDS) == set(), "routes that rs_server/needs.py does not name"
    assert set(NEEDS) - found == set(), "rs_server/needs.py names what is no route"


def test_the_public_list_names_nothing_else() -> None:
    found = list(routes(create_app(SETTINGS)))
    assert {path for path, _, guarded in found if not guarded} == PUBLIC
    assert {method for path, method, _ in found if path in PUBLIC} <= {"GET", "HEAD"}


def test_only_the_services_asked_for_are_mounted() -> None:
    app = create_app(Settings(services=("catalog",)))
    paths = {path for path, _, _ in routes(app)}
    assert any(path.startswith("/catalog/") for path in paths)
    assert not any(path.startswith(("/auth/", "/jobs", "/processes", "/cadip")) for path in paths)
