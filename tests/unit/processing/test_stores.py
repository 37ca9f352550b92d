"""Products as they come to stand in a store: the chunks first, then what makes of them a product."""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable
from pathlib import Path

import dask.array as da
import numpy as np
import obstore
import pytest
import xarray as xr
from dask.delayed import delayed
from obstore.store import LocalStore
from zarr.errors import ZarrUserWarning
from zarr.storage import ObjectStore

from rs_client.processing import stores
from rs_client.processing.errors import InputUnreadable, OutputRefused
from rs_client.processing.reedsolomon import Octets

SIZE = 1 << 20


def product(make: Callable[[], Octets]) -> xr.DataTree:
    """Two groups: one with a lazy array of two pieces, the last made by ``make``, the other with small columns."""
    pieces = [da.zeros(SIZE, np.uint8, chunks=SIZE), da.from_delayed(delayed(make)(), (SIZE,), np.uint8)]  # type: ignore[no-untyped-call]
    large = xr.Dataset({"data": ("octet", da.concatenate(pieces))})  # type: ignore[no-untyped-call]
    large["data"].encoding["compressors"] = ()
    columns = {name: ("packet", np.arange(1000, dtype=np.int64)) for name in "abc"}
    tree = xr.DataTree(children={"large": xr.DataTree(large), "small": xr.DataTree(xr.Dataset(columns))})
    tree.attrs["quality"] = {"whole": True}
    return tree


def ones() -> Octets:
    return np.ones(SIZE, np.uint8)


def files(place: Path) -> dict[str, bytes]:
    return {str(path.relative_to(place)): path.read_bytes() for path in place.rglob("*") if path.is_file()}


def test_a_store_holds_what_zarr_would_have_written(tmp_path: Path) -> None:
    ours, plain = tmp_path / "ours.zarr", tmp_path / "plain.zarr"
    taken = stores.write(product(ones), ours.as_uri(), None)
    store = ObjectStore(LocalStore(plain, mkdir=True))
    with pytest.warns(ZarrUserWarning, match="Consolidated"):
        product(ones).to_zarr(store, zarr_format=3, consolidated=True, write_empty_chunks=True)
    found = files(ours)
    assert found == files(plain)
    assert taken == sum(map(len, found.values()))
    assert stores.open_product(ours.as_uri(), None).identical(product(ones).load())
    assert stores.attributes(ours.as_uri(), None)["quality"] == {"whole": True}


def test_nobody_can_open_a_product_before_its_last_chunk_is_there(tmp_path: Path) -> None:
    place = tmp_path / "X.zarr"

    def last() -> Octets:
        assert not [name for name in files(place) if name.endswith("zarr.json")]
        with pytest.raises(InputUnreadable):
            stores.open_product(place.as_uri(), None)
        return ones()

    stores.write(product(last), place.as_uri(), None)
    assert np.asarray(stores.open_product(place.as_uri(), None)["large/data"])[-1] == 1


def test_a_product_whose_making_fails_has_no_document(tmp_path: Path) -> None:
    place = tmp_path / "X.zarr"

    def fails() -> Octets:
        raise InputUnreadable("file 3 cannot be read")

    with pytest.raises(InputUnreadable, match="file 3"):
        stores.write(product(fails), place.as_uri(), None)
    assert not [name for name in files(place) if name.endswith("zarr.json")]


def test_a_chunk_that_cannot_be_written_beside_the_rest_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = tmp_path / "X.zarr"
    put = obstore.put

    def refusing(store: LocalStore, key: str, value: object) -> object:
        if key.startswith("small/b/c"):
            raise OSError("disk full")
        return put(store, key, value)  # type: ignore[arg-type]

    monkeypatch.setattr(obstore, "put", refusing)
    with pytest.raises(OutputRefused, match="disk full"):
        stores.write(product(ones), place.as_uri(), None)
    assert not [name for name in files(place) if name.endswith("zarr.json")]


def test_what_is_carried_to_a_worker_writes_at_once(tmp_path: Path) -> None:
    carried = pickle.loads(pickle.dumps(stores._Product(LocalStore(tmp_path))))
    assert type(carried) is stores._AtOnce


def test_small_chunks_are_not_made_faster_than_they_are_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What waits to be written is bounded, however many chunks there are."""
    put, begun, ended = obstore.put, list[str](), list[str]()

    def slow(store: LocalStore, key: str, value: object) -> object:
        begun.append(key)
        time.sleep(0.001)
        ended.append(key)
        return put(store, key, value)  # type: ignore[arg-type]

    monkeypatch.setattr(obstore, "put", slow)
    waiting = list[int]()
    underlying = stores._Product._put

    def counting(self: stores._Product, key: str, value: object) -> None:
        underlying(self, key, value)  # type: ignore[arg-type]
        waiting.append(len(self._under_way))

    monkeypatch.setattr(stores._Product, "_put", counting)
    many = xr.Dataset({"data": ("octet", da.zeros(1000, np.uint8, chunks=1))})
    stores.write(xr.DataTree(many), (tmp_path / "X.zarr").as_uri(), None)
    assert len(begun) == len(ended) > 1000
    assert 2 < max(waiting) <= stores._AHEAD + 1
    assert stores.open_product((tmp_path / "X.zarr").as_uri(), None)["data"].size == 1000
