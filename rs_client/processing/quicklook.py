"""The processing unit ``quicklook``: small images of a product, to look at.

What is shown depends on what the product holds: the raw power of echo samples in decibels, the mean of any other image
(two dimensions, both longer than 1), and packets and octets over time for the packets of a Level-0 product. Images are
reduced block by block on Dask, so that nothing larger than a chunk is ever in memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import xarray as xr

from rs_client.processing.errors import NothingFound
from rs_client.processing.unit import Unit

INPUT = "product"
OUTPUT = "quicklook"
PRODUCT_TYPE = "QUICKLOOK"
SIZE = 512
"""Pixels of the longer side, unless another number is asked for."""


class Quicklook(Unit):
    """Any product → small images of it."""

    PROCESSOR_NAME = "quicklook"
    PROCESSOR_VERSION = "1.0.0"
    PROCESSOR_LEVEL = "L0"
    PROCESSOR_CONTRACT = False  # eopf looks for it in each class
    INPUT = INPUT
    OUTPUT = OUTPUT

    def make(self, source: Any, **parameters: Any) -> xr.DataTree:
        """Reduce what the product holds, to float32 images in dB or the unit that it has, and int64 counts in time.

        Parameters: ``name`` of the product, ``size`` in pixels, or steps of time (512). Raises ``NothingFound`` when
        there is nothing to look at, ``BadPayload`` for an input that is no product.
        """
        from eopf.product.conveniences import init_datatree

        product = self.one(source)
        name, size = parameters.get("name") or OUTPUT, int(parameters.get("size") or SIZE)
        tree: xr.DataTree = init_datatree(name, enforce_eoproduct_rules=False)
        for path, dataset in _views(product, size):
            tree[path] = xr.DataTree(dataset)
        if not tree.children:
            raise NothingFound(f"{product.name or 'the product'} holds nothing that a quicklook could show")
        tree.attrs["stac_discovery"] = _discovery(name, product)
        return tree


def _views(product: xr.DataTree, size: int) -> Iterator[tuple[str, xr.Dataset]]:
    for node in product.subtree:
        dataset = node.to_dataset(inherit=False)
        path = node.path.strip("/") or "root"
        if {"time", "offset", "data"} <= set(dataset.variables):
            yield path, _activity(dataset, size)
        images = {str(name): _reduced(array, size) for name, array in dataset.data_vars.items() if _is_image(array)}
        if images:
            yield path, xr.Dataset(images, attrs=dataset.attrs)


def _is_image(array: xr.DataArray) -> bool:
    return array.ndim == 2 and min(array.shape) > 1 and array.dtype.kind in "fiuc"


def _reduced(array: xr.DataArray, size: int) -> xr.DataArray:
    """Means of blocks, at most ``size`` along each side; of complex samples the power in decibels."""
    complex_samples = array.dtype.kind == "c"
    values = abs(array.astype("complex64")) ** 2 if complex_samples else array.astype("float64")
    blocks = {dimension: -(-length // size) for dimension, length in array.sizes.items()}
    mean = values.drop_vars(list(values.coords)).coarsen(blocks, boundary="pad").mean()
    reduced = (10 * xr.ufuncs.log10(mean) if complex_samples else mean).astype("float32")
    reduced.attrs = {
        "long_name": f"{'power' if complex_samples else 'mean'} of {array.attrs.get('long_name', array.name)}",
        **({"units": "dB"} if complex_samples else {key: array.attrs[key] for key in ("units",) if key in array.attrs}),
        "block": [blocks[dimension] for dimension in array.dims],
    }
    reduced.encoding = {}
    return reduced.chunk(-1) if reduced.chunks else reduced


def _activity(dataset: xr.Dataset, size: int) -> xr.Dataset:
    """Packets and octets over time."""
    time = dataset["time"].values
    known = np.flatnonzero(~np.isnat(time))
    length = np.diff(dataset["offset"].values)[known]
    nanoseconds = time[known].astype(np.int64)
    first, last = (int(nanoseconds.min()), int(nanoseconds.max())) if known.size else (0, 1)
    bins = np.minimum((nanoseconds - first) * size // max(1, last - first), size - 1)
    start = first + np.arange(size) * (last - first) // size
    return xr.Dataset(
        {
            "packets": ("bin", np.bincount(bins, minlength=size), {"long_name": "packets sensed"}),
            "octets": ("bin", np.bincount(bins, length, size).astype(np.int64), {"long_name": "octets of packets"}),
        },
        {"start": ("bin", start.astype("datetime64[ns]"), {"long_name": "start of the interval"})},
        {"unsensed_packets": int(time.size - known.size), **dataset.attrs},
    )


def _discovery(name: str, product: xr.DataTree) -> dict[str, Any]:
    before: dict[str, Any] = product.attrs.get("stac_discovery") or {}
    properties = {**(before.get("properties") or {}), "product:type": PRODUCT_TYPE}
    return {"type": "Feature", "stac_version": "1.1.0", "geometry": None, **before, "id": name,
            "properties": properties}  # fmt: skip
