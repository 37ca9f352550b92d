"""On a Dask cluster the product is the same, to the byte, whoever works on it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
from distributed import Client, LocalCluster, get_worker

from rs_client.processing import gathering, lazily, product, run
from rs_client.processing.channel import Channel
from rs_client.processing.frames import CADU_SIZE, pseudo_noise
from rs_client.processing.payload import run_payload
from rs_client.processing.reedsolomon import Octets
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


def order(files: Mapping[tuple[int, int], Octets], folder: Path, output: Path, segment: int = 20_000) -> dict[str, Any]:
    inputs = []
    for (channel, block), octets in files.items():
        path = folder / f"ch{channel}_{block:05d}.raw"
        octets.tofile(path)
        inputs.append({"channel": channel, "block": block, "href": path.as_uri(), "size": octets.size})
    parameters = {"segment": segment}
    return {"processor": "s1-l0", "inputs": inputs, "output": output.as_uri(), "session": {"id": "S1A_1"},
            "parameters": parameters}  # fmt: skip


def _on_a_worker(payload: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """As the processing service does it: the order itself is a task of the cluster."""
    return get_worker().address, run_payload(payload)


def test_an_order_that_is_a_task_spreads_over_the_cluster(sent: Small, cluster: LocalCluster, tmp_path: Path) -> None:
    here, there = tmp_path / "here" / "X.zarr", tmp_path / "there" / "X.zarr"
    run_payload(order(sent.files(), tmp_path, here))
    with Client(cluster, set_as_default=False) as client:  # type: ignore[no-untyped-call]
        _, answer = client.submit(_on_a_worker, order(sent.files(), tmp_path, there), pure=False).result()
        logs = client.run_on_scheduler(lambda dask_scheduler: dask_scheduler.transition_log)
    assert answer["href"] == there.as_uri()
    assert content(there) == content(here)
    assert len({entry[0] for entry in logs if "scan" in str(entry[0]) or "partial" in str(entry[0])}) > 4


def damaged(sent: Small) -> dict[tuple[int, int], Octets]:
    """A file is missing, one begins with noise, one has octets slipped in and a hopeless frame, one is cut short."""
    files, noise = sent.files(), np.random.default_rng(3).integers(0, 256, 501, np.uint8)
    del files[1, 2]
    files[1, 1] = np.concatenate([noise, files[1, 1]])
    files[2, 1] = np.insert(files[2, 1], 5_000, noise[:33])
    files[2, 1][20_000:20_900] ^= 0x55
    files[2, 3] = files[2, 3][:-777]
    return files


def test_a_damaged_session_is_the_same_product_and_every_octet_is_accounted_for(
    sent: Small, cluster: LocalCluster, tmp_path: Path
) -> None:
    files = damaged(sent)
    stores = [tmp_path / str(segment) / "X.zarr" for segment in (1_000_000, 20_000, 9_000)]
    answer = run_payload(order(files, tmp_path, stores[0], 1_000_000))
    run_payload(order(files, tmp_path, stores[1]))
    with Client(cluster, set_as_default=False) as client:  # type: ignore[no-untyped-call]
        client.submit(_on_a_worker, order(files, tmp_path, stores[2], 9_000), pure=False).result()
    assert content(stores[0]) == content(stores[1]) == content(stores[2])

    account = answer["quality"]
    frames, packets = account["frames"], account["packets"]
    carrying = frames["good"] + frames["corrected"] + frames["bad"]
    assert 2044 * (carrying + frames["fill"]) + frames["skipped_octets"] == sum(one.size for one in files.values())
    zones = 1776 * (carrying - packets["frames_unusable"])
    assert zones == packets["packet_octets"] + packets["idle_octets"] + packets["dropped_octets"]
    groups = account["groups"].values()
    assert packets["packet_octets"] == sum(one["octets"] + one["duplicate_octets"] for one in groups)
    assert all(frames[kind] for kind in ("good", "bad", "skipped_octets"))
    assert account["channels"]["1"]["missing_files"] == [2]


@pytest.mark.parametrize(("room", "least", "most"), [(0, 2, 3), (80_000, 1.5, 2), (1 << 30, 1, 1.5)])
def test_what_the_cluster_keeps_is_what_would_be_read_again(
    room: int,
    least: float,
    most: float,
    sent: Small,
    cluster: LocalCluster,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of frames under pseudo-noise and with errors, too: what is kept is free of both, and is not treated twice."""
    files = damaged(sent)
    for octets in files.values():
        octets[3_000::4_000] ^= 0x0F
    randomised = {place: _under_noise(octets) for place, octets in files.items()}
    here, there = tmp_path / "here" / "X.zarr", tmp_path / "there" / "X.zarr"
    order_here, order_there = (order(randomised, tmp_path, place, 9_000) for place in (here, there))
    for each in (order_here, order_there):
        each["parameters"]["randomised"] = True
    account = run_payload(order_here)["quality"]
    assert account["frames"]["corrected"] > 5

    limit = next(iter(cluster.workers.values())).memory_manager.memory_limit
    monkeypatch.setattr(lazily, "KEPT_SHARE", room / limit)
    read, counted = Channel.read, list[int]()

    def counting(self: Channel, start: int, stop: int) -> Octets:
        counted.append(stop - start)
        return read(self, start, stop)

    monkeypatch.setattr(Channel, "read", counting)
    with Client(cluster, set_as_default=False) as client:  # type: ignore[no-untyped-call]
        client.submit(_on_a_worker, order_there, pure=False).result()
    assert content(there) == content(here)
    assert least < sum(counted) / sum(octets.size for octets in files.values()) < most


def _makes_small_chunks() -> None:
    product.DATA_CHUNK = 10_000


def _dies_of_its_first_chunk() -> None:
    gathering._fill = lambda *_: os._exit(1)


def test_what_was_kept_by_a_worker_that_is_lost_is_read_again(
    sent: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(product, "DATA_CHUNK", 10_000)
    here, there = tmp_path / "here" / "X.zarr", tmp_path / "there" / "X.zarr"
    run_payload(order(sent.files(), tmp_path, here, 9_000))
    with (
        LocalCluster(n_workers=2, threads_per_worker=2, dashboard_address=None) as cluster,  # type: ignore[no-untyped-call]
        Client(cluster, set_as_default=False) as client,  # type: ignore[no-untyped-call]
    ):
        driving, dying = cluster.workers[0].worker_address, cluster.workers[1].worker_address
        client.run(_makes_small_chunks)
        client.run(_dies_of_its_first_chunk, workers=[dying])
        before = client.run(os.getpid)
        asked = order(sent.files(), tmp_path, there, 9_000)
        client.submit(run_payload, asked, pure=False, workers=[driving]).result()
        after = client.run(os.getpid)
    assert after[driving] == before[driving]
    assert before[dying] not in after.values()
    assert content(there) == content(here)


def _under_noise(octets: Octets) -> Octets:
    """The code blocks behind every marker as they are sent under pseudo-noise."""
    sent = octets.copy()
    for at in np.flatnonzero(sent[: -CADU_SIZE + 1] == 0x1A):
        if bytes(octets[at : at + 4]) == b"\x1a\xcf\xfc\x1d":
            sent[at + 4 : at + CADU_SIZE] ^= pseudo_noise()
    return sent


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
