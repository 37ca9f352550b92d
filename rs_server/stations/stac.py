"""The STAC documents around the items: landing page, collections, queryables, pages. Pure functions."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from urllib.parse import quote

import orjson

from rs_server.stations.items import STAC_VERSION, Place
from rs_server.stations.model import Property, StationKind, ValueType
from rs_server.stations.search import Fields
from rs_server.stations.station import Collection

JSON = "application/json"
GEOJSON = "application/geo+json"
SCHEMA = "application/schema+json"
OPENAPI = "application/vnd.oai.openapi+json;version=3.1"

CONFORMANCE = (
    "https://api.stacspec.org/v1.0.0/core",
    "https://api.stacspec.org/v1.0.0/collections",
    "https://api.stacspec.org/v1.0.0/ogcapi-features",
    "https://api.stacspec.org/v1.0.0/ogcapi-features#sort",
    "https://api.stacspec.org/v1.0.0/ogcapi-features#fields",
    "https://api.stacspec.org/v1.0.0/item-search",
    "https://api.stacspec.org/v1.0.0/item-search#filter",
    "https://api.stacspec.org/v1.0.0/item-search#sort",
    "https://api.stacspec.org/v1.0.0/item-search#fields",
    "https://api.stacspec.org/v1.0.0/item-search#query",
    "http://www.opengis.net/spec/ogcapi-features-1/1.0/conf/core",
    "http://www.opengis.net/spec/ogcapi-features-1/1.0/conf/oas30",
    "http://www.opengis.net/spec/ogcapi-features-1/1.0/conf/geojson",
    "http://www.opengis.net/spec/ogcapi-features-3/1.0/conf/filter",
    "http://www.opengis.net/spec/ogcapi-features-3/1.0/conf/features-filter",
    "http://www.opengis.net/spec/cql2/1.0/conf/cql2-text",
    "http://www.opengis.net/spec/cql2/1.0/conf/cql2-json",
    "http://www.opengis.net/spec/cql2/1.0/conf/basic-cql2",
    "http://www.opengis.net/spec/cql2/1.0/conf/advanced-comparison-operators",
    "http://www.opengis.net/spec/cql2/1.0/conf/case-insensitive-comparison",
    "http://www.opengis.net/spec/cql2/1.0/conf/accent-insensitive-comparison",
    "http://www.opengis.net/spec/cql2/1.0/conf/temporal-functions",
    "http://www.opengis.net/spec/cql2/1.0/conf/arithmetic",
    "http://www.opengis.net/spec/cql2/1.0/conf/property-property",
    "http://www.opengis.net/spec/cql2/1.0/conf/basic-spatial-functions",
    "http://www.opengis.net/spec/cql2/1.0/conf/basic-spatial-functions-plus",
    "http://www.opengis.net/spec/cql2/1.0/conf/spatial-functions",
    "http://www.opengis.net/spec/cql2/1.0/conf/array-functions",
)

QUERYABLES = "http://www.opengis.net/def/rel/ogc/1.0/queryables"
_LICENCE = "https://sentinels.copernicus.eu/documents/247904/690755/Sentinel_Data_Legal_Notice"
_JSON_TYPES: Mapping[ValueType, dict[str, str]] = {
    ValueType.TEXT: {"type": "string"},
    ValueType.GUID: {"type": "string", "format": "uuid"},
    ValueType.INTEGER: {"type": "integer"},
    ValueType.DOUBLE: {"type": "number"},
    ValueType.BOOLEAN: {"type": "boolean"},
    ValueType.INSTANT: {"type": "string", "format": "date-time"},
    ValueType.LIST: {"type": "array"},
    ValueType.GEOMETRY: {"$ref": "https://geojson.org/schema/Geometry.json"},
    ValueType.OBJECT: {"type": "object"},
}
_MEMBERS = frozenset(
    {
        *("type", "stac_version", "stac_extensions", "id", "collection"),
        *("geometry", "bbox", "links", "assets", "properties"),
    }
)

Document = dict[str, Any]


def link(rel: str, href: str, type_: str = JSON, title: str = "", **more: Any) -> Document:
    """A link; title and further members are left out when empty."""
    titled = {"title": title} if title else {}
    return {"rel": rel, "href": href, "type": type_, **titled, **more}


def landing(kind: StationKind, url: str, docs_url: str, collections: Sequence[Collection]) -> Document:
    """The landing page of a service, with the collections that the caller may read."""
    search, json_ = f"{url}/search", JSON
    return {
        "type": "Catalog",
        "stac_version": STAC_VERSION,
        "id": kind.name,
        "title": kind.title,
        "description": kind.description,
        "conformsTo": list(CONFORMANCE),
        "links": [
            link("self", f"{url}/", json_, "This page"),
            link("root", f"{url}/", json_, "Landing page"),
            link("data", f"{url}/collections", json_, "Collections"),
            link("conformance", f"{url}/conformance", json_, "Conformance classes"),
            link("search", search, GEOJSON, "Search", method="GET"),
            link("search", search, GEOJSON, "Search", method="POST"),
            link(QUERYABLES, f"{url}/queryables", SCHEMA, "Queryables"),
            link("service-desc", f"{url}/api", OPENAPI, "OpenAPI description"),
            link("service-doc", docs_url, "text/html", "Documentation"),
            *(link("child", Place(url, each.id).collection_url, json_, each.title) for each in collections),
        ],
    }


def collection(kind: StationKind, url: str, of: Collection) -> Document:
    """The description of one collection."""
    own = Place(url, of.id).collection_url
    return {
        "type": "Collection",
        "stac_version": STAC_VERSION,
        "stac_extensions": [],
        "id": of.id,
        "title": of.title,
        "description": of.description or kind.description,
        "license": "other",
        "providers": [{"name": f"Station {of.station}", "roles": ["host"]}],
        "extent": {"spatial": {"bbox": [[-180, -90, 180, 90]]}, "temporal": {"interval": [[None, None]]}},
        "summaries": {name: list(values) for name, values in of.constraints.items()},
        "links": [
            link("self", own, JSON, of.title),
            link("parent", f"{url}/", JSON, "Landing page"),
            link("root", f"{url}/", JSON, "Landing page"),
            link("items", f"{own}/items", GEOJSON, "Items"),
            link(QUERYABLES, f"{own}/queryables", SCHEMA, "Queryables"),
            link("license", _LICENCE, "application/pdf", "Legal notice on the use of Copernicus Sentinel data"),
        ],
    }


def collections(kind: StationKind, url: str, found: Sequence[Collection]) -> Document:
    """The list of collections."""
    links = [link("self", f"{url}/collections", JSON, "Collections"), link("root", f"{url}/", JSON, "Landing page")]
    documents = [collection(kind, url, each) for each in found]
    return {"collections": documents, "links": links, "numberReturned": len(found), "numberMatched": len(found)}


def queryables(kind: StationKind, url: str, of: Collection | None = None) -> Document:
    """What can be filtered by (JSON schema), less what has but one value in this collection."""
    own = Place(url, of.id).collection_url if of else url
    constraints = of.constraints if of else {}
    free = [each for each in kind.properties if each.queryable and len(constraints.get(each.stac, ())) != 1]
    return schema_of(free, own, of.title if of else kind.title, constraints)


def schema_of(
    properties: Iterable[Property], url: str, title: str, allowed: Mapping[str, Sequence[str]] | None = None
) -> Document:
    """A JSON schema of properties; ``allowed`` says which values some of them have."""
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"{url}/queryables",
        "type": "object",
        "title": f"Queryables of {title}",
        "properties": {each.stac: _queryable(each, (allowed or {}).get(each.stac)) for each in properties},
        "additionalProperties": False,
    }


def page(items: Sequence[Document], links: Sequence[Document], matched: int | None = None) -> Document:
    """A page of items; ``matched`` is how many there are in all, where that is known."""
    known = {} if matched is None else {"numberMatched": matched}
    return {"type": "FeatureCollection", "features": items, "links": links, "numberReturned": len(items), **known}


def narrowed(item: Document, fields: Fields) -> Document:
    """The item with the members that are wanted, and no others: who wants an id or a type names it.

    A member that is named itself is kept, though it or the group that it is in is not wanted.
    """
    if not fields.include and not fields.exclude:
        return item
    if any(path.startswith("assets.") for path in (*fields.include, *fields.exclude)):
        item = {**item, "assets": orjson.loads(orjson.dumps(item["assets"]))}  # they are text already
    found = _included(item, fields.include) if fields.include else {**item, "properties": {**item["properties"]}}
    for path in fields.exclude:
        group, name = _split(path)
        if path in fields.include:
            continue
        if name and isinstance(found.get(group), dict):
            found[group] = {key: value for key, value in found[group].items() if key != name}
        elif not name and not any(_split(each)[0] == group and _split(each)[1] for each in fields.include):
            found.pop(group, None)
    return found


def _included(item: Document, paths: Sequence[str]) -> Document:
    found: Document = {}
    for path in paths:
        group, name = _split(path)
        if not name and group in item:
            found[group] = item[group]
        elif name in item.get(group, {}):
            found.setdefault(group, {})[name] = item[group][name]
    return found


def _split(path: str) -> tuple[str, str]:
    """``properties.platform`` and plain ``platform`` mean the same member."""
    group, dot, name = path.partition(".")
    if dot and group in ("properties", "assets"):
        return group, name
    return (path, "") if path in _MEMBERS else ("properties", path)


def _queryable(of: Property, allowed: Sequence[str] | None) -> Document:
    values = list(allowed or of.enum)
    found: Document = {"title": of.stac, **_JSON_TYPES[of.type]}
    if not values:
        return found
    return {
        **found,
        **({"items": {"type": "string", "enum": values}} if of.type is ValueType.LIST else {"enum": values}),
    }


def with_query(url: str, parameters: Sequence[tuple[str, str]]) -> str:
    """An address with a query string."""
    return f"{url}?{'&'.join(f'{quote(name)}={quote(value)}' for name, value in parameters)}" if parameters else url
