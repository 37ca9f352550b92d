"""On a Dask cluster the product is the same, to the byte, whoever works on it."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import xarray as xr
from distributed import Client, LocalCluster, get_worker

from rs_client.processing import run
from rs_client.processing.payload import run_payload
from rs_client.processing.s1_l0 import SentinelOneLevelZero, cadu_block
from tests.unit.processing import safe_product
from tests.unit.processing.session import SAR, Small, small


@pytest.fixture(scope="module")
def sent() -> Small:
    return small()


@pytest.fixture(scope="module")
def cluster() -> Iterator[LocalCluster]:
    """Two workers in threads of this process, which start at once."""
    with LocalCluster(n_workers=2, threads_per_worker=1, processes=False, dashboard_address="127.0.0.1:0") as cluster:  # type: ignore[no-untyped-call]
        yield cluster


def content(store: Path) -> dict[str, bytes]:
    return {str(path.relative_to(store)): path.read_bytes() for path in store.rglob("*") if path.is_file()}


def order(sent: Small, folder: Path, output: Path) -> dict[str, Any]:
    inputs = []
    for (channel, block), octets in sent.files().items():
        path = folder / f"ch{channel}_{block:05d}.raw"
        octets.tofile(path)
        inputs.append({"channel": channel, "block": block, "href": path.as_uri(), "size": octets.size})
    parameters = {"segment": 20_000}
    return {"processor": "s1-l0", "inputs": inputs, "output": output.as_uri(), "session": {"id": "S1A_1"},
            "parameters": parameters}  # fmt: skip


def _on_a_worker(payload: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """As the processing service does it: the order itself is a task of the cluster."""
    return get_worker().address, run_payload(payload)


def test_an_order_that_is_a_task_spreads_over_the_cluster(sent: Small, cluster: LocalCluster, tmp_path: Path) -> None:
    here, there = tmp_path / "here" / "X.zarr", tmp_path / "there" / "X.zarr"
    run_payload(order(sent, tmp_path, here))
    with Client(cluster, set_as_default=False) as client:  # type: ignore[no-untyped-call]
        _, answer = client.submit(_on_a_worker, order(sent, tmp_path, there), pure=False).result()
        logs = client.run_on_scheduler(lambda dask_scheduler: dask_scheduler.transition_log)
    assert answer["href"] == there.as_uri()
    assert content(there) == content(here)
    assert len({entry[0] for entry in logs if "scan" in str(entry[0]) or "partial" in str(entry[0])}) > 4


def test_a_unit_runs_on_a_cluster_of_ones_own(sent: Small, cluster: LocalCluster, tmp_path: Path) -> None:
    blocks = [cadu_block(octets, *place) for place, octets in sent.files().items()]
    made = run(SentinelOneLevelZero, {"cadu": blocks}, cluster=cluster, output=tmp_path, name="NAME")
    assert (tmp_path / "NAME.zarr").is_dir()
    alone = run(SentinelOneLevelZero(), {"cadu": blocks}, name="NAME")
    group = made["l0"][f"apid_{SAR}"].to_dataset()
    assert group["data"].values.tobytes() == alone["l0"][f"apid_{SAR}"].to_dataset()["data"].values.tobytes()
    assert isinstance(alone["l0"], xr.DataTree)


@pytest.mark.filterwarnings("ignore:Remove 'dimensions' from attributes mapping:DeprecationWarning")  # EOPF's own
def test_a_safe_product_is_converted_by_the_worker_that_fetched_it(cluster: LocalCluster, tmp_path: Path) -> None:
    """Others cannot see where it lies; what EOPF has put on the cluster is found all the same."""
    product, _ = safe_product.write(tmp_path)
    archive = shutil.make_archive(str(product), "zip", tmp_path, product.name)
    output = tmp_path / "Z.zarr"
    safe = {"processor": "safe-to-zarr", "inputs": [{"input": "safe", "href": Path(archive).as_uri()}]}
    payload = {**safe, "output": output.as_uri(), "session": {"id": "Z"}}
    with Client(cluster, set_as_default=False) as client:  # type: ignore[no-untyped-call]
        address, answer = client.submit(_on_a_worker, payload, pure=False).result()
        worked = client.run(_has_loaded)
    assert answer["size"] == sum(len(each) for each in content(output).values())
    assert {worker for worker, loaded in worked.items() if loaded} == {address}


def _has_loaded(dask_worker: Any) -> bool:
    """Whether a worker has read packets of a SAFE product."""
    return any("load_chunk" in str(entry) and "memory" in str(entry) for entry in dask_worker.state.log)
