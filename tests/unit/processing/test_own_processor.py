"""The example of a processor of one's own in CONTRIBUTING.md works as it stands there."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from rs_client.processing import stores, tasktable
from rs_client.processing.tasktable import GROUP

GUIDE = Path(__file__).parents[3] / "CONTRIBUTING.md"


def example() -> dict[str, str]:
    """The code of the section, by language."""
    section = GUIDE.read_text(encoding="utf-8").split("## How to add a processor")[1].split("\n## ")[0]
    return {found[1]: found[2] for found in re.finditer(r"```(\w+)\n(.*?)```", section, re.DOTALL)}


@pytest.fixture
def entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EntryPoint:
    """The example, written down as it says, where modules are found."""
    code = example()
    ((name, value),) = tomllib.loads(code["toml"])["project"]["entry-points"][GROUP].items()
    (tmp_path / f"{value.partition(':')[0]}.py").write_text(code["python"])
    (tmp_path / "tasktables").mkdir()
    (tmp_path / "tasktables" / f"{name}.yaml").write_text(code["yaml"])
    monkeypatch.syspath_prepend(str(tmp_path))
    return EntryPoint(name, value, GROUP)


def test_the_example_is_as_short_as_it_says() -> None:
    assert len([line for line in example()["python"].splitlines() if line.strip()]) <= 10


def test_its_task_table_is_read(entry: EntryPoint) -> None:
    assert tasktable.of(entry).inputs["product"].role == "data"


def test_it_runs_on_a_product(entry: EntryPoint, tmp_path: Path) -> None:
    image = xr.Dataset({"radiance": (("y", "x"), np.arange(6.0).reshape(2, 3))})
    product, output = tmp_path / "P.zarr", tmp_path / "MEANS.zarr"
    stores.write(xr.DataTree.from_dict({"measurements": image}), product.as_uri(), None)
    order: dict[str, Any] = {
        "processor": entry.name,
        "inputs": [{"href": product.as_uri()}],
        "output": output.as_uri(),
        "session": {"id": "P"},
        "parameters": {"factor": 2},
    }
    assert entry.load()(order)["size"] > 0
    assert xr.open_datatree(output, engine="zarr")["measurements/radiance"].item() == 5.0
