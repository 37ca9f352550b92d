"""Stations and catalog as ``pystac_client`` clients that log in by themselves and speak our errors."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any, Self, cast

import pystac
import requests
from pystac.serialization import identify_stac_object_type
from pystac_client import Client, CollectionClient, ItemSearch
from pystac_client.exceptions import APIError
from pystac_client.stac_api_io import StacApiIO

from rs_client import display
from rs_client.errors import RsError, ServiceUnavailable, Timeout, error_class, from_problem
from rs_client.http import Http

if TYPE_CHECKING:
    import xarray as xr

    from rs_client.storage import Storage

TIMEOUT_S = (10.0, 120.0)
"""Seconds to connect, and between two pieces of an answer."""


class Item(pystac.Item):
    """A STAC item that knows how to open its product."""

    def open(self) -> xr.DataTree:
        """The product as an ``xarray.DataTree``, read lazily with storage keys of your own.

        Raises ``Invalid`` when the item has no Zarr asset, ``NotFound`` when you may not read it.
        """
        return cast("StacClient | Collection", self.get_root()).storage.open(self)

    @property
    def href(self) -> str:
        """The item's own address, which is how processes are told about it."""
        href = self.get_self_href()
        if href is None:
            raise ValueError(f"item {self.id} has no address of its own: take it from a search")
        return href

    def _repr_html_(self) -> str:
        return display.item(self)


class Search(ItemSearch):
    """A lazy search, as in ``pystac_client``: nothing is asked before you look."""

    def items(self) -> Iterator[Item]:
        """The items, page by page."""
        for item in self.items_as_dicts():
            yield Item.from_dict(item, root=self.client, preserve_dict=False)

    def pages(self) -> Iterator[pystac.ItemCollection]:
        """The items, a page at a time."""
        for page in self.pages_as_dicts():
            yield self._collection(page)

    def item_collection(self) -> pystac.ItemCollection:  # type: ignore[override]  # not cached
        """All items at once; each call asks the server again."""
        return self._collection({"features": list(self.items_as_dicts())})

    def matched(self) -> int | None:  # type: ignore[override]  # not cached
        """How many items there are in all; ``None`` where the server does not count, as stations do not."""
        answer = self._stac_io.read_json(self.url, method=self.method, parameters={**self.get_parameters(), "limit": 1})
        return cast("int | None", answer.get("numberMatched"))

    def _collection(self, page: dict[str, Any]) -> pystac.ItemCollection:
        items = [Item.from_dict(item, root=self.client, preserve_dict=False) for item in page["features"]]
        more = {name: value for name, value in page.items() if name not in ("features", "type")}
        return pystac.ItemCollection(items, more, clone_items=False)

    def __repr__(self) -> str:
        return f"<Search {json.dumps(self.get_parameters(), default=str)}>"

    def _repr_html_(self) -> str:
        return display.items(list(islice(self.items(), display.MAX_ROWS)), matched=self.matched())


class Collection(CollectionClient):
    """A collection of the service, whose items know how to open their product."""

    @property
    def storage(self) -> Storage:
        """What opens the products of its items."""
        return cast("StacClient", self.get_root()).storage

    def get_items(self, *ids: str, recursive: bool = False) -> Iterator[Item]:  # noqa: ARG002 - collections are flat here
        """Its items, or those of the ids, page by page."""
        return cast("StacClient", self.get_root()).search(collections=[self.id], ids=list(ids) or None).items()


class StacClient(Client):
    """A ``pystac_client.Client`` of one of the platform's STAC services."""

    storage: Storage

    @classmethod
    def connect(cls, http: Http, path: str, storage: Storage) -> Self:
        """Open the service at a path of the server, at the address that the server calls its own."""
        links = http.get(f"{path}/")["links"]
        href: str = next((link["href"] for link in links if link["rel"] == "self"), f"{http.server_url}{path}/")
        http.also_at(href.rstrip("/").removesuffix(path))
        client = cast("Self", cls.open(href, stac_io=StacIO(http), timeout=TIMEOUT_S))
        client.storage = storage
        return client

    def search(self, **parameters: Any) -> Search:
        """Search lazily; parameters as in ``pystac_client.Client.search``."""
        return Search(url=self._search_href(), stac_io=self._stac_io, client=self, modifier=self.modifier, **parameters)

    def get_collection(self, collection_id: str) -> Collection:  # type: ignore[override]  # not cached, never None
        """One collection; ``NotFound`` if there is none, or you may not see it."""
        document = json.loads(cast("StacIO", self._stac_io).request(self._collections_href(collection_id)))
        return self._own(document)

    def get_collections(self) -> Iterator[Collection]:
        """The collections that you may read."""
        for page in cast("StacIO", self._stac_io).get_pages(self._collections_href()):
            for document in page.get("collections", []):
                yield self._own(document)

    def _own(self, document: dict[str, Any]) -> Collection:
        return cast("Collection", Collection.from_dict(document, root=self, modifier=self.modifier))

    def item(self, collection: str, item_id: str) -> Item:
        """One item by its id; ``NotFound`` if there is none, or you may not see it."""
        href = f"{str(self.self_href).rstrip('/')}/collections/{collection}/items/{item_id}"
        io = cast("StacIO", self._stac_io)
        return Item.from_dict(json.loads(io.request(href)), root=self, preserve_dict=False)

    def _repr_html_(self) -> str:
        return display.collections(self.title or self.id, list(self.get_collections()))


class StacIO(StacApiIO):
    """The I/O of ``pystac_client``, with your identity in each request to the server, and in no other."""

    def __init__(self, http: Http) -> None:
        super().__init__(max_retries=None)
        self._http = http
        self.session = _Session()
        for scheme in ("http://", "https://"):  # a connection that was refused has done nothing: safe to try again
            self.session.mount(scheme, requests.adapters.HTTPAdapter(max_retries=2))

    def request(
        self,
        href: str,
        method: str | None = None,
        headers: dict[str, str] | None = None,
        parameters: dict[str, Any] | None = None,
    ) -> str:
        """One request; a refusal is both an error of ours and an ``APIError``, which other libraries catch."""
        identity = self._http.auth.headers() if self._http.owns(href) else {}
        try:
            return super().request(href, method=method, headers={**(headers or {}), **identity}, parameters=parameters)
        except APIError as error:
            raise _ours(error) from error

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


class _Session(requests.Session):
    """Keeps your identity to the server it was meant for: ``requests`` knows that of one header alone."""

    def __init__(self) -> None:
        super().__init__()
        self.auth = _as_it_is  # else an entry for the host in a ~/.netrc would take the place of your identity

    def rebuild_auth(self, prepared_request: requests.PreparedRequest, response: requests.Response) -> None:
        """After a redirect to another server, nothing that tells who you are goes along."""
        if self.should_strip_auth(str(response.request.url), str(prepared_request.url)):
            for name in ("Authorization", "x-api-key"):
                prepared_request.headers.pop(name, None)


def _as_it_is(request: requests.PreparedRequest) -> requests.PreparedRequest:
    return request


def _ours(error: APIError) -> RsError:
    status: int | None = getattr(error, "status_code", None)  # the library sets none when there was no answer
    if status is None:
        if isinstance(error.__context__, requests.Timeout):
            return _BOTH[Timeout]("the platform did not answer in time", hint="try again later")
        return _BOTH[ServiceUnavailable](f"the platform does not answer: {error}", hint="try again soon")
    try:
        document = json.loads(str(error))
    except ValueError:
        document = {}
    found = document if isinstance(document, dict) else {}
    return from_problem(status, found, kind=_BOTH[error_class(status, found)])


def _both(kind: type[RsError]) -> type[RsError]:
    """One class that is our error and the library's; elsewhere, as in another process, it is ours."""
    members = {
        "__module__": kind.__module__,
        "__doc__": kind.__doc__,
        "__reduce__": lambda error: (kind, error.args, error.__dict__),
        "status_code": property(lambda error: error.status),
    }
    return type(kind.__name__, (kind, APIError), members)


_KINDS: list[type[RsError]] = [RsError, *RsError.__subclasses__()]
_BOTH = {kind: _both(kind) for kind in _KINDS}
