"""Station search on a running platform: real logins, real stations, and a station that fails."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
import yaml
from pystac_client import Client

from tests.conftest import Platform
from tests.integration.jobs import accepted, ended, heal, some_collection

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


@pytest.fixture
def settings_file(platform: Platform) -> Iterator[Path]:
    """The settings of the running server and worker; afterwards they are as before, and taken on."""
    file = platform.home / "config" / "server.yaml"
    before = file.read_text()
    yield file
    _write(file, before)


def test_a_station_is_settings_alone(alice: httpx.Client, settings_file: Path) -> None:
    """Server and worker take it on while they run; a text that is wrong changes nothing, and is told."""
    before = settings_file.read_text()
    settings = yaml.safe_load(before)
    collection = f"aux-{uuid4().hex[:8]}"
    known = settings["stations"]["adgs"]
    settings["stations"]["adgs-too"] = {**known, "collections": {collection: {"title": "The same files, again"}}}
    _write(settings_file, yaml.safe_dump(settings))
    path = f"/auxip/collections/{collection}"
    _until(lambda: alice.get(path).status_code == 200)
    item = alice.get(f"{path}/items?limit=1").raise_for_status().json()["features"][0]
    job = ended(alice, _staged_by_worker(alice, item))
    assert job["status"] == "successful", job["message"]
    _write(settings_file, before.replace("kind: auxip", "kind: fax", 1))
    _until(lambda: "kind fax" in _told(alice)["reason"])
    assert alice.get(path).status_code == 200
    _write(settings_file, before)
    _until(lambda: alice.get(path).status_code == 404)
    assert _told(alice)["ok"] is True
    assert alice.get("/auxip/search?limit=1").json()["features"]


def _staged_by_worker(alice: httpx.Client, item: dict[str, Any]) -> str:
    """A job that the worker can end only if it knows the station as well."""
    href = next(link["href"] for link in item["links"] if link["rel"] == "self")

    inputs = {"items": [{"href": href}], "collection": some_collection()}
    return accepted(alice.post("/processes/staging/execution", json={"inputs": inputs}))


def _told(alice: httpx.Client) -> dict[str, Any]:
    """What the server says of its settings of stations."""
    found: dict[str, Any] = alice.get("/ready").json()["checks"]["settings of stations"]
    return found


def _write(file: Path, text: str) -> None:
    """Replace a file at once, as whoever deploys does."""
    new = file.with_suffix(".new")
    new.write_text(text)
    new.chmod(0o600)
    new.replace(file)


def _until(true: Callable[[], bool], within_s: float = 30) -> None:
    end = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < end
        time.sleep(0.2)
