"""The catalog: your collections, and those that others let you read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, Literal

import pystac

from rs_client import display
from rs_client.asyncstac import AsyncStac
from rs_client.errors import Invalid, NotFound
from rs_client.flow import Flow, Server
from rs_client.prip import PRODUCT_WORDS
from rs_client.stac import Collection, StacClient

type Right = Literal["read", "download", "write"]
RIGHTS: Sequence[Right] = ("read", "download", "write")
_COLLECTIONS = "/catalog/collections"


@dataclass(frozen=True, slots=True)
class Reader:
    """Who beside the owner may do what with a collection, and ``until`` when, with its zone (no end if left out)."""

    name: str
    kind: Literal["user", "group"]
    rights: tuple[Right, ...]
    until: datetime | None = None

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Reader:
        """Read the server's form."""
        kind: Literal["user", "group"] = "user" if document.get("user") else "group"
        until = document.get("until")
        rights = tuple(right for right in RIGHTS if right in document["rights"])
        return cls(document[kind], kind, rights, datetime.fromisoformat(until) if until else None)

    @property
    def document(self) -> dict[str, Any]:
        """The server's form."""
        until = self.until.isoformat() if self.until else None
        return {self.kind: self.name, "rights": list(self.rights), "until": until}

    def _repr_html_(self) -> str:
        return display.readers([self])


class ReaderList(list[Reader]):
    """Readers of a collection, shown as a table."""

    def __repr__(self) -> str:
        return display.readers_text(self)

    def _repr_html_(self) -> str:
        return display.readers(self)


class CatalogClient(StacClient):
    """The platform's STAC catalog; search by ``platform``, ``product_type``, ``orbit`` and the like.

    Items are written through their collection, as in ``pystac_client``: ``get_collection(…).create_item(item)``.
    """

    PATH: ClassVar[str] = "/catalog"
    WORDS: ClassVar[Mapping[str, str]] = PRODUCT_WORDS
    _USES: ClassVar[Sequence[tuple[str, str]]] = (
        ("open a product", "item.open()"),
        ("share a collection of yours", 's.catalog.share("…", users="bob")'),
    )

    def share(
        self,
        collection: str,
        *,
        users: str | Iterable[str] = (),
        groups: str | Iterable[str] = (),
        rights: Iterable[Right] = ("read", "download"),
        until: datetime | None = None,
    ) -> ReaderList:
        """Let users or groups use a collection of yours, beside those who may already; ``until`` with a time zone.

        Who is named anew has the new rights in place of the old. Gives all readers. Raises ``Invalid`` when nobody is
        named or a right is unknown, ``Forbidden`` when the collection is not yours.
        """
        http = self.session.http
        return http.run(shared(http.server, collection, named(users, groups, rights, until)))

    def readers(self, collection: str) -> ReaderList:
        """Who beside you may use a collection of yours; ``NotFound`` for one that you may not see."""
        http = self.session.http
        return http.run(readers_of(http.server, collection))

    def unshare(self, collection: str, *, user: str | None = None, group: str | None = None) -> None:
        """Take the rights of a user or a group on a collection back; ``Invalid`` unless one of them is named."""
        http = self.session.http
        http.run(unshared(http.server, collection, user, group))

    def ensure(self, collection: str, *, title: str = "", description: str = "") -> Collection:
        """A collection, made if it is absent; one that is there stays as it is. ``Forbidden`` where it is not yours."""
        http = self.session.http
        return self._own(http.run(ensured(http.server, collection, title, description)))

    def add_collection(self, collection: pystac.Collection | Mapping[str, Any]) -> Collection:
        """Make a collection. ``Conflict`` when it is there, ``Invalid`` when it is not valid STAC, ``Forbidden``."""
        http = self.session.http
        return self._own(http.run(added(http.server, collection)))

    def remove_collection(self, collection: str, *, with_items: bool = False) -> None:
        """Delete a collection of yours; ``Conflict`` when it holds items, unless they and their files are to go too."""
        http = self.session.http
        http.run(removed(http.server, collection, with_items=with_items))


class AsyncCatalogClient(AsyncStac):
    """The platform's STAC catalog, for asyncio; raises as ``CatalogClient``. Collections are given as documents."""

    KIND: ClassVar[type[StacClient]] = CatalogClient

    async def share(
        self,
        collection: str,
        *,
        users: str | Iterable[str] = (),
        groups: str | Iterable[str] = (),
        rights: Iterable[Right] = ("read", "download"),
        until: datetime | None = None,
    ) -> ReaderList:
        """Let others use a collection of yours; see ``CatalogClient.share``. ``Invalid`` when nobody is named."""
        http = self.session.http
        return await http.run(shared(http.server, collection, named(users, groups, rights, until)))

    async def readers(self, collection: str) -> ReaderList:
        """Who beside you may use a collection of yours; ``NotFound`` for one that you may not see."""
        return await self.session.http.run(readers_of(self.session.http.server, collection))

    async def unshare(self, collection: str, *, user: str | None = None, group: str | None = None) -> None:
        """Take the rights of a user or a group on a collection back; ``Invalid`` unless one of them is named."""
        await self.session.http.run(unshared(self.session.http.server, collection, user, group))

    async def ensure(self, collection: str, *, title: str = "", description: str = "") -> dict[str, Any]:
        """A collection, made if it is absent; see ``CatalogClient.ensure``."""
        return await self.session.http.run(ensured(self.session.http.server, collection, title, description))

    async def add_collection(self, collection: pystac.Collection | Mapping[str, Any]) -> dict[str, Any]:
        """Make a collection. ``Conflict`` when it is there, ``Invalid`` when it is not valid STAC, ``Forbidden``."""
        return await self.session.http.run(added(self.session.http.server, collection))

    async def remove_collection(self, collection: str, *, with_items: bool = False) -> None:
        """Delete a collection of yours; ``Conflict`` when it holds items, unless they and their files are to go too."""
        await self.session.http.run(removed(self.session.http.server, collection, with_items=with_items))


def named(
    users: str | Iterable[str], groups: str | Iterable[str], rights: Iterable[Right], until: datetime | None
) -> list[Reader]:
    """Readers to be. Raises ``Invalid`` when there is none, or they are to have what is no right."""
    wanted = tuple(rights)
    found = [_new(user, "user", wanted, until) for user in _each(users)]
    found += [_new(group, "group", wanted, until) for group in _each(groups)]
    if not found:
        raise Invalid("nobody is named to share with", hint='share("…", users="bob") or groups="…"')
    return found


def shared(server: Server, collection: str, readers: Iterable[Reader]) -> Flow[ReaderList]:
    """Give readers their rights on a collection: all its readers. Raises as ``CatalogClient.share``."""
    body = {"readers": [reader.document for reader in readers]}
    return _readers((yield from server.put(_readers_path(collection), body)))


def readers_of(server: Server, collection: str) -> Flow[ReaderList]:
    """The readers of a collection. Raises as ``CatalogClient.readers``."""
    return _readers((yield from server.get(_readers_path(collection))))


def unshared(server: Server, collection: str, user: str | None, group: str | None) -> Flow[None]:
    """Take rights on a collection back; ``Invalid`` unless either a user or a group is named."""
    if (user is None) == (group is None):
        raise Invalid("say whose rights to take back", hint='unshare("…", user="bob"), or group="…"')
    whom = f"user/{user}" if user is not None else f"group/{group}"
    yield from server.delete(f"{_readers_path(collection)}/{whom}")


def ensured(server: Server, collection: str, title: str, description: str) -> Flow[dict[str, Any]]:
    """The document of a collection, which is made if it is absent. Raises as ``CatalogClient.ensure``."""
    try:
        found: dict[str, Any] = yield from server.get(f"{_COLLECTIONS}/{collection}")
    except NotFound:
        document = {
            "type": "Collection",
            "stac_version": "1.1.0",
            "id": collection,
            "title": title or collection,
            "description": description or f"The collection {collection}.",
            "license": "other",
            "extent": {"spatial": {"bbox": [[-180, -90, 180, 90]]}, "temporal": {"interval": [[None, None]]}},
            "links": [],
        }
        return (yield from added(server, document))
    return found


def added(server: Server, collection: pystac.Collection | Mapping[str, Any]) -> Flow[dict[str, Any]]:
    """Make a collection: its document. Raises as ``CatalogClient.add_collection``."""
    made: dict[str, Any] = yield from server.post(_COLLECTIONS, _plain(collection))
    return made


def removed(server: Server, collection: str, *, with_items: bool) -> Flow[None]:
    """Delete a collection. Raises as ``CatalogClient.remove_collection``."""
    yield from server.delete(f"{_COLLECTIONS}/{collection}{'?force=true' if with_items else ''}")


def _new(name: str, kind: Literal["user", "group"], rights: Iterable[Right], until: datetime | None) -> Reader:
    wanted = set(rights)
    if not wanted or not wanted <= set(RIGHTS):
        raise Invalid(f"{sorted(wanted)} are not rights on a collection", hint=f"there are: {', '.join(RIGHTS)}")
    if until is not None and until.tzinfo is None:
        raise Invalid("the end of a right needs a time zone", hint="datetime(…, tzinfo=UTC)")
    return Reader(name, kind, tuple(right for right in RIGHTS if right in wanted), until)


def _readers(answer: Mapping[str, Any]) -> ReaderList:
    return ReaderList(Reader.of(document) for document in answer["readers"])


def _readers_path(collection: str) -> str:
    return f"{_COLLECTIONS}/{collection}/readers"


def _each(names: str | Iterable[str]) -> Iterable[str]:
    return [names] if isinstance(names, str) else names


def _plain(document: pystac.STACObject | Mapping[str, Any]) -> dict[str, Any]:
    """A STAC object as JSON, without the links that say where it was found."""
    if isinstance(document, pystac.STACObject):
        plain: dict[str, Any] = document.to_dict(include_self_link=False, transform_hrefs=False)
        plain["links"] = [link for link in plain["links"] if link["rel"] not in ("root", "parent", "collection")]
        return plain
    return dict(document)
