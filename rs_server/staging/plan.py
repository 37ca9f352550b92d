"""What staging has to carry: from the items of a station to transfers with their places in the object storage."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from rs_server.catalog.names import CollectionName
from rs_server.errors import BadInput
from rs_server.processes.references import Reference
from rs_server.storage import layout


@dataclass(frozen=True, slots=True)
class Transfer:
    """One file of a station and the key it gets; ``checksum`` is a multihash in hexadecimal, where one is told."""

    source: Reference
    asset: Mapping[str, Any]
    name: str
    key: str
    size: int
    checksum: str | None


@dataclass(frozen=True, slots=True)
class PlannedItem:
    """One item of a station, as it was read, and its transfers."""

    source: Reference
    item: Mapping[str, Any]
    prefix: str
    transfers: tuple[Transfer, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """Everything that one job has to carry."""

    target: CollectionName
    items: tuple[PlannedItem, ...]

    @property
    def transfers(self) -> tuple[Transfer, ...]:
        """The transfers of all items."""
        return tuple(transfer for item in self.items for transfer in item.transfers)

    @property
    def bytes_total(self) -> int:
        """Bytes of all files."""
        return sum(transfer.size for transfer in self.transfers)


def plan(found: Iterable[tuple[Reference, Mapping[str, Any]]], target: CollectionName) -> Plan:
    """Plan the items; ``BadInput`` names the item that has no files, or a file whose size the station does not tell.

    Two items of one id would overwrite each other's files, and are refused as well.
    """
    items = tuple(_planned(source, item, target) for source, item in found)
    prefixes = [item.prefix for item in items]
    for item in items:
        if prefixes.count(item.prefix) > 1:
            raise BadInput(f"two of the items are called {item.source.item}", hint="stage them into two collections")
    return Plan(target, items)


def _planned(source: Reference, item: Mapping[str, Any], target: CollectionName) -> PlannedItem:
    assets: Mapping[str, Mapping[str, Any]] = item.get("assets") or {}
    if not assets:
        raise BadInput(f"{source.item} has no files at the station yet")
    transfers = tuple(_transfer(source, name, asset, target) for name, asset in assets.items())
    return PlannedItem(source, item, layout.item_prefix(target, source.item), transfers)


def _transfer(source: Reference, name: str, asset: Mapping[str, Any], target: CollectionName) -> Transfer:
    size = asset.get("file:size")
    if not isinstance(size, int) or size < 0:
        raise BadInput(f"the station does not tell the size of {name}, so it could not be checked")
    key = layout.asset_key(target, source.item, name)
    return Transfer(source, asset, name, key, size, asset.get("file:checksum"))
