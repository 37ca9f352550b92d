"""``/stations``: one STAC search over all stations and the catalog, for whoever does not know where something is."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Header, Query, Request
from starlette.types import ASGIApp

from rs_server import errors
from rs_server.access import policy
from rs_server.access.guards import Caller
from rs_server.access.policy import Principal, Right
from rs_server.bodies import bounded_body
from rs_server.discovery import merge
from rs_server.discovery.catalog import CatalogSource, catalog_client
from rs_server.discovery.merge import Hit, Places
from rs_server.discovery.ordering import Order
from rs_server.discovery.sources import Source, StationSource
from rs_server.errors import RsError, StationError, Unavailable
from rs_server.settings import Settings
from rs_server.stations import filters, paging, stac
from rs_server.stations.app import GeoJson, Json, OpenApi, Schema, stations_of
from rs_server.stations.items import STAC_VERSION
from rs_server.stations.kinds import KINDS
from rs_server.stations.model import Property, StationKind
from rs_server.stations.requests import SearchBody, SearchQuery
from rs_server.stations.search import MOST_ITEMS
from rs_server.stations.station import Collection

TITLE = "All stations and the catalog"
DESCRIPTION = "One search over everything that you may read, wherever it is. The newest first, by datetime."
LENIENT = "handling=lenient"

_PLACE = "search"
_BOUND = "search over all"  # what its paging tokens are bound to, and those of an earlier version were not
_BESIDE = {"prev": "Previous page", "next": "Next page"}


def create_app(settings: Settings, catalog: ASGIApp | None, kinds: Mapping[str, StationKind] = KINDS) -> FastAPI:
    """The service; the lifespan state of the outer application holds ``stations`` and what the catalog needs."""
    app = FastAPI(
        title=TITLE,
        description=DESCRIPTION,
        openapi_url=None,
        docs_url=None,
        redoc_url=None,
        dependencies=[Depends(bounded_body)],
    )
    errors.install(app)
    service = Discovery(settings, catalog, kinds)
    _add_landing(app, service)
    _add_search(app, service)
    return app


class Discovery:
    """What the routes share."""

    def __init__(self, settings: Settings, catalog: ASGIApp | None, kinds: Mapping[str, StationKind]) -> None:
        self.url = f"{settings.public_url}/stations"
        self.root = settings.public_url
        self.docs_url = f"{settings.public_url}/docs"
        self.kinds = kinds
        self.properties: dict[str, Property] = {
            each.stac: each for kind in kinds.values() for each in kind.properties if each.queryable
        }
        self._foreign = {**filters.ANYWHERE, **self.properties}
        self._catalog = catalog
        self._key = settings.secret.get_secret_value().encode() or secrets.token_bytes(32)

    async def collections(self, request: Request, who: Principal) -> list[stac.Document]:
        """Every collection that the caller may read, at whichever service it is."""
        stations = stations_of(request)
        found = [
            stac.collection(kind, f"{self.root}/{name}", each)
            for name, kind in self.kinds.items()
            for each in stations.collections(name)
            if policy.allows(who, Right.READ, name, each.station)
        ]
        if self._catalog is not None:
            async with catalog_client(self._catalog, request.headers, request.scope["state"]) as http:
                answer = await http.get("/catalog/collections", params={"limit": MOST_ITEMS})
                if answer.status_code == HTTPStatus.OK:
                    found += answer.json()["collections"]
        return found

    async def search(self, request: Request, who: Principal, body: SearchBody, *, lenient: bool) -> Answer:
        """The rows of all sources on one side of where the token says."""
        binding = body.binding(who.subject or who.login, _BOUND)
        order = Order.of(body.sortby)
        places = Places.from_json(paging.opened(self._key, binding, body.token)) if body.token else Places()
        async with self._sources(request, who, body, order) as sources:
            asked = [source for source in sources if places.asks(source.name)]
            count = min(body.limit, MOST_ITEMS)
            answers = await asyncio.gather(
                *(source.hits(count + 1, places.start(source.name)) for source in asked), return_exceptions=True
            )
            warnings = _failures(asked, answers, lenient=lenient)
            pairs = zip(asked, answers, strict=True)
            found = {source.name: each for source, each in pairs if not isinstance(each, BaseException)}
            taken = merge.taken_of(
                list(found.values()), count, descending=order.descending, backwards=places.back is not None
            )
            items = await _items(asked, taken)
        around = places.around(found, taken, frozenset(warnings))
        links = {
            rel: paging.sealed(self._key, binding, beside.as_json())
            for rel, beside in (("prev", around.before), ("next", around.after))
            if beside is not None
        }
        left_out = [
            {"source": name, "detail": "it failed before; search again to include it"} for name in places.failed
        ]
        return Answer(items, links, [*warnings.values(), *left_out], lenient)

    @asynccontextmanager
    async def _sources(
        self, request: Request, who: Principal, body: SearchBody, order: Order
    ) -> AsyncIterator[list[Source]]:
        stations = stations_of(request)
        found: list[Source] = []
        for kind in self.kinds.values():
            readable = _readable(stations.collections(kind.name), who, kind, body.collections)
            keys = order.at_station(kind, next(iter(readable))) if readable else ()
            understood = body.understood(kind, self._foreign, order=keys)
            found += [StationSource(each, kind, names, understood, stations) for each, names in readable.items()]
        if self._catalog is None:
            yield found
            return
        keys = order.at_catalog(each for kind in self.kinds.values() for each in kind.properties)
        async with catalog_client(self._catalog, request.headers, request.scope["state"]) as http:
            yield [*found, CatalogSource(http, body, keys)]


class Answer:
    """A page of items, and the tokens of the pages beside it, by relation."""

    def __init__(
        self,
        items: list[stac.Document],
        tokens: Mapping[str, str],
        warnings: Sequence[Mapping[str, Any]],
        lenient: bool,  # noqa: FBT001
    ) -> None:
        self.items = items
        self.tokens = tokens
        self.warnings = list(warnings)
        self.lenient = lenient

    def response(self, body: SearchBody, links: list[stac.Document]) -> GeoJson:
        """As it is sent."""
        fields = body.wanted_fields()
        document = stac.page([stac.narrowed(item, fields) for item in self.items], links)
        if self.warnings:
            document["warnings"] = self.warnings
        return GeoJson(document, headers={"Preference-Applied": LENIENT} if self.lenient else None)


def _add_landing(app: FastAPI, service: Discovery) -> None:
    @app.get("/", response_class=Json)
    async def landing(request: Request, who: Caller) -> Json:
        """The landing page."""
        return Json(_landing(service, await service.collections(request, who)))

    @app.get("/conformance", response_class=Json)
    async def conformance(who: Caller) -> Json:  # noqa: ARG001 - asks for a login
        """The conformance classes."""
        return Json({"conformsTo": list(_CONFORMANCE)})

    @app.get("/queryables", response_class=Schema)
    async def queryables(who: Caller) -> Schema:  # noqa: ARG001 - asks for a login
        """What can be filtered by; an item without the property does not match."""
        return Schema(stac.schema_of(service.properties.values(), service.url, TITLE))

    @app.get("/collections", response_class=Json)
    async def collections(request: Request, who: Caller) -> Json:
        """Every collection that the caller may read; their own links lead to the services that hold them."""
        found = await service.collections(request, who)
        links = [stac.link("self", f"{service.url}/collections"), stac.link("root", f"{service.url}/", title=TITLE)]
        return Json({"collections": found, "links": links, "numberReturned": len(found)})

    @app.get("/api", include_in_schema=False)
    async def api(who: Caller) -> OpenApi:  # noqa: ARG001 - asks for a login
        """This service alone as an OpenAPI description."""
        return OpenApi(app.openapi())


def _add_search(app: FastAPI, service: Discovery) -> None:
    own = f"{service.url}/{_PLACE}"

    @app.get("/search", response_class=GeoJson)
    async def search(
        request: Request, who: Caller, query: Annotated[SearchQuery, Query()], prefer: Annotated[str, Header()] = ""
    ) -> GeoJson:
        """Search everything. ``Prefer: handling=lenient`` answers also when a station is down, and says which."""
        body = query.as_body()
        answer = await service.search(request, who, body, lenient=LENIENT in prefer)
        kept = [(name, value) for name, value in request.query_params.multi_items() if name != "token"]
        links = [stac.link("self", stac.with_query(own, request.query_params.multi_items()), stac.GEOJSON)]
        for rel, token in answer.tokens.items():
            href = stac.with_query(own, [*kept, ("token", token)])
            links.append(stac.link(rel, href, stac.GEOJSON, _BESIDE[rel], method="GET"))
        return answer.response(body, [*links, _root(service)])

    @app.post("/search", response_class=GeoJson)
    async def search_by_body(
        request: Request, who: Caller, body: SearchBody, prefer: Annotated[str, Header()] = ""
    ) -> GeoJson:
        """Search everything. ``Prefer: handling=lenient`` answers also when a station is down, and says which."""
        answer = await service.search(request, who, body, lenient=LENIENT in prefer)
        links = [stac.link("self", own, stac.GEOJSON, method="POST")]
        stated = body.model_dump(mode="json", by_alias=True, exclude_unset=True)
        for rel, token in answer.tokens.items():
            more = {"method": "POST", "body": {**stated, "token": token}, "merge": False}
            links.append(stac.link(rel, own, stac.GEOJSON, _BESIDE[rel], **more))
        return answer.response(body, [*links, _root(service)])


def _readable(
    collections: Sequence[Collection], who: Principal, kind: StationKind, asked: Sequence[str] | None
) -> dict[str, tuple[str, ...]]:
    """The collections that are searched, by station."""
    found: dict[str, tuple[str, ...]] = {}
    for each in collections:
        wanted = asked is None or each.id in asked
        if wanted and policy.allows(who, Right.READ, kind.name, each.station):
            found[each.station] = (*found.get(each.station, ()), each.id)
    return found


def _failures(
    asked: Sequence[Source], found: Sequence[list[Hit] | BaseException], *, lenient: bool
) -> dict[str, dict[str, Any]]:
    """What is said of sources that failed; ``Unavailable`` unless the caller can do without."""
    failed = {source.name: each for source, each in zip(asked, found, strict=True) if isinstance(each, BaseException)}
    for error in failed.values():
        if not isinstance(error, StationError | Unavailable):
            raise error
    warnings = {name: _warning(name, error) for name, error in failed.items() if isinstance(error, RsError)}
    if warnings and not lenient:
        raise Unavailable(
            "; ".join(warning["detail"] for warning in warnings.values()),
            hint=f"the header 'Prefer: {LENIENT}' gets the rows of the others",
            failed=list(warnings.values()),
        )
    return warnings


def _warning(name: str, error: RsError) -> dict[str, Any]:
    return {"source": name, "detail": error.detail, "status": int(errors.status_of(error))}


async def _items(sources: Sequence[Source], taken: Sequence[Hit]) -> list[stac.Document]:
    """The items of the rows, each source asked once for its own."""
    by_name = {source.name: source for source in sources}
    groups: dict[str, list[int]] = {}
    for at, hit in enumerate(taken):
        groups.setdefault(hit.source, []).append(at)
    made = await asyncio.gather(*(by_name[name].items([taken[at] for at in places]) for name, places in groups.items()))
    items: dict[int, stac.Document] = {}
    for places, group in zip(groups.values(), made, strict=True):
        items.update(zip(places, group, strict=True))
    return [items[at] for at in range(len(taken))]


_NOT_HERE = ("ogcapi-features", "ogcapi-features-1", "ogcapi-features-3", "core/collections")
_CONFORMANCE = [
    each for each in stac.CONFORMANCE if not any(f"/{name}" in each for name in _NOT_HERE) or each.endswith("/filter")
]


def _root(service: Discovery) -> stac.Document:
    return stac.link("root", f"{service.url}/", title=TITLE)


def _landing(service: Discovery, collections: Sequence[stac.Document]) -> stac.Document:
    search = f"{service.url}/{_PLACE}"
    children = [
        stac.link("child", _self(each), stac.JSON, str(each.get("title") or each["id"])) for each in collections
    ]
    return {
        "type": "Catalog",
        "stac_version": STAC_VERSION,
        "id": "stations",
        "title": TITLE,
        "description": DESCRIPTION,
        "conformsTo": list(_CONFORMANCE),
        "links": [
            stac.link("self", f"{service.url}/", title="This page"),
            stac.link("root", f"{service.url}/", title=TITLE),
            stac.link("data", f"{service.url}/collections", title="Collections"),
            stac.link("conformance", f"{service.url}/conformance", title="Conformance classes"),
            stac.link("search", search, stac.GEOJSON, "Search", method="GET"),
            stac.link("search", search, stac.GEOJSON, "Search", method="POST"),
            stac.link(stac.QUERYABLES, f"{service.url}/queryables", stac.SCHEMA, "Queryables"),
            stac.link("service-desc", f"{service.url}/api", stac.OPENAPI, "OpenAPI description"),
            stac.link("service-doc", service.docs_url, "text/html", "Documentation"),
            *children,
        ],
    }


def _self(collection: stac.Document) -> str:
    return next(str(link["href"]) for link in collection["links"] if link["rel"] == "self")
