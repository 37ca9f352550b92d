"""Products as AUXIP, PRIP and LTA stations describe them: properties, attributes, checksum, footprint."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any
from uuid import NAMESPACE_URL, UUID, uuid5

from shapely import MultiPolygon, Polygon, to_wkt
from shapely.geometry import mapping

from rs_server.simulators.model import Edm, Entity, EntityType, Primitive, text

ATTRIBUTE = EntityType("Attribute", {"Name": Edm.STRING, "ValueType": Edm.STRING}, key=None, shared=True)
QUICKLOOK = EntityType("Quicklook", {"Image": Edm.STRING}, key=None)

COMMON: Mapping[str, Edm] = {
    "Id": Edm.GUID,
    "Name": Edm.STRING,
    "ContentType": Edm.STRING,
    "ContentLength": Edm.INT64,
    "OriginDate": Edm.INSTANT,
    "PublicationDate": Edm.INSTANT,
    "EvictionDate": Edm.INSTANT,
    "ContentDate/Start": Edm.INSTANT,
    "ContentDate/End": Edm.INSTANT,
}
INDEXED = ("PublicationDate", "Name", "ContentDate/Start", "ContentDate/End", "ContentLength")
LASTS = ("ContentDate/Start", "ContentDate/End")

type Value = str | int | float | bool | datetime


def key_of(name: str) -> UUID:
    """The key that follows from a name."""
    return uuid5(NAMESPACE_URL, f"urn:rs-python:simulator:{name}")


@lru_cache(maxsize=100_000)
def attribute(name: str, value: Value) -> Entity:
    """One attribute, its type that of the value."""
    kind = _KINDS[type(value)]
    annotation = {"@odata.type": f"#OData.CSC.{kind}Attribute"}
    return Entity(ATTRIBUTE, {"Name": name, "ValueType": kind, "Value": value}, extra=annotation)


def attributes(values: Mapping[str, Value]) -> tuple[Entity, ...]:
    """Several attributes."""
    return tuple(attribute(name, value) for name, value in values.items())


_KINDS: Mapping[type, str] = {
    str: "String",
    int: "Integer",
    float: "Double",
    bool: "Boolean",
    datetime: "DateTimeOffset",
}


def md5(data: bytes) -> str:
    """As stations tell it."""
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


def extras(media_type: str, digest: str, published: datetime) -> dict[str, Any]:
    """What a product shows beside its properties."""
    checksum = {"Algorithm": "MD5", "Value": digest, "ChecksumDate": text(published)}
    return {"@odata.mediaContentType": media_type, "Checksum": [checksum]}


def footprint(shape: Polygon | MultiPolygon | None) -> dict[str, Any]:
    """A footprint in both forms that stations write."""
    if shape is None:
        return {"Footprint": None, "GeoFootprint": None}
    return {"Footprint": f"geography'SRID=4326;{to_wkt(shape, trim=True)}'", "GeoFootprint": mapping(shape)}


def values(of: EntityType, given: Mapping[str, Primitive]) -> dict[str, Primitive]:
    """The values of a type's properties, in its order."""
    return {name: given[name] for name in of.properties if name in given}
