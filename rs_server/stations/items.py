"""An OData entity in, a STAC item out: pure functions of the entity and the description of its kind."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from rs_server.stations import instants
from rs_server.stations.model import Extension, Files, Property, StationKind, ValueType, as_is

STAC_VERSION = "1.1.0"
COMPLETE = "rs:complete"  # whether all files of a session are there; cadip: names are closed to us

_UNRESERVED = re.compile(r"[A-Za-z0-9._~-]+")

Entity = dict[str, Any]
Attributes = Mapping[str, Any]
Reader = tuple[str, Callable[[Entity, Attributes], Any]]


class Malformed(ValueError):
    """An entity that is not what its interface document says."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where an item lives on our side: the address of the service, and the collection."""

    service_url: str
    collection: str

    @property
    def collection_url(self) -> str:
        """Address of the collection."""
        return f"{self.service_url}/collections/{_segment(self.collection)}"

    def item_url(self, item_id: str) -> str:
        """Address of an item."""
        return f"{self.collection_url}/items/{_segment(item_id)}"


class Mapper:
    """The readers of one kind, made once."""

    def __init__(self, kind: StationKind) -> None:
        self.kind = kind
        self._readers = _readers(kind.properties)
        self._asset_readers = _readers(kind.assets.properties)
        self._always = [each.url for each in kind.extensions if not each.properties]
        self._on_use = [each for each in kind.extensions if each.properties]

    def properties(self, entity: Entity) -> dict[str, Any]:
        """The item's id and properties; what is absent is left out, never null. ``Malformed`` names the entity."""
        try:
            return _read(self._readers, entity)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise Malformed(f"{self.kind.entity_set}({entity.get('Id')}): {error!r}") from error

    def item(self, place: Place, entity: Entity, properties: dict[str, Any], files: Iterable[Entity]) -> dict[str, Any]:
        """The STAC item of an entity whose properties have been read, with its files as assets."""
        try:
            return self._item(place, entity, properties, files)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise Malformed(f"a file of {properties['id']}: {error!r}") from error

    def _item(
        self, place: Place, entity: Entity, properties: dict[str, Any], files: Iterable[Entity]
    ) -> dict[str, Any]:
        item_id, rule = properties["id"], self.kind.assets.files
        sources = newest(rule, files) if rule else [entity]
        downloads = f"{place.item_url(item_id)}/download"
        own = {name: value for name, value in properties.items() if name != "id"}
        own["externalIds"] = [{"scheme": self.kind.name, "value": entity["Id"]}]
        if rule:
            own[COMPLETE] = is_complete(rule, entity, sources)
        return {
            "type": "Feature",
            "stac_version": STAC_VERSION,
            "stac_extensions": self._extensions(own),
            "id": item_id,
            "collection": place.collection,
            "geometry": None,
            "properties": own,
            "links": _links(place, item_id),
            "assets": {source["Name"]: self._asset(downloads, source) for source in sources},
        }

    def _asset(self, downloads: str, source: Entity) -> dict[str, Any]:
        name = source["Name"]
        return {
            "href": f"{downloads}/{_segment(name)}",
            "title": name,
            "type": self.kind.assets.type,
            "roles": [self.kind.assets.role],
            "externalIds": [{"scheme": self.kind.name, "value": source["Id"]}],
            **_read(self._asset_readers, source),
        }

    def _extensions(self, properties: Mapping[str, Any]) -> list[str]:
        return [*self._always, *(each.url for each in self._on_use if _uses(each, properties))]


def newest(rule: Files, files: Iterable[Entity]) -> list[Entity]:
    """The files in order, each part once: of a part sent again, the one published last."""
    found: dict[tuple[int, ...], Entity] = {}
    for file in files:
        part = tuple(int(file[name]) for name in rule.parts)
        if part not in found or _published(file) > _published(found[part]):
            found[part] = file
    return [found[part] for part in sorted(found)]


def is_complete(rule: Files, entity: Entity, files: Iterable[Entity]) -> bool:
    """Whether each channel is there, begins with 1, has no gap and ends with a file marked as its last."""
    blocks: dict[int, set[int]] = {}
    final: dict[int, int] = {}
    for file in files:
        series, number = (int(file[name]) for name in rule.parts)
        blocks.setdefault(series, set()).add(number)
        if file.get(rule.last) is True:
            final[series] = number
    whole = all(series in final and numbers == set(range(1, final[series] + 1)) for series, numbers in blocks.items())
    return whole and len(blocks) == int(entity.get(rule.count) or 0)


def attributes_of(entity: Entity) -> Attributes:
    """The values of an expanded ``Attributes`` list by name."""
    return {each["Name"]: each.get("Value") for each in entity.get("Attributes") or ()}


def value_at(entity: Entity, path: str) -> Any:
    """What stands at a path such as ``ContentDate/Start``, or None."""
    found: Any = entity
    for step in path.split("/"):
        found = found.get(step) if isinstance(found, dict) else None
    return found


def _segment(text: str) -> str:
    """A text as one step of an address; names of files rarely need quoting, which is slow."""
    return text if _UNRESERVED.fullmatch(text) else quote(text, safe="")


def _published(file: Entity) -> int:
    return instants.micros(file["PublicationDate"])


def _uses(extension: Extension, properties: Mapping[str, Any]) -> bool:
    return not extension.properties.isdisjoint(properties)


def _links(place: Place, item_id: str) -> list[dict[str, str]]:
    collection, json = place.collection_url, "application/json"
    return [
        {"rel": "self", "type": "application/geo+json", "href": place.item_url(item_id), "title": item_id},
        {"rel": "parent", "type": json, "href": collection, "title": place.collection},
        {"rel": "collection", "type": json, "href": collection, "title": place.collection},
        {"rel": "root", "type": json, "href": f"{place.service_url}/", "title": "Landing page"},
    ]


def _read(readers: list[Reader], entity: Entity) -> dict[str, Any]:
    attributes = attributes_of(entity) if "Attributes" in entity else {}
    found = {}
    for name, read in readers:
        value = read(entity, attributes)
        if value is not None:
            found[name] = value
    return found


def _readers(properties: Iterable[Property]) -> list[Reader]:
    return [(each.stac, _reader(each)) for each in properties]


def _reader(of: Property) -> Callable[[Entity, Attributes], Any]:
    """How to get one property out of an entity, as cheaply as its description allows."""
    decode = _COERCE[of.type] if of.decode is as_is else of.decode
    getters = [_getter(source) for source in of.sources]
    if of.otherwise:
        getters.append(_getter(of.otherwise))
    first, rest = getters[0], getters[1:]

    def one(entity: Entity, attributes: Attributes) -> Any:
        value = first(entity, attributes)
        return None if value is None else decode(value)

    def first_present(entity: Entity, attributes: Attributes) -> Any:
        value = next((v for v in (get(entity, attributes) for get in getters) if v is not None), None)
        return None if value is None else decode(value)

    def several(entity: Entity, attributes: Attributes) -> Any:
        values = [get(entity, attributes) for get in getters]
        return None if None in values else decode(*values)

    read = first_present if of.otherwise else several if rest else one
    return _required(of, read) if of.required else read


def _required(of: Property, read: Callable[[Entity, Attributes], Any]) -> Callable[[Entity, Attributes], Any]:
    def checked(entity: Entity, attributes: Attributes) -> Any:
        value = read(entity, attributes)
        if value is None:
            raise Malformed(f"{' and '.join((*of.sources, *filter(None, [of.otherwise])))} is missing")
        return value

    return checked


def _getter(source: str) -> Callable[[Entity, Attributes], Any]:
    if source.startswith("@"):
        name = source.removeprefix("@")
        return lambda _, attributes: attributes.get(name)
    if "/" in source:
        return lambda entity, _: value_at(entity, source)
    return lambda entity, _: entity.get(source)


def _boolean(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"{value!r} is neither true nor false")
    return value


_COERCE: Mapping[ValueType, Callable[[Any], Any]] = {
    ValueType.TEXT: str,
    ValueType.GUID: str,
    ValueType.INTEGER: int,
    ValueType.DOUBLE: float,
    ValueType.BOOLEAN: _boolean,
    ValueType.INSTANT: instants.utc,
}
