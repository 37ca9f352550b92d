"""A picture of a product: packets over time for Level-0, the image for what has one; small whatever the product's size.

What is drawn is rendered by datashader from all the data, in one pass, and shown as a PNG; ``plot()`` gives the same
as an interactive hvplot figure.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from rs_client.errors import Invalid

if TYPE_CHECKING:
    import pandas as pd  # type: ignore[import-untyped]  # no types there, nor in the libraries that draw
    from PIL.Image import Image

WIDTH, HEIGHT = 760, 260
"""Size of a picture, in pixels."""
MAX_PNG = 34_000
"""Octets of the picture that goes into a page: with its Base64 form and its frame it stays below 50 kB."""
_GROUND = "#ffffff"
_COLOURS = (
    "#1f77b4",
    "#d62728",
    "#2ca02c",
    "#9467bd",
    "#ff7f0e",
    "#17becf",
    "#e377c2",
    "#8c564b",
    "#bcbd22",
    "#7f7f7f",
)
_STRETCH = (2, 98)  # percentiles that become black and white
_LARGEST = 4_000_000  # samples of an image that are read


@dataclass(frozen=True, slots=True, eq=False)
class Quicklook:
    """A picture and what it says; shows itself in a notebook."""

    title: str
    caption: str
    image: Image
    _data: Any = field(repr=False)

    def plot(self) -> Any:
        """The same as an interactive figure (HoloViews, drawn by Bokeh)."""
        import holoviews as hv  # type: ignore[import-untyped]

        hv.extension("bokeh", inline=True, logo=False)  # before hvplot, which would load Bokeh from the internet
        if isinstance(self._data, xr.DataArray):
            import hvplot.xarray  # type: ignore[import-untyped]

            return self._data.hvplot.image(rasterize=True, cmap="gray", title=self.title, width=WIDTH)
        import hvplot.pandas  # type: ignore[import-untyped]  # noqa: F401 - gives frames their .hvplot

        options = {"x": "time", "y": "octets", "by": "apid", "datashade": False, "rasterize": False, "s": 4}
        thin = self._data.iloc[:: max(1, len(self._data) // 20_000)]
        return thin.hvplot.scatter(**options, title=self.title, width=WIDTH, height=HEIGHT + 90)

    def save(self, path: str | Path) -> Path:
        """Write the picture into a file, of the kind that its name ends with; gives its path."""
        self.image.save(path)
        return Path(path)

    def _repr_png_(self) -> bytes:
        return _png(self.image)

    def _repr_html_(self) -> str:
        picture = base64.b64encode(_small_png(self.image)).decode()
        return (
            f"<figure style='margin:0'><img alt='{escape(self.title)}' style='max-width:100%' "
            f"src='data:image/png;base64,{picture}'><figcaption><b>{escape(self.title)}</b> {escape(self.caption)}"
            "</figcaption></figure>"
        )

    def __repr__(self) -> str:
        return f"<Quicklook {self.title}: {self.caption}>"


def quicklook(tree: xr.DataTree, *, title: str, group: str | None = None, variable: str | None = None) -> Quicklook:
    """A picture of a product, of a group or a variable of it if they are named.

    An image (a variable of two dimensions or more) is shown where there is one, else packets over time. Raises
    ``Invalid`` when there is neither.
    """
    places = list(_group(tree, group).subtree)
    if variable is None and (packets := _packets(places)) is not None:
        return _drawn_packets(packets, title)
    image = _image(places, variable)
    if image is None:
        what = variable or "no image and no packets"
        raise Invalid(f"nothing in {title} can be drawn: {what}", hint="name a group and a variable of its open() tree")
    return _drawn_image(image, title)


def _group(tree: xr.DataTree, name: str | None) -> xr.DataTree:
    found = tree if name is None else tree.get(name)
    if not isinstance(found, xr.DataTree):
        raise Invalid(f"there is no group {name}", hint=f"there are: {', '.join(tree.groups)}")
    return found


def _packets(places: list[xr.DataTree]) -> pd.DataFrame | None:
    """When each packet was taken and how long it is, of all groups of packets; none if there are none."""
    import pandas as pd

    found = [place for place in places if {"time", "offset"} <= set(place.variables)]
    frames = [
        pd.DataFrame(
            {
                "time": place["time"].to_numpy(),
                "octets": np.diff(place["offset"].to_numpy()),
                "apid": str(place.attrs.get("apid", place.name)),
            }
        )
        for place in found
    ]
    return pd.concat(frames, ignore_index=True).dropna(subset=["time"]) if frames else None


def _drawn_packets(packets: pd.DataFrame, title: str) -> Quicklook:
    import datashader as ds  # type: ignore[import-untyped,unused-ignore]
    from datashader import transfer_functions as tf

    apids = sorted(packets["apid"].unique())
    shown = packets.assign(
        seconds=packets["time"].astype("datetime64[ns]").astype("int64"), apid=packets["apid"].astype("category")
    )
    canvas = ds.Canvas(WIDTH, HEIGHT)
    counts = canvas.points(shown, "seconds", "octets", ds.count_cat("apid"))
    key = {apid: _COLOURS[number % len(_COLOURS)] for number, apid in enumerate(apids)}
    picture = tf.set_background(tf.dynspread(tf.shade(counts, color_key=key, min_alpha=120)), _GROUND).to_pil()
    first, last = packets["time"].min(), packets["time"].max()
    longest = int(packets["octets"].max())
    caption = (
        f"{len(packets)} packets of {len(apids)} APIDs ({', '.join(apids)}) from {first:%Y-%m-%d %H:%M:%S} to "
        f"{last:%H:%M:%S} UTC; across: time, up: length of a packet, to {longest} octets"
    )
    return Quicklook(title, caption, picture.convert("RGB"), packets)


def _image(places: list[xr.DataTree], variable: str | None) -> xr.DataArray | None:
    """The largest image there is, or the variable by its name."""
    found = [data for data in _images(places) if variable in (None, data.name)]
    return max(found, key=lambda data: data.size) if found else None


def _images(places: list[xr.DataTree]) -> Iterator[xr.DataArray]:
    for place in places:
        for data in place.data_vars.values():
            if data.ndim >= 2 and min(data.shape[-2:]) > 1 and data.dtype.kind in "fiuc":
                yield data


def _drawn_image(image: xr.DataArray, title: str) -> Quicklook:
    import datashader as ds  # type: ignore[import-untyped,unused-ignore]
    from datashader import transfer_functions as tf

    plane = image[(0,) * (image.ndim - 2)]
    step = max(1, int(np.ceil(np.sqrt(plane.size / _LARGEST))))
    thin = plane[::step, ::step].to_numpy()
    values = np.abs(thin).astype("float32")[::-1]  # the first line on top
    flat = xr.DataArray(values, dims=("y", "x"), coords={"y": np.arange(len(thin)), "x": np.arange(thin.shape[1])})
    low, high = np.nanpercentile(flat, _STRETCH)
    raster = ds.Canvas(WIDTH, HEIGHT).raster(flat)
    picture = tf.shade(raster, cmap=["black", "white"], how="linear", span=(low, max(high, low + 1e-12)))
    shape = " × ".join(str(length) for length in plane.shape)
    caption = f"{image.name}: {shape} samples; black to white: {low:.4g} to {high:.4g}"
    return Quicklook(
        title, caption, tf.set_background(picture, _GROUND).to_pil().convert("RGB"), flat.rename(str(image.name))
    )


def _png(image: Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def _small_png(image: Image) -> bytes:
    """The picture as a PNG that fits into a page: in fewer colours, and smaller, as far as it takes."""
    picture = _png(image)
    while len(picture) > MAX_PNG:
        picture = _png(image.quantize(64))
        image = image.resize((image.width * 4 // 5, image.height * 4 // 5))
    return picture
