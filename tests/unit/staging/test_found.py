"""A search goes on at the page that the one before named: what a step of a job has planned is not asked again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import pytest

from rs_server.access.policy import Principal
from rs_server.staging.found import Catalog, Finder
from rs_server.staging.inputs import Search
from rs_server.stations.client import Page
from rs_server.stations.paging import Cursor
from rs_server.stations.search import SearchRequest
from tests.unit.staging.station import Station, item

ANN = Principal("ann", roles=frozenset({"rs_cadip_*_read", "rs_cadip_*_download"}))
PAGES = 4


def found(number: int, collection: str) -> dict[str, Any]:
    """The only item of a page."""
    return {**item(), "id": f"I{number}", "collection": collection}


class Paging(Station):
    """A station whose search has several pages."""

    async def search(self, service: str, request: SearchRequest, collections: Sequence[str]) -> Page:
        number = int(request.cursor.id) if request.cursor else 0
        last = number == PAGES - 1
        following = None if last else Cursor(("2024-11-14", 3, None, 0.1), "s1-sgs", str(number + 1))
        if request.cursor:
            assert request.cursor.values == ("2024-11-14", 3, None, 0.1)
        return Page([found(number, "s1-sgs")], next=following)


class PagingCatalog:
    """A catalog whose search has several pages."""

    async def collection_ids(self) -> list[str]:
        return ["ann_x"]

    async def search(self, body: Mapping[str, Any], collections: Sequence[str]) -> dict[str, Any]:
        number = int(body.get("token", "next:0").partition(":")[2])
        links = [{"rel": "next", "href": f"http://x?token=next:{number + 1}"}] if number < PAGES - 1 else []
        return {"features": [found(number, "ann_x")], "links": links}


@pytest.mark.parametrize("service", ["cadip", "catalog"])
async def test_a_search_goes_on_at_any_of_its_pages(service: Any) -> None:
    finder, search = Finder(Paging(), cast("Catalog", PagingCatalog())), Search(service=service, body={})
    pages = [page async for page in finder.pages(ANN, search)]
    ids = [source.item for page in pages for source, _ in page.found]
    assert ids == [f"I{number}" for number in range(PAGES)]
    for number, page in enumerate(pages[:-1], 1):
        rest = [each async for each in finder.pages(ANN, search, page.after)]
        assert [source.item for each in rest for source, _ in each.found] == ids[number:]
    assert pages[-1].after is None
