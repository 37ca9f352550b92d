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
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from rs_server.simulators import answers, archive, content, metadata, odata, query
from rs_server.simulators.answers import ODataError
from rs_server.simulators.faults import Operation, Strikes
from rs_server.simulators.model import Content, EntityType
from rs_server.simulators.orders import NotPossible, OrderRequest, Orders
from rs_server.simulators.station import Station
from rs_server.simulators.store import EntitySet, Row
from rs_server.simulators.subscriptions import MOST_QUEUED, SubscriptionChange, SubscriptionRequest, Subscriptions

_ALL = 1_000_000
_OWNER = "Client"
"""The property that says whose an entity is; others do not see it."""
_RESOURCE = re.compile(r"(?P<set>\w+)(?:\('?(?P<key>[^()']*)'?\))?(?:/(?P<rest>.+))?")
_QUICKLOOK = re.compile(r"Quicklooks\('(?P<image>[^']+)'\)(?P<bytes>/\$value)?")


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


def client_of(request: Request) -> str:
    """Whose request it is, once it was let in."""
    return str(getattr(request.state, "client", ""))


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
READ, ACKNOWLEDGE = "Read", "Ack"
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
        return self._quicklook(entities, wanted.key, picture["image"]) if picture is not None else None

    def _quicklook(self, entities: EntitySet, key: UUID, image: str) -> Content | None:
        row = (
            entities.row(key, self.station.now(), {"Quicklooks": query.ALL})
            if "Quicklooks" in entities.table.related
            else None
        )
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
            gone = self.station.scenario.gone_status
            raise ODataError(gone, f"{found.name} is not here any more, or not yet")
        if wanted.rest == "$value" and self.station.offline(wanted.key):
            return self._offline(client_of(request), wanted.key, found)
        return content.respond(request, found, ranges=not strikes.any("ignore_range"))

    def _offline(self, client: str, key: UUID, found: Content) -> Response:
        """An archive's answer to who would download what is offline: no, or an order in its place."""
        status = HTTPStatus(self.station.scenario.orders.offline_status)
        if status is not HTTPStatus.ACCEPTED:
            raise ODataError(status, f"{found.name} is offline; order it")
        Orders(self.station, client).place(key, OrderRequest())
        return Response(status_code=HTTPStatus.ACCEPTED)

    # --- what changes something

    def act(self, request: Request, wanted: Resource, body: bytes, strikes: Strikes) -> Response:
        """POST, PATCH and DELETE. Raises ``ODataError``, ``FilterError`` or ``OverQuota``."""
        actions: Mapping[tuple[str, str, str | None], Callable[[Request, UUID, bytes], Response]] = {
            ("POST", "Products", ORDER_ACTION): self._order,
            ("POST", "Orders", CANCEL_ACTION): self._cancel,
            ("PATCH", "Subscriptions", None): self._change,
            ("POST", "Subscriptions", ACKNOWLEDGE): self._acknowledge,
            ("DELETE", "Subscriptions", None): self._unsubscribe,
        }
        asked = (request.method, wanted.set, wanted.rest)
        if wanted.set not in self.station.store.types:
            raise ODataError(HTTPStatus.NOT_FOUND, f"there is no {wanted.path}")
        try:
            if asked == ("POST", "Products", LIST_ACTION):
                return self._filter_list(request, body, strikes)
            if asked == ("POST", "Subscriptions", None) and wanted.key is None:
                return self._subscribe(request, body)
            if wanted.key is not None and asked in actions:
                return actions[asked](request, wanted.key, body)
        except KeyError as missing:
            raise ODataError(HTTPStatus.NOT_FOUND, f"{wanted.set} has no {wanted.key}") from missing
        except NotPossible as impossible:
            raise ODataError(HTTPStatus.CONFLICT, str(impossible)) from impossible
        except ValidationError as invalid:
            wrong = "; ".join(f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in invalid.errors())
            raise ODataError(HTTPStatus.BAD_REQUEST, wrong) from invalid
        raise ODataError(HTTPStatus.METHOD_NOT_ALLOWED, f"{request.method} {wanted.path} means nothing here")

    def _order(self, request: Request, key: UUID, body: bytes) -> Response:
        self._known("Orders")
        placed = self._orders(request).place(key, OrderRequest.model_validate_json(body or b"{}"))
        return self._shown("Orders", "OData.CSC.Order", placed, HTTPStatus.CREATED)

    def _cancel(self, request: Request, key: UUID, _: bytes) -> Response:
        self._orders(request).cancel(key)
        return self._shown("Orders", "OData.CSC.Order", key)

    def _subscribe(self, request: Request, body: bytes) -> Response:
        made = self._subscriptions(request).add(SubscriptionRequest.model_validate_json(body))
        return self._shown("Subscriptions", "OData.CSC.Subscription", made, HTTPStatus.CREATED)

    def _change(self, request: Request, key: UUID, body: bytes) -> Response:
        self._subscriptions(request).change(key, SubscriptionChange.model_validate_json(body).status)
        return self._shown("Subscriptions", "OData.CSC.Subscription", key)

    def _unsubscribe(self, request: Request, key: UUID, _: bytes) -> Response:
        self._subscriptions(request).change(key, "cancelled")
        return Response(status_code=HTTPStatus.NO_CONTENT)

    def _acknowledge(self, request: Request, key: UUID, _: bytes) -> Response:
        ack_id = request.query_params.get("$ackid", "")
        try:
            read, left = self._subscriptions(request).acknowledge(key, ack_id)
        except ValueError as unknown:
            raise ODataError(HTTPStatus.BAD_REQUEST, f"$ackid: {unknown}") from unknown
        told = {"AckMessagesNum": read, "CurrentQueueLength": left, "MaxQueueLength": MOST_QUEUED}
        return answers.document({"@odata.context": "$metadata#Notification/$entity", **told})

    def _notifications(self, request: Request, key: UUID) -> Response:
        """The oldest of a queue; one unless ``$top`` says more."""
        top = query.natural("$top", request.query_params.get("$top", "1"))
        try:
            found = self._subscriptions(request).read(key, top)
        except KeyError as missing:
            raise ODataError(HTTPStatus.NOT_FOUND, f"no queue of {key}") from missing
        return answers.rows(found)

    def _orders(self, request: Request) -> Orders:
        return Orders(self.station, client_of(request))

    def _subscriptions(self, request: Request) -> Subscriptions:
        return Subscriptions(self.station, client_of(request))

    def _filter_list(self, request: Request, body: bytes, strikes: Strikes) -> Response:
        """The products of a list of names, in one answer: there is no address for the rest of a posted list."""
        names = tuple(one.name for one in FilterList.model_validate_json(body).products)
        asked = _narrowed(self._asked(request, self.station.store.types["Products"], strikes), odata.In("Name", names))
        return self.page(request, "Products", asked, strikes, size=_ALL)

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
        asked = self._asked(request, entities.type, strikes)
        if _OWNER in entities.type.properties:
            asked = _narrowed(asked, odata.Compare(_OWNER, "eq", client_of(request)))
        if wanted.rest == "$count":
            return PlainTextResponse(str(entities.count(asked.filter, self.station.now())))
        if wanted.rest is not None:
            raise ODataError(HTTPStatus.NOT_FOUND, f"{wanted.set} has no {wanted.rest}")
        return self.page(request, wanted.set, asked, strikes, size=self.station.page_size)

    def page(self, request: Request, name: str, asked: query.Query, strikes: Strikes, *, size: int) -> Response:
        """One page of a set, of so many entities at most."""
        entities = self.station.store.sets[name]
        page = entities.page(asked, size, self.station.now())
        shown = answers.spoiled([_row_text(row, asked) for row in page.rows], strikes)
        self._afterwards(name, page.rows, strikes)
        if strikes.any("bare_list"):
            return answers.rows(shown)
        link = None if page.next_skip is None else _next_link(request, asked, page.next_skip)
        return answers.page(answers.context(name, asked), shown, page.total, link)

    def _afterwards(self, name: str, shown: Iterable[Row], strikes: Strikes) -> None:
        """What happens at the station as soon as a page has been read."""
        rows = tuple(shown)
        for row in rows if strikes.any("evict") else ():
            self.station.store.sets[name].end(row.key, self.station.now())
        for strike in strikes.having("twin_rows"):
            for row in rows[: strike.fault.twin_rows]:
                self.station.republish(name, row.key)
        for strike in strikes.having("insert_rows"):
            self.station.publish(strike.fault.insert_rows, timedelta(seconds=strike.fault.insert_late_s))

    def _single(self, request: Request, wanted: Resource, key: UUID, strikes: Strikes) -> Response:
        if wanted.set == "Orders" and wanted.rest == "Product":
            return self._ordered(request, key, strikes)
        if wanted.set == "Subscriptions" and wanted.rest == READ:
            return self._notifications(request, key)
        entities, now = self.station.store.sets[wanted.set], self.station.now()
        schema = entities.type
        self._must_be_theirs(client_of(request), wanted.set, key)
        navigation, _, part = (wanted.rest or "").partition("/")
        if navigation in schema.navigations and part in ("", "$count"):
            return self._related(request, wanted, navigation, strikes)
        asked = self._asked(request, schema, strikes)
        row = entities.row(key, now, asked.expand)
        if row is None:
            raise ODataError(HTTPStatus.NOT_FOUND, f"{wanted.set} has no {key}")
        if wanted.rest is not None:
            return self._part(wanted, key, row)
        (shown, *_) = answers.spoiled([_row_text(row, asked)], strikes)
        return answers.entity(f"{answers.context(wanted.set, asked)}/$entity", shown)

    def _related(self, request: Request, wanted: Resource, navigation: str, strikes: Strikes) -> Response:
        """What is related to an entity, with the options of a query about that; or how many there are."""
        entities, key = self.station.store.sets[wanted.set], wanted.key
        assert key is not None
        asked = self._asked(request, entities.type.navigations[navigation], strikes)
        counted = str(wanted.rest).endswith("/$count")
        row = entities.row(key, self.station.now(), {navigation: replace(asked, count=asked.count or counted)})
        if row is None:
            raise ODataError(HTTPStatus.NOT_FOUND, f"{wanted.set} has no {key}")
        if counted:
            return PlainTextResponse(str(row.counts[navigation]))
        shown = answers.spoiled([orjson.dumps(one).decode() for one in row.listed(navigation)], strikes)
        context = answers.context(f"{wanted.set}({key})/{navigation}", asked)
        return answers.page(context, shown, row.counts.get(navigation), None)

    def _must_be_theirs(self, client: str, name: str, key: UUID) -> None:
        """What belongs to a client is there for that client only."""
        entities = self.station.store.sets[name]
        if _OWNER in entities.type.properties:
            found = entities.entity(key, self.station.now())
            if found is None or found.values[_OWNER] != client:
                raise ODataError(HTTPStatus.NOT_FOUND, f"{name} has no {key}")

    def _part(self, wanted: Resource, key: UUID, row: Row) -> Response:
        """A quicklook, or a property by its path."""
        entities, asked = self.station.store.sets[wanted.set], str(wanted.rest)
        picture = _QUICKLOOK.fullmatch(asked)
        if picture is not None and self._quicklook(entities, key, picture["image"]) is not None:
            context = f"$metadata#{wanted.set}({key})/Quicklooks/$entity"
            return answers.document({"@odata.context": context, "Image": picture["image"]})
        value = orjson.loads(row.document)
        for name in asked.split("/"):
            if not isinstance(value, dict) or name not in value or name.startswith("@"):
                raise ODataError(HTTPStatus.NOT_FOUND, f"{entities.type.name} has no {asked}")
            value = value[name]
        return answers.document({"@odata.context": f"$metadata#{wanted.set}({key})/{asked}", "value": value})

    def _ordered(self, request: Request, order: UUID, strikes: Strikes) -> Response:
        """The product that an order is about."""
        found = self._orders(request).product_of(order)
        if found is None:
            raise ODataError(HTTPStatus.NOT_FOUND, f"Orders has no {order}")
        return self._single(request, Resource("", "Products", found), found, strikes)

    def _asked(self, request: Request, schema: EntityType, strikes: Strikes) -> query.Query:
        """The query options, less those that a fault ignores, refused if they use what a fault refuses."""
        given = {name: value for name, value in request.query_params.items() if name not in strikes.ignored}
        asked = query.parse(given, schema)
        for feature in answers.features(asked):
            if feature in strikes.refused:
                raise ODataError(HTTPStatus.NOT_IMPLEMENTED, f"this station does not know {feature!r}")
        return asked


def _row_text(row: Row, asked: query.Query) -> str:
    return answers.selected(row.text, (*asked.select, *asked.expand)) if asked.select else row.text


def _narrowed(asked: query.Query, term: odata.Expression) -> query.Query:
    """The query for those only that a term describes as well."""
    return replace(asked, filter=term if asked.filter is None else odata.And((term, asked.filter)))


def _next_link(request: Request, asked: query.Query, next_skip: int) -> str:
    """The address of the next page; ``$top`` shrinks by what was already shown."""
    more = dict(request.query_params) | {"$skip": str(next_skip)}
    if asked.top is not None:
        more["$top"] = str(asked.top - (next_skip - asked.skip))
    return str(request.url.replace(query=urlencode(more, safe="$")))
