"""The catalog's writes: decided on the parsed request, checked whole, carried out in one transaction each.

Owners alone make, replace and delete their collections; items need the right to write. A body may leave its
collection out and may not name another one than its path. Each call writes all that it is sent or nothing.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import attr
import orjson
from fastapi import Request
from fastapi.responses import JSONResponse, Response
from pydantic import ValidationError
from stac_fastapi.extensions.bulk_transactions import BulkTransactionMethod, Items
from stac_fastapi.extensions.transaction.request import PartialCollection, PartialItem, PatchOperation
from stac_fastapi.pgstac.db import dbfunc
from stac_fastapi.pgstac.models.links import CollectionLinks
from stac_fastapi.pgstac.transactions import BulkTransactionsClient, TransactionsClient
from stac_fastapi.types.requests import get_base_url
from stac_pydantic import Collection, Item, ItemCollection

from rs_server.access import audit
from rs_server.access.guards import require, require_owner
from rs_server.access.policy import Right, Service
from rs_server.catalog import assets, writes
from rs_server.catalog.client import caller, entity_tag, named, served
from rs_server.catalog.documents import check_collection, check_items
from rs_server.catalog.extensions import Extensions
from rs_server.catalog.lifecycle import Rules, stamped
from rs_server.catalog.links import GEOJSON, INFERRED, item_href, titled
from rs_server.catalog.names import CollectionName, resolve
from rs_server.catalog.pages import BASE_TAG, Stored
from rs_server.catalog.patching import patched
from rs_server.catalog.removal import Removal
from rs_server.errors import BadInput, Conflict, Forbidden, NotFound
from rs_server.settings import CatalogSettings
from rs_server.storage.stac import stamp

Document = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Workshop:
    """What items are held against, and what is done to them, on their way into the catalog."""

    rules: Rules
    extensions: Extensions
    allowed: assets.Allowed

    def checked(self, item: Mapping[str, Any], name: CollectionName, request: Request) -> Document:
        """The item as it may be stored, but for its times; ``BadInput`` names what is wrong with it."""
        require_same(item.get("collection"), name, request)
        _require_owned(item.get("properties"), name)
        links = [
            link for link in item.get("links") or () if not isinstance(link, dict) or link.get("rel") not in INFERRED
        ]
        document = {key: value for key, value in item.items() if key != BASE_TAG and (key, value) != ("bbox", None)}
        return {**document, "collection": name.full, "links": links}

    def finished(self, documents: Sequence[Document], request: Request) -> list[Document]:
        """The items, each held against what an item must be and, on request, what its extensions say."""
        check_items(documents)
        if getattr(request.state, "validate_extensions", False):
            for document in documents:
                self.extensions.check(document)
        return [assets.unserved(document) for document in documents]

    async def files_there(self, documents: Sequence[Document], name: CollectionName, request: Request) -> None:
        """Raise ``BadInput`` unless the files of all items are where they may be, and what is said of them."""
        found = [file for document in documents for file in assets.files(document, name, self.allowed)]
        if found:
            storage = request.state.storage
            await assets.verify(found, {bucket: storage.at(bucket) for bucket in self.allowed.buckets})

    def stamped(
        self, item: Document, name: CollectionName, now: datetime, before: Mapping[str, Any] | None = None
    ) -> Document:
        """The item with its times."""
        kept = self.rules.kept(name, item["properties"].get("product:type"))
        return stamped(item, now=now, kept=kept, before=before)


@attr.s
class CatalogTransactions(TransactionsClient):
    """Collections and items, one at a time."""

    workshop: Workshop = attr.ib(kw_only=True)
    settings: CatalogSettings = attr.ib(kw_only=True)

    async def create_collection(self, collection: Collection, request: Request, **kwargs: Any) -> Any:  # noqa: ARG002
        """Make a collection of the caller's own; its id may be given in any of the forms of ``names.resolve``."""
        _require_body(collection, "a collection")
        name = resolve(collection.id, caller(request))
        _require_owner(name, request)
        document = self._collection(collection.model_dump(mode="json"), name)

        async def work(conn: Any) -> None:
            await dbfunc(conn, "create_collection", document)

        await writes.transaction(request, work)
        await _noted(request, "collection.create", name.full)
        return await _collection_answer(document, request)

    async def update_collection(
        self,
        collection: Collection,
        request: Request,
        *,
        collection_id: str,
        **kwargs: Any,  # noqa: ARG002
    ) -> Any:
        """Replace a collection of the caller's own."""
        name = _own(collection_id, request)
        _require_body(collection, "a collection")
        require_same(collection.id, name, request)
        given = collection.model_dump(mode="json")

        async def work(conn: Any) -> Document:
            document = self._collection(given, name, await _existing(conn, name))
            await dbfunc(conn, "update_collection", document)
            return document

        document = await writes.transaction(request, work)
        await _noted(request, "collection.update", name.full)
        return await _collection_answer(document, request)

    async def patch_collection(
        self,
        collection_id: str,
        patch: PartialCollection | list[PatchOperation],
        request: Request,
        **kwargs: Any,  # noqa: ARG002
    ) -> Any:
        """Change a collection of the caller's own; its id stays."""
        name = _own(collection_id, request)
        _require_body(patch, "the changes of a collection")

        async def work(conn: Any) -> Document:
            existing = await _existing(conn, name)
            changed = patched(existing, patch)
            require_same(changed.get("id", ""), name, request)
            _require_valid(Collection, changed)
            document = self._collection(changed, name, existing)
            await dbfunc(conn, "update_collection", document)
            return document

        document = await writes.transaction(request, work)
        await _noted(request, "collection.patch", name.full)
        return await _collection_answer(document, request)

    async def delete_collection(self, collection_id: str, request: Request, **kwargs: Any) -> Any:  # noqa: ARG002
        """Delete a collection of the caller's own; one that holds items only on demand, and their files with it."""
        name = _own(collection_id, request)
        force = getattr(request.state, "force", False)

        async def work(conn: Any) -> None:
            await conn.execute("SELECT rs.lock_items($1)", name.full)
            if not force and await conn.fetchval("SELECT 1 FROM items WHERE collection = $1 LIMIT 1", name.full):
                raise Conflict(
                    f"collection {name.full} holds items",
                    hint="delete them first, or delete the collection with force=true: items and files go with it",
                )
            await conn.execute("SELECT rs.doom_files($1, NULL)", name.full)
            await dbfunc(conn, "delete_collection", name.full)

        await writes.transaction(request, work)
        await _noted(request, "collection.delete", name.full, force=int(force))
        await _removal(request).now(name.full)
        return JSONResponse({"deleted collection": name.full})

    async def create_item(
        self,
        collection_id: str,
        item: Item | ItemCollection,
        request: Request,
        **kwargs: Any,  # noqa: ARG002
    ) -> Response:
        """Add an item, or several at once: all of them or none."""
        name = writable(collection_id, request)
        _require_body(item, "an item")
        given = item.features if isinstance(item, ItemCollection) else [item]
        checked = [self.workshop.checked(one.model_dump(mode="json"), name, request) for one in given]
        documents = self.workshop.finished(checked, request)
        ids = [document["id"] for document in documents]

        async def work(conn: Any) -> Stored | None:
            await writes.rescue(conn, name.full, ids)
            await self.workshop.files_there(documents, name, request)
            await writes.add(
                conn, name.full, [self.workshop.stamped(each, name, datetime.now(UTC)) for each in documents]
            )
            return await writes.read_back(conn, name.full, ids[0]) if isinstance(item, Item) else None

        stored = await writes.transaction(request, work)
        await _noted(request, "item.create", name.full, items=len(ids), first=ids[0] if ids else "")
        return Response(status_code=201) if stored is None else _item_answer(stored, request, 201)

    async def update_item(
        self,
        request: Request,
        collection_id: str,
        item_id: str,
        item: Item,
        **kwargs: Any,  # noqa: ARG002
    ) -> Response:
        """Replace an item; it stays where it is."""
        name = writable(collection_id, request)
        _require_body(item, "an item")
        given = item.model_dump(mode="json")
        checked = self.workshop.checked({**given, "id": given.get("id") or item_id}, name, request)
        _require_id(checked, item_id)
        (document,) = self.workshop.finished([checked], request)

        async def work(conn: Any) -> Stored:
            before = await writes.locked_item(conn, name.full, item_id, _if_match(request))
            return await self._replace(conn, before, document, name, request)

        stored = await writes.transaction(request, work)
        await _noted(request, "item.update", f"{name.full}/{item_id}")
        await _removal(request).now(name.full, item_id)
        return _changed_answer(stored, request)

    async def patch_item(
        self,
        collection_id: str,
        item_id: str,
        patch: PartialItem | list[PatchOperation],
        request: Request,
        **kwargs: Any,  # noqa: ARG002
    ) -> Response:
        """Change an item; it stays where it is."""
        name = writable(collection_id, request)
        _require_body(patch, "the changes of an item")

        async def work(conn: Any) -> Stored:
            before = await writes.locked_item(conn, name.full, item_id, _if_match(request))
            changed = patched(orjson.loads(orjson.dumps(before.document)), patch)
            require_same(changed.get("collection"), name, request)
            _require_valid(Item, changed)
            checked = self.workshop.checked(changed, name, request)
            _require_id(checked, item_id)
            (document,) = self.workshop.finished([checked], request)
            return await self._replace(conn, before, document, name, request)

        stored = await writes.transaction(request, work)
        await _noted(request, "item.patch", f"{name.full}/{item_id}")
        await _removal(request).now(name.full, item_id)
        return _changed_answer(stored, request)

    async def delete_item(self, item_id: str, collection_id: str, request: Request, **kwargs: Any) -> Any:  # noqa: ARG002
        """Delete an item, then its files."""
        name = writable(collection_id, request)

        async def work(conn: Any) -> None:
            await writes.locked_item(conn, name.full, item_id, _if_match(request))
            await writes.delete(conn, name.full, item_id)

        await writes.transaction(request, work)
        await _noted(request, "item.delete", f"{name.full}/{item_id}")
        await _removal(request).now(name.full, item_id)
        return Response(status_code=204)

    async def _replace(
        self, conn: Any, before: Stored, document: Document, name: CollectionName, request: Request
    ) -> Stored:
        """Put the item into the place of the one before; files that it names no more go."""
        await writes.rescue(conn, name.full, [before.id])
        await self.workshop.files_there([document], name, request)
        await writes.update(conn, self.workshop.stamped(document, name, datetime.now(UTC), before.document))
        dropped = assets.addresses(before.document) - assets.addresses(document)
        await writes.doom(conn, name.full, [(before.id, address) for address in sorted(dropped)])
        return await writes.read_back(conn, name.full, before.id)

    def _collection(self, given: Document, name: CollectionName, before: Mapping[str, Any] | None = None) -> Document:
        """The collection as it is stored: with its owner, its times, and who hosts it."""
        if given.get("owner") not in (None, name.owner):
            raise _foreign(name)
        now = stamp(datetime.now(UTC))
        document = {
            "license": self.settings.licence,
            **given,
            "id": name.full,
            "owner": name.owner,
            "links": _kept(given.get("links")),
            "created": (before or {}).get("created") or given.get("created") or now,
            "updated": now,
        }
        if self.settings.provider and not given.get("providers"):
            document["providers"] = [{"name": self.settings.provider, "roles": ["host"]}]
        check_collection(document)
        return document


@attr.s
class CatalogBulk(BulkTransactionsClient):
    """Many items in one call."""

    workshop: Workshop = attr.ib(kw_only=True)

    async def bulk_item_insert(self, items: Items, **kwargs: Any) -> Any:
        """Add (or with method ``upsert``, add or replace) items: all of them, or none if one is refused."""
        request: Request = kwargs["request"]
        name = writable(request.path_params["collection_id"], request)
        replace = items.method is BulkTransactionMethod.UPSERT
        documents = await asyncio.to_thread(self._documents, items.items, name, request)  # others are not held up
        ids = [document["id"] for document in documents]

        async def work(conn: Any) -> None:
            if replace:
                await conn.execute("SELECT rs.lock_items($1)", name.full)
            before = await writes.earlier(conn, name.full, ids) if replace else {}
            await writes.rescue(conn, name.full, ids)
            await self.workshop.files_there(documents, name, request)
            now = datetime.now(UTC)
            ready = [self.workshop.stamped(each, name, now, before.get(each["id"])) for each in documents]
            await writes.add(conn, name.full, ready, replace=replace)
            await writes.doom(conn, name.full, _dropped(documents, before))

        await writes.transaction(request, work)
        await _noted(request, "item.bulk", name.full, items=len(ids))
        if replace:
            await _removal(request).now(name.full)
        return {"received": len(ids), "success": len(ids), "skipped": 0, "errors": []}

    def _documents(self, given: Mapping[str, Any], name: CollectionName, request: Request) -> list[Document]:
        checked = []
        for item_id, item in given.items():
            if not isinstance(item, dict):
                raise BadInput(f"items.{item_id[:100]}: must be an object")
            checked.append(self.workshop.checked(item, name, request))
            _require_id(checked[-1], item_id)
        return self.workshop.finished(checked, request)


def writable(text: str, request: Request) -> CollectionName:
    """The collection that a caller names, if they may write its items."""
    name = named(text, request)
    require(caller(request), Right.WRITE, Service.CATALOG, name.resource)
    return name


def _require_body(body: Any, what: str) -> None:
    """The library takes a request without a body for one that is not there."""
    if body is None:
        raise BadInput(f"the request has no body: it must be {what}, as JSON")


def require_same(in_body: Any, name: CollectionName, request: Request) -> None:
    """The body may leave its collection out, but not name another one than the path."""
    if in_body is None or in_body == name.full:
        return
    if not isinstance(in_body, str) or resolve(in_body, caller(request)) != name:
        raise BadInput(f"collection: the path names {name.full}, the body {str(in_body)[:200]}", field="collection")


def _kept(links: Any) -> list[Any]:
    """The links that are stored: those that the catalog makes itself are not."""
    return [link for link in links or () if not isinstance(link, dict) or link.get("rel") not in INFERRED]


def _dropped(documents: Sequence[Document], before: Mapping[str, Document]) -> list[tuple[str, str]]:
    return [
        (document["id"], address)
        for document in documents
        for address in sorted(assets.addresses(before.get(document["id"])) - assets.addresses(document))
    ]


def _require_id(document: Document, expected: str) -> None:
    if document.get("id") != expected:
        raise BadInput(f"id: the path names item {expected}, the body {str(document.get('id'))[:200]}", field="id")


def _own(text: str, request: Request) -> CollectionName:
    name = named(text, request)
    _require_owner(name, request)
    return name


def _require_owner(name: CollectionName, request: Request) -> None:
    require_owner(caller(request), name.owner, name.name)


def _require_owned(properties: Any, name: CollectionName) -> None:
    """An item's owner is its collection's; an item that says otherwise is not written."""
    if isinstance(properties, dict) and properties.get("owner") not in (None, name.owner):
        raise _foreign(name)


def _foreign(name: CollectionName) -> Forbidden:
    return Forbidden(
        f"owner: what lies in {name.full} belongs to {name.owner}, and to nobody else",
        hint="leave the owner out",
        denied="owner",
        missing_right="owner",
    )


def _require_valid(model: type[Collection | Item], document: Document) -> None:
    try:
        model.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "the document"
        raise BadInput(f"{where}: {first['msg']}") from error


async def _existing(conn: Any, name: CollectionName) -> Document:
    """The collection, locked until the end of the transaction."""
    existing = await conn.fetchval("SELECT content FROM collections WHERE id = $1 FOR UPDATE", name.full)
    if existing is None:
        raise NotFound(f"collection {name.full} does not exist")
    return dict(existing)


async def _collection_answer(document: Document, request: Request) -> Document:
    links = CollectionLinks(collection_id=document["id"], request=request)
    return {**document, "links": titled(await links.get_links(extra_links=document["links"]))}


def _item_answer(stored: Stored, request: Request, status: int) -> Response:
    base = get_base_url(request)
    headers = {"ETag": entity_tag(stored.version), "Location": item_href(base, stored.collection, stored.id)}
    return Response(orjson.dumps(served(stored, base)), status, headers, GEOJSON)


def _changed_answer(stored: Stored, request: Request) -> Response:
    """What a change is answered with: the item on demand, else its new version alone."""
    if not getattr(request.state, "shown", False):
        return Response(status_code=204, headers={"ETag": entity_tag(stored.version)})
    answer = _item_answer(stored, request, 200)
    answer.headers["Preference-Applied"] = "return=representation"
    return answer


def _if_match(request: Request) -> str | None:
    return getattr(request.state, "if_match", None)


def _removal(request: Request) -> Removal:
    return Removal(request.state.database, request.state.storage)


async def _noted(request: Request, action: str, object_: str, **details: str | int) -> None:
    await audit.record(request.state.database, caller(request), action, object_, **details)
