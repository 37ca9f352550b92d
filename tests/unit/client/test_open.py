"""Opening a product: lazily, from where its item says, with keys that are asked for again when they end."""

from __future__ import annotations

import pickle
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pystac
import pytest
import xarray as xr
from obstore.store import LocalStore

from rs_client.errors import AuthExpired, Invalid
from rs_client.relay import Key
from rs_client.storage import Keys, Storage, s3_store
from tests.unit.client.far import Far, http

PREFIX = "alice/s1-l0/x/x.zarr"
KEY = {
    "access_key_id": "id",
    "secret_access_key": "secret",
    "endpoint": "http://s3.test",
    "region": "local",
    "bucket": "rs-data",
    "prefix": "alice/s1-l0/x/",
    "expiration": "2099-11-14T15:30:00Z",
}


def item(href: str) -> pystac.Item:
    assets = {"product": pystac.Asset(href)}
    return pystac.Item("x", None, None, datetime(2024, 11, 14, tzinfo=UTC), {}, collection="alice_s1-l0", assets=assets)


@pytest.mark.filterwarnings("ignore:Consolidated metadata is currently not part")  # as our products are written
def test_the_product_is_opened_lazily(tmp_path: Path) -> None:
    made = xr.DataTree.from_dict({"/apid_1052": xr.Dataset({"data": ("octet", np.arange(8, dtype=np.uint8))})})
    made.to_zarr(tmp_path / PREFIX, mode="w", zarr_format=3, consolidated=True)

    def local(keys: Keys, prefix: str) -> Any:
        assert keys.key == KEY
        return LocalStore(tmp_path / prefix)

    far = Far(httpx.Response(200, json=KEY))
    tree = Storage(http(far), store=local).open(item(f"s3://rs-data/{PREFIX}"))
    data = tree["apid_1052"].to_dataset()["data"]
    assert data.chunks is not None
    assert data.values.tolist() == list(range(8))
    assert len(far.requests) == 1


@pytest.mark.parametrize("href", [f"s3://other/{PREFIX}", "http://evil.test/x.zarr", "file:///etc/x.zarr"])
def test_a_product_elsewhere_is_not_opened(href: str) -> None:
    with pytest.raises(Invalid, match="outside the platform's storage"):
        Storage(http(Far(httpx.Response(200, json=KEY)))).open(item(href))


def ask_counting() -> Key:
    ask_counting.count += 1  # type: ignore[attr-defined]
    return {**KEY, "access_key_id": f"id{ask_counting.count}"}  # type: ignore[attr-defined]


@pytest.fixture
def keys() -> Keys:
    ask_counting.count = 0  # type: ignore[attr-defined]
    return Keys("alice_s1-l0", "x", ask_counting)


def test_keys_are_asked_for_again_after_the_first(keys: Keys) -> None:
    provider: Any = s3_store(keys, PREFIX).credential_provider  # type: ignore[union-attr]  # an S3 store has one
    assert [provider()["access_key_id"] for _ in range(3)] == ["id1", "id2", "id3"]
    assert provider()["expires_at"] == datetime(2099, 11, 14, 15, 30, tzinfo=UTC)


def test_a_worker_gets_the_key_of_the_moment_and_nothing_that_says_who_you_are(keys: Keys) -> None:
    keys()
    keys()
    there = pickle.loads(pickle.dumps(s3_store(keys, PREFIX)))
    assert there.credential_provider()["access_key_id"] == "id2"
    with pytest.raises(AuthExpired, match="on this worker"):
        there.credential_provider()
