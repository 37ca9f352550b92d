"""Opening a product: lazily, from where its item says, with keys that are asked for again when they end."""

from __future__ import annotations

import json
import pickle
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import obstore
import pystac
import pytest
import xarray as xr
from obstore.store import LocalStore, MemoryStore, S3Store

from rs_client.errors import AuthExpired, Forbidden, Invalid, NotFound, ServiceUnavailable
from rs_client.relay import Key
from rs_client.storage import Keys, Storage, s3_store
from tests.unit.client.far import Far, http, serving

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


def nothing(store: MemoryStore) -> None:
    """As after the end of its life."""


def damaged(store: MemoryStore) -> None:
    obstore.put(store, "zarr.json", b"{nonsense")


@pytest.mark.parametrize(
    ("fill", "expected", "said"),
    [
        (nothing, NotFound, "the product of x is not in the storage"),
        (damaged, Invalid, "the product of x cannot be read"),
    ],
)
def test_what_is_no_product_is_an_error_of_ours(fill: Any, expected: type[Exception], said: str) -> None:
    store = MemoryStore()
    fill(store)
    with pytest.raises(expected, match=said):
        Storage(http(Far(httpx.Response(200, json=KEY))), store=lambda keys, prefix: store).open(
            item(f"s3://rs-data/{PREFIX}")
        )


@pytest.mark.parametrize(("status", "expected"), [(403, Forbidden), (500, ServiceUnavailable)])
def test_what_the_storage_refuses_is_an_error_of_ours(status: int, expected: type[Exception]) -> None:
    with serving(lambda method, path, headers: (status, {})) as url:
        key = {**KEY, "endpoint": url}
        with pytest.raises(expected, match=r"(give|open) (zarr\.json|\.z\w+): ") as caught:
            Storage(http(Far(httpx.Response(200, json=key))), store=impatient).open(item(f"s3://rs-data/{PREFIX}"))
    assert "\n" not in caught.value.detail  # type: ignore[attr-defined]
    assert pickle.loads(pickle.dumps(caught.value)).detail == caught.value.detail  # type: ignore[attr-defined]


def impatient(keys: Keys, prefix: str) -> S3Store:
    return S3Store(
        "rs-data",
        prefix=prefix,
        endpoint=keys.key["endpoint"],
        region="local",
        virtual_hosted_style_request=False,
        client_options={"allow_http": True},
        retry_config={"max_retries": 0},
        credential_provider=keys,
    )


@pytest.mark.filterwarnings("ignore:Consolidated metadata is currently not part")
def test_a_key_that_ends_under_way_is_an_expired_login(tmp_path: Path) -> None:
    """The product is open, and lazy; then no key is to be had any more."""
    stop: list[bool] = []
    xr.DataTree(xr.Dataset({"data": ("octet", np.arange(8))})).to_zarr(tmp_path / PREFIX, zarr_format=3)

    def file(method: str, path: str, headers: dict[str, str]) -> tuple[int, Any]:
        found = tmp_path / path.partition("?")[0].removeprefix("/rs-data/")
        return (200, json.loads(found.read_text())) if found.suffix == ".json" and found.is_file() else (404, {})

    def answer(request: httpx.Request) -> httpx.Response:
        soon = (datetime.now(UTC) + timedelta(seconds=0.2)).isoformat()
        return httpx.Response(404 if stop else 200, json={**KEY, "endpoint": url, "expiration": soon})

    with serving(file) as url:
        data = Storage(http(answer), store=impatient).open(item(f"s3://rs-data/{PREFIX}")).to_dataset()["data"]
        stop.append(True)
        time.sleep(0.3)  # until the key at hand has ended
        with pytest.raises(AuthExpired, match="the storage gives data/c/0 no more"):
            _ = data.values


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
