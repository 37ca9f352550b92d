"""Our kinds of products in front of the simulated stations, which read OData by a parser of their own."""

from __future__ import annotations

import httpx
import pytest
from pydantic import SecretStr

from rs_server.settings import StationSettings
from rs_server.simulators.app import create_app
from rs_server.simulators.settings import SimulatorSettings
from rs_server.stations import filters
from rs_server.stations.client import open_stations
from rs_server.stations.kinds import KINDS
from rs_server.stations.search import SearchRequest, sort_order
from tests.schemas import item_faults
from tests.unit.stations.far import ISSUER, PUBLIC_URL

FILTERS = [
    "s_intersects(geometry, BBOX(-180, -90, 180, 90))",
    "\"sat:absolute_orbit\" > 5 and platform = 'sentinel-1a'",
    "\"processing:level\" = 'L1' or \"grid:code\" = 'MGRS-33TWN'",
    "a_contains(\"sar:polarizations\", ('VV'))",
    '"eo:cloud_cover" > 1',
]


@pytest.mark.parametrize("name", ["prip", "lta"])
async def test_products_of_simulated_stations(name: str) -> None:
    secret = SecretStr("secret")
    simulator = SimulatorSettings(
        kind=name, port=1, client_id="rs", client_secret=secret, admin_token=secret, scale=0.0001
    )
    station = StationSettings.model_validate(
        {
            "kind": name,
            "url": "http://far/odata/v1",
            "token_url": "http://far/auth/realms/station/protocol/openid-connect/token",
            "grant": {"grant_type": "client_credentials", "client_id": "rs", "client_secret": "secret"},
            "collections": {"all": {"title": "All"}},
        }
    )
    kind, transport = KINDS[name], httpx.ASGITransport(create_app(simulator))
    order = sort_order(kind, ())
    async with open_stations({"far": station}, public_url=PUBLIC_URL, issuer=ISSUER, transport=transport) as stations:
        whole = await stations.search(name, SearchRequest(order=order, limit=1000), ["all"])
        assert whole.matched == len(whole.items) > 10
        assert [fault for item in whole.items[:1] for fault in item_faults(item)] == []
        for text in FILTERS:
            request = SearchRequest(filters.parse(kind, text, "cql2-text"), order=order, limit=1000)
            found = await stations.search(name, request, ["all"])
            assert 0 < len(found.items) <= len(whole.items), text
        if kind.orders:
            offline = next(item for item in whole.items if not item["properties"]["rs:online"])
            placed = await stations.order("far", offline["properties"]["externalIds"][0]["value"], 50)
            followed = await stations.orders("far", [placed.id])
            assert followed[placed.id].status in ("queued", "in_progress", "completed")
