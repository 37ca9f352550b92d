"""The catalog: your collections, and those that others let you read."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, Literal

import pystac

from rs_client import display
from rs_client.errors import Invalid, NotFound
from rs_client.prip import PRODUCT_WORDS
from rs_client.stac import Collection, StacClient

type Right = Literal["read", "download", "write"]
RIGHTS: Sequence[Right] = ("read", "download", "write")


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
        named = [*(_new(user, "user", rights, until) for user in _each(users))]
        named += [_new(group, "group", rights, until) for group in _each(groups)]
        if not named:
            raise Invalid("nobody is named to share with", hint='share("…", users="bob") or groups="…"')
        body = {"readers": [reader.document for reader in named]}
        return _readers(self.session.http.put(_readers_path(collection), body))

    def readers(self, collection: str) -> ReaderList:
        """Who beside you may use a collection of yours; ``NotFound`` for one that you may not see."""
        return _readers(self.session.http.get(_readers_path(collection)))

    def unshare(self, collection: str, *, user: str | None = None, group: str | None = None) -> None:
        """Take the rights of a user or a group on a collection back; ``Invalid`` unless one of them is named."""
        if (user is None) == (group is None):
            raise Invalid("say whose rights to take back", hint='unshare("…", user="bob"), or group="…"')
        whom = f"user/{user}" if user is not None else f"group/{group}"
        self.session.http.delete(f"{_readers_path(collection)}/{whom}")

    def ensure(self, collection: str, *, title: str = "", description: str = "") -> Collection:
        """A collection, made if it is absent; one that is there stays as it is. ``Forbidden`` where it is not yours."""
        try:
            return self.get_collection(collection)
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
            return self.add_collection(document)

    def add_collection(self, collection: pystac.Collection | Mapping[str, Any]) -> Collection:
        """Make a collection. ``Conflict`` when it is there, ``Invalid`` when it is not valid STAC, ``Forbidden``."""
        document = self.session.http.post("/catalog/collections", _plain(collection))
        return self._own(document)

    def remove_collection(self, collection: str, *, with_items: bool = False) -> None:
        """Delete a collection of yours; ``Conflict`` when it holds items, unless they and their files are to go too."""
        self.session.http.delete(f"/catalog/collections/{collection}{'?force=true' if with_items else ''}")


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
    return f"/catalog/collections/{collection}/readers"


def _each(names: str | Iterable[str]) -> Iterable[str]:
    return [names] if isinstance(names, str) else names


def _plain(document: pystac.STACObject | Mapping[str, Any]) -> dict[str, Any]:
    """A STAC object as JSON, without the links that say where it was found."""
    if isinstance(document, pystac.STACObject):
        plain: dict[str, Any] = document.to_dict(include_self_link=False, transform_hrefs=False)
        plain["links"] = [link for link in plain["links"] if link["rel"] not in ("root", "parent", "collection")]
        return plain
    return dict(document)
