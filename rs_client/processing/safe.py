"""The processor ``safe-to-zarr``: Sentinel-1, -2 and -3 SAFE products → EOPF products, by EOPF's own readers."""

from __future__ import annotations

import tempfile
import zipfile
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import unquote, urlsplit

import xarray as xr

from rs_client.processing import lazily, stores
from rs_client.processing.errors import BadPayload, InputUnreadable
from rs_client.processing.stores import StorageKeys, reason

SUFFIXES = (".SAFE", ".SEN3", ".SAFE.zip", ".SEN3.zip")


def open_safe(href: str, keys: StorageKeys | None, stack: ExitStack) -> xr.DataTree:
    """Open a SAFE product, a folder or an archive, as an EOPF product; lazy.

    An archive is unpacked, and what lies in object storage is fetched, to a folder that ``stack`` takes away; what is
    lazy is then made on this machine, as others cannot see that folder.

    Raises ``BadPayload`` when it has another name than a SAFE product has, or holds a file whose name leads elsewhere;
    ``InputUnreadable`` when it is not there, is no archive, or EOPF knows no such product or finds it incomplete.
    """
    if not href.rstrip("/").endswith(SUFFIXES):
        raise BadPayload(f"{href} is no SAFE product: its name ends in none of {', '.join(SUFFIXES)}")
    from eopf.exceptions.errors import StoreLoadFailure, StoreReadFailure
    from eopf.store import open_datatree

    path = Path(unquote(urlsplit(href).path)) if href.startswith("file:") else _fetched(href, keys, stack)
    if not path.exists():
        raise InputUnreadable(f"{href} cannot be read: it is not there")
    if path.suffix == ".zip":
        path = _unpacked(path, stack)
    try:
        tree: xr.DataTree = open_datatree(str(path), engine="safe")
    except (StoreLoadFailure, StoreReadFailure, OSError) as error:
        raise InputUnreadable(f"EOPF cannot read {path.name}: {reason(error)}") from error
    return tree


def _folder(stack: ExitStack) -> Path:
    stack.enter_context(lazily.here())
    return Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rs-safe-")))


def _unpacked(archive: Path, stack: ExitStack) -> Path:
    folder = _folder(stack)
    try:
        with zipfile.ZipFile(archive) as packed:
            packed.extractall(folder)
    except (zipfile.BadZipFile, OSError) as error:
        raise InputUnreadable(f"{archive.name} cannot be unpacked: {reason(error)}") from error
    product = folder / archive.stem
    if not product.is_dir():
        raise InputUnreadable(f"{archive.name} does not hold a product of its name")
    return product


def _fetched(href: str, keys: StorageKeys | None, stack: ExitStack) -> Path:
    folder = _folder(stack)
    name = href.rstrip("/").rpartition("/")[2]
    target = folder / name
    if name.endswith(".zip"):
        stores.fetch(href, keys, target)
        return target
    for path in stores.below(href, keys):
        place = (target / path).resolve()
        if not place.is_relative_to(target.resolve()):
            raise BadPayload(f"{href} holds a file whose name leads elsewhere: {path}")
        stores.fetch(f"{href.rstrip('/')}/{path}", keys, place)
    return target
