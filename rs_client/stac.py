"""Stations and catalog as ``pystac_client`` clients that log in by themselves and speak our errors."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import copy
from itertools import islice
from typing import TYPE_CHECKING, Any, ClassVar, Self, Unpack, cast

import pystac
from pystac.serialization import identify_stac_object_type
from pystac_client import Client, CollectionClient, ItemSearch
from pystac_client.exceptions import APIError
from pystac_client.stac_api_io import StacApiIO

from rs_client import display
from rs_client.errors import Invalid, RsError
from rs_client.execution import address
from rs_client.filters import joined
from rs_client.flow import Call, Flow, Server, refusal
from rs_client.glance import SEARCH_S, Glimpse, glance
from rs_client.http import Http

if TYPE_CHECKING:
    import xarray as xr

    from rs_client.jobs import Job
    from rs_client.quicklook import Quicklook
    from rs_client.session import RsClient
    from rs_client.staging import StagingOptions


_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})
_REPEATABLE = frozenset({"GET", "PUT"})


class Item(pystac.Item):
    """A STAC item that knows how to open its product."""

    def open(self) -> xr.DataTree:
        """The product as an ``xarray.DataTree``, read lazily with storage keys of your own that renew themselves.

        Raises ``Invalid`` when the item belongs to no session or has no Zarr asset in the platform's storage,
        ``NotFound`` when you may not read it.
        """
        return _session(self).storage.open(self)

    def quicklook(self, group: str | None = None, variable: str | None = None) -> Quicklook:
        """A picture of the product, small enough to look at; ``plot()`` of it is an interactive one.

        ``group`` and ``variable`` say what to draw; left out, the product says it by what it holds.
        Raises as ``open``, and ``Invalid`` when nothing in the product can be drawn.
        """
        from rs_client.quicklook import quicklook

        return quicklook(self.open(), title=self.id, group=group, variable=variable)

    def stage(self, to: str, **options: Unpack[StagingOptions]) -> Job:
        """Bring it from its station into a collection; returns at once. ``Invalid`` if it belongs to no session."""
        return _session(self).staging.stage(self, to, **options)

    def process(self, processor: str, to: str | None = None, **inputs: Any) -> Job:
        """Run a processor on it; the products go to the collection ``to``. Returns at once; see ``DprClient.run``.

        Raises ``Invalid`` if it belongs to no session.
        """
        return _session(self).dpr.run(processor, self, to, **inputs)

    @property
    def href(self) -> str:
        """The item's own address, which is how processes are told about it; ``Invalid`` if it has none."""
        return address(self)

    def __repr__(self) -> str:
        return f"<Item {self.id} of {self.collection_id}>"

    def _repr_html_(self) -> str:
        return display.item(self)


class ItemList(list[Item]):
    """Items, shown as a table with their footprints."""

    def stage(self, to: str, **options: Unpack[StagingOptions]) -> Job:
        """Bring them into a collection; returns at once. ``Invalid`` when there are none."""
        return _session(_first(self)).staging.stage(self, to, **options)

    def process(self, processor: str, to: str | None = None, **inputs: Any) -> Job:
        """Run a processor on them; returns at once. ``Invalid`` when there are none."""
        return _session(_first(self)).dpr.run(processor, self, to, **inputs)

    def __repr__(self) -> str:
        return display.items_text(self)

    def _repr_html_(self) -> str:
        return display.items(self)


class ItemCollection(pystac.ItemCollection):
    """Items as a GeoJSON feature collection, shown as a table with their footprints."""

    def __repr__(self) -> str:
        return display.items_text(self.items)

    def _repr_html_(self) -> str:
        return display.items(self.items)


type _Found = tuple[ItemList, int | None]
"""The first items of a search, and how many there are in all."""


class Search(ItemSearch):
    """A lazy search (STAC API – Item Search), as in ``pystac_client``: nothing is asked before you look.

    What it then raises are our errors, which are ``pystac_client.exceptions.APIError`` too.
    """

    def items(self) -> Iterator[Item]:
        """The items, page by page."""
        for item in self.items_as_dicts():
            yield Item.from_dict(item, root=self.client, preserve_dict=False)

    def pages(self) -> Iterator[ItemCollection]:
        """The items, a page at a time."""
        for page in self.pages_as_dicts():
            yield self._collection(page)

    def item_collection(self) -> ItemCollection:  # type: ignore[override]  # not cached
        """All items at once; each call asks the server again."""
        return self._collection({"features": list(self.items_as_dicts())})

    def matched(self) -> int | None:  # type: ignore[override]  # not cached
        """How many items there are in all; ``None`` where the server does not count, as stations do not."""
        answer = self._stac_io.read_json(self.url, method=self.method, parameters={**self.get_parameters(), "limit": 1})
        return cast("int | None", answer.get("numberMatched"))

    def first(self, count: int = 1) -> ItemList:
        """The first ``count`` items, or as many as there are."""
        return ItemList(islice(self.items(), count))

    def stage(self, to: str, **options: Unpack[StagingOptions]) -> Job:
        """Bring what it finds into a collection; returns at once. ``Invalid`` when it finds nothing."""
        return _client(self).session.staging.stage(self, to, **options)

    def process(self, processor: str, to: str | None = None, **inputs: Any) -> Job:
        """Run a processor on what it finds; returns at once. ``Invalid`` when it finds nothing."""
        return _client(self).session.dpr.run(processor, self, to, **inputs)

    def _collection(self, page: dict[str, Any]) -> ItemCollection:
        return items_of(page, self.client)

    def __repr__(self) -> str:
        return f"<Search {json.dumps(self.get_parameters(), default=str)}>"

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, str]:  # noqa: ARG002 - IPython's
        """Text and HTML at once, so that the server is asked once."""
        seen = self._glimpse()
        return {"text/plain": self._text(seen), "text/html": self._html(seen)}

    def _repr_html_(self) -> str:
        return self._html(self._glimpse())

    def _text(self, seen: Glimpse[_Found]) -> str:
        if seen.value is None:
            return f"{self!r}\n{seen.excuse}"
        items, matched = seen.value
        return display.items_text(items, matched=matched)

    def _html(self, seen: Glimpse[_Found]) -> str:
        if seen.value is None:
            return display.card([("search", self.url), *self.get_parameters().items()], note=seen.excuse)
        items, matched = seen.value
        return display.items(items, matched=matched)

    def _glimpse(self) -> Glimpse[_Found]:
        """What it finds, if it does so soon."""

        def look(http: Http) -> _Found:
            hasty = copy(self)
            hasty._stac_io = StacIO(http)  # noqa: SLF001 - a search like this
            return hasty.first(display.MAX_ROWS), hasty.matched()

        return glance(_client(self).session.http, look, SEARCH_S)


class Collection(CollectionClient):
    """A collection of the service, whose items know how to open their product."""

    @property
    def session(self) -> RsClient:
        """The session that it was found in."""
        return cast("StacClient", self.get_root()).session

    def get_items(self, *ids: str, recursive: bool = False) -> Iterator[Item]:  # noqa: ARG002 - collections are flat here
        """Its items, or those of the ids, page by page."""
        return cast("StacClient", self.get_root()).search(collections=[self.id], ids=list(ids) or None).items()

    def _repr_html_(self) -> str:
        return display.collection(self)


class CollectionList(list[Collection]):
    """Collections, shown as a table."""

    def __repr__(self) -> str:
        return display.collections_text(self)

    def _repr_html_(self) -> str:
        return display.collections(self)


class StacClient(Client):
    """A ``pystac_client.Client`` of one of the platform's STAC services."""

    PATH: ClassVar[str]
    """Where the service lies on the server."""
    WORDS: ClassVar[Mapping[str, str]] = {"platform": "platform"}
    """What one may search by in a word: parameter → property."""
    _USES: ClassVar[Sequence[tuple[str, str]]] = ()
    """What else one does with it: what, and the call."""

    session: RsClient

    @classmethod
    def connect(cls, session: RsClient) -> Self:
        """Open the service, at the address that the server calls its own: asks for its landing page."""
        landing = session.http.get(f"{cls.PATH}/")
        href = own_address(landing, f"{session.server_url}{cls.PATH}/")
        session.http.server.also_at(href)
        client = cls.from_dict(landing, preserve_dict=False)
        client.set_self_href(href)
        client.set_root(client)
        client._stac_io = StacIO(session.http)  # noqa: SLF001 - where the library keeps it, and no other way to set it
        opened = cast("Self", client)
        opened.session = session
        return opened

    def search(self, **parameters: Any) -> Search:
        """Search lazily; parameters as in ``pystac_client.Client.search``, and the words of ``WORDS``.

        A word takes a value or a list of them: ``search(platform="sentinel-1a", datetime="2024-11-14")``.
        ``datetime`` is an instant, a day or an interval ``a/b`` with ``..`` for an open end (RFC 3339, UTC), ``bbox``
        west, south, east, north in degrees (WGS 84), ``limit`` items a page, ``max_items`` items in all. ``filter`` is
        CQL2 (OGC 21-065r2), as text or in the JSON form. Raises ``Invalid`` for parameters that make no sense.
        """
        return stated(
            Search, understood(self.WORDS, parameters), self._search_href(),
            stac_io=self._stac_io, client=self, modifier=self.modifier,
        )  # fmt: skip

    def get_collection(self, collection_id: str) -> Collection:  # type: ignore[override]  # not cached, never None
        """One collection; ``NotFound`` if there is none, or you may not see it."""
        document = json.loads(cast("StacIO", self._stac_io).request(self._collections_href(collection_id)))
        return self._own(document)

    def get_collections(self) -> Iterator[Collection]:
        """The collections that you may read, page by page."""
        for document in self._documents():
            yield self._own(document)

    @property
    def collections(self) -> CollectionList:
        """The collections that you may read, as a table."""
        return CollectionList(self.get_collections())

    def _documents(self) -> Iterator[dict[str, Any]]:
        for page in cast("StacIO", self._stac_io).get_pages(self._collections_href()):
            yield from page.get("collections", [])

    def _own(self, document: dict[str, Any]) -> Collection:
        return cast("Collection", Collection.from_dict(document, root=self, modifier=self.modifier))

    def item(self, collection: str, item_id: str) -> Item:
        """One item by its id; ``NotFound`` if there is none, or you may not see it."""
        href = f"{str(self.self_href).rstrip('/')}/collections/{collection}/items/{item_id}"
        io = cast("StacIO", self._stac_io)
        return Item.from_dict(json.loads(io.request(href)), root=self, preserve_dict=False)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.self_href}>"

    def _repr_html_(self) -> str:
        http = self.session.http
        seen = glance(http, lambda brief: brief.run(collections_of(brief.server, self._collections_href())))
        found = [self._own(document) for document in seen.value or ()]
        name = self.PATH.strip("/")
        rows = [
            (name, self.title or self.id),
            ("address", str(self.self_href)),
            ("search it", f's.{name}.search(datetime="2024-11-14")'),
            ("search by", ", ".join((*self.WORDS, "datetime", "bbox", "ids", "filter"))),
            *self._USES,
        ]
        more = display.collections(found, parts=2) if found else ""
        return display.card(rows, more=more, note=seen.excuse)


class StationList(dict[str, list[str]]):
    """Stations and the collections of each, shown as a table."""

    def __or__(self, more: Mapping[str, list[str]]) -> StationList:  # type: ignore[override]  # of a dict it is a dict
        return StationList({**self, **more})

    def __repr__(self) -> str:
        return display.text_table(_STATIONS_HEAD, self._rows())

    def _repr_html_(self) -> str:
        return display.table(_STATIONS_HEAD, self._rows())

    def _rows(self) -> list[tuple[str, str]]:
        return [(name, ", ".join(collections)) for name, collections in self.items()]


_STATIONS_HEAD = ("station", "collections")


class StationClient(StacClient):
    """A kind of station, whose collections belong to one station each."""

    _USES: ClassVar[Sequence[tuple[str, str]]] = (("bring what is found into a collection", 'hits.stage(to="…")'),)

    @property
    def stations(self) -> StationList:
        """The stations that you may read, and the collections of each."""
        return stations_of(self._documents())

    def search(self, *, station: str | None = None, **parameters: Any) -> Search:
        """Search lazily, at one ``station`` if you name it (its collections are looked up at once).

        Raises ``Invalid`` for a station that you do not see.
        """
        if station is not None:
            parameters = {"collections": collections_at(station, self.stations), **parameters}
        return super().search(**parameters)


class StacIO(StacApiIO):
    """The I/O of ``pystac_client`` on our conversation with the server: one login, one pool, the same patience."""

    def __init__(self, http: Http) -> None:
        super().__init__(max_retries=None)
        self._http = http

    def request(
        self,
        href: str,
        method: str | None = None,
        headers: dict[str, str] | None = None,
        parameters: dict[str, Any] | None = None,
    ) -> str:
        """The text of an answer. A refusal raises an error of ours that is an ``APIError`` too, for other libraries."""
        try:
            return self._http.run(_text(self._http.server, href, (method or "GET").upper(), headers, parameters))
        except RsError as error:
            raise _both(error) from error

    def stac_object_from_dict(
        self,
        d: dict[str, Any],
        href: pystac.link.HREF | None = None,
        root: pystac.Catalog | None = None,
        preserve_dict: bool = True,  # noqa: FBT001, FBT002 - the base class's signature
    ) -> pystac.STACObject:
        """Our kind of item where it is one."""
        if identify_stac_object_type(d) == pystac.STACObjectType.ITEM:
            return Item.from_dict(d, href=str(href), root=root, preserve_dict=preserve_dict)
        return super().stac_object_from_dict(d, href, root, preserve_dict)


def items_of(page: Mapping[str, Any], root: pystac.Catalog | None = None) -> ItemCollection:
    """The items of a page, which is given as a document, and what else it says."""
    items = [Item.from_dict(item, root=root, preserve_dict=False) for item in page["features"]]
    more = {name: value for name, value in page.items() if name not in ("features", "type")}
    return ItemCollection(items, more, clone_items=False)


def own_address(landing: Mapping[str, Any], otherwise: str) -> str:
    """The address that a service calls its own."""
    href: str = next((link["href"] for link in landing["links"] if link["rel"] == "self"), otherwise)
    return href


def stated[S: ItemSearch](kind: type[S], parameters: Mapping[str, Any], url: str, **more: Any) -> S:
    """A search with the parameters of ``pystac_client``. Raises ``Invalid`` when they make no sense."""
    try:
        return kind(url=url, **more, **parameters)
    except Exception as error:  # it only reads parameters, and what the library raises is no narrower
        raise Invalid(
            f"this cannot be searched: {error}", hint="a time is 2024-11-14, or an interval 2024-11-14/.."
        ) from error


def collections_of(server: Server, url: str) -> Flow[list[dict[str, Any]]]:
    """The collections of all pages, as documents."""
    found: list[dict[str, Any]] = []
    while url:
        page = yield from server.get(url)
        found += page["collections"]
        url = next((link["href"] for link in page.get("links", ()) if link["rel"] == "next"), "")
    return found


def stations_of(collections: Iterable[Mapping[str, Any]]) -> StationList:
    """The stations that host collections, which are given as documents, and the ids of each one's."""
    found = StationList()
    for collection in collections:
        for provider in collection.get("providers") or ():
            if "host" in (provider.get("roles") or ()):
                name = str(provider["name"]).removeprefix("Station ").lower()
                found.setdefault(name, []).append(str(collection["id"]))
    return found


def collections_at(station: str, known: Mapping[str, list[str]]) -> list[str]:
    """The collections of one of the stations that are known; ``Invalid`` for another."""
    if station.lower() not in known:
        raise Invalid(f"there is no station {station} here", hint=f"there are: {', '.join(known) or 'none'}")
    return known[station.lower()]


def understood(words: Mapping[str, str], parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of ``pystac_client`` for parameters in which some are words of ours."""
    given = {words[name]: value for name, value in parameters.items() if name in words and value is not None}
    plain = {name: value for name, value in parameters.items() if name not in words}
    return {**joined(plain.pop("filter", None), given), **plain}


def _text(
    server: Server, href: str, method: str, headers: Mapping[str, str] | None, parameters: Mapping[str, Any] | None
) -> Flow[str]:
    """The text of an answer; what may be repeated is tried again, another server is asked once and not who you are."""
    body: dict[str, Any] = {"json": parameters} if method in _WITH_BODY else {"params": parameters}
    if not server.owns(href):
        answer = yield from server.called(Call(method, href, headers or {}, **body))
    elif method in _REPEATABLE or (method == "POST" and href.endswith("/search")):
        answer = yield from server.again(method, href, headers=headers, **body)
    else:
        answer = yield from server.once(method, href, headers=headers, **body)
    if answer.is_error:
        raise refusal(answer)
    return answer.content.decode()


def _session(item: pystac.Item) -> RsClient:
    root = item.get_root()
    if not isinstance(root, StacClient | Collection):
        raise Invalid(f"item {item.id} belongs to no session", hint="take it from a search, or from s.catalog.item()")
    return root.session


def _client(search: ItemSearch) -> StacClient:
    return cast("StacClient", search.client)


def _first(items: Sequence[Item]) -> Item:
    if not items:
        raise Invalid("there is no item here", hint="look at what the search finds")
    return items[0]


def _both(error: RsError) -> RsError:
    """The same error as one that is the library's too."""
    kind = type(error)
    same = _BOTH[kind].__new__(_BOTH[kind])
    Exception.__init__(same, *error.args)
    same.__dict__.update(error.__dict__)
    return same


def _doubled(kind: type[RsError]) -> type[RsError]:
    """One class that is our error and the library's; elsewhere, as in another process, it is ours."""
    members = {
        "__module__": kind.__module__,
        "__doc__": kind.__doc__,
        "__reduce__": lambda error: (kind, error.args, error.__dict__),
        "status_code": property(lambda error: error.status),
    }
    return type(kind.__name__, (kind, APIError), members)


def _tree(kind: type[RsError]) -> Iterable[type[RsError]]:
    yield kind
    for below in kind.__subclasses__():
        yield from _tree(below)


_BOTH = {kind: _doubled(kind) for kind in list(_tree(RsError))}
