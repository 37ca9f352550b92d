"""Sessions that come in on a clock of their own, and scenarios that say so."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest

from rs_server.simulators import scenario
from rs_server.simulators.clock import Clock
from tests.unit.simulators import downlink
from tests.unit.simulators.conftest import ADMIN, Open

ROOT = "/odata/v1"
START = "2025-07-01T10:00:00Z"
SESSION_ID = "S1A_20250701100000060000"
STOPPED = {"clock": {"start": "2025-07-01T09:59:00Z", "speed": 0}}


async def grow(client: httpx.AsyncClient, **life: Any) -> Any:
    body = {"orbit": 60_000, "start": START, "chunks": 3, "life": life or True}
    answer = await client.post("/admin/sessions", json=body, headers=ADMIN)
    assert answer.status_code == 201, answer.text
    return answer.json()


async def at(client: httpx.AsyncClient, seconds: float) -> None:
    """So many seconds after the planned start."""
    moment = datetime(2025, 7, 1, 10, 0, 0, tzinfo=UTC).timestamp() + seconds
    body = {"at": datetime.fromtimestamp(moment, UTC).isoformat()}
    (await client.put("/admin/clock", json=body, headers=ADMIN)).raise_for_status()


async def rows(client: httpx.AsyncClient, name: str, **options: str) -> list[dict[str, Any]]:
    given = {"filter": f"SessionId eq '{SESSION_ID}'", "orderby": "PublicationDate", **options}
    answer = await client.get(f"{ROOT}/{name}", params={f"${key}": value for key, value in given.items()})
    found: list[dict[str, Any]] = answer.raise_for_status().json()["value"]
    return found


def blocks(files: list[dict[str, Any]], channel: int = 1) -> list[int]:
    return [file["BlockNumber"] for file in files if file["Channel"] == channel]


async def test_a_session_comes_in_chunk_by_chunk(station: Open) -> None:
    async with station("cadip", scenario=STOPPED) as client:
        await grow(client, quality_delay_s=30)
        assert await rows(client, "Sessions") == []
        await at(client, 33)
        (begun,) = await rows(client, "Sessions", expand="Files,QualityInfo")
        assert (begun["Files"], begun["QualityInfo"]) == ([], [])
        await at(client, 120)
        assert blocks(await rows(client, "Files")) == [1, 2]
        await at(client, 191)
        (ended,) = await rows(client, "Sessions", expand="Files,QualityInfo")
        assert ended["Id"] == begun["Id"]
        assert ended["DownlinkStop"] != begun["DownlinkStop"]
        assert (len(ended["Files"]), ended["QualityInfo"]) == (6, [])
        assert [file["FinalBlock"] for file in ended["Files"]].count(True) == 2
        assert all(file["PublicationDate"] <= "2025-07-01T10:03:11Z" for file in ended["Files"])
        await at(client, 222)
        (whole,) = await rows(client, "Sessions", expand="QualityInfo")
        assert [one["TotalChunks"] for one in whole["QualityInfo"]] == [3, 3]


async def test_a_file_is_not_there_before_its_time(station: Open) -> None:
    async with station("cadip", scenario=STOPPED) as client:
        await grow(client)
        await at(client, 200)
        (file,) = await rows(client, "Files", top="1")
        await at(client, 40)
        assert (await client.get(f"{ROOT}/Files({file['Id']})")).status_code == 404
        assert (await client.get(f"{ROOT}/Files({file['Id']})/$value")).status_code == 410
        await at(client, 200)
        data = (await client.get(f"{ROOT}/Files({file['Id']})/$value")).content
        assert len(downlink.frames(data)) * 2044 == file["Size"]


async def test_chunks_out_of_order(station: Open) -> None:
    async with station("cadip", scenario=STOPPED) as client:
        body = {"orbit": 60_000, "start": START, "life": {"out_of_order": True}}
        (await client.post("/admin/sessions", json=body, headers=ADMIN)).raise_for_status()
        await at(client, 200)
        files = await rows(client, "Files")
        for channel in (1, 2):
            found = blocks(files, channel)
            assert sorted(found) == list(range(1, 20)) != found
        final = next(n for n, file in enumerate(files) if file["FinalBlock"])
        assert final < len(files) - 2


async def test_an_aborted_pass(station: Open) -> None:
    async with station("cadip", scenario=STOPPED) as client:
        await grow(client, abort_after=2)
        await at(client, 10_000)
        (session,) = await rows(client, "Sessions", expand="Files,QualityInfo")
        assert blocks(session["Files"]) == [1, 2]
        assert not any(file["FinalBlock"] for file in session["Files"])
        assert (session["QualityInfo"], session["DownlinkStatusOK"]) == ([], False)
        assert session["DownlinkStop"] < "2025-07-01T10:02:10Z"


async def test_a_retransfer_has_new_keys_and_the_same_octets(station: Open) -> None:
    async with station("cadip", scenario=STOPPED) as client:
        await grow(client, abort_after=1, retransfer_after_s=600, retransfer_chunks=2, delivery_ok=False)
        await at(client, 10_000)
        first, again = await rows(client, "Sessions", expand="Files")
        assert (first["Retransfer"], again["Retransfer"], first["DeliveryPushOK"]) == (False, True, False)
        assert first["Id"] != again["Id"]
        assert (blocks(first["Files"]), blocks(again["Files"])) == ([1], [2, 3])
        assert again["PublicationDate"] < again["Files"][0]["PublicationDate"]


async def test_all_of_it_again(station: Open) -> None:
    async with station("cadip", scenario=STOPPED) as client:
        await grow(client, retransfer_after_s=0)
        await at(client, 10_000)
        first, again = await rows(client, "Sessions", expand="Files")
        pairs = zip(first["Files"], again["Files"], strict=True)
        for one, other in pairs:
            assert one["Name"] == other["Name"]
            both = [await client.get(f"{ROOT}/Files({file['Id']})/$value") for file in (one, other)]
            assert both[0].content == both[1].content


async def test_files_go_at_their_eviction_date(station: Open) -> None:
    async with station("cadip", scenario={**STOPPED, "eviction": True}) as client:
        assert await rows(client, "Files", filter="true") == []
        await grow(client)
        await at(client, 200)
        (session,) = await rows(client, "Sessions", expand="Files")
        assert len(session["Files"]) == 6
        await at(client, 8 * 86_400)
        (session,) = await rows(client, "Sessions", expand="Files")
        assert session["Files"] == []


async def test_a_scenario_on_a_fast_clock(station: Open) -> None:
    async with station("cadip") as client:
        given = {
            "clock": {"start": "2025-07-01T10:00:00Z", "speed": 100_000},
            "sessions": [{"orbit": 60_000, "start": START, "chunks": 2, "life": True}],
            "faults": [{"requests": "download", "status": 503, "times": 1}],
        }
        (await client.put("/admin/scenario", json=given, headers=ADMIN)).raise_for_status()
        assert (await client.get("/admin/clock", headers=ADMIN)).json()["speed"] == 100_000
        while not (found := await rows(client, "Files")):
            pass
        url = f"{ROOT}/Files({found[0]['Id']})/$value"
        assert [(await client.get(url)).status_code for _ in range(2)] == [503, 200]
        shown = (await client.get("/admin/scenario", headers=ADMIN)).json()
        assert shown["faults"] == [{"requests": ["download"], "status": 503, "times": 1}]


async def test_publications(station: Open) -> None:
    for kind, name in (("cadip", "Sessions"), ("auxip", "Products")):
        async with station(kind) as client:
            before = (await client.get(f"{ROOT}/{name}/$count")).text
            answer = await client.post("/admin/publish", json={"count": 3, "late_s": 60}, headers=ADMIN)
            assert answer.status_code == 204
            assert int((await client.get(f"{ROOT}/{name}/$count")).text) == int(before) + 3


def test_scenarios_are_files(tmp_path: Path) -> None:
    path = tmp_path / "scenario.yaml"
    path.write_text("")
    assert scenario.load(path) == scenario.Scenario()
    path.write_text("faults: [{requests: download, rest_at: 5}]")
    with pytest.raises(scenario.BadScenario, match=r"faults\.0\.rest_at: .*did you mean reset_at"):
        scenario.load(path)
    with pytest.raises(scenario.BadScenario, match="cannot be read"):
        scenario.load(tmp_path / "nothing.yaml")


def test_clocks() -> None:
    world = [1000.0]
    clock = Clock(datetime(2025, 1, 1, tzinfo=UTC), 10, real=lambda: world[0])
    world[0] += 6
    assert clock.now() == datetime(2025, 1, 1, 0, 1, tzinfo=UTC)
    clock.set(speed=0)
    world[0] += 100
    clock.advance(60)
    assert clock.now() == datetime(2025, 1, 1, 0, 2, tzinfo=UTC)
    clock.set(at=datetime(2020, 1, 1, tzinfo=UTC), speed=1)
    world[0] += 1
    assert clock.now() == datetime(2020, 1, 1, 0, 0, 1, tzinfo=UTC)
