"""The files of items: at the place in our storage that is theirs, there, and as large as is said.

An item's files lie under ``owner/collection/item/`` in a bucket of ours and nowhere else. So who may read a
collection reads its files and no others, nothing that an item says makes the server call an address, and what is
deleted with an item belongs to it alone. Where the settings name hosts, an item may point at files there as well: those
are links that nobody here looks at, signs or deletes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import quote, urlsplit

from rs_server.catalog.links import item_href
from rs_server.catalog.names import CollectionName
from rs_server.errors import BadInput
from rs_server.storage import layout
from rs_server.storage.checksums import Checker
from rs_server.storage.layout import Location
from rs_server.storage.stac import ALTERNATE

ALTERNATE_NAME = "https"

_CHECKS_AT_ONCE = 16
_ONE_BY_ONE = 64  # more files than these are looked up by listing the collection's place
_LONGEST_KEY = 1024
_READ_TO_CHECK = 256 * 1024 * 1024  # bytes, of all files of a call together


@dataclass(frozen=True, slots=True)
class File:
    """What an item says of one of its files; ``field`` is where it says so."""

    field: str
    place: Location
    size: int | None
    checksum: str | None


class Bucket(Protocol):
    """What is asked of the storage."""

    async def size(self, key: str) -> int | None:
        """Bytes of an object, or None."""
        ...

    def keys(self, prefix: str, after: str = "") -> AsyncIterator[tuple[str, int]]:
        """Keys under a prefix with their sizes, in order."""
        ...

    def read(self, key: str) -> AsyncIterator[bytes]:
        """The bytes of an object."""
        ...


@dataclass(frozen=True, slots=True)
class Allowed:
    """Where files may be: in these buckets, and as links at these hosts."""

    buckets: frozenset[str]
    hosts: frozenset[str] = frozenset()

    def elsewhere(self, href: str) -> bool:
        """Whether this is a link to a host that the settings name."""
        try:
            parts = urlsplit(href)
        except ValueError:
            return False
        plain = href.isprintable() and "\\" not in href and parts.netloc == parts.hostname
        return plain and parts.scheme == "https" and parts.hostname in self.hosts


def files(item: Mapping[str, Any], name: CollectionName, allowed: Allowed) -> Iterator[File]:
    """The files of an item in our storage; ``BadInput`` for an address that is not at the item's own place."""
    prefix, taken = layout.item_prefix(name, item["id"]), dict[str, str]()
    for key, asset in item["assets"].items():
        if allowed.elsewhere(asset["href"]):
            continue
        field = f"item {item['id']}: assets.{key}"
        place = _place(asset["href"], f"{field}.href")
        if place.bucket not in allowed.buckets or not place.key.startswith(prefix) or not _plain(place.key):
            raise BadInput(
                f"{field}.href: {asset['href'][:200]} is not at the item's own place",
                hint=f"files of this item lie under {layout.href(min(allowed.buckets), prefix)}",
                field=f"assets.{key}.href",
            )
        if (other := taken.setdefault(place.key.removesuffix("/"), key)) != key:
            raise BadInput(f"{field}.href: is the file of assets.{other} already", field=f"assets.{key}.href")
        yield File(field, place, _size(asset.get("file:size"), field), asset.get("file:checksum"))


async def verify(found: Sequence[File], buckets: Mapping[str, Bucket]) -> None:
    """Raise ``BadInput`` unless every file is there and is what is said of it."""
    slots = asyncio.Semaphore(_CHECKS_AT_ONCE)
    if len(found) > _ONE_BY_ONE:
        sizes = await _listed(found, buckets)
    else:
        looked_up = await asyncio.gather(*(_looked_up(file, buckets, slots) for file in found))
        sizes = dict(zip((file.place for file in found), looked_up, strict=True))
    for file in found:
        _same_size(file, sizes.get(file.place))
    await _same_bytes([file for file in found if file.checksum is not None], sizes, buckets)


def served(document: dict[str, Any], base: str, collection: str) -> dict[str, Any]:
    """The item with a second address for each file: one that works with a login alone."""
    alternates = False
    for key, asset in (document.get("assets") or {}).items():
        if isinstance(asset, dict) and str(asset.get("href", "")).startswith("s3://"):
            href = f"{item_href(base, collection, document['id'])}/download/{quote(key, safe='')}"
            asset["alternate"] = {**asset.get("alternate", {}), ALTERNATE_NAME: {"href": href}}
            alternates = True
    extensions = document.get("stac_extensions") or []
    if alternates and ALTERNATE not in extensions:
        document["stac_extensions"] = [*extensions, ALTERNATE]
    return document


def unserved(item: Mapping[str, Any]) -> dict[str, Any]:
    """The item as it is stored: what ``served`` adds is made anew for each answer."""
    assets = {key: _without_alternate(asset) for key, asset in item["assets"].items()}
    extensions = [uri for uri in item.get("stac_extensions") or [] if uri != ALTERNATE or _has_alternates(assets)]
    return {**item, "assets": assets, "stac_extensions": extensions}


def addresses(item: Mapping[str, Any] | None) -> set[str]:
    """Where the files of an item are in our storage."""
    found = {asset.get("href", "") for asset in ((item or {}).get("assets") or {}).values()}
    return {address for address in found if address.startswith("s3://")}


def _without_alternate(asset: Mapping[str, Any]) -> dict[str, Any]:
    others = {name: value for name, value in (asset.get("alternate") or {}).items() if name != ALTERNATE_NAME}
    kept = {name: value for name, value in asset.items() if name != "alternate"}
    return {**kept, "alternate": others} if others else kept


def _has_alternates(assets: Mapping[str, Mapping[str, Any]]) -> bool:
    return any("alternate" in asset for asset in assets.values())


def _place(href: str, field: str) -> Location:
    try:
        return layout.parse(href)
    except (BadInput, ValueError) as error:
        raise BadInput(
            f"{field}: {href[:200]} is not the address of an object in our storage (s3://bucket/key)",
            hint="upload the file with a key of POST /storage/credentials, then name it here",
            field=field.rpartition(": ")[2],
        ) from error


def _plain(key: str) -> bool:
    """Whether a key is what it seems: no empty step, no ``.`` or ``..``, nothing that another reader unescapes."""
    steps = key.removesuffix("/").split("/")
    return len(key) <= _LONGEST_KEY and key.isprintable() and "\\" not in key and not {"", ".", ".."} & set(steps)


def _size(value: Any, field: str) -> int | None:
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 0):
        raise BadInput(f"{field}.file:size: must be a number of bytes")
    return value


async def _looked_up(file: File, buckets: Mapping[str, Bucket], slots: asyncio.Semaphore) -> int | None:
    async with slots:
        bucket = buckets[file.place.bucket]
        size = None if file.place.key.endswith("/") else await bucket.size(file.place.key)
        if size is not None:
            return size
        async for _ in bucket.keys(f"{file.place.key.removesuffix('/')}/"):
            return -1  # a product of many objects: there, and of no size of its own
        return None


async def _listed(found: Sequence[File], buckets: Mapping[str, Bucket]) -> dict[Location, int | None]:
    """The sizes of many files of a collection, by going through its keys once."""
    sizes: dict[Location, int | None] = {}
    for name, bucket in buckets.items():
        wanted = sorted({file.place.key.removesuffix("/") for file in found if file.place.bucket == name})
        if wanted:
            present = await _among(bucket, wanted)
            sizes |= {file.place: present.get(file.place.key.removesuffix("/")) for file in found
                      if file.place.bucket == name}  # fmt: skip
    return sizes


async def _among(bucket: Bucket, wanted: Sequence[str]) -> dict[str, int]:
    owner, collection, _ = wanted[0].split("/", 2)
    names, present = set(wanted), dict[str, int]()
    last = f"{wanted[-1]}/\U0010ffff"
    async for key, size in bucket.keys(f"{owner}/{collection}/", after=wanted[0][:-1]):
        if key in names:
            present[key] = size
        else:
            present |= dict.fromkeys(names.intersection(_above(key)), -1)
        if key > last:
            break
    return present


def _above(key: str) -> Iterable[str]:
    """The prefixes that a key lies under."""
    steps = key.split("/")
    return ("/".join(steps[:number]) for number in range(3, len(steps)))


def _same_size(file: File, size: int | None) -> None:
    if size is None:
        raise BadInput(f"{file.field}.href: there is no object {file.place.key}", hint="upload the file first")
    if size >= 0 and file.size not in (None, size):
        raise BadInput(f"{file.field}.file:size: {file.size} bytes are said, {size} are there")


async def _same_bytes(
    told: Sequence[File], sizes: Mapping[Location, int | None], buckets: Mapping[str, Bucket]
) -> None:
    total = sum(max(0, sizes.get(file.place) or 0) for file in told)
    if total > _READ_TO_CHECK:
        raise BadInput(
            f"file:checksum: {total} bytes are too many to be read and checked in a call",
            hint="stage such files, or leave their checksums out",
        )
    slots = asyncio.Semaphore(_CHECKS_AT_ONCE // 4)
    await asyncio.gather(*(_read(file, buckets[file.place.bucket], slots) for file in told if sizes[file.place] != -1))


async def _read(file: File, bucket: Bucket, slots: asyncio.Semaphore) -> None:
    try:
        checker = Checker(file.checksum)
    except ValueError as error:
        raise BadInput(f"{file.field}.file:checksum: {error}") from error
    async with slots:
        async for chunk in bucket.read(file.place.key):
            checker.update(chunk)
    if not checker.met:
        raise BadInput(f"{file.field}.file:checksum: is not that of the object {file.place.key}")
