"""Station search on a running platform: real logins, real stations, and a station that fails."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from pystac_client import Client

from tests.conftest import Platform
from tests.integration.jobs import heal

SESSION = "S1A_20241114143038056552"


def _keyed(platform: Platform, user: str) -> tuple[str, dict[str, str]]:
    """Address of the server, and the headers of a user's API key."""
    env = platform.env(user)
    return env["RS_SERVER_URL"], {"x-api-key": env["RS_API_KEY"]}


@pytest.fixture(scope="module")
def alice(platform: Platform) -> Iterator[httpx.Client]:
    url, headers = _keyed(platform, "alice")
    with httpx.Client(base_url=url, headers=headers, trust_env=False, timeout=60) as client:
        yield client


def _open(platform: Platform, user: str, service: str) -> Client:
    url, headers = _keyed(platform, user)
    return Client.open(f"{url}/{service}", headers=headers)


def test_a_session_and_its_bytes(alice: httpx.Client) -> None:
    item = alice.get(f"/cadip/collections/s1-sgs/items/{SESSION}").raise_for_status().json()
    assert item["properties"]["rs:complete"] is True
    assert len(item["assets"]) == 38
    asset = next(iter(item["assets"].values()))
    assert asset["href"].startswith(str(alice.base_url).rstrip("/"))
    whole = alice.get(asset["href"]).raise_for_status().content
    assert len(whole) == asset["file:size"]
    part = alice.get(asset["href"], headers={"Range": "bytes=2044-4087"})
    assert (part.status_code, part.content) == (206, whole[2044:4088])


def test_pystac_client_finds_sessions_and_auxiliary_files(platform: Platform) -> None:
    cadip = _open(platform, "alice", "cadip")
    found = cadip.search(collections=["s1-sgs"], datetime="2024-11-14", filter='"cadip:num_channels" = 2')
    assert SESSION in [item.id for item in found.items()]
    auxip = _open(platform, "alice", "auxip")
    orbits = list(auxip.search(filter="\"product:type\" = 'AUX_RESORB'", limit=2).items())
    assert len(orbits) == 3
    assert {item.properties["product:type"] for item in orbits} == {"AUX_RESORB"}


def test_who_may_do_what(platform: Platform) -> None:
    """bob reads and does not download; nobody gets in without a login."""
    url, headers = _keyed(platform, "bob")
    path = f"{url}/cadip/collections/s1-sgs/items/{SESSION}"
    with httpx.Client(trust_env=False, timeout=60) as client:
        item = client.get(path, headers=headers).raise_for_status().json()
        href = next(iter(item["assets"].values()))["href"]
        refused = client.get(href, headers=headers)
        assert refused.status_code == 403
        assert refused.json()["missing_role"] == "rs_cadip_sgs_download"
        for address in (f"{url}/cadip/", f"{url}/cadip/search", path, href):
            assert client.get(address).status_code == 401


def test_bad_input_is_named(alice: httpx.Client) -> None:
    wrong = alice.get("/cadip/search", params={"filter": "colour = 'red'"})
    assert wrong.status_code == 400
    assert "colour" in wrong.json()["detail"]
    assert wrong.json()["request_id"]
    assert alice.get("/cadip/collections/s1-sgs/items/S1A_0").status_code == 404


def test_a_station_that_is_down_is_named_and_comes_back(platform: Platform, alice: httpx.Client) -> None:
    platform.rs("station", "fault", "adgs", "--down")
    try:
        down = alice.get("/auxip/search")
        assert down.status_code == 503
        assert down.json()["station"] == "adgs"
        assert alice.get("/cadip/search").status_code == 200
        assert 0 < int(down.headers["Retry-After"]) <= 30
    finally:
        heal(platform, alice, "adgs", "auxip")


def test_a_new_session_is_seen_at_once(platform: Platform, alice: httpx.Client) -> None:
    start = "2024-12-24T18:00:00Z"
    platform.rs("station", "add-session", "sgs", "--satellite", "S1A", "--start", start, check=False)
    found = (
        alice.get("/cadip/search", params={"datetime": "2024-12-24T00:00:00Z/2024-12-25T00:00:00Z"})
        .raise_for_status()
        .json()["features"]
    )
    assert [item["id"][:18] for item in found] == ["S1A_20241224180000"]
    assert found[0]["properties"]["rs:complete"] is True
