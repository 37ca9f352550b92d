"""Readers and writers of ours for eopf's triggering: downlink files, and Zarr products in object storage.

A payload names this module among its ``external_modules``, and the engines ``rs_files`` and ``rs_zarr`` in its ``io``
section. The storage's keys come from eopf's secrets, in eopf's form.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

import xarray as xr
from eopf.store.abstract import EOReader, EOWriter
from eopf.store.reader_registry import EOReaderRegistry
from eopf.store.writer_registry import EOWriterRegistry

from rs_client.processing import stores
from rs_client.processing.stores import StorageKeys

FILES, ZARR = "rs_files", "rs_zarr"


@EOReaderRegistry.register(FILES)
class FilesReader(EOReader):
    """The files of a downlink session: a tree with a child for each, its octets read where they are asked for."""

    @classmethod
    def guess_can_open(cls, filename_or_obj: str | Path | Any) -> bool:
        """Whether it is a place with files in it, rather than one of them."""
        return isinstance(filename_or_obj, str) and filename_or_obj.endswith("/")

    def open_datatree(self, filename_or_obj: str | Path | Any, **kwargs: Any) -> xr.DataTree:  # noqa: ARG002
        """The tree of ``files``, each with ``href``, ``size`` in bytes, and what else belongs to it as attributes.

        Raises ``InputUnreadable`` for one that is not there or has another size.
        """
        keys = storage_keys(kwargs.get("storage_options"))
        return xr.DataTree(children={f"{n:06d}": _file(file, keys) for n, file in enumerate(kwargs["files"])})


def _file(file: Mapping[str, Any], keys: StorageKeys | None) -> xr.DataTree:
    octets = stores.octets(file["href"], int(file["size"]), keys)
    return xr.DataTree(xr.Dataset({"octets": octets}, attrs=dict(file)))


@EOReaderRegistry.register(ZARR)
class ZarrReader(EOReader):
    """A Zarr product, read lazily."""

    EXTENSIONS: ClassVar[tuple[str, ...]] = (".zarr",)

    def open_datatree(self, filename_or_obj: str | Path | Any, **kwargs: Any) -> xr.DataTree:
        """The product at an address (``s3:``, ``file:`` or a path). Raises ``InputUnreadable``."""
        return stores.open_product(address(filename_or_obj), storage_keys(kwargs.get("storage_options")))


@EOWriterRegistry.register(ZARR, discoverable_by_target=False)
class ZarrWriter(EOWriter):
    """A product as Zarr v3 with consolidated metadata, where nothing is yet."""

    EXTENSIONS: ClassVar[tuple[str, ...]] = (".zarr",)

    def write(self, dtree: xr.DataTree, filename_or_obj: str | Path | Any, **kwargs: Any) -> None:
        """Write the whole of it. Raises ``OutputRefused``."""
        stores.write(dtree, address(filename_or_obj), storage_keys(kwargs.get("storage_options")))


def storage_keys(options: Mapping[str, Any] | None) -> StorageKeys | None:
    """Our form of eopf's storage options (those of fsspec)."""
    if not options:
        return None
    client = options.get("client_kwargs") or {}
    return StorageKeys(
        endpoint=client["endpoint_url"],
        region=client["region_name"],
        access_key_id=options["key"],
        secret_access_key=options["secret"],
        session_token=options.get("token"),
    )


def storage_options(keys: Mapping[str, Any]) -> dict[str, Any]:
    """eopf's form of storage keys, as its secrets hold them."""
    return {
        "key": keys["access_key_id"],
        "secret": keys["secret_access_key"],
        "client_kwargs": {"endpoint_url": keys["endpoint"], "region_name": keys["region"]},
    }


def address(place: str | Path | Any) -> str:
    """The address of a product; a path becomes one."""
    text = str(place)
    return text if "://" in text else Path(text).absolute().as_uri()
