"""A picture of a product: packets over time for Level-0, the image for what has one; small whatever the product's size.

The picture is made of all the data in one pass, and shown as a PNG; ``plot()`` gives the same as an interactive figure,
where datashader draws what is zoomed into. It is not used for the picture: compiling it takes longer than drawing.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray

from rs_client import display
from rs_client.errors import Invalid

if TYPE_CHECKING:
    import pandas as pd  # type: ignore[import-untyped]  # no types there, nor in the libraries that draw
    from PIL.Image import Image

WIDTH, HEIGHT = 760, 260
"""Size of a picture, in pixels."""
MAX_PNG = 34_000
"""Octets of the picture that goes into a page: with its Base64 form and its frame it stays below 50 kB."""
_GROUND = "#ffffff"
_INK, _LINE = "#333333", "#bbbbbb"
_LIGHT, _DARK = (184, 216, 238), (8, 48, 107)
_MARGIN, _FOOT = 70, 20  # pixels left of the lanes, and below them
_LEAST_BINS, _PACKETS_A_BIN = 30, 4  # so few that a bin is empty where data is missing, not between two packets
_LEAST_LANE, _LARGEST_LANE, _LEAST_LABEL = 3, 60, 12
_STRETCH = (2, 98)  # percentiles that become black and white


@dataclass(frozen=True, slots=True, eq=False)
class Quicklook:
    """A picture (RGB, 760 pixels wide) and what it says; shows itself in a notebook."""

    title: str
    caption: str
    image: Image
    _data: Any = field(repr=False)

    def plot(self) -> Any:
        """The same as an interactive figure (HoloViews, drawn by Bokeh).

        Of 40 000 packets and more, every n-th is drawn, so that 20 000 to 40 000 are left.
        """
        import holoviews as hv  # type: ignore[import-untyped]

        hv.extension("bokeh", inline=True, logo=False)  # before hvplot, which would load Bokeh from the internet
        if isinstance(self._data, xr.DataArray):
            import hvplot.xarray  # type: ignore[import-untyped]

            plane = _gridded(self._data)
            across, along = reversed(plane.dims)
            return plane.hvplot.image(
                x=across, y=along, rasterize=True, cmap="gray", flip_yaxis=True, title=self.title, width=WIDTH
            )
        import hvplot.pandas  # type: ignore[import-untyped]  # noqa: F401 - gives frames their .hvplot

        options = {"x": "time", "y": "octets", "by": "apid", "datashade": False, "rasterize": False, "s": 4}
        thin = self._data.iloc[:: max(1, len(self._data) // 20_000)]
        return thin.hvplot.scatter(**options, title=self.title, width=WIDTH, height=HEIGHT + 90)

    def save(self, path: str | Path) -> Path:
        """Write the picture into a file, of the kind that its name ends with; gives its path.

        Raises ``ValueError`` for an ending that is no kind of picture, ``OSError`` for a place that cannot be written.
        """
        self.image.save(path)
        return Path(path)

    def _repr_png_(self) -> bytes:
        return _png(self.image)

    def _repr_html_(self) -> str:
        picture = base64.b64encode(_small_png(self.image)).decode()
        title, caption = (escape(display.short(text)) for text in (self.title, self.caption))
        return (
            f"<figure style='margin:0'><img alt='{title}' style='max-width:100%' "
            f"src='data:image/png;base64,{picture}'><figcaption><b>{title}</b> {caption}</figcaption></figure>"
        )

    def __repr__(self) -> str:
        return f"<Quicklook {self.title}: {self.caption}>"


def quicklook(tree: xr.DataTree, *, title: str, group: str | None = None, variable: str | None = None) -> Quicklook:
    """A picture of a product, of a group or a variable of it if they are named.

    Packets (groups with ``time`` and ``offset``) are shown over time where there are some, else the largest image: a
    variable of numbers whose last two dimensions (down, across) are longer than 1; of further dimensions, the first
    plane. Complex samples are shown by their size. Raises ``Invalid`` when there is neither, or no group of that name.
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
    found = tree if name is None else tree.get(name.strip("/"), None)
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
    """A lane for each APID, along sensing time: the darker, the more octets came; white where none did."""
    apids = sorted(packets["apid"].unique())
    lanes = np.array([apids.index(apid) for apid in packets["apid"]])
    instants = packets["time"].to_numpy().astype("datetime64[ns]").astype(np.int64)
    bins = int(min(WIDTH - _MARGIN, max(_LEAST_BINS, len(packets) / len(apids) / _PACKETS_A_BIN)))
    span = max(1, int(np.ptp(instants)))
    columns = np.minimum((instants - instants.min()) * bins // span, bins - 1)
    volume = np.zeros((len(apids), bins))
    np.add.at(volume, (lanes, columns), packets["octets"].to_numpy())
    first, last = packets["time"].min(), packets["time"].max()
    caption = (
        f"{len(packets)} packets, {int(packets['octets'].sum())} octets, of {len(apids)} APIDs, taken from "
        f"{_instant(first)} to {_instant(last)} UTC; the darker, the more octets, white: none"
    )
    return Quicklook(title, caption, _framed(_shaded(volume), apids, _instant(first), _instant(last)), packets)


def _shaded(volume: NDArray[np.float64]) -> Image:
    """A picture of a pixel for each bin: white for nothing, else from light to dark."""
    from PIL import Image

    light, dark = np.array(_LIGHT), np.array(_DARK)
    share = (volume / max(1.0, volume.max()))[..., np.newaxis]
    colours = np.where(share > 0, light + (dark - light) * share, 255)
    return Image.fromarray(colours.astype(np.uint8))


def _framed(lanes: Image, apids: Sequence[str], first: str, last: str) -> Image:
    """Lanes one pixel high as stripes with their names, on top of the time from left to right."""
    from PIL import Image, ImageDraw, ImageFont

    height = max(_LEAST_LANE, min(_LARGEST_LANE, HEIGHT // len(apids)))
    font = ImageFont.load_default(size=11)
    picture = Image.new("RGB", (WIDTH, height * len(apids) + _FOOT), _GROUND)
    draw = ImageDraw.Draw(picture)
    stripes = lanes.resize((WIDTH - _MARGIN, height * len(apids)), Image.Resampling.NEAREST)
    picture.paste(stripes, (_MARGIN, 0))
    for number, apid in enumerate(apids):
        top = number * height
        draw.line([(0, top + height), (WIDTH, top + height)], fill=_LINE)
        if height >= _LEAST_LABEL:
            draw.text((4, top + height / 2), f"APID {apid}", fill=_INK, font=font, anchor="lm")
    bottom = picture.height - _FOOT / 2
    draw.text((_MARGIN, bottom), first, fill=_INK, font=font, anchor="lm")
    draw.text((WIDTH - 4, bottom), last, fill=_INK, font=font, anchor="rm")
    return picture


def _instant(when: Any) -> str:
    return f"{when:%Y-%m-%d %H:%M:%S.%f}"[:-3]


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
    """The first plane of an image, each pixel the mean of the samples under it, stretched between two percentiles."""
    from PIL import Image

    plane = image[(0,) * (image.ndim - 2)]
    sizes = abs(plane) if plane.dtype.kind == "c" else plane
    steps = {d: max(1, n // most) for (d, n), most in zip(sizes.sizes.items(), (HEIGHT, WIDTH), strict=True)}
    means = np.asarray(sizes.coarsen(steps, boundary="trim").mean().to_numpy(), np.float64)
    low, high = np.nanpercentile(means, _STRETCH)
    grey = np.clip((np.nan_to_num(means, nan=low) - low) / max(high - low, 1e-30), 0, 1) * 255
    picture = Image.fromarray(grey.astype(np.uint8)).resize((WIDTH, HEIGHT), Image.Resampling.BILINEAR)
    shape = " × ".join(str(length) for length in plane.shape)
    caption = f"{image.name}: {shape} samples; black to white: {low:.4g} to {high:.4g}"
    return Quicklook(title, caption, picture.convert("RGB"), sizes.rename(str(image.name)))


def _gridded(plane: xr.DataArray) -> xr.DataArray:
    """The plane with a coordinate for each dimension, in even steps: its own where it is so, else counted from 0.

    What draws images knows neither dimensions without coordinates nor uneven ones, and echoes have both.
    """
    bare = plane.reset_coords(drop=True)
    for dimension in plane.dims:
        if dimension not in bare.coords or not _even(bare[dimension].to_numpy()):
            bare = bare.assign_coords({dimension: np.arange(bare.sizes[dimension])})
    return bare


def _even(values: NDArray[Any]) -> bool:
    if values.dtype.kind not in "iufM" or len(values) < 2:
        return False
    steps = np.diff(values.astype(np.int64) if values.dtype.kind == "M" else values.astype(np.float64))
    return bool(steps[0]) and bool(np.allclose(steps, steps[0], rtol=1e-3))


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
