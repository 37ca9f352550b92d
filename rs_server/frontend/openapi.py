"""One OpenAPI document over all services: their own documents, under their prefixes, with the ways to log in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rs_server.access.apikeys import HEADER
from rs_server.access.needs import Level, Need
from rs_server.settings import AccessSettings

Document = dict[str, Any]
Route = tuple[str, str]  # method and path

_METHODS = frozenset({"get", "put", "post", "delete", "patch", "head", "options", "trace"})
_SCHEMAS = "#/components/schemas/"


def merged(
    base: Document, mounted: Mapping[str, Document], *, access: AccessSettings, needs: Mapping[Route, Need]
) -> Document:
    """The documents of the mounted services (by prefix, e.g. ``/catalog``) joined to that of the application.

    ``needs`` says what each route asks of its caller; each operation tells it, as ``x-rs-needs``.
    """
    paths: Document = dict(base.get("paths", {}))
    schemas: Document = dict(base.get("components", {}).get("schemas", {}))
    for prefix, document in mounted.items():
        service = prefix.strip("/")
        theirs = document.get("components", {}).get("schemas", {})
        names = _names(theirs, schemas, service)
        schemas |= {names[name]: _renamed(schema, names) for name, schema in theirs.items()}
        paths |= _under(prefix, service, document.get("paths", {}), names)
    return {
        **{key: value for key, value in base.items() if key not in ("paths", "components", "servers")},
        "paths": {path: _guarded(path, item, needs) for path, item in paths.items()},
        "components": {"schemas": schemas, "securitySchemes": security_schemes(access)},
        "security": [{name: []} for name in security_schemes(access)],
    }


def security_schemes(access: AccessSettings) -> Document:
    """How to log in: with the identity provider in the browser, or with an API key; nothing without an issuer."""
    if access.issuer is None:
        return {}
    endpoint = f"{access.issuer.rstrip('/')}/protocol/openid-connect"
    flow = {
        "authorizationUrl": f"{endpoint}/auth",
        "tokenUrl": f"{endpoint}/token",
        "scopes": {"openid": "Log in"},
    }
    return {
        "login": {"type": "oauth2", "flows": {"authorizationCode": flow}},
        "api_key": {"type": "apiKey", "in": "header", "name": HEADER},
    }


def _names(theirs: Document, taken: Document, service: str) -> dict[str, str]:
    """What each of a service's schemas is called: its own name, unless another one has it already."""
    clashing = {name for name, schema in theirs.items() if name in taken and taken[name] != schema}
    return {name: f"{service}.{name}" if name in clashing else name for name in theirs}


def _renamed(value: Any, names: Mapping[str, str]) -> Any:
    """The same value with each reference to a schema following its new name."""
    if isinstance(value, list):
        return [_renamed(each, names) for each in value]
    if isinstance(value, dict):
        return {key: _reference(each, names) if key == "$ref" else _renamed(each, names) for key, each in value.items()}
    return value


def _reference(target: Any, names: Mapping[str, str]) -> Any:
    if isinstance(target, str) and target.startswith(_SCHEMAS):
        name = target.removeprefix(_SCHEMAS)
        return _SCHEMAS + names.get(name, name)
    return target


def _under(prefix: str, service: str, paths: Document, names: Mapping[str, str]) -> Document:
    return {
        prefix + path: {
            key: _operation(value, service, names) if key in _METHODS else value for key, value in item.items()
        }
        for path, item in paths.items()
    }


def _operation(operation: Document, service: str, names: Mapping[str, str]) -> Document:
    renamed: Document = _renamed(operation, names)
    tags = renamed.get("tags")
    renamed["tags"] = [f"{service}: {tag}" for tag in tags] if tags else [service]
    if "operationId" in renamed:
        renamed["operationId"] = f"{service}_{renamed['operationId']}"
    return renamed


def _guarded(path: str, item: Document, needs: Mapping[Route, Need]) -> Document:
    """The operations of a path, each with what it needs."""
    found = {method: needs.get((method.upper(), path)) for method in item if method in _METHODS}
    return {key: {**value, **_needed(need)} if (need := found.get(key)) else value for key, value in item.items()}


def _needed(need: Need) -> Document:
    """What an operation tells of its need: without one, nobody has to log in."""
    return {"x-rs-needs": str(need), **({"security": []} if need.level is Level.NOTHING else {})}
