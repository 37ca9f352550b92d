"""What a worker is told, and that nothing leads it outside of what the caller may read and write."""

import json
from typing import Any

import pytest

from rs_server.dpr.payload import Order, order
from rs_server.dpr.process import storage_keys
from rs_server.errors import BadInput, Forbidden
from tests.unit.dpr.session import (
    ALICE,
    BUCKETS,
    KEYS,
    PREFIX,
    RUN,
    S1_L0,
    SESSION,
    SOURCE,
    WITH_ORBIT,
    Catalog,
    adf,
    asset,
    item,
    preparation,
    request,
    some_order,
)


async def test_the_payload_is_what_eopf_takes() -> None:
    from eopf.triggering.parsers import validate_triggering_payload_structure

    told = (await some_order()).payload
    read = validate_triggering_payload_structure(dict(told))
    (unit,) = read.workflow.workflow
    assert (unit.module, unit.processing_unit) == ("rs_client.processing.s1_l0", "SentinelOneLevelZero")
    assert (unit.inputs, unit.outputs) == ({"cadu": "cadu"}, {"l0": "l0"})
    assert unit.parameters["session"] == {
        "id": SESSION,
        "platform": "sentinel-1a",
        "constellation": "sentinel-1",
        "orbit": 56552,
    }
    (source,), (target,) = read.io.io.input_products, read.io.io.output_products
    assert source.path == f"s3://rs-data/{PREFIX}"
    assert [(file["channel"], file["block"]) for file in source.reader_params["files"]] == [
        (1, 1),
        (1, 2),
        (2, 1),
        (2, 2),
    ]
    assert target.path == f"s3://rs-data/alice/s1-l0/{SESSION}_L0/{RUN}/{SESSION}_L0.zarr"


async def test_what_the_station_counted_goes_along() -> None:
    prepared = preparation()
    plan = await prepared.plan(ALICE, request())
    counted = await prepared.told(plan.steps[0])
    made = order(S1_L0, plan, plan.steps[0], BUCKETS, RUN, counted)
    assert made.payload["workflow"][0]["parameters"]["session"]["quality"] == [{"Channel": 1, "AcquiredTFs": 4}]


async def test_an_order_is_plain_and_holds_no_key() -> None:
    made = await some_order()
    document = json.loads(json.dumps(made.document()))
    assert Order.parse(document) == Order.parse(made.document())
    assert Order.parse(document).scope == made.scope
    assert "SECRET" not in json.dumps(document)
    assert storage_keys(KEYS)["secret_access_key"] == "SECRET"


async def test_parameters_and_auxiliary_files_are_told() -> None:
    orbit = adf("AUX_RESORB", "11-14T13:15:41", "11-14T16:33:11", "11-14T17:02:36")
    plan = await preparation(Catalog(item(), orbit), WITH_ORBIT).plan(
        ALICE, request(processor=WITH_ORBIT, parameters={"looks": 2})
    )
    made = order(WITH_ORBIT, plan, plan.steps[0], BUCKETS, RUN)
    unit = made.payload["workflow"][0]
    assert (unit["parameters"]["looks"], unit["adfs"]) == (2, {"orbit": "orbit"})
    (told,) = made.payload["io"]["adfs"]
    assert told["path"] == orbit["assets"]["file"]["href"]
    assert [source.auxiliary for source in made.sources] == [False, True]
    assert made.read == (PREFIX, f"alice/aux/{orbit['id']}/")


async def test_the_keys_reach_the_inputs_and_the_product_only() -> None:
    scope = (await some_order()).scope
    assert scope.read == (PREFIX,)
    assert scope.write == (f"alice/s1-l0/{SESSION}_L0/{RUN}/",)


async def planned(changed: dict[str, Any]) -> None:
    await preparation(Catalog({**item(), "assets": changed})).plan(ALICE, request())


@pytest.mark.parametrize(
    "href",
    [
        "s3://rs-data/bob/secret/X/ch1_1.raw",
        f"s3://other/{PREFIX}ch1_1.raw",
        f"s3://rs-data/{PREFIX}../../../bob/x",
        f"s3://rs-data/alice/s1-cadu/{SESSION}2/ch1_1.raw",
    ],
)
async def test_files_outside_of_the_item_are_refused(href: str) -> None:
    with pytest.raises(Forbidden, match=r"a\.raw lies outside"):
        await planned({"a.raw": asset(1, 1, href)})


@pytest.mark.parametrize(
    ("assets", "why"),
    [
        ({}, "no files of the role cadu"),
        ({"a": {**asset(1, 1), "roles": ["data"]}}, "no files of the role cadu"),
        ({"a": {**asset(1, 1), "roles": None}}, "no files of the role cadu"),
        ({"a": {**asset(1, 1), "file:size": None}}, "lacks its size"),
        ({"a": asset(1, 1, "http://elsewhere/x")}, "not the address of an object"),
    ],
)
async def test_items_that_are_no_input_are_refused(assets: dict[str, Any], why: str) -> None:
    with pytest.raises(BadInput, match=why):
        await planned(assets)


def test_the_secret_is_not_shown() -> None:
    assert "SECRET" not in repr(KEYS)


def test_sources_are_named_as_references() -> None:
    assert SOURCE.path.endswith(SESSION)
