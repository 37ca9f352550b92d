"""What every route asks of its caller, in one table: a route that is not in it fails the tests.

Reading is refused with 404, everything else with 403; who does not say who they are gets 401.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from rs_server.access.needs import LOGIN, NOTHING, OWNER, Level, Need, right
from rs_server.access.policy import Right, Service
from rs_server.stations.kinds import KINDS

Route = tuple[str, str]  # method and path, as the application spells it

_COLLECTION = "{owner}:{collection}"
_READ = right(Right.READ, Service.CATALOG, _COLLECTION)
_WRITE = right(Right.WRITE, Service.CATALOG, _COLLECTION)
_DOWNLOAD = right(Right.DOWNLOAD, Service.CATALOG, _COLLECTION)
_SEE_PROCESS = right(Right.READ, Service.PROCESSES, "{process_id}")
_RUN_PROCESS = right(Right.EXECUTE, Service.PROCESSES, "{process_id}")

_OPERATION: dict[Route, Need] = {
    ("GET", "/"): NOTHING,
    ("GET", "/conformance"): NOTHING,
    ("GET", "/docs"): NOTHING,
    ("GET", "/docs/oauth2-redirect"): NOTHING,
    ("GET", "/docs/static"): NOTHING,
    ("GET", "/openapi.json"): NOTHING,
    ("GET", "/health"): NOTHING,
    ("GET", "/ready"): NOTHING,
    ("GET", "/metrics"): NOTHING,
}

_AUTH: dict[Route, Need] = {
    ("GET", "/auth/login"): NOTHING,
    ("GET", "/auth/logout"): NOTHING,
    ("GET", "/auth/me"): LOGIN,
    ("GET", "/auth/api_keys"): LOGIN,
    ("POST", "/auth/api_keys"): LOGIN,
    ("DELETE", "/auth/api_keys/{key_id}"): LOGIN,
    ("GET", "/auth/audit"): LOGIN,
    ("GET", "/auth/api_key/new"): LOGIN,
    ("GET", "/auth/api_key/list"): LOGIN,
    ("GET", "/auth/api_key/revoke"): LOGIN,
    ("GET", "/auth/check_key"): LOGIN,
}

_CATALOG: dict[Route, Need] = {
    ("GET", "/catalog/api"): NOTHING,
    ("HEAD", "/catalog/api"): NOTHING,
    ("GET", "/catalog/api.html"): NOTHING,
    ("HEAD", "/catalog/api.html"): NOTHING,
    ("GET", "/catalog/_mgmt/ping"): LOGIN,
    ("GET", "/catalog/_mgmt/health"): LOGIN,
    ("GET", "/catalog/"): LOGIN,
    ("GET", "/catalog/conformance"): LOGIN,
    ("GET", "/catalog/queryables"): LOGIN,
    ("GET", "/catalog/search"): LOGIN,
    ("POST", "/catalog/search"): LOGIN,
    ("GET", "/catalog/aggregate"): LOGIN,
    ("POST", "/catalog/aggregate"): LOGIN,
    ("GET", "/catalog/aggregations"): LOGIN,
    ("GET", "/catalog/collections"): LOGIN,
    ("POST", "/catalog/collections"): OWNER,
    ("GET", "/catalog/collections/{collection_id}"): _READ,
    ("PUT", "/catalog/collections/{collection_id}"): OWNER,
    ("PATCH", "/catalog/collections/{collection_id}"): OWNER,
    ("DELETE", "/catalog/collections/{collection_id}"): OWNER,
    ("GET", "/catalog/collections/{collection_id}/queryables"): _READ,
    ("GET", "/catalog/collections/{collection_id}/aggregate"): _READ,
    ("POST", "/catalog/collections/{collection_id}/aggregate"): _READ,
    ("GET", "/catalog/collections/{collection_id}/aggregations"): _READ,
    ("GET", "/catalog/collections/{collection_id}/readers"): OWNER,
    ("PUT", "/catalog/collections/{collection_id}/readers"): OWNER,
    ("DELETE", "/catalog/collections/{collection_id}/readers/{kind}/{name}"): OWNER,
    ("GET", "/catalog/collections/{collection_id}/items"): _READ,
    ("POST", "/catalog/collections/{collection_id}/items"): _WRITE,
    ("POST", "/catalog/collections/{collection_id}/bulk_items"): _WRITE,
    ("GET", "/catalog/collections/{collection_id}/items/{item_id}"): _READ,
    ("PUT", "/catalog/collections/{collection_id}/items/{item_id}"): _WRITE,
    ("PATCH", "/catalog/collections/{collection_id}/items/{item_id}"): _WRITE,
    ("DELETE", "/catalog/collections/{collection_id}/items/{item_id}"): _WRITE,
    ("GET", "/catalog/collections/{collection_id}/items/{item_id}/download/{asset}"): _DOWNLOAD,
    ("GET", "/storage/credentials"): _DOWNLOAD,
    ("POST", "/storage/credentials"): _DOWNLOAD,
}

_PROCESSES: dict[Route, Need] = {
    ("GET", "/processes"): LOGIN,
    ("GET", "/processes/{process_id}"): _SEE_PROCESS,
    ("POST", "/processes/{process_id}/execution"): _RUN_PROCESS,
    ("GET", "/jobs"): LOGIN,  # one's own; everybody's for who reads every process
    ("GET", "/jobs/{job_id}"): LOGIN,
    ("GET", "/jobs/{job_id}/events"): LOGIN,
    ("GET", "/jobs/{job_id}/results"): LOGIN,
    ("GET", "/jobs/{job_id}/log"): LOGIN,
    ("DELETE", "/jobs/{job_id}"): LOGIN,  # and the right to dismiss jobs of its process
    ("GET", "/processes/staging/state"): right(Right.READ, Service.PROCESSES, "staging"),
    ("GET", "/processes/staging/subscriptions"): LOGIN,  # one's own, like jobs
    ("POST", "/processes/staging/subscriptions"): right(Right.EXECUTE, Service.PROCESSES, "staging"),
    ("GET", "/processes/staging/subscriptions/{subscription}"): LOGIN,
    ("DELETE", "/processes/staging/subscriptions/{subscription}"): LOGIN,
    ("GET", "/dpr/processes"): LOGIN,
    ("GET", "/dpr/processes/{process_id}"): _SEE_PROCESS,
    ("POST", "/dpr/processes/{process_id}/execution"): _RUN_PROCESS,
    ("POST", "/dpr/processes/{process_id}/plan"): _RUN_PROCESS,
    ("GET", "/dpr/jobs/{job_id}/plan"): LOGIN,
    ("GET", "/dpr/jobs/{job_id}/payloads"): LOGIN,
}


def _station(kind: str) -> Iterator[tuple[Route, Need]]:
    for path in ("/", "/conformance", "/api", "/queryables", "/collections", "/search"):
        yield ("GET", f"/{kind}{path}"), LOGIN
    yield ("POST", f"/{kind}/search"), LOGIN
    one = f"/{kind}/collections/{{collection_id}}"
    for path in (one, f"{one}/queryables", f"{one}/items", f"{one}/items/{{item_id}}"):
        yield ("GET", path), right(Right.READ, kind, "{station}")
    yield ("GET", f"{one}/items/{{item_id}}/download/{{asset}}"), right(Right.DOWNLOAD, kind, "{station}")


_ALL_STATIONS: dict[Route, Need] = {
    **{
        ("GET", f"/stations{path}"): LOGIN
        for path in ("/", "/conformance", "/api", "/queryables", "/collections", "/search")
    },
    ("POST", "/stations/search"): LOGIN,
}

_ORDERS: dict[Route, Need] = {
    ("GET", "/lta/orders"): LOGIN,  # one's own
    ("POST", "/lta/orders"): right(Right.DOWNLOAD, Service.LTA, "{station}"),
    ("GET", "/lta/orders/{order_id}"): LOGIN,
    ("DELETE", "/lta/orders/{order_id}"): LOGIN,
}


NEEDS: Mapping[Route, Need] = {
    **_OPERATION,
    **_AUTH,
    **_CATALOG,
    **_PROCESSES,
    **_ALL_STATIONS,
    **_ORDERS,
    **{route: need for kind in KINDS for route, need in _station(kind)},
}

PUBLIC = frozenset(path for (_, path), need in NEEDS.items() if need.level is Level.NOTHING)
