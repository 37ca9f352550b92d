"""One document over all services: complete, consistent, with the ways to log in."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

import pytest

from rs_server.app import create_app
from rs_server.frontend.openapi import merged
from rs_server.needs import NEEDS, PUBLIC
from rs_server.settings import AccessSettings, Settings
from tests.asgi import client
from tests.identity import ISSUER

SETTINGS = Settings(public_url="https://rs.test", access=AccessSettings(issuer=ISSUER))


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    """Read by all, changed by none: it takes a second to make."""

    async def read() -> dict[str, Any]:
        async with client(create_app(SETTINGS)) as http:
            answer = await http.get("/openapi.json")
        assert answer.status_code == 200
        found: dict[str, Any] = answer.json()
        return found

    return asyncio.run(read())


def test_all_services_are_in_it(document: dict[str, Any]) -> None:
    wanted = {"/auth/me", "/catalog/search", "/catalog/collections/{collection_id}/items", "/jobs", "/health"}
    assert wanted <= set(document["paths"])
    assert document["servers"] == [{"url": "https://rs.test"}]


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    targets = set(re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(document)))
    assert targets <= set(schemas)


def test_operations_have_ids_of_their_own(document: dict[str, Any]) -> None:
    operations = [each for item in document["paths"].values() for each in item.values() if isinstance(each, dict)]
    ids = [each["operationId"] for each in operations]
    assert len(ids) == len(set(ids))


def test_ways_to_log_in(document: dict[str, Any]) -> None:
    schemes = document["components"]["securitySchemes"]
    flow = schemes["login"]["flows"]["authorizationCode"]
    assert flow["authorizationUrl"] == f"{ISSUER}/protocol/openid-connect/auth"
    assert schemes["api_key"] == {"type": "apiKey", "in": "header", "name": "x-api-key"}
    assert document["security"] == [{"login": []}, {"api_key": []}]
    for path, item in document["paths"].items():
        for method, operation in item.items():
            assert (operation.get("security") == []) is (path in PUBLIC)
            assert operation["x-rs-needs"] == str(NEEDS[method.upper(), path])
    needed = {each["x-rs-needs"] for item in document["paths"].values() for each in item.values()}
    assert {"nothing", "a login", "to own the collection", "rs_catalog_{owner}:{collection}_read"} <= needed


def test_clashing_names_are_kept_apart() -> None:
    def service(kind: str) -> dict[str, Any]:
        reference = {"$ref": "#/components/schemas/Item"}
        return {
            "paths": {"/x": {"get": {"operationId": "x", "responses": {"200": {"schema": reference}}}}},
            "components": {"schemas": {"Item": {"type": kind}, "Same": {"type": "null"}, "List": {"items": reference}}},
        }

    mounted = {"/a": service("string"), "/b": service("object")}
    found = merged({"openapi": "3.1.0", "paths": {}}, mounted, access=AccessSettings(), needs={})
    schemas = found["components"]["schemas"]
    assert schemas["Item"] == {"type": "string"}
    assert schemas["b.Item"] == {"type": "object"}
    assert schemas["Same"] == {"type": "null"}
    answer = found["paths"]["/b/x"]["get"]["responses"]["200"]["schema"]
    assert answer == {"$ref": "#/components/schemas/b.Item"}


async def test_the_page_asks_nobody_else() -> None:
    async with client(create_app(SETTINGS)) as http:
        page = await http.get("/docs")
        assert page.status_code == 200
        addresses = re.findall(r"https?://[^\"'\s]+", page.text)
        assert addresses
        assert all(address.startswith("https://rs.test/") for address in addresses)
        assert '"usePkceWithAuthorizationCodeGrant": true' in page.text
        assert '"clientId": "rs-client"' in page.text
        for file in re.findall(r"https://rs\.test(/docs/static/[^\"']+)", page.text):
            assert (await http.get(file)).status_code == 200
        assert (await http.get("/docs/oauth2-redirect")).status_code == 200
