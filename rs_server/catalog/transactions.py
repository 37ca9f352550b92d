"""The catalog's writes: decided on the parsed request, carried out by stac-fastapi-pgstac.

Owners alone make, replace and delete their collections; items need the right to write. stac-fastapi-pgstac writes
the collection named in the *body*, whatever the path says, so each body is held against its path here.
"""

from __future__ import annotations

from typing import Any

import attr
from fastapi import Request
from pydantic import ValidationError
from stac_fastapi.extensions.bulk_transactions import BulkTransactionMethod, Items
from stac_fastapi.extensions.transaction.request import PartialCollection, PartialItem, PatchOperation
from stac_fastapi.pgstac.config import DEFAULT_INVALID_ID_CHARS
from stac_fastapi.pgstac.db import dbfunc
from stac_fastapi.pgstac.models.links import CollectionLinks, ItemLinks
from stac_fastapi.pgstac.transactions import BulkTransactionsClient, TransactionsClient
from stac_pydantic import Collection, Item, ItemCollection

from rs_server.access import audit, policy
from rs_server.access.guards import require
from rs_server.access.policy import Right, Service
from rs_server.catalog.client import caller, named
from rs_server.catalog.names import CollectionName, resolve
from rs_server.catalog.patching import patched
from rs_server.errors import BadInput, Forbidden, NotFound

_PGSTAC_OWN = "pgstac:base_item"  # pgstac's key: never taken from a caller


class PlacedItems:
    """How both clients below check an item, in the place of the library's own check."""

    def _validate_item(
        self,
        request: Request,  # noqa: ARG002 - the base class has it
        item: dict[str, Any],
        collection_id: str,
        expected_item_id: str | None = None,
    ) -> None:
        """Raise ``BadInput`` for an item that does not belong where it is written to.

        An item without a place on Earth (a downlink session, an auxiliary file) has a null geometry, as STAC says;
        the library would refuse it.
        """
        item.pop(_PGSTAC_OWN, None)
        item_id = item.get("id")
        if not isinstance(item_id, str) or set(item_id) & set(DEFAULT_INVALID_ID_CHARS):
            raise BadInput(f"item id {item_id!r} holds one of {' '.join(DEFAULT_INVALID_ID_CHARS)}")
        if expected_item_id not in (None, item_id):
            raise BadInput(f"the path names item {expected_item_id}, the body {item_id}")
        if item.get("collection") not in (None, collection_id):
            raise BadInput(f"the path names collection {collection_id}, the body {item.get('collection')}")


@attr.s
class CatalogTransactions(PlacedItems, TransactionsClient):
    """Collections and items, one at a time."""

    async def create_collection(self, collection: Collection, request: Request, **kwargs: Any) -> Any:
        """Make a collection of the caller's own; its id may be given in any of the forms of ``names.resolve``."""
        name = resolve(collection.id, caller(request))
        _require_owner(name, request)
        collection.id = name.full
        made = await super().create_collection(collection, request=request, **kwargs)
        await _noted(request, "collection.create", name.full)
        return made

    async def update_collection(
        self, collection: Collection, request: Request, *, collection_id: str, **kwargs: Any
    ) -> Any:
        """Replace a collection of the caller's own."""
        name = _own(collection_id, request)
        _require_same(collection.id, name, request)
        collection.id = name.full
        made = await super().update_collection(collection, request=request, **kwargs)
        await _noted(request, "collection.update", name.full)
        return made

    async def patch_collection(
        self,
        collection_id: str,
        patch: PartialCollection | list[PatchOperation],
        request: Request,
        **kwargs: Any,  # noqa: ARG002 - the base class has it
    ) -> Any:
        """Change a collection of the caller's own; its id stays."""
        name = _own(collection_id, request)
        async with request.app.state.get_connection(request, "w") as conn:
            existing = await conn.fetchval("SELECT * FROM get_collection($1::text)", name.full)
            if existing is None:
                raise NotFound(f"collection {collection_id} does not exist")
            changed = patched(existing, patch)
            _require_same(changed.get("id"), name, request)
            _require_valid(Collection, changed)
            await dbfunc(conn, "update_collection", {**changed, "id": name.full})
        links = CollectionLinks(collection_id=name.full, request=request)
        await _noted(request, "collection.patch", name.full)
        return {**changed, "id": name.full, "links": await links.get_links(extra_links=changed.get("links"))}

    async def delete_collection(self, collection_id: str, request: Request, **kwargs: Any) -> Any:
        """Delete a collection of the caller's own, and its items with it."""
        name = _own(collection_id, request)
        answer = await super().delete_collection(name.full, request=request, **kwargs)
        await _noted(request, "collection.delete", name.full)
        return answer

    async def create_item(
        self, collection_id: str, item: Item | ItemCollection, request: Request, **kwargs: Any
    ) -> Any:
        """Add an item, or several at once: all of them or none."""
        name = _writable(collection_id, request)
        items = item.features if isinstance(item, ItemCollection) else [item]
        for one in items:
            _require_same(one.collection, name, request)
            one.collection = name.full
        made = await super().create_item(name.full, item, request=request, **kwargs)
        await _noted(request, "item.create", name.full, items=len(items), first=items[0].id if items else "")
        return made

    async def update_item(self, request: Request, collection_id: str, item_id: str, item: Item, **kwargs: Any) -> Any:
        """Replace an item; it stays where it is."""
        name = _writable(collection_id, request)
        _require_same(item.collection, name, request)
        item.collection = name.full
        made = await super().update_item(request, name.full, item_id, item, **kwargs)
        await _noted(request, "item.update", f"{name.full}/{item_id}")
        return made

    async def patch_item(
        self,
        collection_id: str,
        item_id: str,
        patch: PartialItem | list[PatchOperation],
        request: Request,
        **kwargs: Any,  # noqa: ARG002 - the base class has it
    ) -> Any:
        """Change an item; it stays where it is."""
        name = _writable(collection_id, request)
        async with request.app.state.get_connection(request, "w") as conn:
            existing = await conn.fetchval("SELECT * FROM get_item($1::text, $2::text)", item_id, name.full)
            if existing is None:
                raise NotFound(f"item {item_id} of collection {collection_id} does not exist")
            changed = patched(existing, patch)
            _require_same(changed.get("collection"), name, request)
            _require_valid(Item, changed)
            self._validate_item(request, {**changed, "collection": name.full}, name.full, item_id)
            await dbfunc(conn, "update_item", {**changed, "collection": name.full})
        links = ItemLinks(collection_id=name.full, item_id=item_id, request=request)
        await _noted(request, "item.patch", f"{name.full}/{item_id}")
        return {**changed, "collection": name.full, "links": await links.get_links(extra_links=changed.get("links"))}

    async def delete_item(self, item_id: str, collection_id: str, request: Request, **kwargs: Any) -> Any:
        """Delete an item."""
        name = _writable(collection_id, request)
        answer = await super().delete_item(item_id, name.full, request=request, **kwargs)
        await _noted(request, "item.delete", f"{name.full}/{item_id}")
        return answer


@attr.s
class CatalogBulk(PlacedItems, BulkTransactionsClient):
    """Many items in one call."""

    async def bulk_item_insert(self, items: Items, **kwargs: Any) -> Any:
        """Add (or with method ``upsert``, add or replace) items: all of them, or none if one is refused."""
        request: Request = kwargs["request"]
        name = _writable(request.path_params["collection_id"], request)
        ready = [self._checked(request, item_id, item, name) for item_id, item in items.items.items()]
        function = "upsert_items" if items.method is BulkTransactionMethod.UPSERT else "create_items"
        async with request.app.state.get_connection(request, "w") as conn:
            await dbfunc(conn, function, ready)
        await _noted(request, "item.bulk", name.full, items=len(ready))
        return {"received": len(ready), "success": len(ready), "skipped": 0, "errors": []}

    def _checked(self, request: Request, item_id: str, item: dict[str, Any], name: CollectionName) -> dict[str, Any]:
        if not isinstance(item, dict):
            raise BadInput(f"item {item_id} is not an object")
        _require_same(item.get("collection"), name, request)
        placed = {**item, "collection": name.full}
        _require_valid(Item, placed)
        self._validate_item(request, placed, name.full, item_id)
        return placed


def _own(text: str, request: Request) -> CollectionName:
    name = named(text, request)
    _require_owner(name, request)
    return name


def _require_owner(name: CollectionName, request: Request) -> None:
    who = caller(request)
    if not policy.owns(who, name.owner):
        raise Forbidden(
            f"{who.login} may not make, replace or delete collection {name.full}",
            hint="only the owner of a collection may",
            missing_right="owner",
        )


def _writable(text: str, request: Request) -> CollectionName:
    name = named(text, request)
    require(caller(request), Right.WRITE, Service.CATALOG, name.resource)
    return name


def _require_same(in_body: Any, name: CollectionName, request: Request) -> None:
    """The body may leave its collection out, but not name another one than the path."""
    if in_body is None:
        return
    if not isinstance(in_body, str) or resolve(in_body, caller(request)) != name:
        raise BadInput(f"the path names collection {name.full}, the body {in_body}")


def _require_valid(model: type[Collection | Item], document: dict[str, Any]) -> None:
    try:
        model.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "the document"
        raise BadInput(f"{where}: {first['msg']}") from error


async def _noted(request: Request, action: str, object_: str, **details: str | int) -> None:
    await audit.record(request.state.database, caller(request), action, object_, **details)
