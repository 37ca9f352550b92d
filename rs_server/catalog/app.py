"""Composes the catalog: stac-fastapi-pgstac with our clients, behind a login on every route."""

from __future__ import annotations

from typing import Any, cast

from fastapi import APIRouter, Depends, FastAPI, Request
from fastapi.responses import JSONResponse, RedirectResponse, Response
from pydantic import BaseModel, model_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource
from stac_fastapi.api.app import StacApi
from stac_fastapi.api.models import (
    ItemCollectionUri,
    create_get_request_model,
    create_post_request_model,
    create_request_model,
)
from stac_fastapi.api.routes import Scope
from stac_fastapi.extensions import (
    BulkTransactionExtension,
    CollectionSearchExtension,
    CollectionSearchFilterExtension,
    FieldsExtension,
    ItemCollectionFilterExtension,
    OffsetPaginationExtension,
    SearchFilterExtension,
    TokenPaginationExtension,
)
from stac_fastapi.extensions.aggregation.request import (
    AggregationExtensionGetRequest,
    AggregationExtensionPostRequest,
)
from stac_fastapi.extensions.fields import FieldsConformanceClasses
from stac_fastapi.extensions.free_text import FreeTextConformanceClasses
from stac_fastapi.extensions.query import QueryConformanceClasses
from stac_fastapi.extensions.sort import (
    CollectionSearchSortExtension,
    ItemCollectionSortExtension,
    SearchSortExtension,
)
from stac_fastapi.pgstac.config import Settings as PgstacSettings
from stac_fastapi.pgstac.core import health_check
from stac_fastapi.pgstac.extensions import FreeTextExtension, QueryExtension
from stac_fastapi.pgstac.types.search import PgstacSearch
from stac_fastapi.types.errors import (
    ConflictError,
    DatabaseError,
    ForeignKeyError,
    InvalidQueryParameter,
    NotFoundError,
    StacApiError,
)
from stac_fastapi.types.extension import ApiExtension
from stac_fastapi.types.search import APIRequest
from starlette.types import ASGIApp, Receive, Send
from starlette.types import Scope as Connection

from rs_server import errors
from rs_server.access.guards import current_principal
from rs_server.bodies import bounded_body
from rs_server.catalog import conditions, downloads, readers
from rs_server.catalog.aggregation import CatalogAggregation, Counting
from rs_server.catalog.assets import Allowed
from rs_server.catalog.client import CatalogClient, CatalogFilters
from rs_server.catalog.extensions import Extensions
from rs_server.catalog.lifecycle import Rules
from rs_server.catalog.transaction_routes import Transactions
from rs_server.catalog.transactions import CatalogBulk, CatalogTransactions, Workshop
from rs_server.errors import BadInput, Conflict, NotFound, RsError
from rs_server.settings import CatalogSettings, Settings
from rs_server.storage.layout import Buckets

TITLE = "RS-Python catalog"
DESCRIPTION = "The products of this platform: every collection has an owner and readers."

_OURS: dict[type[StacApiError], tuple[type[RsError], str]] = {
    NotFoundError: (NotFound, "it does not exist"),
    ConflictError: (Conflict, "something of that id exists already"),
    ForeignKeyError: (NotFound, "the collection does not exist"),
    DatabaseError: (BadInput, "the catalog refuses this document"),
    InvalidQueryParameter: (BadInput, "a parameter is not valid"),
}


class LibrarySettings(PgstacSettings):
    """The library's settings, given by us: neither the environment nor a stray ``.env`` is read."""

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what is passed to the constructor."""
        return (init_settings,)


class CatalogSearch(PgstacSearch):
    """The library's search, which takes it for granted that a body is an object and its fields are another."""

    @model_validator(mode="before")
    @classmethod
    def _an_object(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            raise ValueError("a search is an object")  # noqa: TRY004 - pydantic's way to refuse
        if "fields" in values and values["fields"] is None:
            raise ValueError("fields: null is no choice; leave it out for all fields")
        one = values.get("collections")
        return {**values, "collections": [one]} if isinstance(one, str) else values  # as callers of GET write it


class OwnRoot:
    """ASGI middleware: links of the catalog start at the catalog, not at the application it is mounted in."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Connection, receive: Receive, send: Send) -> None:
        """Serve one request."""
        inner = {name: value for name, value in scope.items() if name != "router"}  # names are looked up here
        inner["app_root_path"] = scope.get("root_path", "")
        try:
            await self.app(inner, receive, send)
        finally:
            scope["route"] = inner.get("route")  # requests are counted by it


def create_app(settings: Settings) -> FastAPI:
    """The catalog service; ``connections.open_connections`` must be open while it serves."""
    ours = LibrarySettings(
        stac_fastapi_title=TITLE,
        stac_fastapi_description=DESCRIPTION,
        stac_fastapi_version="1.0.0",
        stac_fastapi_landing_id="rs-python",
        openapi_url="/api",
        docs_url="/api.html",
        use_api_hydrate=True,
        enable_transactions_extensions=True,
    )
    app = FastAPI(
        title=TITLE,
        description=DESCRIPTION,
        openapi_url="/api",
        docs_url=None,
        redoc_url=None,
        dependencies=[Depends(current_principal), Depends(bounded_body)],
    )
    _add_documentation(app, settings.public_url)
    buckets = Buckets(settings.storage.bucket, settings.catalog.lifecycle)
    allowed = Allowed(buckets.all, frozenset(settings.catalog.asset_hosts))
    workshop = Workshop(Rules(settings.catalog.lifecycle), Extensions(settings.catalog.schemas), allowed)
    writing = _write_extensions(ours, settings.catalog, workshop)
    _conditions(_stac_api(app, ours, writing))
    app.include_router(downloads.create_router(allowed))
    app.include_router(readers.create_router())
    app.add_middleware(OwnRoot)
    errors.install(app)
    app.add_exception_handler(StacApiError, _stac_error)
    return app


def _stac_api(app: FastAPI, ours: LibrarySettings, writing: list[ApiExtension]) -> StacApi:
    """Fill the application with the routes of the STAC API."""
    on_search, on_items, on_collections = _search_extensions(), _item_extensions(), _collection_extension()
    post_search = create_post_request_model(on_search, base_model=CatalogSearch)
    client = CatalogClient(  # type: ignore[call-arg] # fields of an untyped base
        pgstac_search_model=post_search, landing_page_id=ours.stac_fastapi_landing_id
    )
    counting = Counting(client=CatalogAggregation(catalog=client))
    counting.GET, counting.POST = _aggregation_requests()
    return StacApi(
        app=app,
        router=APIRouter(),
        settings=ours,
        extensions=[*on_search, *on_items, *writing, counting, on_collections],
        client=client,
        exceptions={},
        response_class=JSONResponse,
        search_get_request_model=create_get_request_model(on_search),
        search_post_request_model=post_search,
        items_get_request_model=_items_request(on_items),
        collections_get_request_model=on_collections.GET,
        middlewares=[],
        health_check=health_check,
    )


def _aggregation_requests() -> tuple[type[APIRequest], type[BaseModel]]:
    """What may be asked to be counted: the searches, without their pages."""
    extensions: list[ApiExtension] = [
        QueryExtension(),
        SearchFilterExtension(client=CatalogFilters()),
        FreeTextExtension(conformance_classes=[FreeTextConformanceClasses.SEARCH]),
    ]
    by_get = create_request_model(
        "AggregateGetRequest", base_model=AggregationExtensionGetRequest, extensions=extensions, request_type="GET"
    )
    mixed = type("AggregateBase", (AggregationExtensionPostRequest, CatalogSearch), {})
    by_post = create_request_model("AggregatePostRequest", base_model=mixed, extensions=extensions, request_type="POST")
    return cast("type[APIRequest]", by_get), cast("type[BaseModel]", by_post)


def _items_request(extensions: list[ApiExtension]) -> type[APIRequest]:
    model = create_request_model(
        model_name="ItemCollectionUri", base_model=ItemCollectionUri, extensions=extensions, request_type="GET"
    )
    return cast("type[APIRequest]", model)


def _search_extensions() -> list[ApiExtension]:
    return [
        QueryExtension(),
        SearchSortExtension(),
        FieldsExtension(),
        SearchFilterExtension(client=CatalogFilters()),
        FreeTextExtension(conformance_classes=[FreeTextConformanceClasses.SEARCH]),
        TokenPaginationExtension(),
    ]


def _item_extensions() -> list[ApiExtension]:
    return [
        QueryExtension(conformance_classes=[QueryConformanceClasses.ITEMS]),
        ItemCollectionSortExtension(),
        FieldsExtension(conformance_classes=[FieldsConformanceClasses.ITEMS]),
        ItemCollectionFilterExtension(client=CatalogFilters()),
        FreeTextExtension(conformance_classes=[FreeTextConformanceClasses.ITEMS]),
        TokenPaginationExtension(),
    ]


def _collection_extension() -> CollectionSearchExtension:
    return CollectionSearchExtension.from_extensions(
        [
            CollectionSearchSortExtension(),
            FieldsExtension(conformance_classes=[FieldsConformanceClasses.COLLECTIONS]),
            CollectionSearchFilterExtension(client=CatalogFilters()),
            FreeTextExtension(conformance_classes=[FreeTextConformanceClasses.COLLECTIONS]),
            OffsetPaginationExtension(),
        ]
    )


def _write_extensions(ours: LibrarySettings, settings: CatalogSettings, workshop: Workshop) -> list[ApiExtension]:
    client = CatalogTransactions(workshop=workshop, settings=settings)
    return [
        Transactions(client=client, settings=ours, response_class=JSONResponse, licence=settings.licence),
        BulkTransactionExtension(client=CatalogBulk(workshop=workshop)),
    ]


def _conditions(api: StacApi) -> None:
    """Declare what writing requests may say beside their bodies."""
    item, items = "/collections/{collection_id}/items/{item_id}", "/collections/{collection_id}/items"
    changes: list[Scope] = [{"path": item, "method": method} for method in ("PUT", "PATCH", "DELETE")]
    additions: list[Scope] = [{"path": items, "method": "POST"}]
    bulk: list[Scope] = [{"path": "/collections/{collection_id}/bulk_items", "method": "POST"}]
    api.add_route_dependencies(changes, [Depends(conditions.if_match)])
    api.add_route_dependencies(changes[:2], [Depends(conditions.preferred)])
    api.add_route_dependencies([*changes[:2], *additions, *bulk], [Depends(conditions.validated)])
    api.add_route_dependencies(
        [{"path": "/collections/{collection_id}", "method": "DELETE"}], [Depends(conditions.forced)]
    )


def _add_documentation(app: FastAPI, public_url: str) -> None:
    """The page that the landing page calls its documentation: the one over all services."""

    async def swagger_ui_html(_request: Request) -> Response:
        return RedirectResponse(f"{public_url}/docs")

    app.add_route("/api.html", swagger_ui_html, include_in_schema=False)


async def _stac_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, StacApiError)
    kind, otherwise = _OURS.get(type(error), (BadInput, "the catalog refuses this request"))
    return errors.answer(request, kind(str(error) or otherwise))
