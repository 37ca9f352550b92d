"""Counts over the items that match a search (STAC API Aggregation), narrowed to the caller like any search."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import attr
from fastapi import APIRouter, Depends, FastAPI, Request
from stac_fastapi.api.models import EmptyRequest
from stac_fastapi.api.routes import create_async_endpoint
from stac_fastapi.extensions.aggregation import AggregationExtension
from stac_fastapi.extensions.aggregation.client import AsyncBaseAggregationClient
from stac_fastapi.pgstac.types.search import PgstacSearch
from stac_fastapi.types.requests import get_base_url

from rs_server.catalog import pages
from rs_server.catalog.client import CatalogClient, visible
from rs_server.catalog.links import JSON, collection_href
from rs_server.errors import BadInput

MOST_BUCKETS = 1_000

_TEXT = "content->'properties'->>"


@dataclass(frozen=True, slots=True)
class Kind:
    """One thing to know about items: a value of all of them, or how many there are for each key."""

    data_type: str
    expression: str
    bucket_type: str | None = None  # None: a single value


# Written here and nowhere else: no text of a request comes into these.
KINDS: Mapping[str, Kind] = {
    "total_count": Kind("integer", "count(*)"),
    "datetime_min": Kind("datetime", "to_json(min(datetime))"),
    "datetime_max": Kind("datetime", "to_json(max(end_datetime))"),
    "collection_frequency": Kind("frequency_distribution", "collection", "string"),
    "platform_frequency": Kind("frequency_distribution", f"{_TEXT}'platform'", "string"),
    "constellation_frequency": Kind("frequency_distribution", f"{_TEXT}'constellation'", "string"),
    "product_type_frequency": Kind("frequency_distribution", f"{_TEXT}'product:type'", "string"),
    "processing_level_frequency": Kind("frequency_distribution", f"{_TEXT}'processing:level'", "string"),
    "datetime_frequency": Kind(
        "frequency_distribution",
        "to_char(date_trunc('month', datetime AT TIME ZONE 'UTC'), 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"')",
        "datetime",
    ),
    "cloud_cover_frequency": Kind(
        "frequency_distribution", "(least(floor(to_float(content->'properties'->'eo:cloud_cover') / 5) * 5, 95))::text",
        "numeric",
    ),
}  # fmt: skip


async def _of_collection(collection_id: str) -> None:
    """Declares the collection in the path; it is read where it is looked up."""


class Counting(AggregationExtension):
    """The library's extension with a route for each method, so that each is described by itself."""

    def register(self, app: FastAPI) -> None:
        """Register the routes over all collections, and over one."""
        router = APIRouter(tags=["Aggregation Extension"])
        told, counted = self.client.get_aggregations, self.client.aggregate
        routes = (
            ("aggregations", "GET", "What may be counted", create_async_endpoint(told, EmptyRequest)),
            ("aggregate", "GET", "Count", create_async_endpoint(counted, self.GET)),
            ("aggregate", "POST", "Count by body", create_async_endpoint(counted, self.POST)),
        )
        for home, declared, where in (
            ("", [], ""),
            ("/collections/{collection_id}", [Depends(_of_collection)], " in a collection"),
        ):
            for path, method, name, endpoint in routes:
                router.add_api_route(
                    f"{home}/{path}", endpoint, methods=[method], name=f"{name}{where}", dependencies=declared
                )
        app.include_router(router)


@attr.s
class CatalogAggregation(AsyncBaseAggregationClient):
    """What may be counted, and the counts."""

    catalog: CatalogClient = attr.ib(kw_only=True)

    async def get_aggregations(self, collection_id: str | None = None, **kwargs: Any) -> Any:
        """What may be counted, of all collections or of one."""
        request: Request = kwargs["request"]
        told = [{"name": name, "data_type": kind.data_type} for name, kind in KINDS.items()]
        return _answer(request, told, request.path_params.get("collection_id", collection_id), "aggregations")

    async def aggregate(  # type: ignore[override]
        self, search: PgstacSearch | None = None, collection_id: str | None = None, **parameters: Any
    ) -> Any:
        """The counts asked for; by POST ``search`` is the body, by GET there are parameters."""
        request: Request = parameters.pop("request")
        path = request.path_params.get("collection_id", collection_id)
        wanted = _wanted(search.aggregations if search is not None else parameters.pop("aggregations", None))
        asked = search if search is not None else self.catalog.parsed(parameters)
        if path is not None:
            asked.collections = [visible(path, request).full]
        narrowed, names = await self.catalog.narrowed_search(asked, request)
        async with request.app.state.get_connection(request, "r") as conn:
            condition = await pages.condition(conn, narrowed, names)
            found = [await _counted(conn, name, condition) for name in wanted]
        return _answer(request, found, path, "aggregate")


async def _counted(conn: Any, name: str, condition: str) -> dict[str, Any]:
    kind = KINDS[name]
    said = {"name": name, "data_type": kind.data_type}
    if kind.bucket_type is None:
        value = await conn.fetchval(f"SELECT {kind.expression} FROM items WHERE {condition}")  # noqa: S608 - quoted by pgstac
        return {**said, "value": value}
    rows = await conn.fetch(
        f"SELECT {kind.expression} AS key, count(*) AS frequency FROM items WHERE {condition} "  # noqa: S608
        f"GROUP BY 1 ORDER BY frequency DESC, key LIMIT {MOST_BUCKETS + 1}"
    )
    known = [row for row in rows if row["key"] is not None]
    buckets = [
        {"key": row["key"], "data_type": kind.bucket_type, "frequency": row["frequency"]}
        for row in known[:MOST_BUCKETS]
    ]
    return {**said, "buckets": buckets, "overflow": sum(row["frequency"] for row in known[MOST_BUCKETS:])}


def _wanted(asked: Iterable[str] | None) -> list[str]:
    names = list(asked or ["total_count"])
    unknown = [name for name in names if name not in KINDS]
    if unknown:
        raise BadInput(f"aggregations: {unknown[0][:100]!r} is not one of {', '.join(KINDS)}")
    return names


def _answer(request: Request, told: list[dict[str, Any]], collection: str | None, path: str) -> dict[str, Any]:
    base = get_base_url(request)
    home = f"{collection_href(base, visible(collection, request).full)}/" if collection else base
    links = [
        {"rel": "self", "type": JSON, "href": f"{home}{path}"},
        {"rel": "root", "type": JSON, "href": base},
    ]
    return {"type": "AggregationCollection", "aggregations": told, "links": links}
