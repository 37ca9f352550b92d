"""What a worker is told, and that nothing leads it outside of what the caller may read and write."""

import json
from typing import Any

import pytest

from rs_server.dpr.payload import payload, work
from rs_server.errors import BadInput, Forbidden
from tests.unit.dpr.session import KEYS, PLACE, PREFIX, S1_L0, SESSION, SOURCE, TARGET, asset, item, some_work


def test_the_payload_is_plain_and_complete() -> None:
    told = payload(some_work(), KEYS)
    assert json.loads(json.dumps(told)) == told
    assert told["processor"] == "s1-l0"
    assert told["output"] == f"s3://rs-data/alice/s1-l0/{SESSION}_L0/{SESSION}_L0.zarr"
    assert told["inputs"][0] == {"channel": 1, "block": 1, "href": f"s3://rs-data/{PREFIX}ch1_1.raw", "size": 101}
    assert [(each["channel"], each["block"]) for each in told["inputs"]] == [(1, 1), (1, 2), (2, 1), (2, 2)]
    assert (told["session"]["id"], told["session"]["platform"], told["session"]["orbit"]) == (
        SESSION,
        "sentinel-1a",
        56552,
    )
    assert told["storage"] == {
        "endpoint": PLACE.endpoint,
        "region": PLACE.region,
        "bucket": "rs-data",
        "access_key_id": "AK",
        "secret_access_key": "SECRET",
    }


def test_the_keys_reach_the_input_and_the_product_only() -> None:
    scope = some_work().scope
    assert scope.read == (PREFIX,)
    assert scope.write == (f"alice/s1-l0/{SESSION}_L0/",)


@pytest.mark.parametrize(
    "href",
    [
        "s3://rs-data/bob/secret/X/ch1_1.raw",
        f"s3://other/{PREFIX}ch1_1.raw",
        f"s3://rs-data/{PREFIX}../../../bob/x",
        f"s3://rs-data/alice/s1-cadu/{SESSION}2/ch1_1.raw",
    ],
)
def test_files_outside_of_the_item_are_refused(href: str) -> None:
    led_astray = {**item(), "assets": {"a.raw": asset(1, 1, href)}}
    with pytest.raises(Forbidden, match=r"a\.raw lies outside"):
        work(S1_L0, SOURCE, led_astray, TARGET, PLACE.bucket)


@pytest.mark.parametrize(
    ("assets", "why"),
    [
        ({}, "no files of the role cadu"),
        ({"a": {**asset(1, 1), "roles": ["data"]}}, "no files of the role cadu"),
        ({"a": {**asset(1, 1), "roles": None}}, "no files of the role cadu"),
        (
            {"a": {key: value for key, value in asset(1, 1).items() if key != "cadip:channel"}},
            "lacks its size, channel",
        ),
        ({"a": {**asset(1, 1), "file:size": None}}, "lacks its size"),
        ({"a": asset(1, 1, "http://elsewhere/x")}, "not the address of an object"),
    ],
)
def test_items_that_are_no_input_are_refused(assets: dict[str, Any], why: str) -> None:
    with pytest.raises(BadInput, match=why):
        work(S1_L0, SOURCE, {**item(), "assets": assets}, TARGET, PLACE.bucket)


def test_the_secret_is_not_shown() -> None:
    assert "SECRET" not in repr(KEYS)
