"""PRIP and LTA stations of the tests: they read OData with the `odata-query` package, so not as we wrote it ourselves.

Entities are the JSON that a station answers. An archive also takes orders, and counts them against a quota.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, cast
from urllib.parse import parse_qsl

import httpx
import orjson
import shapely
from odata_query import ast
from odata_query.grammar import ODataLexer, ODataParser
from shapely.geometry import shape

Entity = dict[str, Any]

_COMPARE: Mapping[type, Callable[[Any, Any], bool]] = {
    ast.Eq: lambda a, b: bool(a == b),
    ast.NotEq: lambda a, b: bool(a != b),
    ast.Lt: lambda a, b: bool(a < b),
    ast.LtE: lambda a, b: bool(a <= b),
    ast.Gt: lambda a, b: bool(a > b),
    ast.GtE: lambda a, b: bool(a >= b),
    ast.In: lambda a, b: a in b,
}
_TEXT: Mapping[str, Callable[[str, str], bool]] = {
    "startswith": str.startswith,
    "endswith": str.endswith,
    "contains": str.__contains__,
}


class Archive(httpx.AsyncBaseTransport):
    """A station with products, behind an httpx transport."""

    def __init__(self, products: Iterable[Entity] = ()) -> None:
        self.products = list(products)
        self.orders: dict[str, Entity] = {}
        self.product_of: dict[str, str] = {}
        self.quota = 100
        self.refuses = 429
        self.knows = {"Product", "OData.CSC.Cancel"}  # of what is done with an order
        self.requests: list[httpx.Request] = []
        self.answer: Callable[[httpx.Request], httpx.Response | None] = lambda _: None

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        scripted = self.answer(request)
        if scripted is not None:
            return scripted
        path = request.url.path.rpartition("/odata/v1/")[2]
        if path.endswith("/$value"):
            return self._bytes(_key(path), request)
        if path.endswith("/OData.CSC.Order"):
            return self.take(request)
        entity, _, rest = path.partition(")/")
        if entity.startswith("Orders(") and rest in self.knows:
            return self._of_order(_key(path), rest)
        found = {"Products": self.products, "Orders": list(self.orders.values())}.get(path)
        return httpx.Response(404) if found is None else self._page(found, dict(parse_qsl(request.url.query.decode())))

    def take(self, request: httpx.Request) -> httpx.Response:
        """Take the order that a request is."""
        return self._order(_key(request.url.path), orjson.loads(request.content))

    def advance(self, order: str, status: str, **more: Any) -> None:
        """Let an order go on; once it is completed its product is online."""
        self.orders[order] = {**self.orders[order], "Status": status, **more}
        if status == "completed":
            for product in self.products:
                product["Online"] = product["Online"] or product["Id"] == self.product_of[order]

    def _page(self, entities: list[Entity], options: Mapping[str, str]) -> httpx.Response:
        term = parse(options["$filter"]) if "$filter" in options else None
        found = [each for each in entities if term is None or holds(term, each)]
        for key in reversed(options.get("$orderby", "Id asc").split(",")):
            path, _, direction = key.partition(" ")
            found.sort(key=lambda each: _sortable(_at(each, path)), reverse=direction == "desc")
        shown = found[: int(options.get("$top", "1000"))]
        count = {"@odata.count": len(found)} if options.get("$count") == "true" else {}
        return _json({"@odata.context": "$metadata#Products", **count, "value": shown})

    def _order(self, product: str, asked: Entity) -> httpx.Response:
        if sum(each["Status"] in ("queued", "in_progress") for each in self.orders.values()) >= self.quota:
            return httpx.Response(self.refuses, json={"error": {"code": "Quota", "message": "too many orders"}})
        key = f"00000000-0000-0000-0000-{len(self.orders) + 1:012d}"
        self.orders[key] = {
            "Id": key,
            "Status": "queued",
            "StatusMessage": "request is queued",
            "SubmissionDate": datetime.now(UTC).isoformat().replace("+00:00", "Z"),
            "Priority": asked.get("Priority"),
        }
        self.product_of[key] = product
        return _json({"@odata.context": "$metadata#OData.CSC.Order", **self.orders[key]})

    def _of_order(self, key: str, what: str) -> httpx.Response:
        if what == "Product":
            product = next(each for each in self.products if each["Id"] == self.product_of[key])
            return _json({"@odata.context": "$metadata#Products/$entity", **product})
        self.orders[key]["Status"] = "cancelled"
        return httpx.Response(204)

    def _bytes(self, key: str, request: httpx.Request) -> httpx.Response:
        product = next((each for each in self.products if each["Id"] == key), None)
        if product is None:
            return httpx.Response(404)
        if product.get("Online") is False:
            return httpx.Response(202)
        whole = b"x" * int(product["ContentLength"])
        if "range" in request.headers:
            begin = int(request.headers["range"].removeprefix("bytes=").partition("-")[0])
            span = f"bytes {begin}-{len(whole) - 1}/{len(whole)}"
            return httpx.Response(206, stream=httpx.ByteStream(whole[begin:]), headers={"Content-Range": span})
        headers = {"Content-Length": str(len(whole))}
        return httpx.Response(200, stream=httpx.ByteStream(whole), headers=headers)


def parse(text: str) -> Any:
    """The terms of a ``$filter``."""
    return ODataParser().parse(ODataLexer().tokenize(text))


def holds(term: Any, entity: Mapping[str, Any]) -> bool:
    """Whether a filter is true of an entity (of an attribute, inside a lambda)."""
    match term:
        case ast.BoolOp(op, left, right):
            join = all if isinstance(op, ast.And) else any
            return join(holds(each, entity) for each in (left, right))
        case ast.UnaryOp(ast.Not(), operand):
            return not holds(operand, entity)
        case ast.Compare(comparator, left, right):
            return _compare(type(comparator), _value(left, entity), _value(right, entity))
        case ast.CollectionLambda(ast.Attribute(ast.Identifier(navigation), _), ast.Any(), ast.Lambda(_, inner)):
            return any(holds(inner, each) for each in entity.get(navigation, ()))
        case ast.Call(ast.Identifier("Intersects"), [ast.NamedParam(_, ast.Geography(area))]):
            footprint = entity.get("GeoFootprint")
            wanted = shapely.from_wkt(area.removeprefix("SRID=4326;"))
            return footprint is not None and bool(shape(footprint).intersects(wanted))
        case ast.Call(ast.Identifier(name), [subject, ast.String() as piece]):
            value = _value(subject, entity)
            return isinstance(value, str) and _TEXT[name](value, _value(piece, entity))
    raise AssertionError(term)


def _compare(comparator: type, left: Any, right: Any) -> bool:
    if isinstance(right, datetime) and left is not None:
        left = datetime.fromisoformat(left)
    if left is None or right is None:
        return (left is right) if comparator is ast.Eq else (left is not right) if comparator is ast.NotEq else False
    return _COMPARE[comparator](left, right)


def _value(node: Any, entity: Mapping[str, Any]) -> Any:
    match node:
        case ast.GUID(text):
            return text.lower()
        case ast.Identifier(name):
            return entity.get(name)
        case ast.Attribute(_, name) if "Name" in entity and "ValueType" in entity:  # inside a lambda
            return entity.get(name)
        case ast.Attribute(owner, name):
            inner = _value(owner, entity)
            return inner.get(name) if isinstance(inner, dict) else None
    return cast("Any", node).py_val


def _at(entity: Mapping[str, Any], path: str) -> Any:
    found: Any = entity
    for step in path.split("/"):
        found = found.get(step) if isinstance(found, dict) else None
    return found


def _sortable(value: Any) -> tuple[bool, Any]:
    return value is not None, value


def _key(path: str) -> str:
    return path.partition("(")[2].partition(")")[0]


def _json(document: Any) -> httpx.Response:
    return httpx.Response(200, content=orjson.dumps(document), headers={"Content-Type": "application/json"})
