"""Products in object storage, opened with keys that reach one item and renew themselves."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pystac

from rs_client.errors import Invalid
from rs_client.http import Http

if TYPE_CHECKING:
    import xarray as xr
    from obstore.store import S3Store

_ZARR = "zarr"


class Storage:
    """Opens the assets of catalog items."""

    def __init__(self, http: Http) -> None:
        self._http = http

    def open(self, item: pystac.Item) -> xr.DataTree:
        """The item's Zarr product, lazily; raises ``Invalid`` when it has none."""
        import xarray as xr
        from zarr.storage import ObjectStore

        place = urlsplit(zarr_asset(item).href)
        store = ObjectStore(self._store(item, place.path.strip("/")), read_only=True)
        return xr.open_datatree(store, engine="zarr", chunks={})  # type: ignore[arg-type]  # a zarr store is taken too

    def _store(self, item: pystac.Item, prefix: str) -> S3Store:
        """An object store at the product, whose keys are asked for anew before they expire."""
        from obstore.store import S3Store

        body = {"collection": item.collection_id, "item": item.id}
        first: dict[str, Any] = self._http.post("/storage/credentials", body)
        at_hand = [first]

        def credentials() -> Any:
            key = at_hand.pop() if at_hand else self._http.post("/storage/credentials", body)
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
