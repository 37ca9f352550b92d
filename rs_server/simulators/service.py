"""A station's OData service: what each request is answered, before the faults get at it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from http import HTTPStatus
from urllib.parse import urlencode
from uuid import UUID

import orjson
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.datastructures import URL
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from rs_server.simulators import answers, archive, content, metadata, odata, query
from rs_server.simulators.answers import ODataError
from rs_server.simulators.faults import Operation, Strikes
from rs_server.simulators.model import Content
from rs_server.simulators.orders import NotPossible, OrderRequest, Orders
from rs_server.simulators.station import Station
from rs_server.simulators.store import EntitySet, Row
from rs_server.simulators.subscriptions import SubscriptionChange, SubscriptionRequest, Subscriptions

_RESOURCE = re.compile(r"(?P<set>\w+)(?:\('?(?P<key>[^()']*)'?\))?(?:/(?P<rest>.+))?")
_QUICKLOOK = re.compile(r"Quicklooks\('(?P<image>[^']+)'\)/\$value")


@dataclass(frozen=True)
class Resource:
    """What a path below the OData root means."""

    path: str
    set: str = ""
    key: UUID | None = None
    rest: str | None = None

    @property
    def operation(self) -> Operation:
        """What a request for it wants."""
        if self.key is not None and self.rest is not None and self.rest.endswith("$value"):
            return Operation.DOWNLOAD
        if self.set == "Subscriptions":
            return Operation.SUBSCRIPTION
        return Operation.ORDER if self.set == "Orders" or self.rest == ORDER_ACTION else Operation.QUERY


def resource(path: str) -> Resource:
    """Understand a path; one that means nothing stays as it is."""
    match = _RESOURCE.fullmatch(path)
    if match is None:
        return Resource(path)
    try:
        key = UUID(match["key"]) if match["key"] is not None else None
    except ValueError:
        return Resource(path)
    return Resource(path, match["set"], key, match["rest"])


ORDER_ACTION = "OData.CSC.Order"
CANCEL_ACTION = "OData.CSC.Cancel"
LIST_ACTION = "OData.CSC.FilterList"


class ListedProduct(BaseModel):
    """One name of a list."""

    name: str = Field(alias="Name")


class FilterList(BaseModel):
    """The body of a search by names."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    products: tuple[ListedProduct, ...] = Field(alias="FilterProducts", min_length=1, max_length=1000)


@dataclass(frozen=True)
class Service:
    """Answers what is asked of a station."""

    station: Station

    def content_of(self, wanted: Resource) -> Content | None:
        """The bytes that a download is about, whether they are still there or not."""
        entities = self.station.store.sets.get(wanted.set)
        if entities is None or wanted.key is None:
            return None
        if wanted.rest == "$value":
            return entities.content(wanted.key)
        picture = _QUICKLOOK.fullmatch(wanted.rest or "")
        return self._quicklook(wanted.key, picture["image"]) if picture is not None else None

    def _quicklook(self, key: UUID, image: str) -> Content | None:
        entities = self.station.store.sets["Products"]
        row = entities.row(key, self.station.now(), ("Quicklooks",)) if "Quicklooks" in entities.table.related else None
        if row is None or image not in (one["Image"] for one in row.listed("Quicklooks")):
            return None
        return archive.quicklook(orjson.loads(row.document))

    def read(self, request: Request, wanted: Resource, strikes: Strikes) -> Response:
        """GET and HEAD."""
        types = self.station.store.types
        if wanted.path == "":
            return answers.document(metadata.service_document(types))
        if wanted.path == "$metadata":
            return Response(metadata.csdl(types), media_type="application/xml")
        if wanted.set not in types:
            raise ODataError(HTTPStatus.NOT_FOUND, f"there is no {wanted.path}")
        if wanted.key is None:
            return self._collection(request, wanted, strikes)
        return self._single(request, wanted, wanted.key, strikes)

    def download(self, request: Request, wanted: Resource, strikes: Strikes) -> Response:
        """The bytes of an entity that is there."""
        entities, found = self.station.store.sets.get(wanted.set), self.content_of(wanted)
        if entities is None or wanted.key is None or found is None:
            raise ODataError(HTTPStatus.NOT_FOUND, f"there is no {wanted.path}")
        if strikes.any("evict"):
            entities.end(wanted.key, self.station.now())
        if entities.row(wanted.key, self.station.now()) is None:
            raise ODataError(HTTPStatus.GONE, f"{found.name} is not here any more, or not yet")
        if wanted.rest == "$value" and self.station.offline(wanted.key):
            return self._offline(wanted.key, found)
        return content.respond(request, found, ranges=not strikes.any("ignore_range"))

    def _offline(self, key: UUID, found: Content) -> Response:
        """An archive's answer to who would download what is offline: no, or an order in its place."""
        status = HTTPStatus(self.station.scenario.orders.offline_status)
        if status is not HTTPStatus.ACCEPTED:
            raise ODataError(status, f"{found.name} is offline; order it")
        Orders(self.station).place(key, OrderRequest())
        return Response(status_code=HTTPStatus.ACCEPTED)

    # --- what changes something

    def act(self, request: Request, wanted: Resource, body: bytes, strikes: Strikes) -> Response:
        """POST, PATCH and DELETE. Raises ``ODataError``, ``FilterError`` or ``OverQuota``."""
        actions: Mapping[tuple[str, str, str | None], Callable[[UUID, bytes], Response]] = {
            ("POST", "Products", ORDER_ACTION): self._order,
            ("POST", "Orders", CANCEL_ACTION): self._cancel,
            ("PATCH", "Subscriptions", None): self._change,
            ("DELETE", "Subscriptions", None): self._unsubscribe,
        }
        asked = (request.method, wanted.set, wanted.rest)
        if wanted.set not in self.station.store.sets:
            raise ODataError(HTTPStatus.NOT_FOUND, f"there is no {wanted.path}")
        try:
            if asked == ("POST", "Products", LIST_ACTION):
                return self._filter_list(request, body, strikes)
            if asked == ("POST", "Subscriptions", None) and wanted.key is None:
                return self._subscribe(body)
            if wanted.key is not None and asked in actions:
                return actions[asked](wanted.key, body)
        except KeyError as missing:
            raise ODataError(HTTPStatus.NOT_FOUND, f"{wanted.set} has no {wanted.key}") from missing
        except NotPossible as impossible:
            raise ODataError(HTTPStatus.CONFLICT, str(impossible)) from impossible
        except ValidationError as invalid:
            wrong = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in invalid.errors())
            raise ODataError(HTTPStatus.BAD_REQUEST, wrong) from invalid
        raise ODataError(HTTPStatus.METHOD_NOT_ALLOWED, f"{request.method} {wanted.path} means nothing here")

    def _order(self, key: UUID, body: bytes) -> Response:
        self._known("Orders")
        placed = Orders(self.station).place(key, OrderRequest.model_validate_json(body or b"{}"))
        return self._shown("Orders", "OData.CSC.Order", placed, HTTPStatus.CREATED)

    def _cancel(self, key: UUID, _: bytes) -> Response:
        Orders(self.station).cancel(key)
        return self._shown("Orders", "OData.CSC.Order", key)

    def _subscribe(self, body: bytes) -> Response:
        made = Subscriptions(self.station).add(SubscriptionRequest.model_validate_json(body))
        return self._shown("Subscriptions", "OData.CSC.Subscription", made, HTTPStatus.CREATED)

    def _change(self, key: UUID, body: bytes) -> Response:
        Subscriptions(self.station).change(key, SubscriptionChange.model_validate_json(body).status)
        return self._shown("Subscriptions", "OData.CSC.Subscription", key)

    def _unsubscribe(self, key: UUID, _: bytes) -> Response:
        Subscriptions(self.station).change(key, "cancelled")
        return Response(status_code=HTTPStatus.NO_CONTENT)

    def _filter_list(self, request: Request, body: bytes, strikes: Strikes) -> Response:
        """The products of a list of names."""
        names = tuple(one.name for one in FilterList.model_validate_json(body).products)
        asked = self._asked(request, self.station.store.sets["Products"], strikes)
        listed = odata.In("Name", names)
        both = listed if asked.filter is None else odata.And((listed, asked.filter))
        return self.page(request.url, request.query_params, "Products", replace(asked, filter=both), strikes)

    def _shown(self, name: str, context: str, key: UUID, status: int = HTTPStatus.OK) -> Response:
        row = self._known(name).row(key, self.station.now())
        assert row is not None
        return answers.document({"@odata.context": f"$metadata#{context}", **orjson.loads(row.document)}, status)

    def _known(self, name: str) -> EntitySet:
        found = self.station.store.sets.get(name)
        if found is None:
            raise ODataError(HTTPStatus.NOT_FOUND, f"this station has no {name}")
        return found

    # --- what is read

    def _collection(self, request: Request, wanted: Resource, strikes: Strikes) -> Response:
        entities = self.station.store.sets[wanted.set]
        asked = self._asked(request, entities, strikes)
        if wanted.rest == "$count":
            return PlainTextResponse(str(entities.count(asked.filter, self.station.now())))
        if wanted.rest is not None:
            raise ODataError(HTTPStatus.NOT_FOUND, f"{wanted.set} has no {wanted.rest}")
        return self.page(request.url, request.query_params, wanted.set, asked, strikes)

    def page(
        self, url: URL, parameters: Mapping[str, str], name: str, asked: query.Query, strikes: Strikes
    ) -> Response:
        """One page of a set."""
        entities = self.station.store.sets[name]
        page = entities.page(asked, self.station.page_size, self.station.now())
        shown = answers.spoiled([_row_text(row, asked) for row in page.rows], strikes)
        self._afterwards(name, page.rows, strikes)
        if strikes.any("bare_list"):
            return Response(f"[{','.join(shown)}]", media_type="application/json")
        link = None if page.next_skip is None else _next_link(url, parameters, asked, page.next_skip)
        return answers.page(answers.context(name, asked), shown, page.total, link)

    def _afterwards(self, name: str, shown: Iterable[Row], strikes: Strikes) -> None:
        """What happens at the station as soon as a page has been read."""
        if strikes.any("evict"):
            for row in shown:
                self.station.store.sets[name].end(row.key, self.station.now())
        for strike in strikes.having("insert_rows"):
            self.station.publish(strike.fault.insert_rows, timedelta(seconds=strike.fault.insert_late_s))

    def _single(self, request: Request, wanted: Resource, key: UUID, strikes: Strikes) -> Response:
        if wanted.set == "Orders" and wanted.rest == "Product":
            return self._ordered(request, key, strikes)
        entities, now = self.station.store.sets[wanted.set], self.station.now()
        schema = entities.type
        asked = self._asked(request, entities, strikes)
        navigation = wanted.rest if wanted.rest in schema.navigations else None
        row = entities.row(key, now, (navigation,) if navigation else asked.expand)
        if row is None:
            raise ODataError(HTTPStatus.NOT_FOUND, f"{wanted.set} has no {key}")
        if navigation is not None:
            related = answers.spoiled([orjson.dumps(one).decode() for one in row.listed(navigation)], strikes)
            return answers.page(f"$metadata#{wanted.set}({key})/{navigation}", related, None, None)
        if wanted.rest is not None:
            raise ODataError(HTTPStatus.NOT_FOUND, f"{schema.name} has no {wanted.rest}")
        (shown, *_) = answers.spoiled([_row_text(row, asked)], strikes)
        return answers.entity(f"{answers.context(wanted.set, asked)}/$entity", shown)

    def _ordered(self, request: Request, order: UUID, strikes: Strikes) -> Response:
        """The product that an order is about."""
        found = Orders(self.station).product_of(order)
        if found is None:
            raise ODataError(HTTPStatus.NOT_FOUND, f"Orders has no {order}")
        return self._single(request, Resource("", "Products", found), found, strikes)

    def _asked(self, request: Request, entities: EntitySet, strikes: Strikes) -> query.Query:
        """The query options, less those that a fault ignores, refused if they use what a fault refuses."""
        given = {name: value for name, value in request.query_params.items() if name not in strikes.ignored}
        asked = query.parse(given, entities.type)
        for feature in answers.features(asked):
            if feature in strikes.refused:
                raise ODataError(HTTPStatus.NOT_IMPLEMENTED, f"this station does not know {feature!r}")
        return asked


def _row_text(row: Row, asked: query.Query) -> str:
    return answers.selected(row.text, asked.select, asked.expand) if asked.select else row.text


def _next_link(url: URL, parameters: Mapping[str, str], asked: query.Query, next_skip: int) -> str:
    """The address of the next page; ``$top`` shrinks by what was already shown."""
    more = dict(parameters) | {"$skip": str(next_skip)}
    if asked.top is not None:
        more["$top"] = str(asked.top - (next_skip - asked.skip))
    return str(url.replace(query=urlencode(more, safe="$")))
