"""Where inputs and products lie: object storage or a folder, read in ranges and written as Zarr."""

from __future__ import annotations

import asyncio
import warnings
from collections import deque
from collections.abc import AsyncGenerator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import unquote, urlsplit

import numpy as np
import obstore
import xarray as xr
import zarr
from obstore.exceptions import BaseError
from obstore.store import LocalStore, S3Store
from pydantic import BaseModel, ConfigDict, SecretStr
from xarray.backends.common import BackendArray
from xarray.core import indexing
from zarr.abc.store import ByteRequest
from zarr.core.buffer import Buffer, BufferPrototype
from zarr.errors import ZarrUserWarning
from zarr.storage import MemoryStore, ObjectStore

from rs_client.processing import lazily, memory
from rs_client.processing.errors import BadPayload, InputUnreadable, OutputRefused
from rs_client.processing.reedsolomon import Octets

if TYPE_CHECKING:
    from obstore.store import ClientConfig, S3Config

PIECE = 1 << 18
"""Octets taken over at once (256 KiB), as they come: small enough that their memory is used again."""
_LARGEST_AT_ONCE = 1 << 26
_AT_A_TIME = 16
_AHEAD = 4 * _AT_A_TIME
"""Small chunks that are made while others are written, at most."""
_DOCUMENT = "zarr.json"
_DOCUMENTS = (_DOCUMENT, ".zarray", ".zattrs", ".zgroup", ".zmetadata")
"""Names of the documents of Zarr 3, and of those of version 2, which are looked for as well."""
COLUMN_CHUNK = 1 << 20
"""Values in one chunk of a column that says nothing else."""

type Store = S3Store | LocalStore


class StorageKeys(BaseModel):
    """Where the object storage (S3) is, and the keys to it."""

    model_config = ConfigDict(frozen=True)

    endpoint: str
    region: str
    access_key_id: str
    secret_access_key: SecretStr
    session_token: SecretStr | None = None


@dataclass(frozen=True)
class _Place:
    """A store, and a path in it."""

    store: Store
    path: str


@dataclass(frozen=True)
class _File:
    """One file of known size; its keys never show."""

    href: str
    size: int
    keys: StorageKeys | None

    def read(self, start: int, stop: int) -> Octets:
        """A stretch of the file. Raises ``InputUnreadable``."""
        found, at = memory.room(max(0, stop - start)), 0
        try:
            for piece in self._pieces(start, found.size):
                found[at : at + piece.size] = piece
                at += piece.size
        except (BaseError, OSError) as error:
            raise InputUnreadable(f"{self.href} cannot be read: {reason(error)}") from error
        if at != found.size:
            raise InputUnreadable(f"{self.href} cannot be read: it ended {found.size - at} octets early")
        return found

    def _pieces(self, start: int, size: int) -> Iterator[Octets]:
        """The same, as it comes."""
        if size:
            where = _place(self.href, self.keys)
            answer = obstore.get(where.store, where.path, options={"range": (start, start + size)})
            yield from (np.frombuffer(piece, np.uint8) for piece in answer.stream(min_chunk_size=PIECE))


class _Lazy(BackendArray):
    """A file as an array that is read where it is asked for."""

    def __init__(self, file: _File) -> None:
        self.file, self.shape, self.dtype = file, (file.size,), np.dtype(np.uint8)

    def __getitem__(self, key: Any) -> Any:
        return indexing.explicit_indexing_adapter(key, self.shape, indexing.IndexingSupport.BASIC, self._read)

    def _read(self, key: tuple[Any, ...]) -> Any:
        (one,) = key
        if not isinstance(one, slice):
            return self.file.read(int(one), int(one) + 1)[0]
        start, stop, step = one.indices(self.file.size)
        return self.file.read(start, stop)[::step] if step > 0 else self.file.read(0, self.file.size)[one]


def octets(href: str, size: int, keys: StorageKeys | None) -> xr.Variable:
    """A file of ``size`` octets as a lazy variable (dimension ``octet``, uint8).

    Raises ``InputUnreadable`` when it is not there or has another size, and what is read later raises the same;
    ``BadPayload`` for an address that is neither ``file:`` nor in object storage that there are keys to, as all below.
    """
    where = _place(href, keys)
    try:
        found = obstore.head(where.store, where.path)["size"]
    except (BaseError, OSError) as error:
        raise InputUnreadable(f"{href} cannot be read: {reason(error)}") from error
    if found != size:
        raise InputUnreadable(f"{href} has {found} octets, where {size} were announced")
    return xr.Variable(("octet",), indexing.LazilyIndexedArray(_Lazy(_File(href, size, keys))))


def open_product(href: str, keys: StorageKeys | None) -> xr.DataTree:
    """Open a Zarr product, every array lazy and in its own chunks. Raises ``InputUnreadable``, ``BadPayload``."""
    try:
        store = ObjectStore(_place(href, keys, inside=True, make=False).store, read_only=True)
        tree: xr.DataTree = xr.open_datatree(store, engine="zarr", chunks={})  # type: ignore[arg-type]
    except (BaseError, OSError, KeyError, ValueError) as error:
        raise InputUnreadable(f"{href} cannot be opened as a Zarr product: {reason(error)}") from error
    return tree


def attributes(href: str, keys: StorageKeys | None) -> dict[str, Any]:
    """What a Zarr product says of itself as a whole. Raises ``InputUnreadable``, ``BadPayload``."""
    try:
        store = ObjectStore(_place(href, keys, inside=True, make=False).store, read_only=True)
        return dict(zarr.open_group(store, mode="r").attrs.asdict())
    except (BaseError, OSError, KeyError, ValueError) as error:
        raise InputUnreadable(f"{href} cannot be opened as a Zarr product: {reason(error)}") from error


def size(href: str, keys: StorageKeys | None) -> int:
    """Bytes of everything below an address. Raises ``InputUnreadable``, ``BadPayload``."""
    try:
        return _size(_place(href, keys, inside=True, make=False).store)
    except (BaseError, OSError) as error:
        raise InputUnreadable(f"{href} cannot be read: {reason(error)}") from error


def write(tree: xr.DataTree, href: str, keys: StorageKeys | None) -> int:
    """Write a product as Zarr v3 with consolidated metadata; how many bytes it takes.

    Raises ``OutputRefused``, also when something is there already (a product is never mixed with an older one), and
    ``BadPayload``; what is lazy in the product raises what it raises.
    """
    try:
        store = _place(href, keys, inside=True).store
        if _size(store):
            raise OutputRefused(f"{href} cannot be written: it is there already")
        with warnings.catch_warnings(), lazily.ahead(), _Product(store) as product:
            # Zarr tells every writer that they are not in version 3 of the standard yet; without them a product would
            # need a request for each of its arrays to be opened.
            warnings.filterwarnings("ignore", "Consolidated metadata", ZarrUserWarning)
            tree.to_zarr(
                product,
                mode="w-",
                zarr_format=3,
                consolidated=True,
                encoding=_encoding(tree),
                write_empty_chunks=True,  # to look whether a chunk is empty takes longer than to write one that is
                chunkmanager_store_kwargs=lazily.place(),
            )
        return _size(store)
    except (BaseError, OSError) as error:
        raise OutputRefused(f"{href} cannot be written: {reason(error)}") from error


class _AtOnce(ObjectStore[Store]):
    """A store that writes each chunk in one request, where obstore would make a multipart upload of five."""

    async def set(self, key: str, value: Buffer) -> None:
        """Write an object."""
        data = value.as_buffer_like()
        await obstore.put_async(self.store, key, data, use_multipart=len(data) > _LARGEST_AT_ONCE)


class _Product(_AtOnce):
    """A store for a product where nothing is yet, which nobody can open before it is whole.

    Zarr asks for each of its documents before it writes one, and writes most of them several times: they stay in memory
    until the end. Small chunks are written while the next are made. In another process it is a plain ``_AtOnce``.
    """

    def __init__(self, store: Store, *, read_only: bool = False) -> None:
        super().__init__(store, read_only=read_only)
        self._kept: dict[str, Buffer] = {}
        self._documents = MemoryStore(self._kept)
        self._pool = ThreadPoolExecutor(_AT_A_TIME)
        self._under_way: deque[Future[Any]] = deque()

    def __reduce__(self) -> tuple[Any, ...]:
        return _AtOnce, (self.store,)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        """Write the documents, that of the whole last, when all chunks are there; after an error, nothing more."""
        try:
            if error is None:
                self._wait()
                for key in sorted(self._kept.keys() - {_DOCUMENT}):
                    self._put(key, self._kept[key])
                self._wait()
                self._put(_DOCUMENT, self._kept[_DOCUMENT])
                self._wait()
        finally:
            self._pool.shutdown(cancel_futures=True)

    def with_read_only(self, read_only: bool = False) -> Self:  # noqa: FBT001, FBT002 - zarr's
        """The same documents."""
        if read_only:
            raise NotImplementedError("a product that is being made is not read")
        return self

    async def get(self, key: str, prototype: BufferPrototype, byte_range: ByteRequest | None = None) -> Buffer | None:
        """Read a document, or a chunk."""
        if _is_document(key):
            return await self._documents.get(key, prototype, byte_range)
        return await super().get(key, prototype, byte_range)

    async def set(self, key: str, value: Buffer) -> None:
        """Write a document or a small chunk later, a large one now."""
        if _is_document(key):
            await self._documents.set(key, value)
        elif len(value) <= PIECE:
            self._put(key, value)
            if len(self._under_way) > _AHEAD:
                await asyncio.wrap_future(self._under_way.popleft())
        else:
            await super().set(key, value)

    async def set_if_not_exists(self, key: str, value: Buffer) -> None:
        """Write a document, unless it is there."""
        where = self._documents if _is_document(key) else _AtOnce(self.store)
        await where.set_if_not_exists(key, value)

    async def list_prefix(self, prefix: str) -> AsyncGenerator[str]:
        """The documents below a prefix."""
        async for key in self._documents.list_prefix(prefix):
            yield key

    async def list_dir(self, prefix: str) -> AsyncGenerator[str]:
        """What there are documents of, right below a prefix."""
        async for name in self._documents.list_dir(prefix):
            yield name

    def _put(self, key: str, value: Buffer) -> None:
        self._under_way.append(self._pool.submit(obstore.put, self.store, key, value.as_buffer_like()))

    def _wait(self) -> None:
        while self._under_way:
            self._under_way.popleft().result()


def _is_document(key: str) -> bool:
    return key.rpartition("/")[2] in _DOCUMENTS


def _size(store: Store) -> int:
    return sum(entry["size"] for page in obstore.list(store) for entry in page)


def _encoding(tree: xr.DataTree) -> dict[str, dict[str, Any]]:
    """How each variable is stored: chunks as they are made."""
    return {
        group.path: {str(name): _stored(variable) for name, variable in group.to_dataset().variables.items()}
        for group in tree.subtree
    }


def _stored(variable: xr.Variable) -> dict[str, Any]:
    stored: dict[str, Any] = {"chunks": _chunks(variable)}
    if "compressors" in variable.encoding:
        stored["compressors"] = variable.encoding["compressors"]
    if variable.dtype.kind == "M":
        stored |= {"units": "nanoseconds since 1970-01-01", "calendar": "proleptic_gregorian", "dtype": "int64"}
    return stored


def _chunks(variable: xr.Variable) -> tuple[int, ...]:
    if variable.chunks:
        return tuple(max(1, *sizes) for sizes in variable.chunks)
    first = COLUMN_CHUNK if variable.ndim == 1 else 512
    return tuple(max(1, min(size, first if n == 0 else size)) for n, size in enumerate(variable.shape))


def _place(href: str, keys: StorageKeys | None, *, inside: bool = False, make: bool = True) -> _Place:
    """The store an address lies in, and its path there; ``inside``: a store that holds nothing but what lies below."""
    parts = urlsplit(href)
    if parts.scheme == "file":
        path = Path(unquote(parts.path))
        return _Place(LocalStore(path, mkdir=make), "") if inside else _Place(LocalStore(path.parent), path.name)
    if parts.scheme != "s3" or not parts.netloc or not parts.path.strip("/"):
        raise BadPayload(f"{href} is not an address in object storage (s3://bucket/key)")
    if keys is None:
        raise BadPayload(f"{href} lies in object storage, but the payload has no keys to it")
    path_in_bucket = parts.path.lstrip("/")
    return _Place(_bucket(parts.netloc, keys, path_in_bucket if inside else None), "" if inside else path_in_bucket)


@lru_cache(maxsize=8)  # each has connections of its own, and takes long to make
def _bucket(bucket: str, keys: StorageKeys, prefix: str | None) -> S3Store:
    config: S3Config = {
        "bucket": bucket,
        "endpoint": keys.endpoint,
        "region": keys.region,
        "access_key_id": keys.access_key_id,
        "secret_access_key": keys.secret_access_key.get_secret_value(),
        "virtual_hosted_style_request": False,
        "unsigned_payload": True,  # the signature of what is sent costs more than the sending; TLS guards it on its way
    }
    if keys.session_token:
        config["session_token"] = keys.session_token.get_secret_value()
    options: ClientConfig = {"allow_http": keys.endpoint.startswith("http://")}
    return S3Store(prefix=prefix, config=config, client_options=options)


def below(href: str, keys: StorageKeys | None) -> list[str]:
    """The paths of all files below an address, from there. Raises ``InputUnreadable``, ``BadPayload``."""
    where = _place(href, keys, inside=True, make=False)
    try:
        return [entry["path"] for page in obstore.list(where.store) for entry in page]
    except (BaseError, OSError) as error:
        raise InputUnreadable(f"{href} cannot be read: {reason(error)}") from error


def fetch(href: str, keys: StorageKeys | None, target: Path) -> None:
    """Copy a file to this machine, piece by piece. Raises ``InputUnreadable``, ``BadPayload``."""
    where = _place(href, keys)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("wb") as file:
            for piece in obstore.get(where.store, where.path).stream():
                file.write(piece)
    except (BaseError, OSError) as error:
        raise InputUnreadable(f"{href} cannot be read: {reason(error)}") from error


def reason(error: Exception) -> str:
    """The first line of what an error says."""
    return (str(error) or type(error).__name__).partition("\n")[0][:300]
