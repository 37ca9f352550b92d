"""An eopf payload is run by eopf's runner, with its progress told and its failures said in sentences."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import xarray as xr

from rs_client.processing import triggering
from rs_client.processing.errors import InputUnreadable
from rs_client.processing.triggering import Account, failure, marks, run
from tests.unit.processing.session import Small, small

# Zarr tells every writer that consolidated metadata are not in the standard of version 3 yet; eopf that nobody asked
# for a temporary folder or a log set-up of its own.
pytestmark = pytest.mark.filterwarnings("ignore:Consolidated metadata is currently not part")


@pytest.fixture(scope="module")
def sent() -> Small:
    return small()


def payload(sent: Small, folder: Path) -> dict[str, Any]:
    files = []
    for (channel, block), octets in sent.files().items():
        path = folder / f"ch{channel}_{block:05d}.raw"
        octets.tofile(path)
        files.append({"href": path.as_uri(), "size": octets.size, "channel": channel, "block": block})
    return {
        "general_configuration": {"triggering__create_temporary": False},
        "external_modules": [{"name": "rs_client.processing.engines"}],
        "workflow": [
            {
                "name": "s1-l0",
                "module": "rs_client.processing.s1_l0",
                "processing_unit": "SentinelOneLevelZero",
                "inputs": {"cadu": "cadu"},
                "outputs": {"l0": "l0"},
                "parameters": {"name": "S1A_L0", "session": {"id": "S1A_1", "platform": "sentinel-1a", "orbit": 1}},
            }
        ],
        "io": {
            "input_products": [
                {"id": "cadu", "path": f"{folder.as_uri()}/", "engine": "rs_files", "reader_params": {"files": files}}
            ],
            "output_products": [
                {"id": "l0", "path": (folder / "out.zarr").as_uri(), "engine": "rs_zarr", "writer_params": {}}
            ],
        },
    }


def test_a_payload_is_run(sent: Small, tmp_path: Path) -> None:
    answer = run({"payload": payload(sent, tmp_path)})
    assert "error" not in answer, answer
    product = answer["products"]["l0"]
    assert product["stac_discovery"]["properties"]["platform"] == "sentinel-1a"
    assert product["size"] == sum(path.stat().st_size for path in (tmp_path / "out.zarr").rglob("*") if path.is_file())
    assert answer["report"]["status"] == "completed"
    assert [unit["identifier"] for unit in answer["report"]["units"]] == ["s1-l0"]
    assert any(line.startswith("Workflow progress: 100%") for line in answer["log"])
    assert {"eopf", "distributed"} <= set(answer["environment"]["packages"])
    tree = xr.open_datatree(tmp_path / "out.zarr", engine="zarr")
    for apid, packets in sent.packets.items():
        assert tree[f"apid_{apid:04d}"].to_dataset()["data"].values.tobytes() == b"".join(packets)


def test_what_cannot_be_imported_beforehand_is_told_by_the_run(sent: Small, tmp_path: Path) -> None:
    order = {"payload": payload(sent, tmp_path)}
    order["payload"]["workflow"][0]["module"] = "rs_client.processing.nothing"
    triggering.warm(order)
    assert run(order)["error"]["type"] == "ModuleNotFoundError"


def test_a_failure_names_the_unit_the_input_and_what_to_do(sent: Small, tmp_path: Path) -> None:
    told = payload(sent, tmp_path)
    (tmp_path / "ch2_00002.raw").unlink()
    error = run({"payload": told})["error"]
    assert (error["type"], error["unit"]) == ("InputUnreadable", "s1-l0")
    assert error["input"].endswith("ch2_00002.raw")
    assert "stage it again" in error["hint"]
    assert "\n" not in error["message"]


def test_eopfs_wrapping_is_taken_off() -> None:
    from eopf.exceptions.errors import TriggerInvalidWorkflow

    outer = TriggerInvalidWorkflow("input is requested but we are not able to open it")
    outer.__cause__ = InputUnreadable("s3://b/k cannot be read: it is gone\nmore")
    told = failure(outer, {"workflow": [{"name": "u"}], "io": {"input_products": [{"id": "a", "path": "s3://b/k"}]}})
    assert (told["message"], told["input"]) == ("s3://b/k cannot be read: it is gone", "s3://b/k")


def test_progress_goes_from_mark_to_mark_and_never_back() -> None:
    told: list[dict[str, Any]] = []
    account = Account(told.append, marks({"workflow": [{"outputs": {"a": "a"}}], "io": {"input_products": [{}]}}))
    assert account.marks == (4.0, 47.0, 90.0, 100.0)
    account.line("Workflow progress: 4% - input products opened")
    account.part(0.5)
    account.line("Progress: 75% - the unit's own")
    account.part(0.1)
    account.line("Workflow progress: 47% - unit 1/1 run call completed")
    account.part(1.0)
    account.line("Workflow progress: 100% - workflow completed")
    percents = [event["percent"] for event in told]
    assert percents == sorted(percents)
    assert {4.0, 25.5, 36.2, 47.0, 90.0, 100.0} <= set(percents)


def test_secrets_are_not_told() -> None:
    told: list[dict[str, Any]] = []
    account = Account(told.append, (100.0,), hidden=("SECRET",))
    account.line("key=SECRET")
    assert "SECRET" not in str(told) + str(account.lines)


def test_the_name_of_the_secret_is_the_payloads() -> None:
    from rs_server.dpr.payload import SECRET

    assert triggering.SECRET == SECRET
