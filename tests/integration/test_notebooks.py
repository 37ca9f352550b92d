"""The notebooks run as a user runs them: the chain by papermill, with a figure in its page; the tutorial by cells."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"
WITHIN_S = 280


def run(platform: Any, home: Path, *arguments: str, identity: dict[str, str] | None = None) -> None:
    """Run a Python module as alice, or as who the variables say, with a home of its own; it must end well."""
    # Jupyter's files, which no test may leave in, or take from, the home of whoever runs it.
    own = {name: str(home / name.lower()) for name in ("IPYTHONDIR", "JUPYTER_RUNTIME_DIR", "JUPYTER_CONFIG_DIR")}
    done = subprocess.run(
        [sys.executable, "-m", *arguments],
        env={**os.environ, **(platform.env("alice") if identity is None else identity), **own},
        cwd=home,
        capture_output=True,
        text=True,
        check=False,
        timeout=WITHIN_S,
    )
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-6000:]}"


def outputs(notebook: dict[str, Any]) -> list[dict[str, Any]]:
    """What the cells put out, one after the other."""
    return [output for cell in notebook["cells"] for output in cell.get("outputs", [])]


def html(notebook: dict[str, Any]) -> str:
    """All HTML that the cells put out."""
    return "".join("".join(output.get("data", {}).get("text/html", "")) for output in outputs(notebook))


@pytest.fixture(scope="module")
def executed(platform: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The chain after its run."""
    folder = tmp_path_factory.mktemp("chain")
    target = folder / "out.ipynb"
    source = NOTEBOOKS / "chains" / "l0_on_demand.ipynb"
    run(platform, folder, "papermill", str(source), str(target), "--no-progress-bar", "--kernel", "python3")
    return target


@pytest.mark.timeout(WITHIN_S + 20)
def test_the_chain_ends_with_a_table_of_its_apids(executed: Path) -> None:
    notebook = json.loads(executed.read_text())
    assert [output for output in outputs(notebook) if output["output_type"] == "error"] == []
    code = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert all(cell["execution_count"] for cell in code if "".join(cell["source"]).strip())
    (summary,) = [page for page in (html({"cells": [cell]}) for cell in code) if "volume (MB)" in page]
    assert "APID" in summary
    assert summary.count("<tr") > 2


@pytest.mark.timeout(WITHIN_S + 20)
def test_its_page_has_a_figure(platform: Any, executed: Path) -> None:
    run(platform, executed.parent, "nbconvert", "--to", "html", str(executed))
    page = executed.with_suffix(".html").read_text()
    assert "packets per second" in page
    assert "data-root-id=" in page  # where Bokeh draws
    assert '"name":"Figure"' in page  # what it draws


@pytest.mark.timeout(WITHIN_S + 20)
def test_the_tutorial_runs_cell_by_cell(platform: Any, tmp_path: Path) -> None:
    notebook = NOTEBOOKS / "tutorials" / "first_product.ipynb"
    options = ("-p", "no:cacheprovider", "-c", os.devnull, "--rootdir", str(tmp_path))
    run(platform, tmp_path, "pytest", *options, "--nbval-lax", "--nbval-cell-timeout", "240", str(notebook))


@pytest.mark.timeout(WITHIN_S + 20)
def test_the_chain_runs_unattended_under_a_name_of_its_own(platform: Any, tmp_path: Path) -> None:
    """As a service account, where nobody can log in, with nothing but its secret."""
    secrets = json.loads((platform.home / "secrets" / "platform.json").read_text())
    identity = {
        "RS_SERVER_URL": platform.url("rs-server"),
        "RS_CLIENT_ID": "rs-chains",
        "RS_CLIENT_SECRET": secrets["chains_client_secret"],
        "CI": "true",
        "RS_API_KEY": "",
    }
    source, target = NOTEBOOKS / "chains" / "l0_on_demand.ipynb", tmp_path / "out.ipynb"
    parameters = ("-p", "raw_collection", "unattended-cadu", "-p", "product_collection", "unattended-l0")
    papermill = ("papermill", str(source), str(target), "--no-progress-bar", "--kernel", "python3")
    run(platform, tmp_path, *papermill, *parameters, identity=identity)
    text = target.read_text()
    assert secrets["chains_client_secret"] not in text
    said = "".join("".join(output.get("text", "")) for output in outputs(json.loads(text)))
    assert "service-account-rs-chains_unattended-l0" in said
