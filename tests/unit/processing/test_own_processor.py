"""The example of a processor of one's own in CONTRIBUTING.md works as it stands there."""

from __future__ import annotations

import re
import sys
import tomllib
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from rs_client.processing import running, stores, tasktable
from rs_client.processing.errors import BadPayload
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


UNIT = """
from eopf.computing.abstract import EOProcessingUnit

class Mean(EOProcessingUnit):
    PROCESSOR_NAME, PROCESSOR_VERSION, PROCESSOR_LEVEL, PROCESSOR_CONTRACT = "mean", "1.0.0", "L1", False

    @classmethod
    def get_mandatory_input_list(cls, mode=None, **kwargs):
        return ["image"]

    @classmethod
    def get_provided_output_list(cls, mode=None, **kwargs):
        return ["mean"]

    def run(self, inputs, adfs=None, mode=None, *, factor=1, outputs=("mean",), **kwargs):
        return {name: inputs["image"].map_over_datasets(lambda one: one.mean() * factor) for name in outputs}
"""
TABLE = """
title: Mean
description: The mean of an image.
version: 1.0.0
level: L1
inputs: {image: {title: Image, kind: product, role: data}}
outputs: {mean: {title: Mean, product_type: MEAN, level: L1, suffix: _MEAN}}
"""


@pytest.fixture
def unit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package whose entry point names a unit, installed; its task table."""
    (tmp_path / "unit_of_my_own.py").write_text(UNIT)
    table = tmp_path / "tasktables" / "mean.yaml"
    table.parent.mkdir()
    table.write_text(TABLE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "unit_of_my_own", raising=False)
    found = [EntryPoint("mean", "unit_of_my_own:Mean", GROUP)]
    monkeypatch.setattr(running, "entry_points", lambda **_: found)
    image = xr.Dataset({"radiance": (("y", "x"), np.arange(6.0).reshape(2, 3))})
    stores.write(xr.DataTree.from_dict({"measurements": image}), (tmp_path / "P.zarr").as_uri(), None)
    return table


def test_a_unit_that_an_entry_point_names_runs_without_the_platform(unit: Path, tmp_path: Path) -> None:
    output = tmp_path / "out" / "MEAN.zarr"
    answer = running.process("mean", tmp_path / "P.zarr", output, parameters={"factor": 2})
    assert answer["href"] == output.as_uri()
    assert xr.open_datatree(output, engine="zarr")["measurements/radiance"].item() == 5.0
    assert unit.exists()


def test_what_one_source_and_one_product_are_too_few_for_is_refused(unit: Path, tmp_path: Path) -> None:
    source, output = tmp_path / "P.zarr", tmp_path / "MEAN.zarr"
    with pytest.raises(BadPayload, match=r"Mean makes a, b: run it with rs_client\.processing\.run"):
        running.process("mean", source, output, parameters={"outputs": ["a", "b"]})
    unit.write_text(TABLE.replace("inputs: {", "inputs: {mask: {title: Mask, kind: product, role: data}, "))
    with pytest.raises(BadPayload, match="mean takes mask, image: run it on the platform"):
        running.process("mean", source, output)
    unit.unlink()
    with pytest.raises(BadPayload, match=r"mean cannot be run: .*mean\.yaml cannot be read"):
        running.process("mean", source, output)
    assert not output.exists()
