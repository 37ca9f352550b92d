"""Tokens say where to go on; what is no token is refused."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rs_server.catalog.links import Asked, item_links, page_links
from rs_server.catalog.pages import Page, Place
from rs_server.errors import BadInput

BASE = "https://rs.test/catalog/"


@settings(max_examples=50, deadline=None)
@given(st.lists(st.none() | st.text(max_size=20), max_size=4), st.booleans())
def test_places_come_back_as_they_went(keys: list[str | None], backwards: bool) -> None:
    place = Place(tuple(keys), backwards)
    assert Place.read(place.token) == place
    assert place.token.partition(":")[2].replace("-", "").replace("_", "").isalnum() or not keys


@pytest.mark.parametrize(
    "token", ["", "next", "next:", "next:e30", "next:WzFd", "NEXT:W10", "next:W10\n", "next:" + "A" * 5000]
)
def test_what_is_no_token_is_refused(token: str) -> None:
    with pytest.raises(BadInput, match="token"):
        Place.read(token)


def test_links_of_pages() -> None:
    page = Page([], 0, Place(("a", "i1")), Place(("a", "i0"), backwards=True))
    got = {
        link["rel"]: link
        for link in page_links(BASE, Asked(f"{BASE}search", "limit=2&token=old&filter=a%3D%27b%27"), page)
    }
    assert got["next"]["href"] == f"{BASE}search?limit=2&filter=a%3D%27b%27&token=next%3AWyJhIiwiaTEiXQ"
    assert got["prev"]["href"].endswith("token=prev%3AWyJhIiwiaTAiXQ")
    posted = {link["rel"]: link for link in page_links(BASE, Asked(f"{BASE}search", body={"limit": 2}), page)}
    assert posted["next"]["body"] == {"limit": 2, "token": page.following.token if page.following else ""}
    assert [link["rel"] for link in page_links(BASE, Asked(BASE), Page([], 0, None, None))] == ["self", "root"]


def test_links_of_items_start_at_the_catalog() -> None:
    stored = [{"rel": "self", "href": "https://evil.test"}, {"rel": "via", "href": "x"}]
    links = {link["rel"]: link["href"] for link in item_links(BASE, "a_b", "i 1", stored)}
    assert links == {
        "self": f"{BASE}collections/a_b/items/i%201",
        "collection": f"{BASE}collections/a_b",
        "parent": f"{BASE}collections/a_b",
        "root": BASE,
        "via": f"{BASE}x",
    }
