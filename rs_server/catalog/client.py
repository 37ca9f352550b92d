"""The catalog's reads: stac-fastapi-pgstac, asked only for what the caller may see.

Requests arrive parsed. Each is narrowed before it becomes SQL, so answers, counts, pages and links hold nothing
else and are never opened again.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import unquote_plus

import attr
import orjson
from fastapi import Request
from fastapi.responses import Response
from pydantic import ValidationError
from stac_fastapi.extensions.fields.request import PostFieldsExtension
from stac_fastapi.pgstac.core import CoreCrudClient
from stac_fastapi.pgstac.extensions.filter import FiltersClient
from stac_fastapi.pgstac.types.search import PgstacSearch
from stac_fastapi.types.errors import NotFoundError
from stac_fastapi.types.requests import get_base_url

from rs_server.access import policy
from rs_server.access.guards import require_visible
from rs_server.access.policy import Principal, Right, Service
from rs_server.catalog import assets, fields, filters, pages
from rs_server.catalog.links import GEOJSON, Asked, collection_href, item_links, page_links, titled
from rs_server.catalog.names import CollectionName, resolve
from rs_server.catalog.pages import Place, Stored
from rs_server.catalog.queryables import queryables
from rs_server.errors import BadInput, NotFound

NOTHING = [""]  # an id that no collection has: an empty list would mean "every collection" to pgstac

_NEVER = {"op": "=", "args": [{"property": "id"}, ""]}
_DEFAULT_LIMIT = 10
_NOT_PGSTACS = {
    "ids",
    "limit",
    "token",
    "fields",
    "conf",
}  # of a search: what we do ourselves, and a switch nobody turns


def caller(request: Request) -> Principal:
    """Who asks; every route of the catalog has authenticated them."""
    principal: Principal = request.state.principal
    return principal


def visible(text: str, request: Request) -> CollectionName:
    """The collection that a caller names; ``NotFound`` if they may not read it or nothing can be called that."""
    name = named(text, request)
    require_visible(caller(request), Service.CATALOG, name.resource, f"collection {text}")
    return name


def named(text: str, request: Request) -> CollectionName:
    """The collection that a caller names; ``NotFound`` if nothing can be called that."""
    try:
        return resolve(text, caller(request))
    except BadInput as error:
        raise NotFound(f"collection {text} does not exist", hint=error.hint) from error


async def readable(request: Request) -> list[str]:
    """The ids of the collections that the caller may read."""
    async with request.app.state.get_connection(request, "r") as conn:
        ids: list[str] = await conn.fetchval("SELECT array_agg(id ORDER BY id) FROM collections") or []
    who = caller(request)
    known = _judged(who)
    for full in ids:
        if full not in known:
            known[full] = _may_read(who, full)
    return [full for full in ids if known[full]]


@lru_cache(
    maxsize=64
)  # a search over everything asks about each collection; the answer hangs on nothing but the caller
def _judged(_who: Principal) -> dict[str, bool]:
    """What the policy has said of collections to a caller with just these rights."""
    return {}


async def narrowed(asked: list[str] | None, request: Request) -> list[str]:
    """The readable ones of the collections asked for; asking for none means all of them."""
    if not asked:
        return await readable(request) or NOTHING
    who = caller(request)
    wanted = {full for text in asked if (full := _full_or_none(text, who))}
    return sorted(full for full in wanted if _may_read(who, full)) or NOTHING


@attr.s
class CatalogClient(CoreCrudClient):
    """Landing page, collections, items and search, each narrowed to the caller."""

    async def get_collection(self, collection_id: str, request: Request, **kwargs: Any) -> Any:
        """One collection; its items' routes come through here too."""
        found = await super().get_collection(visible(collection_id, request).full, request=request, **kwargs)
        return {**found, "links": titled(found["links"])}

    async def get_item(self, item_id: str, collection_id: str, request: Request, **kwargs: Any) -> Response:  # noqa: ARG002
        """One item, with its version as the entity tag."""
        name = visible(collection_id, request)
        async with request.app.state.get_connection(request, "r") as conn:
            stored = await pages.one(conn, name.full, item_id)
        if stored is None:
            raise NotFound(f"item {item_id} of collection {collection_id} does not exist")
        return _geojson(served(stored, get_base_url(request)), {"ETag": entity_tag(stored.version)})

    async def item_collection(self, collection_id: str, request: Request, **parameters: Any) -> Response:
        """The items of one collection."""
        name = visible(collection_id, request)
        asked = Asked(f"{collection_href(get_base_url(request), name.full)}/items", request.url.query)
        answer = await self._searched(self.parsed({**parameters, "collections": [name.full]}), asked, request)
        if not answer["features"]:
            await super().get_collection(name.full, request=request)  # none, or no such collection?
        return _geojson(answer)

    async def get_search(self, request: Request, **parameters: Any) -> Response:
        """The items that match."""
        asked = Asked(f"{get_base_url(request)}search", request.url.query)
        return _geojson(await self._searched(self.parsed(parameters), asked, request))

    async def post_search(self, search_request: PgstacSearch, request: Request, **kwargs: Any) -> Response:  # noqa: ARG002
        """The items that match."""
        body = search_request.model_dump(by_alias=True, exclude_unset=True)
        asked = Asked(f"{get_base_url(request)}search", body=body)
        return _geojson(await self._searched(search_request, asked, request))

    async def all_collections(
        self,
        request: Request,
        query: str | None = None,
        filter_expr: str | None = None,
        filter_lang: str | None = None,
        **kwargs: Any,
    ) -> Any:
        """The collections, searched; also what the landing page lists."""
        if query:
            raise BadInput("collections are searched with `filter`, not with `query`")
        mine: dict[str, Any] = {"op": "in", "args": [{"property": "id"}, await narrowed(None, request)]}
        if filter_expr:
            both = filters.checked({"op": "and", "args": [mine, filters.parsed(filter_expr, filter_lang)]})
            mine = filters.calculated(both) if isinstance(both, dict) else _NEVER
        found = await super().all_collections(request, filter_expr=json.dumps(mine), filter_lang="cql2-json", **kwargs)
        if isinstance(found, Response):  # with the fields that were asked for
            return found
        return {
            **found,
            "collections": [{**each, "links": titled(each["links"])} for each in found["collections"]],
        }

    def _clean_search_args(
        self,
        base_args: dict[str, Any],
        *arguments: Any,
        filter_query: str | None = None,
        filter_lang: str | None = None,
        **kwargs: Any,
    ) -> dict[str, Any]:
        clean: dict[str, Any] = super()._clean_search_args(base_args, *arguments, **kwargs)
        if filter_query:
            clean |= {"filter": filters.parsed(filter_query, filter_lang), "filter_lang": "cql2-json"}
        if "fields" in clean:  # a list that nothing was put on is none
            clean["fields"] = {name: listed for name, listed in clean["fields"].items() if listed}
        return clean

    def parsed(self, parameters: Mapping[str, Any]) -> PgstacSearch:
        """The search that the parameters of a GET request describe."""
        given = dict(parameters)
        base = {name: given.pop(name, None) for name in ("collections", "ids", "bbox", "limit", "token")}
        query, intersects = given.pop("query", None), given.pop("intersects", None)
        base["query"] = _json(query, "query")
        base["intersects"] = _json(intersects, "intersects")
        filter_query = given.pop("filter_expr", None)
        try:
            model: PgstacSearch = self.pgstac_search_model(
                **self._clean_search_args(base, filter_query=filter_query, **given)
            )
        except ValidationError as error:
            raise BadInput(_first_fault(error)) from error
        return model

    async def narrowed_search(self, search: PgstacSearch, request: Request) -> tuple[dict[str, Any], list[str] | None]:
        """A search in pgstac's words, narrowed to what the caller may read, and the names of items that it asks for."""
        if (condition := getattr(search, "filter_expr", None)) is not None:
            folded = filters.calculated(filters.checked(condition))
            search.filter_expr = folded if isinstance(folded, dict) else None if folded else _NEVER
        search.collections = await narrowed(search.collections, request)
        ours = search.model_dump(mode="json", by_alias=True, exclude_none=True, exclude=_NOT_PGSTACS)
        if len(box := ours.get("bbox") or ()) == 6:
            ours["bbox"] = [*box[:2], *box[3:5]]  # items lie on the ground, and PostGIS does not intersect solids
        return ours, search.ids

    async def _searched(self, search: PgstacSearch, asked: Asked, request: Request) -> dict[str, Any]:
        """The answer to a search, narrowed to what the caller may read."""
        token = getattr(search, "token", None)
        place = Place.read(token) if token else None
        ours, names = await self.narrowed_search(search, request)
        async with request.app.state.get_connection(request, "r") as conn:
            found = await pages.page(conn, ours, wanted=search.limit or _DEFAULT_LIMIT, place=place, names=names)
        base = get_base_url(request)
        features = [served(stored, base) for stored in found.items]
        return {
            "type": "FeatureCollection",
            "features": fields.chosen(features, _wanted(search)),
            "links": page_links(base, asked, found),
            "numberMatched": found.matched,
            "numberReturned": len(features),
        }


@attr.s
class CatalogFilters(FiltersClient):
    """What may be filtered on, of all collections or of one that the caller may read."""

    async def get_queryables(self, request: Request, collection_id: str | None = None, **kwargs: Any) -> dict[str, Any]:
        """The queryables as a JSON schema."""
        full = visible(collection_id, request).full if collection_id else None
        try:
            found: dict[str, Any] = await super().get_queryables(request, collection_id=full, **kwargs)
        except NotFoundError:
            if full:
                raise
            return {**queryables(), "$id": str(request.url)}  # there is no collection yet, which is no error
        return found


def served(stored: Stored, base: str) -> dict[str, Any]:
    """An item as it is answered; ``base`` is the address of the catalog."""
    document = assets.served(stored.document, base, stored.collection)
    document["links"] = item_links(base, stored.collection, stored.id, document.get("links") or ())
    return document


def entity_tag(version: str) -> str:
    """The entity tag of a stored version of an item."""
    return f'"{version}"'


def _wanted(search: PgstacSearch) -> PostFieldsExtension | None:
    """The fields that a search asks for; None, where it does not speak of them."""
    return getattr(search, "fields", None) if "fields" in search.model_fields_set else None


def _geojson(document: dict[str, Any], headers: Mapping[str, str] | None = None) -> Response:
    content = orjson.dumps(document, default=list)  # of a search's fields, which come again in the links, as sets
    return Response(content, media_type=GEOJSON, headers=headers)


def _json(text: str | None, name: str) -> Any:
    if not text:
        return None
    try:
        return orjson.loads(unquote_plus(text))
    except ValueError as error:
        raise BadInput(f"{name}: not JSON ({error})") from error


def _first_fault(error: ValidationError) -> str:
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    return f"{'.'.join(map(str, first['loc'])) or 'the request'}: {first['msg']}"


def _may_read(who: Principal, full: str) -> bool:
    try:
        resource = CollectionName.parse(full).resource
    except BadInput:  # not made through this server: nobody's
        return who.everything
    return policy.allows(who, Right.READ, Service.CATALOG, resource)


def _full_or_none(text: str, who: Principal) -> str | None:
    try:
        return resolve(text, who).full
    except BadInput:
        return None
