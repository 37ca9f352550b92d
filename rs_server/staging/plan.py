"""What staging has to carry: from an item, as its source has it, to files with their places in the object storage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from rs_server.access.policy import Service
from rs_server.catalog.names import CollectionName
from rs_server.errors import BadInput
from rs_server.processes.references import Reference
from rs_server.staging.checksum import announced
from rs_server.staging.parts import MOST_BYTES
from rs_server.storage import layout

COMPLETE = "rs:complete"  # what a station's item says of a session: whether all its files are there
ONLINE = "rs:online"  # what an archive's item says: whether its file is at hand
UNCHECKED = "rs:checksum_unchecked"  # what is said of a file's bytes in a way that nobody here can check


class Existing(StrEnum):
    """What to do with an item that the target collection has already."""

    SKIP = "skip"
    REPLACE = "replace"  # unless it is the same
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Planned:
    """One file and the key it gets; ``checksum`` is a multihash in hexadecimal, where the source names one.

    ``station`` is empty for a file of our own object storage. A file that is ``offline`` must be ordered first.
    ``expires`` is when its station takes the file away, where it says so.
    """

    name: str
    asset: Mapping[str, Any]
    station: str
    key: str
    size: int
    checksum: str | None
    offline: bool = False
    expires: datetime | None = None


@dataclass(frozen=True, slots=True)
class Target:
    """Where the items of a job go. Each job writes a place of its own, so that no edition disturbs another."""

    collection: CollectionName
    run: str

    def key(self, item: str, asset: str) -> str:
        """The key of an asset."""
        return layout.run_prefix(self.collection, item, self.run) + layout.segment(asset)


def transfers(
    source: Reference, item: Mapping[str, Any], station: str, target: Target, wanted: frozenset[str] = frozenset()
) -> tuple[Planned, ...]:
    """The files of an item, or those ``wanted``; ``BadInput`` says why it cannot be staged."""
    assets: Mapping[str, Mapping[str, Any]] = item.get("assets") or {}
    chosen = {name: asset for name, asset in assets.items() if not wanted or name in wanted}
    if missing := wanted - assets.keys():
        raise BadInput(f"{source.item} has no asset {', '.join(sorted(missing))}")
    if not chosen:
        raise BadInput(f"{source.item} has no files yet")
    planned = (_planned(source, name, asset, station, target) for name, asset in chosen.items())
    offline, expires = is_offline(item), _expires(item) if station else None
    return tuple(replace(each, offline=offline, expires=expires) for each in planned)


def storable(item: dict[str, Any]) -> dict[str, Any]:
    """An item that can be written down; ``BadInput`` for a NUL in one of its texts, which no database takes."""
    if _has_nul(item):
        raise BadInput("a text of the item has a NUL character, which cannot be stored")
    return item


def _has_nul(value: Any) -> bool:
    if isinstance(value, str):
        return "\0" in value
    if isinstance(value, Mapping):
        return any(_has_nul(key) or _has_nul(each) for key, each in value.items())
    return isinstance(value, list) and any(map(_has_nul, value))


def unchecked(asset: Mapping[str, Any]) -> str | None:
    """The checksum that a source names where it is of no known kind, so that the file's size alone is checked."""
    told = asset.get("file:checksum")
    if told is None:
        return asset.get(UNCHECKED)
    return told if announced(told) is None else None


def is_offline(item: Mapping[str, Any]) -> bool:
    """Whether an archive must be asked to bring the item's files back first."""
    return (item.get("properties") or {}).get(ONLINE) is False


def is_complete(item: Mapping[str, Any]) -> bool:
    """Whether it is a session all of whose files are listed."""
    return (item.get("properties") or {}).get(COMPLETE) is True


def is_growing(item: Mapping[str, Any]) -> bool:
    """Whether files of the item are still to come."""
    return (item.get("properties") or {}).get(COMPLETE) is False


def same(item: Mapping[str, Any], published: Mapping[str, Any], wanted: frozenset[str] = frozenset()) -> bool:
    """Whether the catalog's edition has the very files that the source has: names, sizes, and checksums if named.

    Where only some are ``wanted`` it may have others beside them.
    """
    theirs = {name: asset for name, asset in (item.get("assets") or {}).items() if not wanted or name in wanted}
    ours: Mapping[str, Mapping[str, Any]] = published.get("assets") or {}
    if wanted - theirs.keys() or theirs.keys() - ours.keys() or not (wanted or theirs.keys() == ours.keys()):
        return False
    return all(_same(asset, ours[name]) for name, asset in theirs.items())


def _same(theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> bool:
    told, kept = announced(theirs.get("file:checksum")), announced(ours.get("file:checksum"))
    return (
        theirs.get("file:size") == ours.get("file:size")
        and (told is None or kept is None or told.kind != kept.kind or told == kept)
        and theirs.get("externalIds", ours.get("externalIds")) == ours.get("externalIds")
    )


def _expires(item: Mapping[str, Any]) -> datetime | None:
    """When the item is evicted, as its station says; what is no time is passed over: it only decides on the order."""
    try:
        return datetime.fromisoformat((item.get("properties") or {})["expires"])
    except (KeyError, TypeError, ValueError):
        return None


def _planned(source: Reference, name: str, asset: Mapping[str, Any], station: str, target: Target) -> Planned:
    size = asset.get("file:size")
    if type(size) is not int or size < 0:  # true and false are numbers to Python
        raise BadInput(f"the station does not tell the size of {name}, so it could not be checked")
    if size > MOST_BYTES:
        raise BadInput(f"{name} has {size} bytes, and an object has {MOST_BYTES} at most")
    checksum = asset.get("file:checksum")
    if not isinstance(checksum, str | None):
        raise BadInput(f"what is said to be the checksum of {name} is none")
    if source.service == Service.CATALOG:
        layout.parse(str(asset.get("href")))
    return Planned(name, asset, station, target.key(source.item, name), size, checksum)
