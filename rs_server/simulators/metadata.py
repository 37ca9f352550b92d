"""The service document and the ``$metadata`` (CSDL XML) of a station."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rs_server.simulators.model import EntityType
from rs_server.simulators.odata import ATTRIBUTE_CASTS

NAMESPACE = "OData.CSC"


def service_document(types: Mapping[str, EntityType]) -> dict[str, Any]:
    """Which entity sets there are."""
    sets = [{"name": name, "kind": "EntitySet", "url": name} for name in types]
    return {"@odata.context": "$metadata", "value": sets}


def csdl(types: Mapping[str, EntityType]) -> str:
    """The schema of the entity sets."""
    every = {found.name: found for top in types.values() for found in (top, *top.navigations.values())}
    bodies = "\n".join(_entity_type(found) for found in every.values()) + _shared(every)
    sets = "\n".join(
        f'<EntitySet Name="{name}" EntityType="{NAMESPACE}.{found.name}"/>' for name, found in types.items()
    )
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<edmx:Edmx Version="4.0" xmlns:edmx="http://docs.oasis-open.org/odata/ns/edmx"><edmx:DataServices>
<Schema Namespace="{NAMESPACE}" xmlns="http://docs.oasis-open.org/odata/ns/edm">
{bodies}
<EntityContainer Name="Container">
{sets}
</EntityContainer>
</Schema>
</edmx:DataServices></edmx:Edmx>
"""


def _entity_type(found: EntityType) -> str:
    """One type; those without a key are complex types, and shown as collections of their owner."""
    tag = "EntityType" if found.key else "ComplexType"
    stream = ' HasStream="true"' if found.media else ""
    key = f'<Key><PropertyRef Name="{found.key}"/></Key>' if found.key else ""
    plain = [_property(name, edm) for name, edm in found.properties.items() if "/" not in name]
    complex_names = dict.fromkeys(path.split("/")[0] for path in found.properties if "/" in path)
    nested = [_property(name, f"{NAMESPACE}.TimeRange") for name in complex_names]
    lists = [_property(name, f"Collection({NAMESPACE}.{name})") for name in found.collections]
    links = [_navigation(name, target) for name, target in found.navigations.items()]
    body = "".join((key, *plain, *nested, *lists, *links))
    return f'<{tag} Name="{found.name}"{stream}>{body}</{tag}>'


def _property(name: str, edm: str) -> str:
    return f'<Property Name="{name}" Type="{edm}"/>'


def _navigation(name: str, target: EntityType) -> str:
    tag = "NavigationProperty" if target.key else "Property"
    return f'<{tag} Name="{name}" Type="Collection({NAMESPACE}.{target.name})"/>'


def _shared(every: Mapping[str, EntityType]) -> str:
    """The types that products use."""
    if "Attribute" not in every:
        return ""
    attributes = (
        f'<ComplexType Name="{cast.removeprefix(NAMESPACE + ".")}" BaseType="{NAMESPACE}.Attribute">'
        f"{_property('Value', edm)}</ComplexType>"
        for cast, edm in ATTRIBUTE_CASTS.items()
    )
    time_range = _property("Start", "Edm.DateTimeOffset") + _property("End", "Edm.DateTimeOffset")
    names = ("Algorithm", "Value", "ChecksumDate")
    checksum = "".join(_property(name, "Edm.String") for name in names)
    return (
        "".join(attributes)
        + f'<ComplexType Name="TimeRange">{time_range}</ComplexType>'
        + f'<ComplexType Name="Checksum">{checksum}</ComplexType>'
    )
