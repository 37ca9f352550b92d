"""Products in object storage, opened with keys that reach one item and renew themselves."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pystac

from rs_client.errors import Invalid
from rs_client.http import Http

if TYPE_CHECKING:
    import xarray as xr
    from obstore.store import ObjectStore as Store

_ZARR = "zarr"

type Key = Mapping[str, Any]
"""What ``POST /storage/credentials`` answers: a key, where it opens, and until when."""


class Storage:
    """Opens the assets of catalog items; ``store`` makes the object store at a prefix of the key's bucket."""

    def __init__(self, http: Http, *, store: Callable[[Key, str, Callable[[], Key]], Store] | None = None) -> None:
        self._http = http
        self._store = store or s3_store

    def open(self, item: pystac.Item) -> xr.DataTree:
        """The item's Zarr product, lazily; raises ``Invalid`` when it has none."""
        import xarray as xr
        from zarr.storage import ObjectStore

        place = urlsplit(zarr_asset(item).href)

        def ask() -> Key:
            key: Key = self._http.post("/storage/credentials", {"collection": item.collection_id, "item": item.id})
            return key

        first = ask()
        if (place.scheme, place.netloc) != ("s3", first["bucket"]):
            raise Invalid(f"the product of {item.id} lies at {place.geturl()}, outside the platform's storage")
        store = ObjectStore(self._store(first, place.path.strip("/"), ask), read_only=True)
        return xr.open_datatree(store, engine="zarr", chunks={})  # type: ignore[arg-type]  # a zarr store is taken too


def s3_store(first: Key, prefix: str, ask: Callable[[], Key]) -> Store:
    """An S3 store at a prefix; it starts with the first key and asks for another one before that expires."""
    from obstore.store import S3Store

    at_hand = [first]

    def credentials() -> Any:
        key = at_hand.pop() if at_hand else ask()
        return {
            "access_key_id": key["access_key_id"],
            "secret_access_key": key["secret_access_key"],
            "expires_at": datetime.fromisoformat(key["expiration"]),
        }

    return S3Store(
        first["bucket"],
        prefix=prefix,
        endpoint=first["endpoint"],
        region=first["region"],
        virtual_hosted_style_request=False,
        client_options={"allow_http": first["endpoint"].startswith("http://")},
        credential_provider=credentials,
    )


def zarr_asset(item: pystac.Item) -> pystac.Asset:
    """The asset that is a Zarr product."""
    for asset in item.assets.values():
        if _ZARR in (asset.media_type or "") or asset.href.rstrip("/").endswith(f".{_ZARR}"):
            return asset
    raise Invalid(f"item {item.id} has no Zarr asset to open", hint=f"its assets: {', '.join(item.assets) or 'none'}")
