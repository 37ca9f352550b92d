"""Stations as the rest of the server uses them: items with their files, streams, several collections, bad settings."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from functools import partial
from typing import Any
from uuid import UUID

import httpx
import pytest

from rs_server.errors import BadInput, NotFound, StationRefused
from rs_server.settings import StationSettings
from rs_server.simulators.model import Entity, to_json
from rs_server.stations import filters, search
from rs_server.stations.client import Stations
from rs_server.stations.kinds import KINDS
from rs_server.stations.search import SearchRequest, sort_order
from tests.unit.stations.far import SESSION, FarSide, demo, opened, station

CADIP = KINDS["cadip"]


def _sessions(far: FarSide) -> list[Entity]:
    return list(far.apps["sgs"].state.station.store.sets["Sessions"].values())


def _files(far: FarSide) -> list[Entity]:
    return list(far.apps["sgs"].state.station.store.sets["Files"].values())


def _again(entity: Entity, number: int, **changes: Any) -> Entity:
    """The entity, published again later."""
    published: Any = entity.values["PublicationDate"]
    values = {"Id": UUID(int=number), "Retransfer": True, "PublicationDate": published + timedelta(hours=1)}
    return replace(entity, values={**entity.values, **values, **changes})


# --- files of sessions ------------------------------------------------------------------------------------------------


async def test_files_come_along_in_two_calls() -> None:
    far = FarSide()
    async with opened(far) as stations:
        item = await stations.item("cadip", "s1-sgs", SESSION)
    assert len(item["assets"]) == 38
    assert [query.partition("?")[0] for query in far.queries] == ["Sessions", "Sessions"]
    assert sum("$expand=Files" in query for query in far.queries) == 1


@pytest.mark.parametrize("how", ["refuses", "ignores", "pages"])
async def test_a_station_that_does_not_expand_is_asked_for_all_files_at_once(how: str) -> None:
    far = FarSide(page_size=20)

    def answer(request: httpx.Request) -> httpx.Response | None:
        if "expand" not in str(request.url):
            return None
        if how == "refuses":
            return httpx.Response(400, json={"error": {}})
        values = {name: str(value) for name, value in _sessions(far)[0].values.items() if name != "PublicationDate"}
        flags = {name: True for name in values if name.endswith("OK")}
        dates = {
            "PublicationDate": "2024-11-14T14:31:11Z",
            "DownlinkStart": "2024-11-14T14:30:44Z",
            "DownlinkStop": "2024-11-14T14:33:48Z",
            "PlannedDataStart": None,
            "PlannedDataStop": None,
        }
        first = {"Files": [{"Id": "x"}], "Files@odata.nextLink": "…"} if how == "pages" else {}
        return httpx.Response(200, json={"value": [{**values, **flags, **dates, "Retransfer": False, **first}]})

    far.answer = answer
    async with opened(far) as stations:
        for _ in range(2):
            item = await stations.item("cadip", "s1-sgs", SESSION)
            assert len(item["assets"]) == 38
            assert item["properties"]["rs:complete"] is True
    asked_to_expand = sum("expand" in query for query in far.queries)
    assert asked_to_expand == 2  # with what it says of the channels, and without; or each time


async def test_a_growing_session_says_so() -> None:
    far = FarSide()
    far.fill("sgs", "Files", [file for file in _files(far) if file.values["BlockNumber"] != 19])
    far.fill("sgs", "Sessions", [replace(_sessions(far)[0], related={"Files": tuple(_files(far)), "QualityInfo": ()})])
    async with opened(far) as stations:
        item = await stations.item("cadip", "s1-sgs", SESSION)
    assert len(item["assets"]) == 36
    assert item["properties"]["rs:complete"] is False


async def test_a_retransfer_is_one_item_and_each_file_comes_once() -> None:
    far = FarSide()
    session, files = _sessions(far)[0], _files(far)
    resent = [_again(file, 100 + number) for number, file in enumerate(files[:3])]
    far.fill("sgs", "Files", [*files, *resent])
    again = replace(_again(session, 1), related={"Files": tuple(resent), "QualityInfo": ()})
    far.fill("sgs", "Sessions", [session, again])
    async with opened(far) as stations:
        found = await stations.search("cadip", SearchRequest(order=sort_order(CADIP, ())), ["s1-sgs"])
        older = filters.parse(CADIP, 'not "cadip:retransfer"', "cql2-text")
        assert (
            await stations.search("cadip", SearchRequest(older, order=sort_order(CADIP, ())), ["s1-sgs"])
        ).items == []
    assert [item["id"] for item in found.items] == [SESSION]
    item = found.items[0]
    assert item["properties"]["cadip:retransfer"] is True
    assert len(item["assets"]) == 38
    assert item["properties"]["rs:complete"] is True
    assert sum(asset["cadip:retransfer"] for asset in item["assets"].values()) == 3


async def test_a_file_of_another_session_is_not_taken() -> None:
    far = FarSide()
    far.fill("sgs", "Files", [])
    far.answer = lambda request: (
        httpx.Response(200, json={"value": [{"Id": "1", "SessionId": "other"}]})
        if "/Files?" in str(request.url)
        else httpx.Response(400)
        if "expand" in str(request.url)
        else None
    )
    async with opened(far) as stations:
        assert (await stations.item("cadip", "s1-sgs", SESSION))["assets"] == {}


# --- streams ----------------------------------------------------------------------------------------------------------


async def _bytes(stations: Stations, asset: dict[str, Any], offset: int = 0) -> bytes:
    async with stations.stream("cadip", "s1-sgs", asset, offset=offset) as chunks:
        return b"".join([chunk async for chunk in chunks])


async def test_stream_from_an_offset() -> None:
    far = FarSide()
    async with opened(far) as stations:
        item = await stations.item("cadip", "s1-sgs", SESSION)
        asset = next(iter(item["assets"].values()))
        whole = await _bytes(stations, asset)
        assert len(whole) == asset["file:size"]
        assert await _bytes(stations, asset, 1000) == whole[1000:]
        assert await _bytes(stations, asset, len(whole)) == b""


async def test_a_station_that_ignores_ranges_or_starts_elsewhere() -> None:
    far = FarSide()
    asset = {"externalIds": [{"scheme": "cadip", "value": "228b97bc-aa04-4036-8450-3106bc7684bb"}]}
    answers: list[tuple[int, str, bytes, bytes | None]] = [
        (200, "", b"0123456789", b"456789"),
        (206, "bytes 2-9/10", b"23456789", b"456789"),
        (206, "bytes 5-9/10", b"56789", None),
        (206, "", b"456789", None),
    ]
    async with opened(far) as stations:
        for status, content_range, body, expected in answers:
            answer = httpx.Response(status, stream=httpx.ByteStream(body), headers={"Content-Range": content_range})
            far.answer = partial(_for_downloads, answer)
            if expected is None:
                with pytest.raises(StationRefused):
                    await _bytes(stations, asset, 4)
            else:
                assert await _bytes(stations, asset, 4) == expected


def _for_downloads(answer: httpx.Response, request: httpx.Request) -> httpx.Response | None:
    return answer if "$value" in request.url.path else None


@pytest.mark.parametrize("key", ["../../Sessions", "1)/Name", "", "x" * 100, None])
async def test_an_asset_cannot_name_another_address(key: str | None) -> None:
    far = FarSide()
    async with opened(far) as stations:
        with pytest.raises(BadInput):
            await _bytes(stations, {"externalIds": [{"scheme": "cadip", "value": key}]} if key else {})
    assert far.requests == []


# --- several collections ----------------------------------------------------------------------------------------------


async def test_collections_are_merged_and_paged_in_one_order() -> None:
    far = FarSide()
    orbits = {"product:type": ["AUX_RESORB"]}
    settings = {"adgs": station("adgs", {"all": {}, "orbits": orbits, "none": {"platform": ["sentinel-3b"]}})}
    kind = KINDS["auxip"]
    order = sort_order(kind, ["-published"])
    async with opened(far, settings) as stations:
        names = [each.id for each in stations.collections("auxip")]
        cursor, seen, pages = None, [], []
        while True:
            page = await stations.search("auxip", SearchRequest(True, None, order, 3, cursor), names)
            pages.append([(item["properties"]["published"], item["collection"]) for item in page.items])
            seen += pages[-1]
            if page.next is None:
                break
            cursor = page.next
        assert len(seen) == len(set(seen)) == 7 + 3
        assert seen == sorted(sorted(seen, key=lambda each: each[1]), key=lambda each: each[0], reverse=True)
        for expected in reversed(pages[:-1]):
            page = await stations.search("auxip", SearchRequest(True, None, order, 3, page.prev), names)
            assert [(item["properties"]["published"], item["collection"]) for item in page.items] == expected
        one = search.id_filter(kind, ["S1A_OPER_AUX_RESORB_OPOD_20241114T134402_V20241114T095821_20241114T131551"])
        both = await stations.search("auxip", SearchRequest(one, None, order, 10), names)
        assert [item["collection"] for item in both.items] == ["all", "orbits"]


async def test_names_and_unknown_names() -> None:
    async with opened(FarSide()) as stations:
        assert stations.names == ("sgs", "adgs")
        assert stations.station_of("cadip", "s1-sgs") == "sgs"
        for service, collection in (("cadip", "s1-aux"), ("auxip", "s1-sgs"), ("prip", "x")):
            with pytest.raises(NotFound):
                stations.station_of(service, collection)
        with pytest.raises(NotFound, match="S1A_0"):
            await stations.item("cadip", "s1-sgs", "S1A_0")
        for name in stations.names:
            await stations.ping(name)


@pytest.mark.parametrize(
    ("settings", "named"),
    [
        ({"x": station("sgs", {"c": {"colour": ["red"]}})}, "colour"),
        ({"x": station("sgs", {"c": {"published": ["soon"]}})}, "soon"),
        ({"x": station("sgs", {"c": {}}), "y": station("sgs", {"c": {}})}, "c"),
        ({"x": StationSettings(kind="edip", url="http://x")}, "edip"),
    ],
)
async def test_settings_that_cannot_be_honoured(settings: dict[str, StationSettings], named: str) -> None:
    with pytest.raises(ValueError, match=named):
        async with opened(FarSide(), settings):
            pass


# --- stations that lie ------------------------------------------------------------------------------------------------


async def test_a_station_that_ignores_the_filter_does_not_show() -> None:
    far = FarSide()
    kind = KINDS["auxip"]

    def widened(request: httpx.Request) -> httpx.Response | None:
        """The whole store, whatever was asked."""
        if "/Products?" not in str(request.url):
            return None
        products = far.apps["adgs"].state.station.store.sets["Products"].values()
        return httpx.Response(200, json={"value": [to_json(each, expand=("Attributes",)) for each in products]})

    far.answer = widened
    wanted = filters.parse(kind, "\"product:type\" = 'AUX_CAL'", "cql2-text")
    request = SearchRequest(wanted, order=sort_order(kind, ()), limit=100)
    async with opened(far) as stations:
        found = await stations.search("auxip", request, ["s1-aux"])
        assert [item["properties"]["product:type"] for item in found.items] == ["AUX_CAL"]


async def test_a_station_that_repeats_itself_is_refused() -> None:
    far = FarSide()
    row = {
        "Id": "2e25ea88-ab33-11ef-8630-fa163e75e309",
        "Name": "a.zip",
        "PublicationDate": "2024-11-14T00:00:00Z",
        "ContentDate": {"Start": "2024-11-14T00:00:00Z", "End": "2024-11-14T00:00:00Z"},
    }
    far.answer = lambda r: httpx.Response(200, json={"value": [row]}) if "/Products?" in str(r.url) else None
    kind = KINDS["auxip"]
    async with opened(far, demo(page_size=1)) as stations:
        with pytest.raises(StationRefused, match="same rows again"):
            await stations.search("auxip", SearchRequest(order=sort_order(kind, ()), limit=5), ["s1-aux"])
