"""An OData entity in, a STAC item out: pure functions of the entity and the description of its kind."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, repeat
from operator import itemgetter
from typing import Any
from urllib.parse import quote

import orjson

from rs_server.stations import geometry, instants, totals
from rs_server.stations.model import Extension, Files, Property, StationKind, ValueType, as_is

STAC_VERSION = "1.1.0"
COMPLETE = "rs:complete"  # whether all files of a session are there; cadip: names are closed to us
STATE = "rs:state"  # complete, growing, or incomplete: not complete, and nothing came for a while
MISSING = "rs:missing"  # of an incomplete session: what is not there, as far as that can be known
IDLE_S = 1_800.0  # after so many seconds without a new file a session does not grow any more

AUTHENTICATION = "https://stac-extensions.github.io/authentication/v1.1.0/schema.json"
_REFS, _OIDC = "auth:refs", "oidc"
_OUTSIDE = frozenset({"id", "geometry"})  # members of the item itself
_ASSET = ("href", "title", "type", "roles", "externalIds")
_UNRESERVED = re.compile(r"[A-Za-z0-9._~-]+").fullmatch  # names of files rarely need quoting, which is slow
_PLAIN = re.compile(r'[^"\\\x00-\x1f\ud800-\udfff]*').fullmatch  # may stand between quotes in JSON as it is

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

    def __init__(
        self,
        kind: StationKind,
        issuer: str | None = None,
        *,
        idle_s: float = IDLE_S,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.kind = kind
        self._idle_us = int(idle_s * 1e6)
        self._clock = clock
        self._login = _login(issuer) if issuer else None
        self._scheme, self._type, self._role = kind.name, kind.assets.type, kind.assets.role
        self._own = _Reading(kind.properties)
        of_assets = (*kind.assets.properties, *kind.assets.instead)
        self._of_assets = _Reading(of_assets, (*_ASSET, *([_REFS] if issuer else [])))
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
            own.update(self._progress(rule, entity, parts))
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
            "assets": self._assets(downloads, sources),
        }

    def _progress(self, rule: Files, entity: Entity, parts: Mapping[Part, Entity]) -> dict[str, Any]:
        """Whether a session is complete; if it is not, whether it grows, and what is missing if it does not."""
        if is_complete(rule, entity, parts):
            differing = totals.against(self.kind, self._sizes(parts), entity.get(self.kind.quality) or ()).differing
            return incomplete(differing) if differing else {COMPLETE: True, STATE: "complete"}
        last_us = max(map(_published, (entity, *parts.values())))
        if self._clock() * 1e6 - last_us < self._idle_us:
            return {COMPLETE: False, STATE: "growing"}
        return incomplete(missing(rule, entity, parts))

    def _sizes(self, parts: Mapping[Part, Entity]) -> dict[int, list[int]]:
        """How many bytes the files of each series have."""
        size = next(each.sources[0] for each in self.kind.assets.properties if each.stac == "file:size")
        found: dict[int, list[int]] = {}
        for (series, _), file in parts.items():
            found.setdefault(series, []).append(int(file.get(size) or 0))
        return found

    def _assets(self, downloads: str, sources: Sequence[Entity]) -> orjson.Fragment | dict[str, Any]:
        """The assets as JSON text: pages have thousands of them, and nobody looks into one before it is sent."""
        text = self._texts.of(downloads, sources)
        if text is not None:
            return orjson.Fragment(text)
        return {source["Name"]: self._asset(downloads, source) for source in sources}

    def _asset(self, downloads: str, source: Entity) -> dict[str, Any]:
        name = source["Name"]
        ids = [{"scheme": self._scheme, "value": source["Id"]}]
        given = [f"{downloads}/{_segment(name)}", name, self._type, [self._role], ids]
        given += [[_OIDC]] if self._login else []
        return self._of_assets.read(source, *given)

    def _extensions(self, properties: Mapping[str, Any]) -> list[str]:
        return [*self._always, *(each.url for each in self._on_use if _uses(each, properties))]


def _login(issuer: str) -> dict[str, Any]:
    """How to get at the files: with a login of ours (STAC authentication extension)."""
    url = f"{issuer.rstrip('/')}/.well-known/openid-configuration"
    return {_OIDC: {"type": "openIdConnect", "openIdConnectUrl": url}}


def newest(rule: Files, files: Iterable[Entity]) -> dict[Part, Entity]:
    """The files in order, each part once: of a part sent again, the one published last."""
    given = [((int(file[rule.series]), int(file[rule.number])), file) for file in files]
    found = dict(given)
    if len(found) < len(given):
        found = {}
        for part, file in given:
            if part not in found or _published(file) > _published(found[part]):
                found[part] = file
    return dict(sorted(found.items(), key=_first))


def is_complete(rule: Files, entity: Entity, parts: Mapping[Part, Entity]) -> bool:
    """Whether each channel is there, begins with 1, has no gap and ends with the one file marked as its last.

    The parts come in order.
    """
    ends = dict(iter(parts))  # last number of each series
    if len(ends) != int(entity.get(rule.count) or 0) or len(parts) != sum(ends.values()):
        return False
    if any(number < 1 for _, number in parts):
        return False
    return [part for part, file in parts.items() if file.get(rule.last) is True] == list(ends.items())


def missing(rule: Files, entity: Entity, parts: Mapping[Part, Entity]) -> list[str]:
    """What an item lacks, in words: ``channel 1: 3-4``, ``channel 2: the end, after 19``."""
    word, series = rule.series.lower(), {number for number, _ in parts}
    found: list[str] = []
    for each in sorted(series):
        numbers = {number for of, number in parts if of == each}
        gaps = sorted(set(range(1, max(numbers))) - numbers)
        found += [
            f"{word} {each}: {first}-{last}" if last > first else f"{word} {each}: {first}"
            for first, last in _runs(gaps)
        ]
        if parts[each, max(numbers)].get(rule.last) is not True:
            found.append(f"{word} {each}: the end, after {max(numbers)}")
    lacking = int(entity.get(rule.count) or 0) - len(series)
    return [*found, *([f"{lacking} {word}{'s' if lacking > 1 else ''}"] if lacking > 0 else [])]


def incomplete(why: Sequence[str]) -> dict[str, Any]:
    """What is said of an item that lacks something, though nothing comes any more."""
    return {COMPLETE: False, STATE: "incomplete", MISSING: list(why)}


def _runs(numbers: Sequence[int]) -> list[tuple[int, int]]:
    """Numbers in order as first and last of each run: 3 4 9 → 3-4, 9-9."""
    runs = groupby(enumerate(numbers), key=lambda pair: pair[1] - pair[0])
    return [(run[0][1], run[-1][1]) for run in (list(pairs) for _, pairs in runs)]


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
    """The JSON text of assets whose values are all there and all plain, which nearly all are: a template filled.

    Values are checked and decoded column by column, all files of an item at once.
    """

    def __init__(self, kind: StationKind, *, with_login: bool) -> None:
        of, properties = kind.assets, kind.assets.properties
        own = {each.stac for each in properties}
        given: dict[str, Any] = {
            "href": "%s/%s",
            "title": "%s",
            "type": of.type,
            "roles": [of.role],
            "externalIds": [{"scheme": kind.name, "value": "%s"}],
            **({_REFS: [_OIDC]} if with_login else {}),
        }
        shown = {name: value for name, value in given.items() if name not in own}
        head = orjson.dumps(shown).decode().removesuffix("}")
        tail = [f",{orjson.dumps(each.stac).decode()}:{_TEMPLATE.get(each.type, '"%s"')}" for each in properties]
        self._fill = "".join(['"%s":', head, *tail, "}"]).__mod__
        self._usable = all(map(_is_plain, properties))
        self._pick = itemgetter("Name", "Id", *(each.sources[0] for each in properties))
        self._columns = [
            _COLUMNS.get(each.type, _texts) if each.decode is as_is else _decoded(each) for each in properties
        ]

    def of(self, downloads: str, sources: Sequence[Entity]) -> str | None:
        """The object of all assets, or None if one must be put together value by value."""
        if not (self._usable and sources):
            return None
        try:
            names, keys, *columns = zip(*map(self._pick, sources), strict=True)
            if not _UNRESERVED("".join([*names, *keys])):
                return None
            shown = [column(values) for column, values in zip(self._columns, columns, strict=True)]
        except (KeyError, TypeError, ValueError, AttributeError):
            return None  # the other way tells what is wrong, and where
        rows = zip(names, repeat(downloads), names, names, keys, *shown)
        return f"{{{','.join(map(self._fill, rows))}}}"


def _texts(values: Sequence[Any]) -> Sequence[Any]:
    """Texts that may stand between quotes as they are; ``TypeError`` or ``ValueError`` for others."""
    if not _PLAIN("".join(values)):
        raise ValueError("a text must be escaped")
    return values


def _moments(values: Sequence[Any]) -> Sequence[Any]:
    return values if instants.are_utc(values) else [instants.utc(value) for value in values]


def _numbers(values: Sequence[Any]) -> Sequence[Any]:
    if set(map(type, values)) != {int}:
        raise TypeError("not all are whole numbers")
    return values


def _booleans(values: Sequence[Any]) -> Sequence[Any]:
    return ["true" if _boolean(value) else "false" for value in values]


def _decoded(of: Property) -> Callable[[Sequence[Any]], Sequence[Any]]:
    """A text that is written in another way; join takes no None."""
    return lambda values: _texts([of.decode(value) for value in values])


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
    known = of.type is ValueType.TEXT or (of.decode is as_is and of.type in (ValueType.GUID, *_COLUMNS))
    return known and not (others or of.otherwise or source.startswith("@") or "/" in source)


def _reader(of: Property) -> Callable[[Entity, Attributes], Any]:
    """How to get one property out of an entity."""
    decode = _COERCE[of.type] if of.decode is as_is else of.decode
    getters = [_getter(source) for source in of.sources]
    if of.otherwise:
        getters.append(_getter(of.otherwise))
    first, rest = getters[0], getters[1:]
    (source, *_), own = of.sources, not of.sources[0].startswith("@")
    bare = source.removeprefix("@")

    def one(entity: Entity, attributes: Attributes) -> Any:
        value = first(entity, attributes)
        return None if value is None else decode(value)

    def plain(entity: Entity, attributes: Attributes) -> Any:  # most are: a step less for each of them
        value = (entity if own else attributes).get(bare)
        return None if value is None else decode(value)

    def first_present(entity: Entity, attributes: Attributes) -> Any:
        value = next((v for v in (get(entity, attributes) for get in getters) if v is not None), None)
        return None if value is None else decode(value)

    def several(entity: Entity, attributes: Attributes) -> Any:
        values = [get(entity, attributes) for get in getters]
        return None if None in values else decode(*values)

    return first_present if of.otherwise else several if rest else one if own and "/" in source else plain


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


_TEMPLATE = {ValueType.INTEGER: "%d", ValueType.BOOLEAN: "%s"}  # all others are quoted
_COLUMNS: Mapping[ValueType, Callable[[Sequence[Any]], Sequence[Any]]] = {
    ValueType.TEXT: _texts,
    ValueType.INTEGER: _numbers,
    ValueType.BOOLEAN: _booleans,
    ValueType.INSTANT: _moments,
}
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
