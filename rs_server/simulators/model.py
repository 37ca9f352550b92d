"""Entities of an OData service: typed values, their schema, and the JSON they become."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any
from uuid import UUID

from shapely import MultiPolygon, Polygon


class Edm(StrEnum):
    """Primitive types of OData that the Copernicus interfaces use."""

    STRING = "Edm.String"
    INT64 = "Edm.Int64"
    DOUBLE = "Edm.Double"
    BOOLEAN = "Edm.Boolean"
    GUID = "Edm.Guid"
    INSTANT = "Edm.DateTimeOffset"


type Primitive = str | int | float | bool | UUID | datetime | None


@dataclass(frozen=True)
class Content:
    """The bytes behind ``$value``; ``read`` yields those from a start to an exclusive stop."""

    name: str
    size: int
    media_type: str
    etag: str
    read: Callable[[int, int], Iterator[bytes]]


@dataclass(frozen=True)
class EntityType:
    """What entities of one kind have: properties by path (``ContentDate/Start`` steps into a complex one).

    ``navigations`` names related entities. Those with a join are an entity set of their own, and related by equal
    values of the named properties; others belong to their owner. ``shared`` entities are values: equal ones are one.
    """

    name: str
    properties: Mapping[str, Edm]
    key: str | None = "Id"
    navigations: Mapping[str, EntityType] = field(default_factory=dict)
    joins: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    collections: tuple[str, ...] = ()  # structured, always shown, never filtered: Checksum
    enumerations: Mapping[str, str] = field(default_factory=dict)  # property → its enumeration type
    optional: tuple[str, ...] = ()  # properties that are left out where they are null
    hidden: tuple[str, ...] = ()  # properties that clients never see
    indexed: tuple[str, ...] = ()  # properties that clients search by
    lasts: tuple[str, str] | None = None  # begin and end of what it is about: clients search by what it overlaps
    media: bool = False
    footprint: bool = False
    shared: bool = False

    @property
    def shown(self) -> Mapping[str, Edm]:
        """The properties that clients see, and may search by."""
        return {path: edm for path, edm in self.properties.items() if path not in self.hidden}


@dataclass(frozen=True)
class Entity:
    """One entity: values by property path, related entities by navigation.

    It is there from ``appears`` until before ``vanishes``; unset: always. One key may have several such spans, which
    then do not overlap: that is how an entity changes.
    """

    type: EntityType
    values: Mapping[str, Primitive]
    related: Mapping[str, tuple[Entity, ...]] = field(default_factory=dict)
    extra: Mapping[str, Any] = field(default_factory=dict)  # JSON shown as it stands: Checksum, annotations
    footprint: Polygon | MultiPolygon | None = None
    appears: datetime | None = None
    vanishes: datetime | None = None

    @property
    def id(self) -> Primitive:
        """The key."""
        return self.values.get("Id")


def text(moment: datetime) -> str:
    """A moment as the stations write it: UTC, milliseconds."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds").removesuffix("+00:00") + "Z"


def to_json(entity: Entity, *, expand: tuple[str, ...] = ()) -> dict[str, Any]:
    """The JSON of an entity, with the related ones that are to be shown."""
    document: dict[str, Any] = {**entity.extra}
    for path, value in entity.values.items():
        if path in entity.type.hidden or (value is None and path in entity.type.optional):
            continue
        target, (*parents, last) = document, path.split("/")
        for parent in parents:
            target = target.setdefault(parent, {})
        target[last] = _plain(value)
    for name in expand:
        document[name] = [to_json(related) for related in entity.related.get(name, ())]
    return document


def _plain(value: Primitive) -> str | int | float | bool | None:
    match value:
        case datetime():
            return text(value)
        case UUID():
            return str(value)
        case _:
            return value
