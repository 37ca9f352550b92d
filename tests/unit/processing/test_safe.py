"""SAFE products become EOPF products by EOPF's own readers, or it is said why not."""

from __future__ import annotations

import shutil
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from rs_client.processing.errors import BadPayload, InputUnreadable
from rs_client.processing.payload import run_payload
from rs_client.processing.safe import open_safe
from tests.unit.processing import safe_product

# The mappings of EOPF 3.0 use a form that its own code calls outdated.
pytestmark = pytest.mark.filterwarnings("ignore:Remove 'dimensions' from attributes mapping:DeprecationWarning")


def test_a_safe_product_becomes_zarr(tmp_path: Path) -> None:
    product, packets = safe_product.write(tmp_path)
    output = tmp_path / "NAME.zarr"
    made = run_payload(
        {
            "processor": "safe-to-zarr",
            "inputs": [{"input": "safe", "href": product.as_uri()}],
            "output": output.as_uri(),
            "session": {"id": product.stem},
        }
    )
    assert made["stac_discovery"]["properties"]["product:type"] == "S03OLCL0_"
    assert made["stac_discovery"]["properties"]["platform"] == "sentinel-3a"
    tree = xr.open_datatree(output, engine="zarr")
    lengths = tree["conditions"].to_dataset()["packet_data_length"].values
    assert lengths.tolist() == [len(one) - 7 for one in packets]
    for row, one in zip(tree["measurements"].to_dataset()["isp"].values, packets, strict=True):
        assert row.astype(np.uint8)[: len(one)].tobytes() == one


def test_an_archive_is_a_product_too(tmp_path: Path) -> None:
    product, packets = safe_product.write(tmp_path)
    archive = shutil.make_archive(str(product), "zip", tmp_path, product.name)
    shutil.rmtree(product)
    with ExitStack() as stack:
        tree = open_safe(Path(archive).as_uri(), None, stack)
        assert tree["conditions"]["packet_data_length"].size == len(packets)


def test_what_is_no_safe_product_is_said(tmp_path: Path) -> None:
    with ExitStack() as stack, pytest.raises(BadPayload, match="no SAFE product"):
        open_safe((tmp_path / "a.tif").as_uri(), None, stack)
    with ExitStack() as stack, pytest.raises(InputUnreadable, match="it is not there"):
        open_safe((tmp_path / "a.SAFE").as_uri(), None, stack)
    unknown = tmp_path / "S9A_XX.SAFE"
    unknown.mkdir()
    with ExitStack() as stack, pytest.raises(InputUnreadable, match=r"EOPF cannot read S9A_XX\.SAFE"):
        open_safe(unknown.as_uri(), None, stack)
