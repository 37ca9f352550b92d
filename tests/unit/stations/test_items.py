"""Entities → items: one JSON case each, valid by the schemas of STAC and of the extensions they name."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import orjson
import pytest

from rs_server.stations import instants, items, multihash, platforms
from rs_server.stations.items import Malformed, Mapper, Place
from rs_server.stations.kinds import KINDS
from rs_server.stations.kinds.products import product_type, without_container
from rs_server.stations.model import Files, Match, StationKind, as_is
from tests.schemas import item_faults
from tests.unit.stations.far import ISSUER

CASES = sorted((Path(__file__).parent / "cases").glob("*/*.json"))


def _item(kind: StationKind, entity: dict[str, Any], files: list[dict[str, Any]]) -> dict[str, Any]:
    mapper = Mapper(kind, ISSUER)
    place = Place(f"http://server.test/{kind.name}", "c")
    found: dict[str, Any] = orjson.loads(orjson.dumps(mapper.item(place, entity, mapper.properties(entity), files)))
    return found


@pytest.mark.parametrize("path", CASES, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_case(path: Path) -> None:
    case = json.loads(path.read_text())
    item = _item(KINDS[path.parent.name], case["entity"], case.get("files", []))
    assert item_faults(item) == []
    assert item["properties"].pop("auth:schemes")["oidc"]["openIdConnectUrl"].startswith(f"{ISSUER}/.well-known/")
    for asset in item["assets"].values():
        assert asset.pop("auth:refs") == ["oidc"]
    assert {name: item[name] for name in case["item"]} == case["item"]
    assert list(item["assets"]) == list(case["item"]["assets"])


def test_every_kind_has_a_case() -> None:
    assert {path.parent.name for path in CASES} == set(KINDS)


@pytest.mark.parametrize("kind", KINDS.values(), ids=lambda kind: kind.name)
def test_descriptions_are_sound(kind: StationKind) -> None:
    assert {"id", "datetime", "start_datetime", "end_datetime", "published"} <= set(kind.by_name)
    assert len(kind.by_name) == len(kind.properties)
    for each in kind.properties:
        assert not each.sortable or len(each.sources) == 1, each.stac
        if each.enum and each.match is Match.EXACT and each.encode is not as_is:  # what is offered can be found
            texts = [each.encode(value) for value in each.enum]
            read = [each.decode(*(text if isinstance(text, tuple) else (text,))) for text in texts]
            assert read == list(each.enum)


@pytest.mark.parametrize(
    "change",
    [
        {"SessionId": None},
        {"PublicationDate": None},
        {"PublicationDate": "soon"},
        {"PublicationDate": 5},
        {"DownlinkOrbit": "many"},
        {"Retransfer": "no"},
        {"Satellite": 1},
    ],
)
def test_a_malformed_entity_is_named(change: dict[str, Any]) -> None:
    case = json.loads((Path(__file__).parent / "cases/cadip/real_session.json").read_text())
    with pytest.raises(Malformed, match="6894eb36"):
        Mapper(KINDS["cadip"]).properties({**case["entity"], **change})


def test_an_asset_is_the_same_whichever_way_it_is_written() -> None:
    """A name that needs quoting keeps an asset from being cut from the template."""
    case = json.loads((Path(__file__).parent / "cases/cadip/real_session.json").read_text())
    file = case["files"][0]
    odd = {
        **file,
        "Name": 'a "b"\n%s.raw',
        "Size": str(file["Size"]),
        "PublicationDate": "2024-11-14T15:31:26.576+01:00",
    }
    (plain,) = _item(KINDS["cadip"], case["entity"], [file])["assets"].values()
    (quoted,) = _item(KINDS["cadip"], case["entity"], [odd])["assets"].values()
    assert quoted["title"] == odd["Name"]
    assert quoted["href"].endswith("/download/a%20%22b%22%0A%25s.raw")
    assert {**plain, "title": "", "href": ""} == {**quoted, "title": "", "href": ""}


def test_a_malformed_file_is_named() -> None:
    case = json.loads((Path(__file__).parent / "cases/cadip/real_session.json").read_text())
    for change in ({"Channel": None}, {"BlockNumber": "x"}, {"Name": None, "Size": "x"}):
        with pytest.raises(Malformed, match="S1A_20241114143038056552"):
            _item(KINDS["cadip"], case["entity"], [{**case["files"][0], **change}])


# --- completion -------------------------------------------------------------------------------------------------------

RULE = KINDS["cadip"].assets.files
assert isinstance(RULE, Files)


@pytest.mark.parametrize(
    ("channels", "blocks", "complete"),
    [
        (1, ["1:1", "1:2!"], True),
        (1, ["1:2!", "1:1"], True),
        (1, ["1:1", "1:2"], False),
        (1, ["1:2!"], False),
        (1, ["1:1", "1:3!"], False),
        (1, ["1:1!", "1:2"], False),
        (2, ["1:1!"], False),
        (2, ["1:1!", "2:1"], False),
        (2, ["1:1!", "2:1", "2:2!"], True),
        (2, ["3:1!", "4:1!"], True),
        (1, ["1:1!", "2:1!"], False),
        (1, [], False),
        (None, ["1:1!"], False),
    ],
)
def test_completion(channels: int | None, blocks: list[str], *, complete: bool) -> None:
    assert RULE is not None
    assert items.is_complete(RULE, {"NumChannels": channels}, items.newest(RULE, _files(blocks))) is complete


@pytest.mark.parametrize(
    ("channels", "blocks", "lacks"),
    [
        (1, ["1:1", "1:2"], ["channel 1: the end, after 2"]),
        (1, ["1:1", "1:4", "1:6!"], ["channel 1: 2-3", "channel 1: 5"]),
        (2, ["1:1!"], ["1 channel"]),
        (2, [], ["2 channels"]),
        (2, ["1:2!", "2:1"], ["channel 1: 1", "channel 2: the end, after 1"]),
    ],
)
def test_what_is_missing_is_told(channels: int, blocks: list[str], lacks: list[str]) -> None:
    assert RULE is not None
    assert items.missing(RULE, {"NumChannels": channels}, items.newest(RULE, _files(blocks))) == lacks


@pytest.mark.parametrize(("after_s", "state"), [(0, "growing"), (1_799, "growing"), (1_801, "incomplete")])
def test_a_session_that_stopped_growing_says_so(after_s: float, state: str) -> None:
    case = json.loads((CASES[0].parent.parent / "cadip" / "real_session.json").read_text())
    last = max(instants.micros(file["PublicationDate"]) for file in case["files"]) / 1e6
    mapper = Mapper(KINDS["cadip"], clock=lambda: last + after_s)
    item = mapper.item(Place("", "c"), case["entity"], mapper.properties(case["entity"]), case["files"])
    assert item["properties"]["rs:state"] == state
    assert ("rs:missing" in item["properties"]) is (state == "incomplete")


def test_a_session_is_incomplete_where_what_came_along_with_it_says_so() -> None:
    case = json.loads((CASES[0].parent.parent / "cadip" / "real_session.json").read_text())
    last = {**case["files"][0], "BlockNumber": 1, "FinalBlock": True}
    whole = [{**last, "Channel": channel, "Name": f"ch{channel}"} for channel in (1, 2)]
    for told, lacks in ((19, "1 of 19 files"), (1, None)):
        quality = [{"Channel": n, "TotalChunks": told, "TotalVolume": str(last["Size"])} for n in (1, 2)]
        entity = {**case["entity"], "QualityInfo": quality}
        item = items.Mapper(KINDS["cadip"]).item(Place("", "c"), entity, {"id": "x"}, whole)
        assert item["properties"]["rs:complete"] is (lacks is None)
        assert item["properties"].get("rs:missing", []) == [f"channel {n}: {lacks}" for n in (1, 2) if lacks]


def _files(blocks: list[str]) -> list[dict[str, Any]]:
    return [
        {"Channel": int(each[0]), "BlockNumber": each.split(":")[1].rstrip("!"), "FinalBlock": "!" in each}
        for each in blocks
    ]


# --- values -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("code", "platform", "constellation"),
    [("S1A", "sentinel-1a", "sentinel-1"), ("S5P", "sentinel-5p", "sentinel-5"), ("L8", None, None), ("", None, None)],
)
def test_platforms(code: str, platform: str | None, constellation: str | None) -> None:
    assert platforms.from_satellite(code) == platform
    assert platforms.constellation_of_satellite(code) == constellation
    if platform:
        assert platforms.to_satellite(platform) == code
        assert platforms.from_attributes(*(platforms.to_attributes(platform) or ("", ""))) == platform


@pytest.mark.parametrize(
    ("written", "type_"),
    [
        ("OPER_AUX_RESORB_OPOD", "AUX_RESORB"),
        ("OPER_AUX_RESORB", "AUX_RESORB"),
        ("AUX_RESORB", "AUX_RESORB"),
        ("AUX_PP1", "AUX_PP1"),
        ("OL_1_EFR___", "OL_1_EFR___"),
    ],
)
def test_product_type(written: str, type_: str) -> None:
    assert product_type(written) == type_


@pytest.mark.parametrize(
    ("name", "item_id"),
    [
        ("S1A_AUX_PP1_V20140616T133500_G20241125T133808.SAFE.zip", "S1A_AUX_PP1_V20140616T133500_G20241125T133808"),
        ("S2__OPER_AUX_ECMWFD_PDMC.TGZ", "S2__OPER_AUX_ECMWFD_PDMC"),
        ("S1A_OPER_AUX_OBMEMC_PDMC_20241114.xml", "S1A_OPER_AUX_OBMEMC_PDMC_20241114"),
        ("S2B_OPER_MSI_L0__DS_N05.11.tar", "S2B_OPER_MSI_L0__DS_N05.11"),
        ("plain", "plain"),
        (".zip", ".zip"),
    ],
)
def test_container_suffixes(name: str, item_id: str) -> None:
    assert without_container(name) == item_id


@pytest.mark.parametrize(
    ("checksums", "expected"),
    [
        ([("MD5", "D41D8CD98F00B204E9800998ECF8427E")], "d50110d41d8cd98f00b204e9800998ecf8427e"),
        ([("MD5", "d41d8cd98f00b204e9800998ecf8427e"), ("SHA-256", "a" * 64)], "1220" + "a" * 64),
        ([("SHA3-256", "b" * 64)], "1620" + "b" * 64),
        ([("BLAKE3", "c" * 64)], "1e20" + "c" * 64),
        ([("SHA-512", "d" * 128)], "1340" + "d" * 128),
        ([("SHA384", "e" * 96)], "2030" + "e" * 96),
        ([("SHA-1", "f" * 40), ("MD5", "A" * 32)], "d50110" + "a" * 32),
        ([("SHA-1", "f" * 40)], "1114" + "f" * 40),
        ([("MD5", "short")], None),
        ([("CRC32", "00000000")], None),
        ([], None),
    ],
)
def test_multihash(checksums: list[tuple[str, str]], expected: str | None) -> None:
    assert multihash.of([{"Algorithm": name, "Value": value} for name, value in checksums]) == expected


@pytest.mark.parametrize(
    ("checksums", "expected"),
    [
        ([("CRC32", "1a2b3c4d")], "CRC32 1a2b3c4d"),
        ([("CRC32", "1a2b3c4d"), ("MD5", "short")], "CRC32 1a2b3c4d, MD5 short"),
        ([("CRC32", "1a2b3c4d"), ("MD5", "a" * 32)], None),
        ([("CRC32", "")], None),
        ([], None),
    ],
)
def test_checksums_that_cannot_be_checked_are_shown(checksums: list[tuple[str, str]], expected: str | None) -> None:
    assert multihash.unchecked([{"Algorithm": name, "Value": value} for name, value in checksums]) == expected


def test_an_asset_shows_the_checksum_that_cannot_be_checked() -> None:
    entity = json.loads((Path(__file__).parent / "cases/auxip/processor_parameters.json").read_text())["entity"]
    crc = {**entity, "Checksum": [{"Algorithm": "CRC32", "Value": "1a2b3c4d"}]}
    for given, told in ((entity, None), (crc, "CRC32 1a2b3c4d")):
        (asset,) = _item(KINDS["auxip"], given, [])["assets"].values()
        assert asset.get("rs:checksum_unchecked") == told
        assert ("file:checksum" in asset) is (told is None)
