"""Task tables are read beside the module an entry point names, without importing it, and what is wrong is said."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from rs_client.processing import tasktable
from rs_client.processing.tasktable import GROUP, BadTaskTable, Kind, Select

PLAIN = """
title: A
description: B
version: 1.0.0
level: L1
inputs: {l0: {title: In, kind: product, role: data}}
outputs: {image: {title: Out, product_type: X, level: L1, suffix: _X}}
"""
RICH = (
    PLAIN
    + """
adfs: {orbit: {title: Orbit, product_type: AUX_RESORB, margin_s: [60, 60]}}
parameters: {looks: {title: Looks, schema: {type: integer, minimum: 1}, default: 4}}
modes:
  default: {title: Whole, inputs: [l0], adfs: [orbit], outputs: [image]}
  blind: {title: Without an orbit, inputs: [l0], outputs: [image]}
resources: {workers: [2, 8], cores: 2, memory_gib: 2, memory_per_input_gib: 0.5}
"""
)


def written(folder: Path, text: str) -> Path:
    path = folder / "x.yaml"
    path.write_text(text)
    return path


def test_every_processor_of_ours_has_one() -> None:
    tables = tasktable.installed()
    assert "s1-l0" in tables
    found = tables["s1-l0"]
    assert found.inputs["cadu"].kind is Kind.FILES
    assert found.inputs["cadu"].role == "cadu"
    assert found.outputs["l0"].product_type == "S1_L0"


def test_all_files_beside_the_module_are_task_tables() -> None:
    files = sorted((Path(tasktable.__file__).parent / tasktable.FOLDER).glob("*.yaml"))
    assert len(files) >= 4
    for file in files:
        assert tasktable.read(file).outputs


def test_reading_one_imports_no_processor() -> None:
    code = (
        "import sys; from rs_client.processing import tasktable; tasktable.installed();"
        "print(sorted({'numpy', 'numba', 'xarray', 'eopf', 'dask'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_what_is_left_out_is_plain(tmp_path: Path) -> None:
    table = tasktable.read(written(tmp_path, PLAIN))
    assert table.mode().inputs == ("l0",)
    assert table.resources.workers == (1, 1)
    with pytest.raises(KeyError):
        table.mode("other")


def test_modes_adfs_and_resources(tmp_path: Path) -> None:
    table = tasktable.read(written(tmp_path, RICH))
    assert table.adfs["orbit"].select is Select.LATEST_VALID
    assert (table.mode().adfs, table.mode("blind").adfs) == (("orbit",), ())
    assert table.resources.memory_gib_for(4 << 30) == 4
    assert table.parameters["looks"].default == 4


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("title: A", "description: Field required"),
        (PLAIN.replace("kind: product", "kind: pile"), r"inputs\.l0\.kind"),
        (PLAIN + "size: 7", "size: Extra inputs"),
        (PLAIN + "modes: {default: {title: T, inputs: [l1], outputs: [image]}}", "names inputs that are not there: l1"),
        ("a: [", "cannot be read"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(BadTaskTable, match=said):
        tasktable.read(written(tmp_path, text))


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("not_installed_at_all.module:run", "is not installed"),
        ("rs_client.processing.nothing:run", "there is no module"),
        ("rs_client.processing.payload:run_payload", "cannot be read"),
    ],
)
def test_a_processor_without_one_is_named(value: str, said: str) -> None:
    with pytest.raises(BadTaskTable, match=said):
        tasktable.of(EntryPoint("nameless", value, GROUP))
