"""A station's OData service: what each request is answered, before the faults get at it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from http import HTTPStatus
from urllib.parse import urlencode
from uuid import UUID

from starlette.datastructures import URL
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

from rs_server.simulators import answers, content, metadata, query
from rs_server.simulators.answers import ODataError
from rs_server.simulators.faults import Operation, Strikes
from rs_server.simulators.model import Content
from rs_server.simulators.station import Station
from rs_server.simulators.store import EntitySet, Row

_RESOURCE = re.compile(r"(?P<set>\w+)(?:\('?(?P<key>[^()']*)'?\))?(?:/(?P<rest>[$\w.]+))?")


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
        return Operation.DOWNLOAD if self.key is not None and self.rest == "$value" else Operation.QUERY


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


@dataclass(frozen=True)
class Service:
    """Answers what is asked of a station."""

    station: Station

    def content_of(self, wanted: Resource) -> Content | None:
        """The bytes that a download is about, whether they are still there or not."""
        entities = self.station.store.sets.get(wanted.set)
        return entities.content(wanted.key) if entities is not None and wanted.key is not None else None

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
        return content.respond(request, found, ranges=not strikes.any("ignore_range"))

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
        shown = answers.spoiled([_shown(row, asked) for row in page.rows], strikes)
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
        entities, now = self.station.store.sets[wanted.set], self.station.now()
        schema = entities.type
        asked = self._asked(request, entities, strikes)
        navigation = wanted.rest if wanted.rest in schema.navigations else None
        row = entities.row(key, now, (navigation,) if navigation else asked.expand)
        if row is None:
            raise ODataError(HTTPStatus.NOT_FOUND, f"{wanted.set} has no {key}")
        if navigation is not None:
            related = answers.spoiled(row.related[navigation], strikes)
            return answers.page(f"$metadata#{wanted.set}({key})/{navigation}", related, None, None)
        if wanted.rest is not None:
            raise ODataError(HTTPStatus.NOT_FOUND, f"{schema.name} has no {wanted.rest}")
        (shown, *_) = answers.spoiled([_shown(row, asked)], strikes)
        return answers.entity(f"{answers.context(wanted.set, asked)}/$entity", shown)

    def _asked(self, request: Request, entities: EntitySet, strikes: Strikes) -> query.Query:
        """The query options, less those that a fault ignores, refused if they use what a fault refuses."""
        given = {name: value for name, value in request.query_params.items() if name not in strikes.ignored}
        asked = query.parse(given, entities.type)
        for feature in answers.features(asked):
            if feature in strikes.refused:
                raise ODataError(HTTPStatus.NOT_IMPLEMENTED, f"this station does not know {feature!r}")
        return asked


def _shown(row: Row, asked: query.Query) -> str:
    return answers.selected(row.text, asked.select, asked.expand) if asked.select else row.text


def _next_link(url: URL, parameters: Mapping[str, str], asked: query.Query, next_skip: int) -> str:
    """The address of the next page; ``$top`` shrinks by what was already shown."""
    more = dict(parameters) | {"$skip": str(next_skip)}
    if asked.top is not None:
        more["$top"] = str(asked.top - (next_skip - asked.skip))
    return str(url.replace(query=urlencode(more, safe="$")))
