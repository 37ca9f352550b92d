"""The vocabulary that a station kind is described in: data only, nothing here does I/O."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any


class ValueType(Enum):
    """How a property's values compare, and how OData writes them as literals."""

    TEXT = "String"
    INTEGER = "Int64"
    DOUBLE = "Double"
    BOOLEAN = "Boolean"
    INSTANT = "DateTimeOffset"
    GUID = "Guid"
    LIST = "Collection"  # of texts, which the station keeps as one text
    GEOMETRY = "Geography"
    OBJECT = "Complex"  # shown, never asked for


class Match(Enum):
    """How the station's text relates to the STAC value."""

    EXACT = "exact"  # the same text, once encoded
    PREFIX = "prefix"  # the station's text begins with the encoded value and may go on


def as_is(value: Any) -> Any:
    """The decoding and encoding of a value that station and STAC write alike."""
    return value


@dataclass(frozen=True, slots=True)
class Property:
    """One STAC property and where the station keeps it.

    A source is a path into the entity (``ContentDate/Start``), or with a leading ``@`` the name of an entry of its
    ``Attributes``. A property of several sources is decoded from, and encoded to, that many texts. ``encode`` answers
    None for a value that no entity can have. ``otherwise`` is read where the source is absent. ``also`` names a plain
    text that contains the value whenever the entity has it, though the source itself may be written in several ways.
    A ``local`` property is never asked of a station, because stations disagree on its type or lack it.
    ``spellings`` are the texts that stations write a value in, where there are several. What is not ``queryable`` is
    shown and cannot be filtered by.
    """

    stac: str
    sources: tuple[str, ...]
    type: ValueType = ValueType.TEXT
    sortable: bool = False
    required: bool = False
    otherwise: str = ""
    also: str = ""
    local: bool = False
    match: Match = Match.EXACT
    decode: Callable[..., Any] = as_is
    encode: Callable[[Any], Any] = as_is
    spellings: Callable[[str], tuple[str, ...]] | None = None
    enum: tuple[str, ...] = ()
    queryable: bool = True


def prop(stac: str, source: str | tuple[str, ...], type_: ValueType = ValueType.TEXT, **more: Any) -> Property:
    """A property in one line of a table."""
    return Property(stac, (source,) if isinstance(source, str) else source, type_, **more)


@dataclass(frozen=True, slots=True)
class Extension:
    """A STAC extension, listed on items that carry one of its properties; without any named, on all items."""

    url: str
    properties: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Files:
    """The entity set that holds an item's files when they are not the entity itself."""

    entity_set: str  # also the navigation name for $expand
    belongs_to: str  # its property that holds the item's id
    series: str  # which of the item's series a file is of
    number: str  # its place in there, from 1; with the series it identifies the file, and orders the assets
    count: str  # property of the item's entity: how many series there are
    last: str  # boolean that marks the end of a series
    again: str  # boolean that marks an entity published again under the same id


@dataclass(frozen=True, slots=True)
class Orders:
    """How a product that is not online is ordered from the station, and where its orders are."""

    place: str
    entity_set: str
    product: str  # the navigation from an order to what it brings
    submitted: str  # when an order was placed
    cancel: str  # not every station knows it


@dataclass(frozen=True, slots=True)
class Assets:
    """Where an item's assets come from: the entity itself, or its files."""

    download: str
    role: str
    properties: tuple[Property, ...]
    type: str = "application/octet-stream"
    files: Files | None = None
    instead: tuple[Property, ...] = ()  # only assets that lack one of the properties have these


@dataclass(frozen=True, slots=True, kw_only=True)
class StationKind:
    """Everything that tells one kind of station from another."""

    name: str
    title: str
    description: str
    entity_set: str
    expand: str
    properties: tuple[Property, ...]
    assets: Assets
    extensions: tuple[Extension, ...]
    most_items: int = (
        1_000  # of a page; a larger limit is answered with pages of this size (OGC API – Features §7.15.2)
    )
    quality: str = ""  # the navigation to what a station says of each series of an item's files
    totals: tuple[str, str] = ("", "")  # there, how many files and bytes a series has
    orders: Orders | None = None
    by_name: dict[str, Property] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "by_name", {each.stac: each for each in self.properties})

    def find(self, name: str) -> Property | None:
        """The property of a STAC name, also written ``properties.<name>``, if it can be filtered by."""
        found = self.by_name.get(name.removeprefix("properties."))
        return found if found and found.queryable else None

    @property
    def has_footprint(self) -> bool:
        """Whether the stations of this kind know where on Earth an entity lies."""
        return "geometry" in self.by_name
