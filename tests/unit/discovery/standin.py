"""A catalog for the tests of the search over all: it filters by the tests' own evaluation of CQL2."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from rs_server.stations import instants
from tests.unit.stations import oracle


@dataclass
class StandIn:
    """It holds items; only who has a login is let in. Of its order, as PostgreSQL's, no value comes last going up."""

    items: list[dict[str, Any]]
    fails: int = 0
    searches: list[dict[str, Any]] = field(default_factory=list)

    @property
    def app(self) -> Starlette:
        return Starlette(
            routes=[
                Route("/search", self.search, methods=["POST"]),
                Route("/collections", self.collections),
            ]
        )

    async def search(self, request: Request) -> JSONResponse:
        if self.fails:
            return JSONResponse({"detail": "out of order"}, self.fails)
        if "x-login" not in request.headers and "authorization" not in request.headers:
            return JSONResponse({"detail": "who?"}, 401)
        body = orjson.loads(await request.body())
        self.searches.append(body)
        found = [
            item
            for item in self.items
            if (not body.get("collections") or item["collection"] in body["collections"])
            and ("filter" not in body or oracle.holds(body["filter"], columns(item)) is True)
        ]
        for key in reversed(body["sortby"]):
            values = {id(item): columns(item).get(key["field"]) for item in found}
            found.sort(key=lambda item: _nulls_last(values[id(item)]), reverse=key["direction"] == "desc")
        return JSONResponse({"type": "FeatureCollection", "features": found[: body["limit"]], "links": []})

    async def collections(self, request: Request) -> JSONResponse:
        document = {"id": "alice_products", "links": [{"rel": "self", "href": "http://x/alice_products"}]}
        return JSONResponse({"collections": [document]})


def columns(item: dict[str, Any]) -> dict[str, Any]:
    """What an item is found and sorted by: its times are those of its span, if it has one (as pgstac has it)."""
    properties = item["properties"]
    begin, end = properties.get("start_datetime"), properties.get("end_datetime")
    if not (begin and end):
        begin = end = properties["datetime"]
    times = {"datetime": begin, "start_datetime": begin, "end_datetime": end}
    return {**properties, **times, "id": item["id"], "collection": item["collection"]}


def comparable(value: Any) -> Any:
    """A value of an item as it compares: moments are written in several ways."""
    return instants.micros(value) if isinstance(value, str) and oracle.MOMENTS.fullmatch(value) else value


def _nulls_last(value: Any) -> tuple[bool, Any]:
    return value is None, comparable(value)
