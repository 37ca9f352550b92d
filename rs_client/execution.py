"""What staging and processing share: starting a process of the server on items."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pystac

from rs_client.catalog import CatalogClient
from rs_client.errors import Invalid
from rs_client.http import Http
from rs_client.jobs import Job
from rs_client.stac import Search

type Items = Search | pystac.Item | Iterable[pystac.Item]


def execute(http: Http, catalog: CatalogClient, process: str, items: Items, to: str, **more: Any) -> Job:
    """Start a process on items, once; ``to`` is the collection its results go to.

    Raises ``Invalid`` when there is no item.
    """
    hrefs = [_href(item) for item in _each(items)]
    if not hrefs:
        raise Invalid(f"there is no item to run {process} on", hint="look at what the search finds")
    inputs = {"items": [{"href": href} for href in hrefs], "collection": to, **more}
    return Job(http, catalog, http.post_once(f"/processes/{process}/execution", {"inputs": inputs}))


def _each(items: Items) -> Iterable[pystac.Item]:
    if isinstance(items, Search):
        return items.items()
    return [items] if isinstance(items, pystac.Item) else items


def _href(item: pystac.Item) -> str:
    href = item.get_self_href()
    if href is None:
        raise Invalid(f"item {item.id} has no address of its own", hint="take it from a search, or from a job")
    return href
