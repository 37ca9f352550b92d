"""The stations of a running platform: reachable, closed to strangers, and serving ranges of conformant data."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from rs_server.simulators.settings import SimulatorSettings, load

TOKEN_PATH = "/auth/realms/station/protocol/openid-connect/token"
STATIONS = ["cadip-station", "auxip-station", "prip-station", "lta-station"]


def settings_of(platform: Any, name: str) -> SimulatorSettings:
    return load(platform.home / "config" / f"{name}.yaml")


@asynccontextmanager
async def logged_in(platform: Any, name: str) -> AsyncIterator[httpx.AsyncClient]:
    settings = settings_of(platform, name)
    form = {
        "grant_type": "client_credentials",
        "client_id": settings.client_id,
        "client_secret": settings.client_secret.get_secret_value(),
    }
    async with httpx.AsyncClient(base_url=platform.url(name), timeout=30, trust_env=False) as client:
        answer = await client.post(TOKEN_PATH, data=form)
        client.headers["Authorization"] = f"Bearer {answer.raise_for_status().json()['access_token']}"
        yield client


@pytest.fixture
async def cadip(platform: Any) -> AsyncIterator[httpx.AsyncClient]:
    async with logged_in(platform, "cadip-station") as client:
        yield client


@pytest.mark.parametrize("name", STATIONS)
async def test_closed_to_strangers(platform: Any, name: str) -> None:
    async with httpx.AsyncClient(base_url=platform.url(name), trust_env=False) as stranger:
        assert (await stranger.get("/health")).status_code == 200
        assert (await stranger.get("/odata/v1/")).status_code == 401
        assert (await stranger.get("/admin/faults")).status_code == 401


async def test_the_real_session_is_complete(cadip: httpx.AsyncClient) -> None:
    query = {"$filter": "SessionId eq 'S1A_20241114143038056552'", "$expand": "Files,QualityInfo"}
    (session,) = (await cadip.get("/odata/v1/Sessions", params=query)).raise_for_status().json()["value"]
    assert len(session["Files"]) == 38
    for quality in session["QualityInfo"]:
        files = [file for file in session["Files"] if file["Channel"] == quality["Channel"]]
        assert [file["FinalBlock"] for file in files].count(True) == 1
        assert sum(file["Size"] for file in files) == quality["TotalVolume"]


async def test_a_range_over_the_wire(cadip: httpx.AsyncClient) -> None:
    (file,) = (await cadip.get("/odata/v1/Files", params={"$top": "1"})).raise_for_status().json()["value"]
    url = f"/odata/v1/Files({file['Id']})/$value"
    whole = (await cadip.get(url)).raise_for_status().content
    assert len(whole) == file["Size"]
    assert whole[::2044][:1] == b"\x1a"
    part = await cadip.get(url, headers={"Range": "bytes=2044-4087"})
    assert (part.status_code, part.content) == (206, whole[2044:4088])


async def test_a_product_is_ordered_and_downloaded(platform: Any) -> None:
    admin = {"Authorization": f"Bearer {settings_of(platform, 'lta-station').admin_token.get_secret_value()}"}
    async with logged_in(platform, "lta-station") as client:
        query = {"$filter": "Online eq false and startswith(Name,'S2A')", "$top": "1"}
        (product,) = (await client.get("/odata/v1/Products", params=query)).raise_for_status().json()["value"]
        url = f"/odata/v1/Products({product['Id']})"
        assert (await client.get(f"{url}/$value")).status_code == 404
        order = (await client.post(f"{url}/OData.CSC.Order", json={"Priority": 50})).raise_for_status().json()
        (await client.put("/admin/clock", json={"advance_s": 20}, headers=admin)).raise_for_status()
        query = {"$filter": f"Id eq {order['Id']}"}
        (done,) = (await client.get("/odata/v1/Orders", params=query)).raise_for_status().json()["value"]
        assert done["Status"] == "completed"
        data = (await client.get(f"{url}/$value")).raise_for_status().content
        assert hashlib.md5(data).hexdigest() == product["Checksum"][0]["Value"]


@pytest.mark.parametrize("name", STATIONS)
async def test_down_and_up_again(platform: Any, name: str) -> None:
    admin = {"Authorization": f"Bearer {settings_of(platform, name).admin_token.get_secret_value()}"}
    async with logged_in(platform, name) as client:
        try:
            (await client.put("/admin/faults", json={"down": True}, headers=admin)).raise_for_status()
            assert (await client.get("/odata/v1/")).status_code == 503
        finally:
            (await client.delete("/admin/faults", headers=admin)).raise_for_status()
        assert (await client.get("/odata/v1/")).status_code == 200
