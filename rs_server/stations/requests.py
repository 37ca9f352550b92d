"""What callers may ask in a search, as query parameters or as a JSON body, and how it is understood.

Standards: STAC API 1.0 item search with the extensions filter, sort and fields. A parameter that is not known is
refused: to leave it out would answer more than was asked for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from geojson_pydantic.geometries import Geometry
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError

from rs_server.errors import BadInput
from rs_server.stations import filters, geometry, oldquery, search
from rs_server.stations.filters import Filter, conjunction
from rs_server.stations.kinds.cadip import CADIP
from rs_server.stations.model import Property, StationKind
from rs_server.stations.odata import SortKey
from rs_server.stations.paging import Binding
from rs_server.stations.search import DEFAULT_FIELDS, DEFAULT_LIMIT, MOST_ITEMS, Fields, SearchRequest

Crs = Literal["http://www.opengis.net/def/crs/OGC/1.3/CRS84"]
CRS84: Crs = "http://www.opengis.net/def/crs/OGC/1.3/CRS84"

FilterLanguage = Literal["cql2-text", "cql2-json"]
Limit = Annotated[
    int,
    Field(
        ge=1,
        description=f"Items of a page; more than {MOST_ITEMS} count as {MOST_ITEMS}, of sessions {CADIP.most_items}",
    ),
]

_NOT_THE_SEARCH = {"token", "limit", "fields"}  # may change from page to page
_QUERY: TypeAdapter[dict[str, dict[str, Any]]] = TypeAdapter(dict[str, dict[str, Any]])
_GEOMETRY: TypeAdapter[Any] = TypeAdapter(Geometry)


class SearchQuery(BaseModel):
    """The query parameters of a search, and of a collection's items."""

    model_config = ConfigDict(extra="forbid")

    collections: str | None = Field(None, description="Collections, separated by commas")
    ids: str | None = Field(None, description="Ids of items, separated by commas")
    bbox: str | None = Field(None, description="Four or six numbers: west, south, east, north")
    intersects: str | None = Field(None, description="A GeoJSON geometry")
    datetime: str | None = Field(None, description="A moment, or an interval: 2024-11-14T00:00:00Z/..")
    filter: str | None = Field(None, description="A CQL2 expression")
    query: str | None = Field(None, description='For old clients, as JSON: {"platform": {"eq": "sentinel-1a"}}')
    filter_lang: FilterLanguage = Field("cql2-text", alias="filter-lang")
    filter_crs: Crs = Field(CRS84, alias="filter-crs")
    sortby: str | None = Field(None, description="Properties with their direction: -published,+id")
    fields: str | None = Field(None, description="Members wanted, and with a minus those not: id,-assets")
    limit: Limit = DEFAULT_LIMIT
    token: str | None = Field(None, description="Where to go on; comes from a link of an answer")

    def as_body(self) -> SearchBody:
        """The same search as a body states it."""
        include, exclude = _fields(_listed(self.fields) or [])
        return SearchBody.model_validate(
            {
                **self.model_dump(by_alias=True, exclude={"fields"}),
                "collections": _listed(self.collections),
                "ids": _listed(self.ids),
                "bbox": _numbers(self.bbox),
                "intersects": _geometry(self.intersects),
                "query": _query(self.query),
                "sortby": [_sort_term(term) for term in _listed(self.sortby) or []],
                **({} if self.fields is None else {"fields": _stated(include, exclude)}),
            }
        )


def _several(value: Any) -> Any:
    """One name stands for a list of it."""
    return [value] if isinstance(value, str) else value


class SortBy(BaseModel):
    """One sort key."""

    model_config = ConfigDict(extra="forbid")

    field: str
    direction: Literal["asc", "desc"] = "asc"


class FieldsBody(BaseModel):
    """Which members of an item are wanted."""

    model_config = ConfigDict(extra="forbid")

    include: list[str] | None = None
    exclude: list[str] | None = None


class SearchBody(BaseModel):
    """The JSON body of a search."""

    model_config = ConfigDict(extra="forbid")

    collections: Annotated[list[str] | None, BeforeValidator(_several)] = None
    ids: Annotated[list[str] | None, BeforeValidator(_several)] = None
    bbox: list[float] | None = None
    intersects: Geometry | None = None
    datetime: str | None = None
    filter: dict[str, Any] | str | None = None
    query: dict[str, dict[str, Any]] | None = Field(None, description="For old clients; a filter says more")
    filter_lang: FilterLanguage = Field("cql2-json", alias="filter-lang")
    filter_crs: Crs = Field(CRS84, alias="filter-crs")
    sortby: list[SortBy] = Field(default_factory=list)
    fields: FieldsBody = Field(default_factory=FieldsBody)
    limit: Limit = DEFAULT_LIMIT
    token: str | None = None

    def understood(
        self,
        kind: StationKind,
        foreign: Mapping[str, Property] = filters.ANYWHERE,
        *,
        order: tuple[SortKey, ...] | None = None,
    ) -> SearchRequest:
        """The search, every part of it understood; ``BadInput`` names the part that is not. The cursor is not read.

        ``foreign`` are properties that items of other kinds have; ``order`` stands in for the one that is asked for.
        """
        terms = [f"{'-' if s.direction == 'desc' else '+'}{s.field}" for s in self.sortby]
        return SearchRequest(
            filter=conjunction([*self._filters(kind, foreign)]),
            collections=None if self.collections is None else tuple(self.collections),
            order=search.sort_order(kind, terms) if order is None else order,
            limit=min(self.limit, kind.most_items),
            fields=self.wanted_fields(),
        )

    def wanted_fields(self) -> Fields:
        """Which members of an item are wanted."""
        include, exclude = tuple(self.fields.include or ()), tuple(self.fields.exclude or ())
        given = self.fields.model_fields_set
        stated = "fields" in self.model_fields_set and ("include" in given or not given)
        default = tuple(name for name in DEFAULT_FIELDS if name not in exclude)
        return Fields(default if stated and not include else include, exclude)

    def binding(self, caller: str, place: str) -> Binding:
        """What a paging token of this search is bound to; ``place`` is where it is asked."""
        return Binding(caller, {"place": place, **self.model_dump(mode="json", exclude=_NOT_THE_SEARCH)})

    def _filters(self, kind: StationKind, foreign: Mapping[str, Property]) -> list[Filter]:
        found: list[Filter] = []
        if self.ids is not None:
            found.append(search.id_filter(kind, self.ids))
        if self.datetime is not None:
            found.append(search.datetime_filter(kind, self.datetime))
        if self.bbox is not None or self.intersects is not None:
            found.append(filters.intersecting(kind, _area(self.bbox, self.intersects)))
        if self.query is not None:
            found.append(filters.read(kind, oldquery.as_cql2(self.query), foreign))
        if self.filter is not None:
            found.append(filters.parse(kind, self.filter, self.filter_lang, foreign))
        return found


def _area(bbox: list[float] | None, intersects: Any) -> dict[str, Any]:
    """The shape that is asked for."""
    if bbox is not None and intersects is not None:
        raise BadInput("bbox and intersects exclude one another")
    try:
        if bbox is None:
            return geometry.checked(intersects.model_dump(mode="json", exclude_none=True))
        _check_box(bbox)
        return geometry.checked(geometry.area(bbox))
    except ValueError as error:
        raise BadInput(f"{'intersects' if bbox is None else 'bbox'}: {error}") from error


def _check_box(bbox: list[float]) -> None:
    half = len(bbox) // 2
    if len(bbox) not in (4, 6) or not all(
        low <= high for low, high in zip(bbox[1:half], bbox[half + 1 :], strict=True)
    ):
        raise ValueError("four or six numbers are needed, first the lower corner, then the upper one")


def _listed(text: str | None) -> list[str] | None:
    return None if text is None else [part.strip() for part in text.split(",") if part.strip()]


def _numbers(text: str | None) -> list[float] | None:
    try:
        return None if text is None else [float(part) for part in text.split(",")]
    except ValueError as error:
        raise BadInput("bbox: numbers separated by commas are needed") from error


def _geometry(text: str | None) -> Any:
    try:
        return None if text is None else _GEOMETRY.validate_json(text)
    except ValidationError as error:
        raise BadInput("intersects: not a GeoJSON geometry") from error


def _query(text: str | None) -> Any:
    try:
        return None if text is None else _QUERY.validate_json(text)
    except ValidationError as error:
        raise BadInput("query: a JSON object of properties is needed, each with an object of comparisons") from error


def _sort_term(term: str) -> dict[str, str]:
    return {"field": term.lstrip("+-"), "direction": "desc" if term.startswith("-") else "asc"}


def _stated(include: list[str], exclude: list[str]) -> dict[str, list[str]]:
    """The member ``fields`` of a body; only to want nothing is to want the default."""
    return {"exclude": exclude, **({"include": include} if include or not exclude else {})}


def _fields(terms: list[str]) -> tuple[list[str], list[str]]:
    include = [term.removeprefix("+") for term in terms if not term.startswith("-")]
    return include, [term.removeprefix("-") for term in terms if term.startswith("-")]
