"""The catalog's reads: stac-fastapi-pgstac, asked only for what the caller may see.

Requests arrive parsed. Each is narrowed before it becomes SQL, so answers, counts, pages and links hold nothing
else and are never opened again.
"""

from __future__ import annotations

import json
from typing import Any

import attr
from fastapi import Request
from stac_fastapi.pgstac.core import CoreCrudClient
from stac_fastapi.pgstac.extensions.filter import FiltersClient
from stac_fastapi.pgstac.types.search import PgstacSearch
from stac_fastapi.types.errors import NotFoundError

from rs_server.access import policy
from rs_server.access.guards import require_visible
from rs_server.access.policy import Principal, Right, Service
from rs_server.catalog import filters
from rs_server.catalog.names import CollectionName, resolve
from rs_server.catalog.queryables import queryables
from rs_server.errors import BadInput, NotFound

NOTHING = [""]  # an id that no collection has: an empty list would mean "every collection" to pgstac


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
        ids = [str(row["id"]) for row in await conn.fetch("SELECT id FROM collections ORDER BY id")]
    return [full for full in ids if _may_read(caller(request), full)]


async def narrowed(asked: list[str] | None, request: Request) -> list[str]:
    """The readable ones of the collections asked for; asking for none means all of them."""
    may = await readable(request)
    if not asked:
        return may or NOTHING
    wanted = {full for text in asked if (full := _full_or_none(text, caller(request)))}
    return [full for full in may if full in wanted] or NOTHING


@attr.s
class CatalogClient(CoreCrudClient):
    """Landing page, collections, items and search, each narrowed to the caller."""

    async def get_collection(self, collection_id: str, request: Request, **kwargs: Any) -> Any:
        """One collection; its items' routes come through here too."""
        return await super().get_collection(visible(collection_id, request).full, request=request, **kwargs)

    async def get_item(self, item_id: str, collection_id: str, request: Request, **kwargs: Any) -> Any:
        """One item."""
        full = visible(collection_id, request).full
        return await super().get_item(item_id, full, request=request, **kwargs)

    async def item_collection(self, collection_id: str, request: Request, **kwargs: Any) -> Any:
        """The items of one collection."""
        return await super().item_collection(visible(collection_id, request).full, request=request, **kwargs)

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
            mine = {"op": "and", "args": [mine, filters.parsed(filter_expr, filter_lang)]}
        return await super().all_collections(request, filter_expr=json.dumps(mine), filter_lang="cql2-json", **kwargs)

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
        return clean

    async def _search_base(self, search_request: PgstacSearch, request: Request) -> Any:
        if (asked := getattr(search_request, "filter_expr", None)) is not None:
            filters.checked(asked)
        search_request.collections = await narrowed(search_request.collections, request)
        search_request.conf = None  # the database's switches are not the caller's
        return await super()._search_base(search_request, request)


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
