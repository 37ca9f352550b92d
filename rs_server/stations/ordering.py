"""The routes of orders, and what orders say on the items they are about."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from fastapi import FastAPI, Query, Request
from fastapi.responses import JSONResponse
from pydantic import BaseModel, ConfigDict, Field

from rs_server.access.guards import Caller
from rs_server.stations import stac
from rs_server.stations.client import Stations
from rs_server.stations.items import Place
from rs_server.stations.model import StationKind
from rs_server.stations.orders import Order, Orders, visible


class NewOrder(BaseModel):
    """The item that is to be brought online."""

    model_config = ConfigDict(extra="forbid")

    collection: str
    item: str = Field(description="Id of the item")


def add_routes(app: FastAPI, kind: StationKind, url: str) -> None:
    """``POST``, ``GET`` and ``DELETE`` under ``/orders``."""

    @app.post("/orders", status_code=201, responses={200: {"description": "It is on its way already"}})
    async def place(request: Request, who: Caller, wanted: NewOrder) -> JSONResponse:
        """Order an item that is not online. What is ordered already, by whomever, is not ordered again."""
        order, new = await _orders(request).place(who, kind.name, wanted.collection, wanted.item)
        status, headers = (201, {"Location": _href(url, order)}) if new else (200, None)
        return JSONResponse(_document(url, order), status, headers)

    @app.get("/orders")
    async def listed(
        request: Request, who: Caller, limit: Annotated[int, Query(ge=1, le=1_000)] = 100
    ) -> dict[str, Any]:
        """The caller's orders, newest first."""
        found = visible(who, kind.name, await _orders(request).of(who, kind.name, limit))
        return {
            "orders": [_document(url, order) for order in found],
            "links": [stac.link("self", f"{url}/orders"), stac.link("root", f"{url}/", title="Landing page")],
        }

    @app.get("/orders/{order_id}")
    async def one(request: Request, who: Caller, order_id: UUID) -> dict[str, Any]:
        """How far an order of the caller's is."""
        return _document(url, await _orders(request).get(who, order_id))

    @app.delete("/orders/{order_id}")
    async def cancel(request: Request, who: Caller, order_id: UUID) -> dict[str, Any]:
        """Want it no more; it goes on as long as somebody else wants it."""
        return _document(url, await _orders(request).cancel(who, order_id))


async def tell(request: Request, stations: Stations, service: str, url: str, items: list[stac.Document]) -> None:
    """Say on items that are not online what has been ordered, and how to order the others."""
    orders: Orders | None = getattr(request.state, "orders", None)
    offline = [item for item in items if item["properties"].get("rs:online") is False]
    if orders is None or not offline:
        return
    by_station: dict[str, list[stac.Document]] = {}
    for item in offline:
        by_station.setdefault(stations.station_of(service, item["collection"]), []).append(item)
    for station, theirs in by_station.items():
        known = await orders.about(station, [_product(item) for item in theirs])
        for item in theirs:
            order = known.get(_product(item))
            if order:
                item["properties"].update(order.properties())
            item["links"].append(_order_link(url, item))


def _orders(request: Request) -> Orders:
    orders: Orders = request.state.orders
    return orders


def _product(item: stac.Document) -> str:
    return str(item["properties"]["externalIds"][0]["value"])


def _order_link(url: str, item: stac.Document) -> stac.Document:
    body = {"collection": item["collection"], "item": item["id"]}
    return stac.link("order", f"{url}/orders", stac.JSON, "Order this product", method="POST", body=body)


def _href(url: str, order: Order) -> str:
    return f"{url}/orders/{order.id}"


def _document(url: str, order: Order) -> dict[str, Any]:
    item = Place(url, order.collection).item_url(order.item)
    links = [stac.link("self", _href(url, order)), stac.link("item", item, stac.GEOJSON, order.item)]
    return {**order.as_json(), "links": links}
