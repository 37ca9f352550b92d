"""What the counters are called, and that no caller can make them many."""

from __future__ import annotations

import re
from collections.abc import Mapping

import httpx
import pytest
from fastapi import FastAPI
from prometheus_client.parser import text_string_to_metric_families

from rs_server import errors, telemetry
from rs_server.access import guards
from rs_server.access.policy import Principal, Right
from rs_server.app import create_app
from rs_server.errors import NotAuthenticated, NotFound, TooManyRequests
from rs_server.needs import NEEDS
from rs_server.settings import AccessSettings, Settings
from tests.asgi import client
from tests.identity import ISSUER

MOST_SERIES = 2000
OF_OTHERS = 400  # what is left for stations, staging, access, storage and the process
FILES = "/docs/static"  # the place of many
# Two pages that are no routes of FastAPI's, which do not say which they are: told by where they are mounted.
PLACES = {"/catalog/api": "/catalog", "/catalog/api.html": "/catalog"}
SLOW = {"/openapi.json", "/catalog/api"}  # to make: not asked for


class Stranger:
    """Knows nobody."""

    async def authenticate(self, headers: Mapping[str, str], address: str) -> Principal:
        raise NotAuthenticated("this needs a login")

    def refusal(self, headers: Mapping[str, str]) -> TooManyRequests | None:
        return None


def counted(text: str) -> set[tuple[str, str]]:
    """The handlers and methods of which requests were counted."""
    return {
        (sample.labels["handler"], sample.labels["method"])
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "http_requests_total"
    }


async def test_each_route_is_told_by_its_template() -> None:
    app = create_app(Settings(access=AccessSettings(issuer=ISSUER), public_url="https://rs.test/below/a/path"))
    asked = [(method, path) for method, path in NEEDS if path not in SLOW]
    async with client(app, authenticator=Stranger()) as http:
        for method, path in asked:
            await http.request(method, re.sub(r"\{[^}]*\}", "an-id-of-somebody", path).replace(FILES, f"{FILES}/a.js"))
        for nothing in ("/nothing/of-ours", "/jobs/a/b/c"):
            await http.get(nothing)
        await http.request("BREW", "/jobs")
        text = (await http.get("/metrics")).text
    found = counted(text)
    assert {(PLACES.get(path, path), method) for method, path in asked} <= found
    assert {handler for handler, _ in found} - {path for _, path in NEEDS} == {"none", "/catalog"}
    assert {method for _, method in found} - {method for method, _ in NEEDS} == {"other"}
    assert "an-id-of-somebody" not in text


def test_there_are_never_many_series() -> None:
    telemetry.configure_metrics()
    metrics = telemetry.Metrics()
    for method, path in NEEDS:
        for status in (*range(200, 210), *range(400, 432), *range(500, 505)):
            metrics.answered(path, method, status, 0.1)
    series = [sample for family in metrics.registry.collect() for sample in family.samples]
    assert len(series) <= MOST_SERIES - OF_OTHERS
    assert "other" in {sample.labels.get("handler") for sample in series}


def refuse(kind: str) -> None:
    """Refuse access as routes do."""
    who = Principal(login="bob", subject="bob", scopes=frozenset())
    match kind:
        case "role":
            guards.require(who, Right.EXECUTE, "processes", "staging")
        case "hidden":
            guards.require_visible(who, "cadip", "sgs", "it")
        case "owner":
            guards.require_owner(who, "alice", "c")
        case "login":
            guards.require_unscoped(who, "do this")
        case _:
            raise NotFound("it does not exist")


@pytest.mark.parametrize("kind", ["role", "hidden", "owner", "login", "nothing"])
async def test_refusals_are_counted_by_their_reason_and_tell_nothing_of_it(kind: str) -> None:
    metrics, app = telemetry.Metrics(), FastAPI()
    errors.install(app)

    @app.get("/it")
    async def it() -> None:
        refuse(kind)

    app.add_middleware(telemetry.RequestLog, metrics=metrics)
    async with client(app) as http:
        answer: httpx.Response = await http.get("/it")
    value = metrics.registry.get_sample_value("authz_denied_total", {"reason": kind})
    assert value == (None if kind == "nothing" else 1)
    assert "denied" not in answer.json()
    if kind in ("hidden", "nothing"):
        assert answer.json()["type"] == "urn:rs-python:error:NotFound"
