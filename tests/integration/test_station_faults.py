"""What callers are told when a station is at fault: a table of the simulators' faults, for searches and downloads."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from rs_server.errors import StationTimeout, StationUnavailable
from rs_server.simulators.app import TOKEN_PATH
from rs_server.simulators.serving import running
from rs_server.simulators.settings import SimulatorSettings
from rs_server.stations.client import Stations, open_stations
from tests.schemas import item_faults
from tests.unit.stations.far import PUBLIC_URL, SESSION, FarSide, demo, opened, service

FIRST_FILE = f"DCS_04_{SESSION}_ch1_DSDB_00001.raw"
DOWNLOAD = f"/collections/s1-sgs/items/{SESSION}/download/{FIRST_FILE}"

# the fault · status of a search · status of a download
TABLE: list[tuple[dict[str, Any], int, int]] = [
    ({"down": True}, 503, 503),
    ({"requests": "token", "status": 503}, 503, 503),
    ({"requests": "token", "status": 401}, 502, 502),
    ({"status": 429}, 503, 503),
    ({"status": 503, "retry_after_s": 90}, 503, 503),
    ({"status": 500}, 503, 503),
    ({"status": 500, "times": 1}, 200, 200),
    ({"status": 429, "retry_after_s": 1, "times": 1}, 200, 200),
    ({"status": 403}, 502, 502),
    ({"status": 404}, 502, 502),
    ({"latency_s": 5, "requests": "query"}, 504, 504),
    ({"html": True}, 502, 502),
    ({"bare_list": True}, 502, 502),
    ({"string_integers": True}, 200, 200),
    ({"duplicate_rows": 2}, 200, 200),
    ({"insert_rows": 3}, 200, 200),
    ({"ignore": ["$filter"]}, 200, 200),
    ({"ignore": ["$top"]}, 200, 200),
    ({"refuse": ["expand"]}, 200, 200),
    ({"refuse": ["count"]}, 200, 200),
    ({"revoke_tokens": True, "times": 1}, 200, 200),
    ({"requests": "download", "status": 503}, 200, 503),
    ({"requests": "download", "evict": True}, 200, 404),
    ({"requests": "download", "redirect": "loop"}, 200, 502),
    ({"requests": "download", "redirect": "http://elsewhere.test/file"}, 200, 502),
    ({"requests": "download", "ignore_range": True}, 200, 200),
]


async def _set(far: FarSide, fault: dict[str, Any]) -> None:
    transport = httpx.ASGITransport(far.apps["sgs"])
    async with httpx.AsyncClient(transport=transport, base_url="http://sgs") as http:
        answer = await http.put("/admin/faults", json=fault, headers={"Authorization": "Bearer admin"})
        answer.raise_for_status()


def _patience_s(fault: dict[str, Any]) -> float:
    """How long the station has for an answer; one that never comes in time is not waited for any longer than needed."""
    return 0.3 if "latency_s" in fault else 5


@pytest.mark.parametrize(("fault", "searched", "downloaded"), TABLE, ids=lambda value: str(value).replace("'", ""))
async def test_a_fault_is_told(fault: dict[str, Any], searched: int, downloaded: int) -> None:
    for path, status in (("/search", searched), (DOWNLOAD, downloaded)):
        far = FarSide()
        await _set(far, fault)
        async with opened(far, demo(timeout_s=_patience_s(fault))) as stations, service("cadip", stations) as http:
            answer = await http.get(path, headers={"Range": "bytes=10-"})
            assert answer.status_code in (status, 206 if status == 200 else status), answer.text
            if status >= 400:
                problem = answer.json()
                assert answer.headers["content-type"] == "application/problem+json"
                assert problem["station"] == "sgs"
                assert "sgs" in problem["detail"]
            if status == 503:
                assert int(answer.headers["retry-after"]) > 0


@pytest.mark.parametrize("fault", [{"duplicate_rows": 3}, {"ignore": ["$filter"]}, {"ignore": ["$orderby"]}])
async def test_a_fault_does_not_show_in_the_rows(fault: dict[str, Any]) -> None:
    far = FarSide()
    await _set(far, fault)
    async with opened(far, demo(timeout_s=5)) as stations, service("cadip", stations) as http:
        found = (await http.get("/search", params={"filter": f"id = '{SESSION}'"})).json()["features"]
        assert [item["id"] for item in found] == [SESSION]
        assert item_faults({**found[0], "assets": {}}) == []
        assert len(found[0]["assets"]) == 38
        assert (await http.get("/search", params={"filter": "id = 'other'"})).json()["features"] == []


# the fault, on the wire · status of a search · what a download ends in: the octets, all of them but one, or an error
ON_THE_WIRE: list[tuple[dict[str, Any], int, type[Exception] | str]] = [
    ({"reset_at": 300}, 503, StationUnavailable),
    ({"reset_at": 0}, 503, StationUnavailable),
    ({"short_at": 300}, 503, StationUnavailable),
    ({"length_delta": 5}, 503, StationUnavailable),
    ({"flip_at": 0}, 502, "wrong"),  # whoever has the checksum of the file notices
    ({"bytes_per_s": 4_000}, 504, "whole"),
    ({"stall_at": 300}, 504, StationTimeout),
    ({"reset_at": 300, "times": 1}, 503, StationUnavailable),  # the next one is answered
    ({"jitter_s": 0.01}, 200, "whole"),
]


@pytest.fixture(scope="module")
def wire() -> Iterator[str]:
    settings = SimulatorSettings(
        kind="cadip",
        port=1,
        client_id="rs",
        client_secret=SecretStr("secret"),
        admin_token=SecretStr("admin"),
        scale=0.00001,
    )
    with running(settings) as url:
        yield url


@pytest.mark.parametrize(("fault", "searched", "ends"), ON_THE_WIRE, ids=lambda value: str(value).replace("'", ""))
async def test_a_fault_of_the_connection_is_told(
    wire: str, fault: dict[str, Any], searched: int, ends: type[Exception] | str
) -> None:
    wanted = {"url": f"{wire}/odata/v1", "token_url": f"{wire}{TOKEN_PATH}", "timeout_s": 3.0, "idle_s": 1.5}
    known = {"sgs": demo()["sgs"].model_copy(update=wanted)}
    async with (
        httpx.AsyncClient(base_url=wire, headers={"Authorization": "Bearer admin"}, trust_env=False) as admin,
        open_stations(known, public_url=PUBLIC_URL) as stations,
        service("cadip", stations) as http,
    ):
        asset = (await stations.item("cadip", "s1-sgs", SESSION))["assets"][FIRST_FILE]
        whole = await _fetched(stations, asset)
        assert len(whole) == asset["file:size"]
        try:
            (await admin.put("/admin/faults", json={"requests": ["query"], **fault})).raise_for_status()
            answer = await http.get("/search")
            assert answer.status_code == searched, answer.text
            if searched >= 400:
                assert answer.json()["station"] == "sgs"
            (await admin.put("/admin/faults", json={"requests": ["download"], **fault})).raise_for_status()
            if isinstance(ends, str):
                got = await _fetched(stations, asset)
                assert len(got) == len(whole)
                assert (got == whole) is (ends == "whole")
            else:
                with pytest.raises(ends):  # broken off, never taken for the end
                    await _fetched(stations, asset)
        finally:
            (await admin.delete("/admin/faults")).raise_for_status()


async def _fetched(stations: Stations, asset: dict[str, Any]) -> bytes:
    async with stations.download("cadip", "s1-sgs", asset) as download:
        return b"".join([chunk async for chunk in download.chunks])
