"""Two products are compared array by array, bit by bit."""

from __future__ import annotations

from typing import Any

import dask.array as da
import numpy as np
import pytest
import xarray as xr

from rs_client.processing.compare import compare


def product(**changes: Any) -> xr.DataTree:
    """A small product; ``changes`` are variables of its group."""
    variables = {
        "data": ("octet", np.arange(10, dtype=np.uint8)),
        "time": ("packet", np.array(["2024-11-14", "NaT"], "datetime64[ns]")),
        "level": ("packet", np.array([1.5, np.nan])),
        **changes,
    }
    kept = {name: value for name, value in variables.items() if value is not None}
    tree = xr.DataTree(xr.Dataset(attrs={"stac_discovery": {"id": "A", "properties": {"platform": "s1"}}}))
    tree["apid_0001"] = xr.DataTree(xr.Dataset(kept, attrs={"apid": 1}))
    return tree


def test_the_same_is_the_same_whatever_the_chunks() -> None:
    octets = da.from_array(np.arange(10, dtype=np.uint8), chunks=3)  # type: ignore[no-untyped-call]
    chunked = product(data=("octet", octets))
    found = compare(chunked, product())
    assert found.same, str(found)
    assert (found.arrays, found.octets) == (3, 10 + 16 + 16)
    assert str(found) == "the same: 3 arrays, 42 bytes"


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            {"data": ("octet", np.array([0, 1, 2, 3, 4, 9, 6, 7, 8, 5], np.uint8))},
            "/apid_0001/data: differs: 2 of 10 values, by 4 at most",
        ),
        (
            {"level": ("packet", np.array([np.nan, np.nan]))},
            "/apid_0001/level: differs: 1 of 2 values, by 0 at most",
        ),
        (
            {"time": ("packet", np.array(["2024-11-15", "NaT"], "datetime64[ns]"))},
            "/apid_0001/time: differs: 1 of 2 values",
        ),
        (
            {"data": ("octet", np.arange(10, dtype=np.int16))},
            "/apid_0001/data: is uint8 (octet: 10) in the first, int16 (octet: 10) in the second",
        ),
        ({"level": None}, "/apid_0001/level: is only in the first"),
        ({"more": ("octet", np.zeros(10))}, "/apid_0001/more: is only in the second"),
    ],
)
def test_differences_are_told(changes: dict[str, Any], told: str) -> None:
    found = compare(product(), product(**changes))
    assert not found.same
    assert [str(each) for each in found.differences] == [told]
    assert found.document()["differences"][0]["path"] == told.partition(":")[0].split(" ")[0]


def test_attributes_count_those_of_the_making_do_not() -> None:
    other = product()
    other.attrs["stac_discovery"]["properties"]["platform"] = "s2"
    other.attrs["history"] = "made today"
    found = compare(product(), other)
    assert [str(each) for each in found.differences] == [
        "@stac_discovery.properties.platform: is 's1' in the first, 's2' in the second"
    ]


def test_what_is_shown_is_escaped() -> None:
    other = product()
    other.attrs["title"] = "<script>"
    assert "<script>" not in compare(product(), other)._repr_html_()
