"""The matrix of roles and routes, made from the table of needs: every route, asked by everybody, on real services."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

import pytest
import yaml

from rs_server.access import policy
from rs_server.access.needs import Level, Need
from rs_server.access.policy import Principal, Right, Service
from rs_server.needs import NEEDS, Route
from tests.conftest import Platform
from tests.integration.callers import Callers, calling, collection, item

RUN = uuid4().hex[:8]
OWNER, FULL = f"alice{RUN}", f"alice{RUN}_c1"
STATIONS = {"cadip": "sgs", "auxip": "adgs", "prip": "pdgs", "lta": "archive"}


def role(right: Right, service: Service, resource: str) -> frozenset[str]:
    return frozenset({policy.role(right, service, resource)})


def every(service: Service, *resources: str) -> frozenset[str]:
    """All that can be said of these resources."""
    return frozenset(policy.role(right, service, resource) for right in Right for resource in resources)


PROCESSES = ("staging", "s1-l0")
_C = f"{OWNER}:c1"
PEOPLE = [
    Principal(OWNER),
    Principal("stranger"),
    Principal("reader", roles=role(Right.READ, Service.CATALOG, _C)),
    Principal("writer", roles=role(Right.WRITE, Service.CATALOG, _C) | role(Right.READ, Service.CATALOG, _C)),
    Principal("downloader", roles=role(Right.DOWNLOAD, Service.CATALOG, _C) | role(Right.READ, Service.CATALOG, "*:*")),
    Principal("neighbour", roles=every(Service.CATALOG, f"{OWNER}:c2", "other:c1", f"{OWNER}x:c1")),
    Principal("starred", roles=every(Service.CATALOG, "*:*")),
    *(Principal(f"reads-{name}", roles=role(Right.READ, Service(name), station)) for name, station in STATIONS.items()),
    Principal(
        "fetches",
        roles=every(Service.CADIP, "sgs")
        | every(Service.AUXIP, "*")
        | every(Service.PRIP, "pdgs")
        | every(Service.LTA, "*"),
    ),
    *(
        Principal(f"only-downloads-{name}", roles=role(Right.DOWNLOAD, Service(name), station))
        for name, station in STATIONS.items()
    ),
    Principal(
        "elsewhere",
        roles=every(Service.CADIP, "mps")
        | every(Service.AUXIP, "sgs")
        | every(Service.PRIP, "archive")
        | every(Service.LTA, "pdgs"),
    ),
    Principal("sees", roles=role(Right.READ, Service.PROCESSES, "*")),
    Principal("runs", roles=every(Service.PROCESSES, *PROCESSES)),
    Principal("operator", roles=every(Service.AUTH, policy.API_KEYS, policy.AUDIT)),
]


@pytest.fixture(scope="module")
def callers(platform: Platform) -> Iterator[Callers]:
    values = yaml.safe_load((platform.home / "config" / "server.yaml").read_text())
    with calling(platform, stations=values["stations"]) as callers:
        made = callers.ask(OWNER, "POST", "/catalog/collections", json=collection(FULL))
        assert made.status_code == 201, made.text
        made = callers.ask(OWNER, "POST", f"/catalog/collections/{FULL}/items", json=item("i1", FULL))
        assert made.status_code == 201, made.text
        readers = {"readers": [{"user": "nobody", "rights": ["read"]}]}  # whom the owner, who asks first, takes away
        assert callers.ask(OWNER, "PUT", f"/catalog/collections/{FULL}/readers", json=readers).status_code == 200
        yield callers
        callers.ask(OWNER, "DELETE", f"/catalog/collections/{FULL}")


@pytest.fixture(scope="module")
def places(callers: Callers) -> dict[str, dict[str, str]]:
    """What stands for the parts of a path, by its service: things that are there, so that a 404 is a refusal."""
    found: dict[str, dict[str, str]] = {"catalog": {"collection_id": FULL, "item_id": "i1"}}
    for kind, station in STATIONS.items():
        roles = every(Service(kind), station)
        asked = {"limit": "1", **({"filter": '"rs:online" = true'} if kind == "lta" else {})}
        page = callers.ask("anybody", "GET", f"/{kind}/search?{urlencode(asked)}", roles=roles).json()["features"]
        asset = next(iter(page[0]["assets"]))
        found[kind] = {"collection_id": page[0]["collection"], "item_id": page[0]["id"], "asset": asset}
    return found


BODIES: dict[Route, Any] = {
    ("POST", "/catalog/collections"): collection(FULL),
    ("PUT", "/catalog/collections/{collection_id}"): collection(FULL),
    ("PATCH", "/catalog/collections/{collection_id}"): {"title": "T"},
    ("PUT", "/catalog/collections/{collection_id}/readers"): {"readers": []},
    ("POST", "/catalog/collections/{collection_id}/items"): item("i1", FULL),
    ("POST", "/catalog/collections/{collection_id}/bulk_items"): {"items": {}, "method": "insert"},
    ("PUT", "/catalog/collections/{collection_id}/items/{item_id}"): item("i1", FULL),
    ("PATCH", "/catalog/collections/{collection_id}/items/{item_id}"): {"properties": {"n": 1}},
    ("POST", "/storage/credentials"): {"collection": FULL},
    ("POST", "/processes/{process_id}/execution"): {"inputs": {}},
    ("POST", "/dpr/processes/{process_id}/execution"): {"inputs": {}},
    ("POST", "/dpr/processes/{process_id}/plan"): {"inputs": {}},
    ("POST", "/catalog/collections/{collection_id}/aggregate"): {},
    ("POST", "/processes/staging/subscriptions"): {"service": "cadip", "collection": "x", "search": {"limit": "many"}},
    ("POST", "/auth/api_keys"): {"name": "x", "owner": "somebody-else"},  # makes none
}

QUERIES: dict[Route, str] = {("GET", "/storage/credentials"): f"?collection={FULL}"}

# What may be done is done to something that is not there, where doing it would end the thing itself.
GONE: dict[Route, dict[str, str]] = {
    ("DELETE", "/catalog/collections/{collection_id}"): {"collection_id": f"{OWNER}_c3"},
    ("DELETE", "/catalog/collections/{collection_id}/items/{item_id}"): {"item_id": "i3"},
    ("GET", "/catalog/collections/{collection_id}/items/{item_id}/download/{asset}"): {},
}

_ANYTHING = {
    "collection_id": "of-a-station-that-is-not-there",
    "item_id": "nothing",
    "asset": "nothing",
    "process_id": "staging",
    "job_id": str(uuid4()),
    "order_id": str(uuid4()),
    "subscription": str(uuid4()),
    "key_id": str(uuid4()),
    "kind": "user",
    "name": "nobody",
}
_INSIDE = (Service.CATALOG, Service.PROCESSES)
_PER_PERSON = {"/auth/api_key/new"}  # would make a key for each
_OWN_TO_NOBODY = {
    "{job_id}",
    "{key_id}",
    "{order_id}",
    "{subscription}",
    "api_key/revoke",
}  # not there for anybody: 404 or 400 says nothing


def path_of(route: Route, places: dict[str, dict[str, str]]) -> str:
    service = route[1].split("/")[1]
    process = {"process_id": "s1-l0"} if service == "dpr" else {}
    values = {**_ANYTHING, **process, **places.get(service, {}), **GONE.get(route, {})}
    return route[1].format(**values) + QUERIES.get(route, "")


def may(who: Principal, need: Need) -> bool:
    """The policy's word on a need, with the sample things in the place of its braces."""
    if need.level is Level.OWNER:
        return policy.owns(who, OWNER, "c1")
    if need.level is Level.RIGHT:
        station = STATIONS.get(need.service, "")
        resource = need.resource.format(owner=OWNER, collection="c1", station=station, process_id="staging")
        reads = need.service not in STATIONS or policy.allows(who, Right.READ, need.service, resource)
        return reads and policy.allows(who, need.right, need.service, resource)  # who may not read finds nothing
    return True


def body_of(route: Route, places: dict[str, dict[str, str]]) -> Any:
    if route == ("POST", "/lta/orders"):  # what is online is not ordered from the station
        return {"collection": places["lta"]["collection_id"], "item": places["lta"]["item_id"]}
    return BODIES.get(route)


LOGGED_IN = [route for route, need in NEEDS.items() if need.level is not Level.NOTHING]


@pytest.mark.parametrize("route", LOGGED_IN, ids=" ".join)
def test_everybody_at_every_route(callers: Callers, places: dict[str, dict[str, str]], route: Route) -> None:
    need, path, body = NEEDS[route], path_of(route, places), body_of(route, places)
    anonymous = callers.http.request(route[0], path, json=body)
    assert anonymous.status_code == 401
    assert anonymous.headers["www-authenticate"].startswith("Bearer")
    if route[1] in _PER_PERSON or any(part in route[1] for part in _OWN_TO_NOBODY):
        return
    faults = []
    for who in PEOPLE:
        status = callers.ask(who.login, route[0], path, roles=who.roles, json=body).status_code
        if not _as_it_should(status, allowed=may(who, need), need=need, route=route):
            faults.append((who.login, status))
    assert faults == []


def _as_it_should(status: int, *, allowed: bool, need: Need, route: Route) -> bool:
    """Reading is refused as if nothing were there; what may be done may still clash with what is there."""
    reads = need.level is Level.RIGHT and need.right is Right.READ
    if not allowed:
        return status == 404 if reads else status in (403, 404)
    if reads:
        return status < 400
    if route == ("POST", "/auth/api_keys"):  # for somebody else
        return status in (400, 403)
    return status not in (401, 403, 404) or (status == 404 and route in GONE)


@pytest.mark.parametrize("route", [route for route, need in NEEDS.items() if need.level is Level.NOTHING], ids=" ".join)
def test_open_doors(callers: Callers, route: Route) -> None:
    path = "/docs/static/swagger-ui.css" if route[1] == "/docs/static" else route[1]
    assert callers.http.request(route[0], path).status_code in (200, 307)


def test_the_matrix_has_both_answers_for_every_need() -> None:
    """Somebody may and somebody may not: else a test above would prove nothing."""
    for need in set(NEEDS.values()):
        if need.level is Level.OWNER or (need.level is Level.RIGHT and need.service in (*STATIONS, *_INSIDE)):
            assert {may(who, need) for who in PEOPLE} == {True, False}, need
