"""The links of items and of pages of them, made where the answer is made: they start at the address of the catalog."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urljoin

from rs_server.catalog.pages import Page, Place

JSON = "application/json"
GEOJSON = "application/geo+json"

Link = dict[str, Any]

# What the catalog says itself; of a stored item these are neither kept nor served.
INFERRED = frozenset({"self", "root", "parent", "collection", "item", "items", "child"})


_TITLES = {
    "self": "This collection",
    "root": "The catalog",
    "parent": "The catalog",
    "items": "Its items",
    "aggregate": "Figures of its items",
    "aggregations": "What is counted of its items",
    "http://www.opengis.net/def/rel/ogc/1.0/queryables": "What its items can be filtered on",
}


def titled(links: Iterable[Link]) -> list[Link]:
    """The links of a collection, each with a title as STAC advises; one that has none is called after its relation."""
    return [{"title": _TITLES.get(link["rel"], link["rel"]), **link} for link in links]


def collection_href(base: str, collection: str) -> str:
    """The address of a collection; ``base`` is that of the catalog, with a slash at its end."""
    return f"{base}collections/{quote(collection, safe='')}"


def item_href(base: str, collection: str, item_id: str) -> str:
    """The address of an item."""
    return f"{collection_href(base, collection)}/items/{quote(item_id, safe='')}"


def item_links(base: str, collection: str, item_id: str, stored: Iterable[Mapping[str, Any]]) -> list[Link]:
    """The links of an item: the catalog's own, then those that it was stored with."""
    home = collection_href(base, collection)
    own: list[Link] = [
        {"rel": "self", "type": GEOJSON, "href": item_href(base, collection, item_id)},
        {"rel": "collection", "type": JSON, "href": home},
        {"rel": "parent", "type": JSON, "href": home},
        {"rel": "root", "type": JSON, "href": base},
    ]
    return own + [{**link, "href": _absolute(base, link["href"])} for link in stored if link["rel"] not in INFERRED]


@dataclass(frozen=True, slots=True)
class Asked:
    """A search as it was asked: its address, with the query of a GET or the body of a POST."""

    href: str
    query: str = ""
    body: Mapping[str, Any] | None = None


def page_links(base: str, asked: Asked, page: Page) -> list[Link]:
    """Where a search was asked, and its other pages."""
    links: list[Link] = [
        {"rel": "self", "type": GEOJSON, "href": f"{asked.href}?{asked.query}" if asked.query else asked.href},
        {"rel": "root", "type": JSON, "href": base},
    ]
    for rel, place in (("next", page.following), ("prev", page.preceding)):
        if place is not None:
            links.append({"rel": rel, "type": GEOJSON, **_turned(asked, place)})
    return links


def _turned(asked: Asked, place: Place) -> Link:
    if asked.body is not None:
        return {"method": "POST", "href": asked.href, "body": {**asked.body, "token": place.token}}
    kept = [(name, value) for name, value in parse_qsl(asked.query) if name != "token"]
    return {"method": "GET", "href": f"{asked.href}?{urlencode([*kept, ('token', place.token)])}"}


def _absolute(base: str, href: str) -> str:
    return href if "://" in href else urljoin(base, href)
