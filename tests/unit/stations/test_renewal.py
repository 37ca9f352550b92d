"""Stations follow their settings: only what changed is opened anew, and what is wrong changes nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from rs_server.errors import Unavailable
from rs_server.settings import StationSettings, load
from rs_server.stations.client import Stations
from rs_server.stations.renewal import Renewal, take_on
from tests.unit.stations.far import FarSide, demo, opened, service, station

PATIENCE_S = 10.0
SECRET = "a-secret-of-the-station"
CLASH = "collections: {c: {title: t}}"


def _renamed() -> Mapping[str, StationSettings]:
    return {**demo(), "sgs": station("sgs", {"other": {}})}


async def test_only_what_changed_is_opened_anew() -> None:
    far = FarSide()
    async with opened(far) as stations, service("auxip", stations) as auxip, service("cadip", stations) as cadip:
        assert (await auxip.get("/search")).status_code == 200
        tokens = _tokens(far, "adgs")
        await stations.renew(_renamed())
        assert [each["id"] for each in (await cadip.get("/collections")).json()["collections"]] == ["other"]
        assert (await cadip.get("/collections/other/items")).json()["features"]
        assert (await cadip.get("/collections/s1-sgs/items")).status_code == 404
        assert (await auxip.get("/search")).status_code == 200
        assert _tokens(far, "adgs") == tokens == 1  # its session went on
        await stations.renew({"adgs": demo()["adgs"]})
        assert stations.names == ("adgs",)
        assert (await cadip.get("/search")).json()["features"] == []


async def test_what_is_under_way_at_a_station_that_leaves_goes_on() -> None:
    async with opened(FarSide()) as stations:
        stations.retire_s = 0.0
        item = await stations.item("auxip", "s1-aux", (await _first(stations))["id"])
        async with stations.stream("auxip", "s1-aux", next(iter(item["assets"].values()))) as chunks:
            await stations.renew({})
            await asyncio.sleep(0.05)
            assert sum([len(chunk) async for chunk in chunks]) == next(iter(item["assets"].values()))["file:size"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("stations: {sgs: [", "no YAML: "),
        (f"stations: {{sgs: {{kind: cadip, password: {SECRET}}}}}", "stations.sgs.url: Field required"),
        (
            f"stations: {{sgs: {{kind: cadip, url: http://sgs, pasword: {SECRET}}}}}",
            "stations.sgs.pasword: Extra inputs",
        ),
        ("stations: {sgs: {kind: fax, url: http://sgs}}", "does not know the kind fax"),
        ("stations: {sgs: {kind: cadip, url: http://s, collections: {c: {title: t, constraints: {x: [y]}}}}}", "x"),
        (
            f"stations: {{{', '.join(f'{name}: {{kind: cadip, url: http://s, {CLASH}}}' for name in 'ab')}}}",
            "both have a collection c",
        ),
    ],
)
async def test_settings_that_are_wrong_change_nothing(tmp_path: Path, text: str, why: str) -> None:
    file = tmp_path / "server.yaml"
    file.write_text(text)
    async with opened(FarSide()) as stations, service("cadip", stations) as cadip:
        await take_on(stations, lambda: load(file).stations)
        assert why in stations.refused
        assert SECRET not in stations.refused
        with pytest.raises(Unavailable, match="those from before"):
            await stations.settled()
        assert len((await cadip.get("/search")).json()["features"]) == 1
        file.write_text("stations: {}")
        await take_on(stations, lambda: load(file).stations)
        await stations.settled()
        assert stations.names == ()


async def test_the_file_is_watched(tmp_path: Path) -> None:
    file = tmp_path / "server.yaml"
    async with opened(FarSide()) as stations:
        watch = asyncio.create_task(Renewal(stations, file, lambda: load(file).stations).follow(every_s=0.01))
        await asyncio.sleep(0.05)  # there is no file yet
        assert stations.names == ("sgs", "adgs")
        for name in ("one", "two"):
            written: dict[str, Any] = {"stations": {name: {"kind": "cadip", "url": "http://sgs/odata/v1"}}}
            (tmp_path / "new").write_text(yaml.safe_dump(written))
            (tmp_path / "new").replace(file)
            async with asyncio.timeout(PATIENCE_S):
                while list(stations.names) != [name]:  # noqa: ASYNC110 - nothing tells when the file was read
                    await asyncio.sleep(0.01)
        assert not watch.done()
        watch.cancel()


def _tokens(far: FarSide, name: str) -> int:
    return sum(each.url.host == name and each.url.path.endswith("/token") for each in far.requests)


async def _first(stations: Stations) -> dict[str, Any]:
    async with service("auxip", stations) as auxip:
        found: dict[str, Any] = (await auxip.get("/search?limit=1")).json()["features"][0]
        return found
