"""One kind of station as a STAC API: the routes under ``/cadip``, ``/auxip`` and their like.

Every route asks who is calling. The collections of a station that the caller may not read do not exist for them.
"""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import Annotated, Any

import orjson
from fastapi import Depends, FastAPI, Query, Request
from fastapi.responses import Response

from rs_server import errors
from rs_server.access import policy
from rs_server.access.guards import Caller, require, require_visible
from rs_server.access.policy import Principal, Right
from rs_server.bodies import bounded_body
from rs_server.errors import NotFound
from rs_server.settings import Settings
from rs_server.stations import ordering, paging, stac
from rs_server.stations.client import Page, Stations
from rs_server.stations.download import DownloadResponse
from rs_server.stations.items import Place
from rs_server.stations.model import StationKind
from rs_server.stations.paging import Binding, Cursor
from rs_server.stations.requests import SearchBody, SearchQuery
from rs_server.stations.search import SearchRequest
from rs_server.stations.station import Collection


class Json(Response):
    """JSON, written fast."""

    media_type = stac.JSON

    def render(self, content: Any) -> bytes:
        """The document as UTF-8."""
        return orjson.dumps(content)


class GeoJson(Json):
    """Items."""

    media_type = stac.GEOJSON


class Schema(Json):
    """A JSON schema."""

    media_type = stac.SCHEMA


class OpenApi(Json):
    """An OpenAPI description."""

    media_type = stac.OPENAPI


def create_app(kind: StationKind, settings: Settings) -> FastAPI:
    """The service of one kind of station. The lifespan state of the outer application holds ``stations``."""
    app = FastAPI(
        title=kind.title,
        description=kind.description,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        dependencies=[Depends(bounded_body)],
    )
    errors.install(app)
    service = StationService(kind, settings)
    _add_landing(app, service)
    _add_collections(app, service)
    _add_search(app, service)
    _add_items(app, service)
    if kind.orders:
        ordering.add_routes(app, kind, service.url)
    return app


class StationService:
    """What the routes of one kind share."""

    def __init__(self, kind: StationKind, settings: Settings) -> None:
        self.kind = kind
        self.service = kind.name
        self.url = f"{settings.public_url}/{kind.name}"
        self.docs_url = f"{settings.public_url}/docs"
        self._key = settings.secret.get_secret_value().encode() or secrets.token_bytes(32)

    def readable(self, request: Request, who: Principal) -> list[Collection]:
        """The collections that the caller may read."""
        found = stations_of(request).collections(self.kind.name)
        allowed = set(policy.permitted(who, Right.READ, self.service, {each.station for each in found}))
        return [each for each in found if each.station in allowed]

    def collection(self, request: Request, who: Principal, name: str) -> Collection:
        """A collection that the caller may read, else ``NotFound``."""
        station = stations_of(request).station_of(self.kind.name, name)
        require_visible(who, self.service, station, f"collection {name}")
        return next(each for each in stations_of(request).collections(self.kind.name) if each.id == name)

    async def page(
        self, request: Request, who: Principal, body: SearchBody, place: str, collections: list[Collection]
    ) -> tuple[Page, Binding, SearchRequest]:
        """The page that a search asks for, and what its tokens are bound to."""
        wanted = body.understood(self.kind)
        binding = body.binding(who.subject or who.login, place)
        cursor = paging.read(self._key, binding, body.token) if body.token is not None else None
        asked = replace(wanted, cursor=cursor)
        names = [each.id for each in collections]
        return await stations_of(request).search(self.kind.name, asked, names), binding, asked

    async def told(self, request: Request, items: list[stac.Document]) -> None:
        """Add to items what is known beside the station."""
        if self.kind.orders:
            await ordering.tell(request, stations_of(request), self.kind.name, self.url, items)

    def token(self, binding: Binding, cursor: Cursor) -> str:
        """The token of a place in a search."""
        return paging.write(self._key, binding, cursor)

    async def by_parameters(
        self, request: Request, who: Principal, query: SearchQuery, place: str, collections: list[Collection]
    ) -> GeoJson:
        """Answer a GET; its links carry the same parameters, with the token of another page."""
        page, binding, asked = await self.page(request, who, query.as_body(), place, collections)
        own = f"{self.url}/{place}"
        kept = [(name, value) for name, value in request.query_params.multi_items() if name != "token"]
        links = [stac.link("self", stac.with_query(own, request.query_params.multi_items()), stac.GEOJSON, "This page")]
        for rel, cursor in _neighbours(page):
            href = stac.with_query(own, [*kept, ("token", self.token(binding, cursor))])
            links.append(stac.link(rel, href, stac.GEOJSON, _TITLES[rel], method="GET"))
        return await self._answer(request, page, asked, links)

    async def by_body(self, request: Request, who: Principal, body: SearchBody, place: str) -> GeoJson:
        """Answer a POST; its links carry the same body, with the token of another page."""
        page, binding, asked = await self.page(request, who, body, place, self.readable(request, who))
        own = f"{self.url}/{place}"
        links = [stac.link("self", own, stac.GEOJSON, "This page", method="POST")]
        stated = body.model_dump(mode="json", by_alias=True, exclude_unset=True)
        for rel, cursor in _neighbours(page):
            next_body = {**stated, "token": self.token(binding, cursor)}
            links.append(stac.link(rel, own, stac.GEOJSON, _TITLES[rel], method="POST", body=next_body, merge=False))
        return await self._answer(request, page, asked, links)

    async def _answer(self, request: Request, page: Page, asked: SearchRequest, links: list[stac.Document]) -> GeoJson:
        await self.told(request, page.features)
        links.append(stac.link("root", f"{self.url}/", stac.JSON, "Landing page"))
        items = [stac.narrowed(item, asked.fields) for item in page.features]
        return GeoJson(stac.page(items, links, page.matched))


def stations_of(request: Request) -> Stations:
    """The open stations of the application."""
    stations: Stations = request.state.stations
    return stations


def _add_landing(app: FastAPI, service: StationService) -> None:
    @app.get("/", response_class=Json)
    async def landing(request: Request, who: Caller) -> Json:
        """The landing page."""
        return Json(stac.landing(service.kind, service.url, service.docs_url, service.readable(request, who)))

    @app.get("/conformance", response_class=Json)
    async def conformance(who: Caller) -> Json:  # noqa: ARG001 - asks for a login
        """The conformance classes."""
        return Json({"conformsTo": stac.CONFORMANCE})

    @app.get("/queryables", response_class=Schema)
    async def queryables(who: Caller) -> Schema:  # noqa: ARG001 - asks for a login
        """What all collections can be filtered by."""
        return Schema(stac.queryables(service.kind, service.url))

    @app.get("/api", include_in_schema=False)
    async def api(who: Caller) -> OpenApi:  # noqa: ARG001 - asks for a login
        """This service alone as an OpenAPI description."""
        return OpenApi(app.openapi())


def _add_collections(app: FastAPI, service: StationService) -> None:
    @app.get("/collections", response_class=Json)
    async def collections(request: Request, who: Caller) -> Json:
        """The collections that the caller may read."""
        return Json(stac.collections(service.kind, service.url, service.readable(request, who)))

    @app.get("/collections/{collection_id}", response_class=Json)
    async def collection(request: Request, who: Caller, collection_id: str) -> Json:
        """One collection."""
        return Json(stac.collection(service.kind, service.url, service.collection(request, who, collection_id)))

    @app.get("/collections/{collection_id}/queryables", response_class=Schema)
    async def collection_queryables(request: Request, who: Caller, collection_id: str) -> Schema:
        """What a collection can be filtered by."""
        found = service.collection(request, who, collection_id)
        return Schema(stac.queryables(service.kind, service.url, found))


def _add_search(app: FastAPI, service: StationService) -> None:
    @app.get("/search", response_class=GeoJson)
    async def search(request: Request, who: Caller, query: Annotated[SearchQuery, Query()]) -> GeoJson:
        """Search all collections that the caller may read."""
        return await service.by_parameters(request, who, query, "search", service.readable(request, who))

    @app.post("/search", response_class=GeoJson)
    async def search_by_body(request: Request, who: Caller, body: SearchBody) -> GeoJson:
        """Search all collections that the caller may read."""
        return await service.by_body(request, who, body, "search")


def _add_items(app: FastAPI, service: StationService) -> None:
    @app.get("/collections/{collection_id}/items", response_class=GeoJson)
    async def items(
        request: Request, who: Caller, collection_id: str, query: Annotated[SearchQuery, Query()]
    ) -> GeoJson:
        """The items of a collection."""
        found = service.collection(request, who, collection_id)
        place = Place("", collection_id).collection_url.removeprefix("/") + "/items"
        return await service.by_parameters(request, who, query, place, [found])

    @app.get("/collections/{collection_id}/items/{item_id}", response_class=GeoJson)
    async def item(request: Request, who: Caller, collection_id: str, item_id: str) -> GeoJson:
        """One item with all its assets."""
        service.collection(request, who, collection_id)
        stations = stations_of(request)
        found = await stations.item(service.kind.name, collection_id, item_id)
        await stations.verified(service.kind.name, collection_id, found)
        await service.told(request, [found])
        return GeoJson(found)

    @app.get("/collections/{collection_id}/items/{item_id}/download/{asset}", response_class=Response)
    async def download(request: Request, who: Caller, collection_id: str, item_id: str, asset: str) -> Response:
        """The bytes of an asset; one range of them where the request says so."""
        found = service.collection(request, who, collection_id)
        require(who, Right.DOWNLOAD, service.service, found.station)
        stations = stations_of(request)
        whole = await stations.item(service.kind.name, collection_id, item_id)
        if asset not in whole["assets"]:
            raise NotFound(f"item {item_id} has no asset {asset}")
        return DownloadResponse(request, stations, service.kind.name, collection_id, whole["assets"][asset])


_TITLES = {"next": "Next page", "prev": "Page before"}


def _neighbours(page: Page) -> list[tuple[str, Cursor]]:
    return [(rel, cursor) for rel, cursor in (("next", page.next), ("prev", page.prev)) if cursor is not None]
