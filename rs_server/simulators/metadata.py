"""The service document and the ``$metadata`` (CSDL XML) of a station."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rs_server.simulators import orders, subscriptions
from rs_server.simulators.model import EntityType
from rs_server.simulators.odata import ATTRIBUTE_CASTS

NAMESPACE = "OData.CSC"

_ENUMERATIONS: Mapping[str, tuple[str, ...]] = {
    "JobStatus": orders.STATUSES,
    "SubscriptionStatus": subscriptions.STATUSES,
    "SubscriptionType": subscriptions.TYPES,
    "ProductionType": ("systematic_production", "on_demand_default", "on_demand_non_default"),
    "SubscriptionEvent": ("created", "modified", "deleted"),
}
_COMPLEX: Mapping[str, Mapping[str, str]] = {
    "TimeRange": {"Start": "Edm.DateTimeOffset", "End": "Edm.DateTimeOffset"},
    "Checksum": {"Algorithm": "Edm.String", "Value": "Edm.String", "ChecksumDate": "Edm.DateTimeOffset"},
}


def service_document(types: Mapping[str, EntityType]) -> dict[str, Any]:
    """Which entity sets there are."""
    sets = [{"name": name, "kind": "EntitySet", "url": name} for name in types]
    return {"@odata.context": "$metadata", "value": sets}


def csdl(types: Mapping[str, EntityType]) -> str:
    """The schema of the entity sets."""
    every = {found.name: found for top in types.values() for found in (top, *top.navigations.values())}
    bodies = [*map(_entity_type, every.values()), *_values(every), *_actions(types)]
    sets = [f'<EntitySet Name="{name}" EntityType="{NAMESPACE}.{found.name}"/>' for name, found in types.items()]
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<edmx:Edmx Version="4.0" xmlns:edmx="http://docs.oasis-open.org/odata/ns/edmx"><edmx:DataServices>
<Schema Namespace="{NAMESPACE}" xmlns="http://docs.oasis-open.org/odata/ns/edm">
{"\n".join(bodies)}
<EntityContainer Name="Container">
{"\n".join(sets)}
</EntityContainer>
</Schema>
</edmx:DataServices></edmx:Edmx>
"""


def _entity_type(found: EntityType) -> str:
    """One type; those without a key are complex types, and shown as collections of their owner."""
    tag = "EntityType" if found.key else "ComplexType"
    stream = ' HasStream="true"' if found.media else ""
    key = f'<Key><PropertyRef Name="{found.key}"/></Key>' if found.key else ""
    links = [_navigation(name, target) for name, target in found.navigations.items()]
    body = "".join((key, *_properties(found), *links))
    return f'<{tag} Name="{found.name}"{stream}>{body}</{tag}>'


def _properties(found: EntityType) -> Iterator[str]:
    """The properties of a type, in its order; those with a path are of a complex one."""
    seen: set[str] = set()
    for path, edm in found.properties.items():
        name = path.split("/")[0]
        if name in seen or name in found.hidden:
            continue
        seen.add(name)
        enumeration = found.enumerations.get(name)
        yield _property(name, "TimeRange" if "/" in path else enumeration or edm)
    for name in found.collections:
        yield _property(name, f"Collection({NAMESPACE}.{name})")
    if found.footprint:
        yield _property("Footprint", "Edm.Geography")
        yield _property("GeoFootprint", "Edm.Geography")


def _property(name: str, of: str) -> str:
    known = of.startswith(("Edm.", "Collection("))
    return f'<Property Name="{name}" Type="{of if known else f"{NAMESPACE}.{of}"}"/>'


def _navigation(name: str, target: EntityType) -> str:
    tag = "NavigationProperty" if target.key else "Property"
    return f'<{tag} Name="{name}" Type="Collection({NAMESPACE}.{target.name})"/>'


def _values(every: Mapping[str, EntityType]) -> Iterator[str]:
    """The types of values that the entity types use."""
    used = {name for found in every.values() for name in (*found.collections, *found.enumerations.values())}
    if any("/" in path for found in every.values() for path in found.properties):
        used.add("TimeRange")
    for name, properties in _COMPLEX.items():
        if name in used:
            inner = "".join(_property(one, of) for one, of in properties.items())
            yield f'<ComplexType Name="{name}">{inner}</ComplexType>'
    for name, members in _ENUMERATIONS.items():
        if name in used:
            inner = "".join(f'<Member Name="{member}" Value="{value}"/>' for value, member in enumerate(members))
            yield f'<EnumType Name="{name}">{inner}</EnumType>'
    if "Attribute" in every:
        for cast, edm in ATTRIBUTE_CASTS.items():
            base, value = f"{NAMESPACE}.Attribute", _property("Value", edm)
            yield f'<ComplexType Name="{cast.removeprefix(NAMESPACE + ".")}" BaseType="{base}">{value}</ComplexType>'


def _actions(types: Mapping[str, EntityType]) -> Iterator[str]:
    """What can be done with entities."""
    if "Products" in types:
        yield _action("FilterList", "FilterProducts", f"Collection({NAMESPACE}.Product)", many=True)
    if "Orders" in types:
        yield _action("Order", "Priority", "Edm.Int64")
        yield _action("Cancel", None, "", on="Order")


def _action(name: str, parameter: str | None, of: str, *, on: str = "Product", many: bool = False) -> str:
    bound = f"Collection({NAMESPACE}.{on})" if many else f"{NAMESPACE}.{on}"
    given = f'<Parameter Name="{parameter}" Type="{of}"/>' if parameter else ""
    answer = bound if many else f"{NAMESPACE}.Order"
    return (
        f'<Action Name="{name}" IsBound="true"><Parameter Name="bound" Type="{bound}"/>{given}'
        f'<ReturnType Type="{answer}"/></Action>'
    )
