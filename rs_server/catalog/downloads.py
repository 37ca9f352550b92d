"""The route that lets a caller who may download fetch one file of an item, by an address that opens it alone."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import RedirectResponse

from rs_server.access import audit
from rs_server.access.guards import require
from rs_server.access.policy import Right, Service
from rs_server.catalog import assets, pages
from rs_server.catalog.assets import Allowed
from rs_server.catalog.client import caller, visible
from rs_server.catalog.names import CollectionName
from rs_server.errors import Conflict, NotFound
from rs_server.storage.layout import Location

LIFE = timedelta(minutes=15)


def create_router(allowed: Allowed) -> APIRouter:
    """The route, for the catalog's application."""
    router = APIRouter(tags=["Download"])

    @router.get(
        "/collections/{collection_id}/items/{item_id}/download/{asset}",
        status_code=302,
        response_class=RedirectResponse,
        responses={302: {"description": "The file's address, which reads it without a login for 15 minutes"}},
    )
    async def download(request: Request, collection_id: str, item_id: str, asset: str) -> RedirectResponse:
        """Go to a file of an item."""
        name = visible(collection_id, request)
        require(caller(request), Right.DOWNLOAD, Service.CATALOG, name.resource)
        item = await _item(request, name, item_id)
        if allowed.elsewhere(href := _entry(item, asset)["href"]):
            return await _gone_to(href, request, f"{name.full}/{item_id}/{asset}")
        place = _place(item, name, asset, allowed)
        bucket = request.state.storage.at(place.bucket)
        if await bucket.size(place.key) is None:
            raise Conflict(
                f"asset {asset} of item {item_id} is a product of many files, or has none just now",
                hint="open it with a key of POST /storage/credentials for this item",
            )
        return await _gone_to(await bucket.signed(place.key, LIFE), request, f"{name.full}/{item_id}/{asset}")

    return router


async def _gone_to(address: str, request: Request, what: str) -> RedirectResponse:
    await audit.record(request.state.database, caller(request), "asset.download", what)
    return RedirectResponse(address, 302, {"Cache-Control": "no-store", "Referrer-Policy": "no-referrer"})


async def _item(request: Request, name: CollectionName, item_id: str) -> dict[str, Any]:
    async with request.app.state.get_connection(request, "r") as conn:
        stored = await pages.one(conn, name.full, item_id)
    if stored is None:
        raise NotFound(f"item {item_id} of collection {name.full} does not exist")
    return stored.document


def _entry(item: dict[str, Any], asset: str) -> dict[str, Any]:
    entry: dict[str, Any] | None = (item.get("assets") or {}).get(asset)
    if entry is None:
        raise NotFound(f"item {item['id']} has no asset {asset}")
    return entry


def _place(item: dict[str, Any], name: CollectionName, asset: str, allowed: Allowed) -> Location:
    """Where the file lies: looked at as closely as when it was written, whoever wrote it."""
    (file,) = assets.files({"id": item["id"], "assets": {asset: _entry(item, asset)}}, name, allowed)
    return file.place
