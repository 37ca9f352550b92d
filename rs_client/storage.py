"""Products in object storage, opened with keys that reach one item and renew themselves."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pystac

from rs_client import display, relay
from rs_client.errors import AuthExpired, Invalid
from rs_client.http import Http
from rs_client.relay import Key

if TYPE_CHECKING:
    import xarray as xr
    from obstore.store import ObjectStore as Store

_ZARR = "zarr"


class Keys:
    """The storage keys of one item, one after the other, in the form that ``obstore`` takes them.

    The first is asked for at once. A copy in another process, as on a Dask worker, holds the key of the moment and
    nothing that says who you are. On a worker it gets the next ones from this session (``relay``); elsewhere, and when
    the session has ended, it says so when its key has ended.
    """

    def __init__(self, collection: str, item: str, ask: Callable[[], Key] | None, first: Key | None = None) -> None:
        self._of, self._ask = (collection, item), ask
        self._given = False
        self.key = relay.newest(self._of, first) if first else self._asked()

    def __call__(self) -> Any:
        """The first key, then a new one each time: it is called again when the one before is about to end."""
        if self._given or relay.left_s(self.key) <= 0:
            self.key = self._asked()
        self._given = True
        return {
            "access_key_id": self.key["access_key_id"],
            "secret_access_key": self.key["secret_access_key"],
            "expires_at": datetime.fromisoformat(self.key["expiration"]),
        }

    def _asked(self) -> Key:
        if self._ask is not None:
            return self._ask()
        newest = relay.newest(self._of, self.key)
        if newest is not self.key and relay.left_s(newest) > relay.LEAST_LEFT_S:
            return newest
        try:
            found = relay.request(self._of, self.key)
        except PermissionError as refused:
            raise AuthExpired(f"the storage key of {self._of[1]} was not renewed: {refused}") from refused
        if found is None:
            raise AuthExpired(
                f"the storage key of {self._of[1]} has ended on this worker",
                hint="keep the session that opened it until the work is done, or open the item again",
            )
        return found

    def __reduce__(self) -> tuple[Any, ...]:
        if self._ask is not None:
            relay.offer(self._of, self._ask)
        return Keys, (*self._of, None, self.key)


class Storage:
    """Opens the assets of catalog items; ``store`` makes the object store at a prefix of the key's bucket."""

    def __init__(self, http: Http, *, store: Callable[[Keys, str], Store] | None = None) -> None:
        self._http = http
        self._store = store or s3_store

    def open(self, item: pystac.Item) -> xr.DataTree:
        """The item's Zarr product: nothing but its metadata is read, and arrays have the chunks they are stored in.

        Raises ``Invalid`` when it has none, one outside the platform's storage, or one that is no Zarr; ``NotFound``
        when you may not read it or it is not there. What is lazy raises ``AuthExpired`` where no next key is to be had,
        ``Forbidden`` or ``ServiceUnavailable``, as opening does.
        """
        import xarray as xr

        from rs_client.objects import Objects, opening

        place = urlsplit(zarr_asset(item).href)
        keys = Keys(str(item.collection_id), item.id, lambda: self.key(str(item.collection_id), item.id))
        if (place.scheme, place.netloc) != ("s3", keys.key["bucket"]):
            raise Invalid(f"the product of {item.id} lies at {place.geturl()}, outside the platform's storage")
        store = Objects(self._store(keys, place.path.strip("/")), read_only=True)
        with opening(f"the product of {item.id}"):
            return xr.open_datatree(store, engine="zarr", chunks={})  # type: ignore[arg-type]  # a zarr store is taken

    def __repr__(self) -> str:
        return f"<Storage {self._http.server_url}>"

    def _repr_html_(self) -> str:
        rows = [("storage", self._http.server_url), ("a product, lazily", "s.storage.open(item), or item.open()")]
        return display.card(rows)

    def key(self, collection: str, item: str) -> Key:
        """A key that opens one item until its ``expiration`` (ISO 8601); ``NotFound`` when you may not read it."""
        key: Key = self._http.post("/storage/credentials", {"collection": collection, "item": item})
        return key


def s3_store(keys: Keys, prefix: str) -> Store:
    """An S3 store at a prefix; it asks for another key before the one at hand expires."""
    from obstore.store import S3Store

    key = keys.key
    return S3Store(
        key["bucket"],
        prefix=prefix,
        endpoint=key["endpoint"],
        region=key["region"],
        virtual_hosted_style_request=False,
        client_options={"allow_http": key["endpoint"].startswith("http://")},
        credential_provider=keys,
    )


def zarr_asset(item: pystac.Item) -> pystac.Asset:
    """The asset that is a Zarr product. Raises ``Invalid`` when there is none."""
    for asset in item.assets.values():
        if _ZARR in (asset.media_type or "") or asset.href.rstrip("/").endswith(f".{_ZARR}"):
            return asset
    raise Invalid(f"item {item.id} has no Zarr asset to open", hint=f"its assets: {', '.join(item.assets) or 'none'}")
