"""Products: which asset is the one to open, and keys that are asked for where there is one."""

from __future__ import annotations

from datetime import UTC, datetime

import httpx
import pystac
import pytest

from rs_client.errors import Invalid, NotFound
from rs_client.storage import Storage, zarr_asset
from tests.unit.client.far import Far, http

ZARR = "s3://rs-data/alice/s1-l0/x/x.zarr"


def item(**assets: pystac.Asset) -> pystac.Item:
    return pystac.Item(
        "x", None, None, datetime(2024, 11, 14, tzinfo=UTC), {}, collection="alice_s1-l0", assets=dict(assets)
    )


@pytest.mark.parametrize(
    "asset",
    [
        pystac.Asset(ZARR),
        pystac.Asset(f"{ZARR}/"),
        pystac.Asset("s3://rs-data/alice/s1-l0/x/product", media_type="application/vnd+zarr"),
    ],
)
def test_the_zarr_asset_is_found(asset: pystac.Asset) -> None:
    raw = pystac.Asset("s3://rs-data/alice/s1-l0/x/x.raw", media_type="application/octet-stream")
    assert zarr_asset(item(raw=raw, product=asset)) is asset


@pytest.mark.parametrize(
    ("assets", "hint"),
    [({}, "its assets: none"), ({"raw": pystac.Asset("s3://rs-data/zarr/x.raw")}, "its assets: raw")],
)
def test_an_item_without_a_product_is_not_opened(assets: dict[str, pystac.Asset], hint: str) -> None:
    far = Far(httpx.Response(500))
    with pytest.raises(Invalid, match="no Zarr asset") as caught:
        Storage(http(far)).open(item(**assets))
    assert caught.value.hint == hint
    assert far.requests == []


def test_what_you_may_not_read_does_not_exist() -> None:
    far = Far(httpx.Response(404, json={"detail": "item x does not exist"}))
    with pytest.raises(NotFound, match="item x"):
        Storage(http(far)).open(item(product=pystac.Asset(ZARR)))
    (request,) = far.requests
    assert (request.method, request.url.path) == ("POST", "/storage/credentials")
    assert request.content == b'{"collection":"alice_s1-l0","item":"x"}'
