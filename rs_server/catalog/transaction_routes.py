"""The routes that write collections and items: what their bodies may be, and what they are answered with.

A body may be a partial item (transaction extension of STAC API 1.0.0): what the path says, it may leave out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import attr
from fastapi import Body
from fastapi.responses import Response
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, create_model
from stac_fastapi.api.models import CollectionUri, ItemUri
from stac_fastapi.api.routes import create_async_endpoint
from stac_fastapi.extensions import TransactionExtension
from stac_fastapi.extensions.transaction.request import PartialCollection, PartialItem, PatchOperation
from stac_fastapi.types.search import APIRequest
from stac_pydantic import Collection, Item, ItemCollection
from stac_pydantic.links import Links
from stac_pydantic.shared import MimeTypes

_ITEM = "/collections/{collection_id}/items/{item_id}"
_CHANGED: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "Done; with `Prefer: return=representation`",
        "content": {MimeTypes.geojson.value: {}},
        "model": Item,
    },
    204: {"description": "Done; the header `ETag` names the new version"},
}


class NewItem(Item):
    """An item that need not bring links: the catalog makes its own."""

    links: Links = Field(default_factory=lambda: Links([]))


class NewItems(ItemCollection):
    """Several of them."""

    features: Sequence[NewItem]


class ReplacingItem(NewItem):
    """An item that need not say again which one it takes the place of."""

    id: str | None = Field(None, min_length=1)  # type: ignore[assignment]  # wider than the library's


@attr.s
class Transactions(TransactionExtension):
    """The library's routes, where a new collection that names no licence gets that of the settings."""

    licence: str = attr.ib(kw_only=True)

    def register_create_item(self) -> None:
        """Register ``POST /collections/{collection_id}/items``."""
        body = Annotated[NewItem | NewItems, Body()]
        request = attr.make_class("NewItemRequest", {"item": attr.ib(default=None, type=body)}, bases=(CollectionUri,))
        self.router.add_api_route(
            "/collections/{collection_id}/items",
            create_async_endpoint(self.client.create_item, request),
            name="Create Item",
            methods=["POST"],
            status_code=201,
            response_model=None,
            responses={201: {"content": {MimeTypes.geojson.value: {}}, "model": Item}},
            response_class=self.response_class,
        )

    def register_update_item(self) -> None:
        """Register ``PUT /collections/{collection_id}/items/{item_id}``."""
        body = Annotated[ReplacingItem, Body()]
        request = attr.make_class("ReplacingItemRequest", {"item": attr.ib(default=None, type=body)}, bases=(ItemUri,))
        self.router.add_api_route(
            _ITEM,
            create_async_endpoint(self.client.update_item, request),
            name="Update Item",
            methods=["PUT"],
            response_model=None,
            responses=_CHANGED,
            response_class=self.response_class,
        )

    def register_delete_item(self) -> None:
        """Register ``DELETE /collections/{collection_id}/items/{item_id}``."""
        self.router.add_api_route(
            _ITEM,
            create_async_endpoint(self.client.delete_item, ItemUri),
            name="Delete Item",
            methods=["DELETE"],
            status_code=204,
            response_model=None,
            response_class=Response,
        )

    def register_create_collection(self) -> None:
        """Register ``POST /collections``."""
        licence = Field(self.licence, alias="license", min_length=1)
        model = create_model("NewCollection", __base__=Collection, license=(str, licence))
        self.router.add_api_route(
            "/collections",
            create_async_endpoint(self.client.create_collection, model),
            name="Create Collection",
            methods=["POST"],
            status_code=201,
            response_model=None,
            responses={201: {"content": {"application/json": {}}, "model": Collection}},
            response_class=self.response_class,
        )

    def register_patch_item(self) -> None:
        """Register ``PATCH /collections/{collection_id}/items/{item_id}``."""
        self._patch(_ITEM, self.client.patch_item, ItemUri, PartialItem, _CHANGED)

    def register_patch_collection(self) -> None:
        """Register ``PATCH /collections/{collection_id}``."""
        self._patch("/collections/{collection_id}", self.client.patch_collection, CollectionUri, PartialCollection)

    def _patch(
        self,
        path: str,
        endpoint: Any,
        uri: type[APIRequest],
        partial: type[BaseModel],
        responses: dict[int | str, dict[str, Any]] | None = None,
    ) -> None:
        """Take members that the library's model does not know, too: a patch that drops some is none."""
        known = type(f"{partial.__name__}Patch", (partial,), {"model_config": ConfigDict(extra="allow")})
        body = Annotated[known | list[PatchOperation], Body()]  # type: ignore[valid-type]
        patch = attr.ib(default=None, type=body)
        model = attr.make_class(f"{partial.__name__}Request", {"patch": patch}, bases=(uri,))
        kinds = ("application/json", "application/merge-patch+json")
        described = {kind: {"schema": partial.model_json_schema()} for kind in kinds}
        steps = {"application/json-patch+json": {"schema": TypeAdapter(list[PatchOperation]).json_schema()}}
        self.router.add_api_route(
            path,
            create_async_endpoint(endpoint, model),
            name=f"Patch {partial.__name__.removeprefix('Partial')}",
            methods=["PATCH"],
            response_model=None,
            responses=responses,
            response_class=self.response_class,
            openapi_extra={"requestBody": {"content": {**described, **steps}, "required": True}},
        )
