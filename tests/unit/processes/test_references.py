"""Items given by reference: ours are read in every form, all others are refused by name."""

from typing import Any

import pytest
from pydantic import BaseModel

from rs_server.errors import BadInput
from rs_server.processes.references import ItemInputs, Reference, read

HOST = "http://127.0.0.1:8000"
PATH = "/cadip/collections/s1-sgs/items/S1A_1"
ONE = Reference("cadip", "s1-sgs", "S1A_1")


class Inputs(BaseModel):
    items: ItemInputs


def referred(items: Any, public_url: str = HOST) -> tuple[Reference, ...]:
    return read(Inputs.model_validate({"items": items}).items, public_url)


def item(href: str) -> dict[str, Any]:
    return {
        "type": "Feature",
        "id": "lies",
        "links": [{"rel": "self", "href": href}],
        "assets": {"x": {"href": "evil"}},
    }


@pytest.mark.parametrize(
    "items",
    [
        [{"href": HOST + PATH}],
        {"href": HOST + PATH},
        [{"href": PATH}],
        [{"href": HOST + PATH, "type": "application/geo+json", "rel": "item"}],
        [{"value": item(HOST + PATH)}],
        {"value": {"type": "FeatureCollection", "features": [item(HOST + PATH), item(PATH)]}},
        [{"href": HOST + PATH}, {"value": item(PATH)}],
    ],
)
def test_each_form_of_an_item_of_ours(items: Any) -> None:
    assert referred(items) == (ONE,)


def test_a_server_below_a_path() -> None:
    assert referred([{"href": f"https://h/rs{PATH}"}], "https://h/rs") == (ONE,)


def test_ids_are_read_from_percent_encoding() -> None:
    assert referred([{"href": "/catalog/collections/alice%3As1/items/A%2B"}]) == (
        Reference("catalog", "alice:s1", "A+"),
    )


@pytest.mark.parametrize(
    "href",
    [
        "https://elsewhere/cadip/collections/s1-sgs/items/S1A_1",
        f"https://elsewhere/?x={HOST}{PATH}",
        f"{HOST}@elsewhere{PATH}",
        f"{HOST}0{PATH}",
        f"https://127.0.0.1:8000{PATH}",
        f"//elsewhere{PATH}",
        f"{HOST}/cadip/collections/s1-sgs",
        f"{HOST}{PATH}?x=1",
        f"{HOST}/cadip/collections/../items/x",
        "s3://rs-data/bob/secret",
        "file:///etc/passwd",
        f"http://[::1{PATH}",
        "",
    ],
)
def test_other_addresses_are_refused_by_place(href: str) -> None:
    with pytest.raises(BadInput, match=r"inputs\.items\.1"):
        referred([{"href": PATH}, {"href": href}])


COLLECTION = {"rel": "collection", "href": "/cadip/collections/s1-sgs"}


def asset(path: str = PATH) -> dict[str, Any]:
    return {"href": f"{HOST}{path}/download/a.raw"}


@pytest.mark.parametrize(
    "whole",
    [
        pytest.param({"assets": {"a": asset(), "b": asset()}}, id="assets"),
        pytest.param({"assets": {"a": asset(), "b": {"href": "s3://elsewhere/b"}}}, id="an asset of ours"),
        pytest.param({"assets": {"a": asset()}, "links": [COLLECTION], "id": "other"}, id="assets before links"),
        pytest.param({"links": [COLLECTION], "id": "S1A_1"}, id="collection and id"),
        pytest.param({"links": [COLLECTION], "id": "S1A_1", "assets": {"a": {"href": "s3://x/y"}}}, id="assets in S3"),
    ],
)
def test_an_inline_item_tells_where_it_is_to_be_had(whole: dict[str, Any]) -> None:
    assert referred([{"value": {"type": "Feature", **whole}}]) == (ONE,)


def test_the_id_of_an_inline_item_is_no_path() -> None:
    with pytest.raises(BadInput, match="not the address of an item"):
        referred([{"value": {"links": [COLLECTION], "id": "a/../../b"}}])


@pytest.mark.parametrize(
    ("whole", "why"),
    [
        ({"type": "Feature", "id": "x", "links": "none"}, "self"),
        ({"assets": {"a": asset(), "b": asset(PATH + "x")}}, "several items"),
        ({"assets": {"a": {"href": "https://elsewhere/cadip/collections/c/items/i/download/a"}}}, "elsewhere"),
        ({"assets": "none", "links": [None, {"rel": "self"}]}, "self"),
        ({"type": "FeatureCollection"}, "features: a list"),
        ({"type": "FeatureCollection", "features": []}, "features: a list"),
        ({"type": "FeatureCollection", "features": 5}, "features: a list"),
    ],
)
def test_an_inline_item_without_its_address_is_refused(whole: dict[str, Any], why: str) -> None:
    with pytest.raises(BadInput, match=rf"inputs\.items\.0.*{why}"):
        referred([{"value": whole}])
