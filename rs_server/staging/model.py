"""What staging keeps of items and transfers, as its rows tell it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from uuid import UUID

from rs_server.processes.references import Reference
from rs_server.storage.layout import Location


class Lost(Exception):
    """The transfer is no longer this carrier's: its job has ended, or another carrier has taken it up."""


class ItemState(StrEnum):
    """What has become of an item."""

    GROWING = "growing"
    CARRYING = "carrying"
    WHOLE = "whole"
    PUBLISHED = "published"
    SKIPPED = "skipped"
    FAILED = "failed"
    GONE = "gone"

    @property
    def open(self) -> bool:
        """Whether something is still to be done."""
        return self in (ItemState.GROWING, ItemState.CARRYING, ItemState.WHOLE)


class State(StrEnum):
    """What has become of a transfer."""

    WAITING = "waiting"
    PAUSED = "paused"
    ORDERED = "ordered"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    GONE = "gone"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class NewItem:
    """An item to be noted."""

    source: Reference
    document: Mapping[str, Any]
    state: ItemState
    reason: str | None = None
    bucket: str = ""  # where its files go, if any do


@dataclass(frozen=True, slots=True)
class Order:
    """On whose behalf files are carried."""

    job: UUID
    owner: str
    priority: int


@dataclass(frozen=True, slots=True)
class StagedItem:
    """An item of a job."""

    id: int
    source: Reference
    document: Mapping[str, Any]
    state: ItemState
    reason: str | None
    bucket: str


@dataclass(frozen=True, slots=True)
class Carried:
    """A file that is in the object storage, whole; ``digest`` is its checksum as a multihash."""

    name: str
    asset: Mapping[str, Any]
    key: str
    size: int
    digest: str


@dataclass(frozen=True, slots=True)
class Transfer:
    """A transfer that a carrier has taken up."""

    id: int
    fence: int
    job: UUID
    source: Reference
    station: str
    owner: str
    name: str
    asset: Mapping[str, Any]
    bucket: str
    key: str
    size: int
    checksum: str | None
    width: int
    tries: int
    wrong: int
    upload: str | None
    part_size: int | None
    validator: str | None
    ranges: bool
    trace: str | None


@dataclass(frozen=True, slots=True)
class Pulse:
    """How far a running transfer is: bytes there, and bytes per second."""

    id: int
    fence: int
    bytes_done: int
    rate: float


@dataclass(frozen=True, slots=True)
class Spared:
    """How many connections a running transfer still has: over the others all its bytes have come that were to come."""

    transfer: int
    fence: int
    left: int


@dataclass(frozen=True, slots=True)
class Ended:
    """What became of a transfer: ``state`` is its end, or PAUSED for ``pause_s`` seconds, or WAITING for another turn.

    ``wrong`` counts bytes that were not those announced; with ``anew``, none of them was kept.
    """

    transfer: Transfer
    state: State
    digest: str | None = None
    reason: str | None = None
    pause_s: float = 0.0
    wrong: bool = False
    anew: bool = False


@dataclass(frozen=True, slots=True)
class Upload:
    """A multipart upload that nobody wants any more."""

    transfer: int
    bucket: str
    key: str
    upload: str


@dataclass(frozen=True, slots=True)
class Remains:
    """An object that may be left over, and the item of the catalog that may name it."""

    place: Location
    collection: str
    item: str
