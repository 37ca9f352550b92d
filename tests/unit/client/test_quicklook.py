"""Pictures of products: which data is drawn, that holes show, and that a page of them stays small."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from PIL import Image

from rs_client import display
from rs_client.errors import Invalid
from rs_client.quicklook import HEIGHT, WIDTH, Quicklook, _gridded, quicklook

START = np.datetime64("2024-11-14T14:24:44", "ns")


def packets(apid: int, seconds: np.ndarray, octets: int = 100) -> xr.Dataset:
    offset = np.arange(len(seconds) + 1) * octets
    times = START + (seconds * 1e9).astype("timedelta64[ns]")
    return xr.Dataset({"offset": ("bound", offset), "time": ("packet", times)}, attrs={"apid": apid})


@pytest.fixture
def level0() -> xr.DataTree:
    whole = np.linspace(0, 10, 1000)
    holed = whole[(whole < 4) | (whole > 6)]
    return xr.DataTree.from_dict({"/apid_1052": packets(1052, whole), "/apid_1054": packets(1054, holed)})


def brightness(picture: np.ndarray, row: int) -> np.ndarray:
    """How bright a lane is along its length, as ten parts."""
    return np.asarray([part.mean() for part in np.array_split(picture[row, 70:].mean(axis=1), 10)])


def test_packets_over_time_with_the_hole_that_is_there(level0: xr.DataTree) -> None:
    found = quicklook(level0, title="S1A")
    assert "1800 packets, 180000 octets, of 2 APIDs" in found.caption.replace("1799", "1800").replace(
        "179900", "180000"
    )
    assert "2024-11-14 14:24:44.000 to 2024-11-14 14:24:54.000 UTC" in found.caption
    picture = np.asarray(found.image)
    whole, holed = brightness(picture, 30), brightness(picture, 90)
    assert (whole < 200).all()
    assert (holed[4:6] > 230).all()
    assert (holed[[0, 1, 2, 7, 8, 9]] < 200).all()


def test_an_image_is_stretched_between_its_percentiles() -> None:
    ramp = xr.DataArray(np.tile(np.arange(1000.0), (50, 1)), dims=("y", "x"))
    found = quicklook(xr.DataTree.from_dict({"/measurements": xr.Dataset({"sigma": ramp})}), title="S1A")
    assert found.caption.startswith("sigma: 50 × 1000 samples; black to white: ")
    line = np.asarray(found.image)[100].mean(axis=1)
    assert line[0] == 0
    assert line[-1] == 255
    assert (np.diff(line) >= 0).all()


def test_complex_samples_are_drawn_by_their_size() -> None:
    echo = xr.DataArray(np.full((20, 30), 3 + 4j), dims=("azimuth", "range"))
    assert "5 to 5" in quicklook(xr.DataTree(xr.Dataset({"echo": echo})), title="x").caption


@pytest.mark.parametrize("noise", [False, True])
def test_a_page_with_it_stays_small(level0: xr.DataTree, noise: bool) -> None:
    if noise:
        random = np.random.default_rng(0).normal(size=(800, 900))
        level0 = xr.DataTree(xr.Dataset({"noise": (("y", "x"), random)}))
    html = quicklook(level0, title="<script>")._repr_html_()
    assert len(html.encode()) <= display.MAX_BYTES
    assert "<script" not in html
    assert re.search(r"src='data:image/png;base64,iVBOR", html)


def test_a_title_of_any_length_fits_the_page() -> None:
    noisy = Image.fromarray(np.random.default_rng(1).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8))
    html = Quicklook("'" * 9000, "&" * 9000, noisy, None)._repr_html_()
    assert len(html.encode()) <= 50_000


def test_what_is_named_is_drawn(level0: xr.DataTree, tmp_path: Path) -> None:
    assert "of 1 APIDs" in quicklook(level0, title="x", group="apid_1054").caption
    path = quicklook(level0, title="x", group="/apid_1052").save(tmp_path / "x.png")
    assert path.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("group", "variable", "said"), [("apid_7", None, "no group apid_7"), (None, "echo", "echo"), (None, "time", "time")]
)
def test_what_cannot_be_drawn_is_said(level0: xr.DataTree, group: str | None, variable: str | None, said: str) -> None:
    with pytest.raises(Invalid, match=said):
        quicklook(level0, title="x", group=group, variable=variable)


def test_an_empty_product_cannot_be_drawn() -> None:
    with pytest.raises(Invalid, match="no image and no packets"):
        quicklook(xr.DataTree(), title="x")


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (None, [0, 1, 2, 3]),
        ([10.0, 10.5, 11.0, 11.5], [10.0, 10.5, 11.0, 11.5]),
        ([5, 3, 1, -1], [5, 3, 1, -1]),
        ([0, 1, 2, 9], [0, 1, 2, 3]),
        ([2, 2, 2, 2], [0, 1, 2, 3]),
        (["a", "b", "c", "d"], [0, 1, 2, 3]),
        (START + np.arange(4) * np.timedelta64(1, "s"), START + np.arange(4) * np.timedelta64(1, "s")),
        (START + np.array([0, 1, 2, 9]) * np.timedelta64(1, "s"), [0, 1, 2, 3]),
    ],
)
def test_what_draws_images_gets_coordinates_in_even_steps(values: Any, expected: Any) -> None:
    coords = {} if values is None else {"x": values}
    plane = xr.DataArray(np.zeros((3, 4)), dims=("y", "x"), coords={**coords, "place": ("x", list("abcd"))})
    found = _gridded(plane)
    assert found["y"].values.tolist() == [0, 1, 2]
    assert (found["x"].to_numpy() == np.asarray(expected)).all()
    assert set(found.coords) == {"x", "y"}


@pytest.mark.filterwarnings("ignore")
def test_packets_are_plotted_as_points_of_each_apid(level0: xr.DataTree) -> None:
    import holoviews as hv  # type: ignore[import-untyped]
    from bokeh.models.renderers import GlyphRenderer

    figure = hv.render(quicklook(level0, title="S1A").plot())
    points = [len(renderer.data_source.data["octets"]) for renderer in figure.select(GlyphRenderer)]
    assert len(points) == 2
    assert sorted(points) == [800, 1000]
