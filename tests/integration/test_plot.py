"""Interactive figures of images: datashader, which compiles itself first, draws what is looked at."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr

from rs_client.quicklook import Quicklook, quicklook

pytestmark = pytest.mark.filterwarnings("ignore")  # of the libraries that draw
START = np.datetime64("2024-11-14T14:24:44", "ns")


def drawn(found: Quicklook) -> tuple[Any, np.ndarray]:
    """The figure as Bokeh has it, and the raster in it."""
    import holoviews as hv  # type: ignore[import-untyped]
    from bokeh.models.renderers import GlyphRenderer

    figure = hv.render(found.plot())
    (renderer,) = figure.select(GlyphRenderer)
    return figure, np.asarray(renderer.data_source.data["image"][0])


def test_an_image_is_plotted_as_a_raster_of_its_means_whatever_its_size() -> None:
    ramp = xr.DataArray(np.tile(np.arange(4000.0), (600, 1)), dims=("y", "x"), name="sigma").chunk({"x": 500})
    figure, raster = drawn(quicklook(xr.DataTree(xr.Dataset({"sigma": ramp})), title="S1A"))
    assert figure.title.text == "S1A"
    assert max(raster.shape) <= 760
    row = raster[len(raster) // 2]
    assert (np.diff(row) > 0).all()
    assert row.mean() == pytest.approx(1999.5, rel=0.01)


def test_echoes_are_plotted_though_their_times_are_uneven_and_their_range_has_none() -> None:
    """Two takes with a hole between them: the raster counts lines, the first take on top."""
    lines = np.where(np.arange(400) < 200, 3 + 4j, 30 + 40j)
    when = START + np.where(np.arange(400) < 200, 0, 10**9) + np.arange(400) * np.timedelta64(580_000, "ns")
    echo = xr.DataArray(
        np.tile(lines[:, np.newaxis], (1, 300)), dims=("azimuth", "range"), coords={"azimuth": when}, name="echo"
    )
    figure, raster = drawn(quicklook(xr.DataTree(xr.Dataset({"echo": echo})), title="echo"))
    assert figure.y_range.start > figure.y_range.end
    assert raster[0] == pytest.approx(5)
    assert raster[-1] == pytest.approx(50)
