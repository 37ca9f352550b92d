"""An OData entity in, a STAC item out: pure functions of the entity and the description of its kind."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any
from urllib.parse import quote

import orjson

from rs_server.stations import geometry, instants
from rs_server.stations.model import Extension, Files, Property, StationKind, ValueType, as_is

STAC_VERSION = "1.1.0"
COMPLETE = "rs:complete"  # whether all files of a session are there; cadip: names are closed to us

AUTHENTICATION = "https://stac-extensions.github.io/authentication/v1.1.0/schema.json"
_REFS, _OIDC = "auth:refs", "oidc"
_OUTSIDE = frozenset({"id", "geometry"})  # members of the item itself
_ASSET = ("href", "title", "type", "roles", "externalIds")
_UNRESERVED = re.compile(r"[A-Za-z0-9._~-]+").fullmatch  # names of files rarely need quoting, which is slow

Entity = dict[str, Any]
Attributes = Mapping[str, Any]
Part = tuple[int, int]  # series and number of a file inside its item


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

    def __init__(self, kind: StationKind, issuer: str | None = None) -> None:
        self.kind = kind
        self._login = _login(issuer) if issuer else None
        self._scheme, self._type, self._role = kind.name, kind.assets.type, kind.assets.role
        self._own = _Reading(kind.properties)
        self._of_assets = _Reading(kind.assets.properties, (*_ASSET, *([_REFS] if issuer else [])))
        self._texts = _AssetTexts(kind, with_login=issuer is not None)
        self._always = [each.url for each in kind.extensions if not each.properties]
        self._always += [AUTHENTICATION] if issuer else []
        self._on_use = [each for each in kind.extensions if each.properties]

    def properties(self, entity: Entity) -> dict[str, Any]:
        """The item's id and properties; what is absent is left out, never null. ``Malformed`` names the entity."""
        try:
            return self._own.read(entity)
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
        parts = newest(rule, files) if rule else {}
        sources = list(parts.values()) if rule else [entity]
        downloads = f"{place.item_url(item_id)}/download"
        own = {name: value for name, value in properties.items() if name not in _OUTSIDE}
        footprint = properties.get("geometry")
        own["externalIds"] = [{"scheme": self.kind.name, "value": entity["Id"]}]
        if self._login:
            own["auth:schemes"] = self._login
        if rule:
            own[COMPLETE] = is_complete(rule, entity, parts)
        return {
            "type": "Feature",
            "stac_version": STAC_VERSION,
            "stac_extensions": self._extensions(own),
            "id": item_id,
            "collection": place.collection,
            "geometry": footprint,
            **({"bbox": geometry.box_of(footprint)} if footprint else {}),
            "properties": own,
            "links": _links(place, item_id),
            "assets": {source["Name"]: self._asset(downloads, source) for source in sources},
        }

    def _asset(self, downloads: str, source: Entity) -> orjson.Fragment:
        """An asset as JSON text: pages have thousands of them, and nobody looks into one before it is sent."""
        text = self._texts.of(downloads, source)
        if text is None:
            name = source["Name"]
            ids = [{"scheme": self._scheme, "value": source["Id"]}]
            given = [f"{downloads}/{_segment(name)}", name, self._type, [self._role], ids]
            given += [[_OIDC]] if self._login else []
            return orjson.Fragment(orjson.dumps(self._of_assets.read(source, *given)))
        return orjson.Fragment(text)

    def _extensions(self, properties: Mapping[str, Any]) -> list[str]:
        return [*self._always, *(each.url for each in self._on_use if _uses(each, properties))]


def _login(issuer: str) -> dict[str, Any]:
    """How to get at the files: with a login of ours (STAC authentication extension)."""
    url = f"{issuer.rstrip('/')}/.well-known/openid-configuration"
    return {_OIDC: {"type": "openIdConnect", "openIdConnectUrl": url}}


def newest(rule: Files, files: Iterable[Entity]) -> dict[Part, Entity]:
    """The files in order, each part once: of a part sent again, the one published last."""
    found: dict[Part, Entity] = {}
    for file in files:
        part = int(file[rule.series]), int(file[rule.number])
        if part not in found or _published(file) > _published(found[part]):
            found[part] = file
    return dict(sorted(found.items(), key=_first))


def is_complete(rule: Files, entity: Entity, parts: Mapping[Part, Entity]) -> bool:
    """Whether each channel is there, begins with 1, has no gap and ends with a file marked as its last.

    The parts come in order.
    """
    ends: dict[int, int] = {}  # last number of each series; once it is marked as final nothing may follow
    for (series, number), file in parts.items():
        if number != ends.get(series, 0) + 1:
            return False
        ends[series] = number
        if file.get(rule.last) is True and (series, number + 1) in parts:
            return False
    final = all(parts[end].get(rule.last) is True for end in ends.items())
    return final and len(ends) == int(entity.get(rule.count) or 0)


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
    """A text as one step of an address."""
    return text if _UNRESERVED(text) else quote(text, safe="")


def _first(pair: tuple[Part, Entity]) -> Part:
    return pair[0]


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


class _AssetTexts:
    """The JSON text of assets whose values are all there and all plain, which nearly all are: a template filled."""

    def __init__(self, kind: StationKind, *, with_login: bool) -> None:
        of, properties = kind.assets, kind.assets.properties
        given: dict[str, Any] = {
            "href": "%s/%s",
            "title": "%s",
            "type": of.type,
            "roles": [of.role],
            "externalIds": [{"scheme": kind.name, "value": "%s"}],
            **({_REFS: [_OIDC]} if with_login else {}),
        }
        head = orjson.dumps(given).decode().removesuffix("}")
        tail = [f",{orjson.dumps(each.stac).decode()}:{_TEMPLATE.get(each.type, '"%s"')}" for each in properties]
        self._template = "".join([head, *tail, "}"])
        self._usable = all(_is_plain(each) for each in properties) and not {each.stac for each in properties} & {*given}
        self._pick = itemgetter("Name", "Name", "Id", *(each.sources[0] for each in properties))
        self._types = (str, str, str, *(_JSON_TYPE[each.type] for each in properties))
        self._moments = self._places(properties, ValueType.INSTANT)
        self._booleans = self._places(properties, ValueType.BOOLEAN)
        self._texts = (1, 2, *self._places(properties, ValueType.TEXT), *self._places(properties, ValueType.GUID))

    def of(self, downloads: str, source: Entity) -> str | None:
        """The asset, or None if it must be put together value by value."""
        try:
            values: list[Any] = [*self._pick(source)] if self._usable else []
        except KeyError:
            return None
        if tuple(map(type, values)) != self._types or not _UNRESERVED("".join([values[at] for at in self._texts])):
            return None
        for at in self._moments:
            values[at] = instants.utc(values[at])
        for at in self._booleans:
            values[at] = "true" if values[at] else "false"
        return self._template % (downloads, *values)

    @staticmethod
    def _places(properties: Sequence[Property], type_: ValueType) -> tuple[int, ...]:
        return tuple(at for at, each in enumerate(properties, start=3) if each.type is type_)


class _Reading:
    """How to read properties out of an entity, after some ``given`` ones."""

    def __init__(self, properties: Iterable[Property], given: Sequence[str] = ()) -> None:
        self._given = tuple(given)
        self._readers = [(each.stac, _reader(each)) for each in properties]
        self._required = {each.stac: each for each in properties if each.required}

    def read(self, entity: Entity, *given: Any) -> dict[str, Any]:
        """The given values and what the entity has."""
        found = dict(zip(self._given, given, strict=True))
        attributes = attributes_of(entity) if "Attributes" in entity else {}
        for name, read in self._readers:
            value = read(entity, attributes)
            if value is not None:
                found[name] = value
        if not self._required.keys() <= found.keys():
            raise Malformed(self._missing(found))
        return found

    def _missing(self, found: Mapping[str, Any]) -> str:
        of = next(each for name, each in self._required.items() if name not in found)
        return f"{' and '.join((*of.sources, *filter(None, [of.otherwise])))} is missing"


def _is_plain(of: Property) -> bool:
    (source, *others) = of.sources
    return not (others or of.otherwise or of.decode is not as_is or source.startswith("@") or "/" in source)


def _reader(of: Property) -> Callable[[Entity, Attributes], Any]:
    """How to get one property out of an entity."""
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

    return first_present if of.otherwise else several if rest else one


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


_JSON_TYPE: Mapping[ValueType, type] = {
    ValueType.TEXT: str,
    ValueType.GUID: str,
    ValueType.INTEGER: int,
    ValueType.DOUBLE: float,
    ValueType.BOOLEAN: bool,
    ValueType.INSTANT: str,
    ValueType.LIST: list,
    ValueType.GEOMETRY: dict,
    ValueType.OBJECT: dict,
}
_TEMPLATE = {ValueType.INTEGER: "%d", ValueType.DOUBLE: "%r", ValueType.BOOLEAN: "%s"}  # all others are quoted
_COERCE: Mapping[ValueType, Callable[[Any], Any]] = {
    ValueType.TEXT: str,
    ValueType.GUID: str,
    ValueType.INTEGER: int,
    ValueType.DOUBLE: float,
    ValueType.BOOLEAN: _boolean,
    ValueType.INSTANT: instants.utc,
    ValueType.LIST: list,
    ValueType.GEOMETRY: geometry.footprint,
    ValueType.OBJECT: dict,
}
