"""Runs a processing order on a worker: inputs out of object storage, the unit, the product back into it.

An order (``payload``) is a plain dict, so that whoever gives it needs none of the packages used here::

    {"processor": "s1-l0",
     "inputs": [{"channel": 1, "block": 1, "href": "s3://bucket/key", "size": 314571600}, …],
     "output": "s3://bucket/prefix/NAME.zarr",
     "session": {"id": …, "platform": …, "constellation": …, "orbit": …},
     "storage": {"endpoint": …, "region": …, "access_key_id": …, "secret_access_key": …}}

``file:`` addresses work as well and need no ``storage``. The product is called NAME.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

import numpy as np
import obstore
import xarray as xr
from obstore.exceptions import BaseError
from obstore.store import LocalStore, S3Store
from pydantic import BaseModel, Field, SecretStr, ValidationError
from zarr.storage import ObjectStore

from rs_client.processing.errors import BadPayload, InputUnreadable, OutputRefused
from rs_client.processing.product import Session

if TYPE_CHECKING:
    from obstore.store import ClientConfig, S3Config

SUFFIX = ".zarr"
DATA_CHUNK = 1 << 24
"""Octets of packets in one chunk of the store (16 MiB)."""
COLUMN_CHUNK = 1 << 20
"""Packets in one chunk of a column."""

type Store = S3Store | LocalStore


class StorageKeys(BaseModel):
    """Where the object storage is, and the keys to it."""

    endpoint: str
    region: str
    access_key_id: str
    secret_access_key: SecretStr
    session_token: SecretStr | None = None


class InputFile(BaseModel):
    """One file of the session."""

    channel: int = Field(ge=1, le=255)
    block: int = Field(ge=0)
    href: str
    size: int = Field(ge=0)


class SessionFacts(BaseModel):
    """What the station told of the session; more than this may be there."""

    id: str
    platform: str | None = None
    constellation: str | None = None
    orbit: int | None = None

    def session(self) -> Session:
        """The same as the product knows it."""
        return Session(self.id, self.platform or "", self.constellation or "", self.orbit)


class Order(BaseModel):
    """A payload."""

    processor: str = Field(pattern="^s1-l0$")
    inputs: list[InputFile] = Field(min_length=1)
    output: str = Field(pattern=rf"[^/]\{SUFFIX}$")
    session: SessionFacts
    storage: StorageKeys | None = None


@dataclass(frozen=True)
class Place:
    """A store, and a path in it."""

    store: Store
    path: str


def run_payload(payload: Mapping[str, Any]) -> dict[str, Any]:
    """Make the product that is ordered, and say what it is.

    Returns ``{"href", "size", "stac_discovery", "quality"}``, ``size`` in bytes. Raises a ``ProcessingFailed``:
    ``BadPayload``, ``InputUnreadable``, ``NothingFound`` or ``OutputRefused``. What was written before a failure is
    left for the caller to delete.
    """
    order = _order(payload)
    from rs_client.processing.s1_l0 import INPUT, OUTPUT, SentinelOneLevelZero

    made = SentinelOneLevelZero().run(
        {INPUT: _blocks(order)},
        name=order.output.rpartition("/")[2].removesuffix(SUFFIX),
        session=order.session.session(),
    )[OUTPUT]
    return {
        "href": order.output,
        "size": write(made, order.output, order.storage),
        "stac_discovery": made.attrs["stac_discovery"],
        "quality": made.attrs["quality"],
    }


def _order(payload: Mapping[str, Any]) -> Order:
    try:
        return Order.model_validate(payload)
    except ValidationError as error:
        # Only where and what: the values may be keys.
        faults = [f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}" for fault in error.errors(include_input=False)]
        raise BadPayload(f"the payload is not valid: {'; '.join(faults)}") from None


def _blocks(order: Order) -> Iterator[xr.DataTree]:
    """The inputs in the order the unit needs them, each fetched when it is asked for."""
    from rs_client.processing.s1_l0 import cadu_block

    for file in sorted(order.inputs, key=lambda file: (file.channel, file.block)):
        yield cadu_block(read(file, order.storage), file.channel, file.block)


def read(file: InputFile, keys: StorageKeys | None) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    """The octets of an input. Raises ``InputUnreadable``, also when they are not as many as announced."""
    where = place(file.href, keys)
    try:
        octets = np.frombuffer(obstore.get(where.store, where.path).bytes(), np.uint8)
    except (BaseError, OSError) as error:
        raise InputUnreadable(f"{file.href} cannot be read: {_reason(error)}") from error
    if octets.size != file.size:
        raise InputUnreadable(f"{file.href} has {octets.size} octets, where {file.size} were announced")
    return octets


def write(tree: xr.DataTree, href: str, keys: StorageKeys | None) -> int:
    """Write a product as Zarr v3 with consolidated metadata; how many bytes it takes.

    Raises ``OutputRefused``, also when something is there already: a product is never mixed with an older one.
    """
    try:
        store = place(href, keys, inside=True).store
        if size(store):
            raise OutputRefused(f"{href} cannot be written: it is there already")
        tree.to_zarr(ObjectStore(store), mode="w-", zarr_format=3, consolidated=True, encoding=_encoding(tree))
        return size(store)
    except (BaseError, OSError) as error:
        raise OutputRefused(f"{href} cannot be written: {_reason(error)}") from error


def size(store: Store) -> int:
    """Bytes of everything in a store."""
    return sum(entry["size"] for page in obstore.list(store) for entry in page)


def _encoding(tree: xr.DataTree) -> dict[str, dict[str, Any]]:
    """How each variable is stored. Raw packets hardly compress, and uncompressed chunks can be read in ranges."""
    return {
        group.path: {str(name): _stored(str(name), variable) for name, variable in group.variables.items()}
        for group in tree.subtree
    }


def _stored(name: str, variable: xr.Variable) -> dict[str, Any]:
    bound = DATA_CHUNK if name == "data" else COLUMN_CHUNK
    stored: dict[str, Any] = {"chunks": tuple(max(1, min(size, bound)) for size in variable.shape)}
    if name == "data":
        stored["compressors"] = ()
    if variable.dtype.kind == "M":
        stored |= {"units": "nanoseconds since 1970-01-01", "calendar": "proleptic_gregorian", "dtype": "int64"}
    return stored


def place(href: str, keys: StorageKeys | None, *, inside: bool = False) -> Place:
    """The store an address lies in, and its path there; ``inside``: a store that holds nothing but what lies below."""
    parts = urlsplit(href)
    if parts.scheme == "file":
        path = Path(unquote(parts.path))
        return Place(LocalStore(path, mkdir=True), "") if inside else Place(LocalStore(path.parent), path.name)
    if parts.scheme != "s3" or not parts.netloc or not parts.path.strip("/"):
        raise BadPayload(f"{href} is not an address in object storage (s3://bucket/key)")
    if keys is None:
        raise BadPayload(f"{href} lies in object storage, but the payload has no keys to it")
    path_in_bucket = parts.path.lstrip("/")
    return Place(_bucket(parts.netloc, keys, path_in_bucket if inside else None), "" if inside else path_in_bucket)


def _bucket(bucket: str, keys: StorageKeys, prefix: str | None) -> S3Store:
    config: S3Config = {
        "bucket": bucket,
        "endpoint": keys.endpoint,
        "region": keys.region,
        "access_key_id": keys.access_key_id,
        "secret_access_key": keys.secret_access_key.get_secret_value(),
        "virtual_hosted_style_request": False,
    }
    if keys.session_token:
        config["session_token"] = keys.session_token.get_secret_value()
    options: ClientConfig = {"allow_http": keys.endpoint.startswith("http://")}
    return S3Store(prefix=prefix, config=config, client_options=options)


def _reason(error: Exception) -> str:
    return (str(error) or type(error).__name__).partition("\n")[0][:300]
