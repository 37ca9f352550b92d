"""The files of a catalog item that a processor reads, and the one place in our buckets that they may lie in."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from rs_client.processing.tasktable import Input, Kind
from rs_server.catalog.names import CollectionName
from rs_server.errors import BadInput, Forbidden
from rs_server.processes.references import Reference
from rs_server.storage import layout


@dataclass(frozen=True, slots=True)
class File:
    """One asset: where it lies, its size in bytes, its checksum (a multihash) and what else the item tells of it."""

    name: str
    href: str
    size: int
    checksum: str | None
    properties: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Content:
    """What is read of one item; ``prefix`` is the item's own place in the storage."""

    source: Reference
    prefix: str
    assets: tuple[File, ...]

    @property
    def files(self) -> int:
        """How many they are."""
        return len(self.assets)

    @property
    def octets(self) -> int:
        """Bytes of all of them."""
        return sum(file.size for file in self.assets)


_KEPT = ("cadip:channel", "cadip:block_number", "type")


def content_of(source: Reference, item: Mapping[str, Any], buckets: Collection[str], spec: Input | None) -> Content:
    """The files of an item that have the role of an input; without one, all of them.

    ``BadInput`` when there are none, or one lacks its size, or several where one product is read. ``Forbidden`` when
    one lies outside the item's own place: the catalog's hrefs are written by users, and must not lead elsewhere.
    """
    role, kind = (spec.role, spec.kind) if spec else (None, None)
    prefix = layout.item_prefix(CollectionName.parse(source.collection), source.item)
    assets: Mapping[str, Mapping[str, Any]] = item.get("assets") or {}
    chosen = {name: asset for name, asset in assets.items() if role is None or role in (asset.get("roles") or ())}
    if not chosen:
        raise BadInput(f"{source.item} has no files of the role {role or 'any'}")
    if kind is Kind.PRODUCT and len(chosen) > 1:
        raise BadInput(f"{source.item} has {len(chosen)} assets of the role {role}, where one product is read")
    files = (_file(name, asset, buckets, prefix) for name, asset in chosen.items())
    return Content(source, prefix, tuple(sorted(files, key=_order)))


def _file(name: str, asset: Mapping[str, Any], buckets: Collection[str], prefix: str) -> File:
    href = str(asset.get("href", ""))
    place = layout.parse(href)
    if place.bucket not in buckets or not place.key.startswith(prefix) or ".." in place.key:
        raise Forbidden(f"the file {name} lies outside of its item's place in the storage", denied="owner")
    try:
        size = int(asset["file:size"])
    except (KeyError, TypeError, ValueError) as error:
        raise BadInput(f"the file {name} lacks its size") from error
    kept = {key: asset[key] for key in _KEPT if key in asset}
    return File(name, href, size, asset.get("file:checksum"), kept)


def _order(file: File) -> tuple[int, int, str]:
    return (
        int(file.properties.get("cadip:channel") or 0),
        int(file.properties.get("cadip:block_number") or 0),
        file.name,
    )
