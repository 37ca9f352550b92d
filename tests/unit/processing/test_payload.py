"""An order is carried out from files to a Zarr store, and what is wrong with it is said in one sentence."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import zarr

from rs_client.processing.errors import BadPayload, InputUnreadable, NothingFound, OutputRefused, ProcessingFailed
from rs_client.processing.payload import run_payload
from tests.unit.processing.session import ANCILLARY, SAR, Small, small


@pytest.fixture(scope="module")
def sent() -> Small:
    return small()


def order(sent: Small, folder: Path, **changes: Any) -> dict[str, Any]:
    inputs = []
    for (channel, block), octets in sent.files().items():
        path = folder / f"ch{channel}_{block:05d}.raw"
        octets.tofile(path)
        inputs.append({"channel": channel, "block": block, "href": path.as_uri(), "size": octets.size})
    return {
        "processor": "s1-l0",
        "inputs": list(reversed(inputs)),
        "output": (folder / "out" / "S1A_L0.zarr").as_uri(),
        "session": {"id": "S1A_1", "platform": "sentinel-1a", "orbit": 56552, "start": "2024-11-14T14:30:44Z"},
        **changes,
    }


def test_an_order_is_carried_out(sent: Small, tmp_path: Path) -> None:
    given = order(sent, tmp_path)
    made = run_payload(given)
    assert made["href"] == given["output"]
    assert made["stac_discovery"]["id"] == "S1A_L0"
    assert made["quality"]["input_octets"] == sum(octets.size for octets in sent.channels.values())
    store = tmp_path / "out" / "S1A_L0.zarr"
    assert made["size"] == sum(path.stat().st_size for path in store.rglob("*") if path.is_file())
    product = xr.open_datatree(store, engine="zarr")
    for apid, packets in sent.packets.items():
        group = product[f"apid_{apid:04d}"].to_dataset()
        assert group["data"].values.tobytes() == b"".join(packets)
        assert group["offset"].values.tolist() == np.cumsum([0, *map(len, packets)]).tolist()
    assert product.attrs["stac_discovery"] == made["stac_discovery"]
    assert product.attrs["quality"] == made["quality"]
    time = product[f"apid_{SAR}"].to_dataset()["time"]
    assert time.dtype == "datetime64[ns]"
    assert time.values[0] == np.datetime64("2024-11-14T14:30:44.000007629")


def test_the_store_is_zarr_3_with_consolidated_metadata(sent: Small, tmp_path: Path) -> None:
    run_payload(order(sent, tmp_path))
    root = zarr.open_group(tmp_path / "out" / "S1A_L0.zarr", mode="r", zarr_format=3)
    assert root.metadata.consolidated_metadata is not None
    assert set(root.group_keys()) == {f"apid_{SAR}", f"apid_{ANCILLARY}"}


def test_the_same_order_writes_the_same_bytes(sent: Small, tmp_path: Path) -> None:
    stores = []
    for name in ("a", "b"):
        output = tmp_path / name / "X.zarr"
        run_payload(order(sent, tmp_path, output=output.as_uri()))
        stores.append({path.relative_to(output): path.read_bytes() for path in output.rglob("*") if path.is_file()})
    assert stores[0] == stores[1]


def test_an_output_that_is_there_already_is_left_alone(sent: Small, tmp_path: Path) -> None:
    given = order(sent, tmp_path)
    run_payload(given)
    with pytest.raises(OutputRefused, match="there already"):
        run_payload({**given, "inputs": [one for one in given["inputs"] if one["channel"] == 1]})
    product = xr.open_datatree(tmp_path / "out" / "S1A_L0.zarr", engine="zarr")
    assert product[f"apid_{SAR}"].sizes["packet"] == 60


def test_a_missing_input_is_named(sent: Small, tmp_path: Path) -> None:
    given = order(sent, tmp_path)
    (tmp_path / "ch1_00002.raw").unlink()
    with pytest.raises(InputUnreadable, match=r"ch1_00002\.raw cannot be read"):
        run_payload(given)


def test_an_input_of_another_size_is_refused(sent: Small, tmp_path: Path) -> None:
    given = order(sent, tmp_path)
    given["inputs"][0]["size"] += 1
    with pytest.raises(InputUnreadable, match="were announced"):
        run_payload(given)


def test_inputs_without_packets_make_no_product(tmp_path: Path) -> None:
    (tmp_path / "noise.raw").write_bytes(bytes(5000))
    given = {
        "processor": "s1-l0",
        "inputs": [{"channel": 1, "block": 1, "href": (tmp_path / "noise.raw").as_uri(), "size": 5000}],
        "output": (tmp_path / "X.zarr").as_uri(),
        "session": {"id": "S1A_1"},
    }
    with pytest.raises(NothingFound):
        run_payload(given)
    assert not (tmp_path / "X.zarr").exists()


def test_an_output_that_cannot_be_written_is_told(sent: Small, tmp_path: Path) -> None:
    (tmp_path / "taken").write_text("a file where a folder is needed")
    with pytest.raises(OutputRefused, match="cannot be written"):
        run_payload(order(sent, tmp_path, output=(tmp_path / "taken" / "X.zarr").as_uri()))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"processor": "s1-l9"}, "processor"),
        ({"inputs": []}, "inputs"),
        ({"output": "s3://bucket/NAME"}, "output"),
        ({"session": {}}, r"session\.id"),
        ({"inputs": [{"channel": 1, "block": 1, "href": "https://a/b", "size": 1}]}, "not an address"),
        ({"inputs": [{"channel": 1, "block": 1, "href": "s3://bucket/key", "size": 1}]}, "no keys"),
        ({"storage": {"secret_access_key": "hush"}}, r"storage\.endpoint"),
    ],
)
def test_a_wrong_order_is_named_without_its_keys(
    sent: Small, tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(BadPayload, match=said) as caught:
        run_payload(order(sent, tmp_path, **changes))
    assert "hush" not in str(caught.value)


def test_errors_travel() -> None:
    error = pickle.loads(pickle.dumps(InputUnreadable("a sentence")))
    assert isinstance(error, ProcessingFailed)
    assert str(error) == "a sentence"
