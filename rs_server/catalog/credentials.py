"""The route that hands a reader of a collection the storage key to its files."""

from __future__ import annotations

from datetime import datetime

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field

from rs_server.access import audit
from rs_server.access.guards import Caller, require_visible
from rs_server.access.policy import Service
from rs_server.catalog.names import CollectionName, resolve
from rs_server.catalog.store import CatalogStore
from rs_server.database import Database
from rs_server.errors import NotFound
from rs_server.storage import layout
from rs_server.storage.credentials import CredentialIssuer, Scope


class Wanted(BaseModel):
    """Which files."""

    model_config = ConfigDict(extra="forbid")

    collection: str = Field(description="Id of the collection, or one of its short forms", min_length=1, max_length=200)
    item: str | None = Field(None, description="One item of it; default: all of them", min_length=1, max_length=255)


class StorageKey(BaseModel):
    """A key that reads the files under a prefix until it expires; the secret is shown here and never again."""

    access_key_id: str
    secret_access_key: str
    endpoint: str
    region: str
    bucket: str
    prefix: str
    expiration: datetime


def create_router() -> APIRouter:
    """The route, to be included at the root; the lifespan state holds ``credentials`` and ``database``."""
    router = APIRouter(tags=["Storage"])

    @router.post("/storage/credentials")
    async def storage_credentials(request: Request, who: Caller, wanted: Wanted) -> StorageKey:
        """A key to the files of a collection, or of one item, for who may read it."""
        name = resolve(wanted.collection, who)
        require_visible(who, Service.CATALOG, name.resource, f"collection {wanted.collection}")
        database: Database = request.state.database
        prefix = await _prefix(CatalogStore(database), name, wanted.item)
        issuer: CredentialIssuer = request.state.credentials
        key = await issuer.issue(who.login, "read by the user", Scope(read=(prefix,)))
        await audit.record(database, who, "storage.key", prefix, name=key.name)
        return StorageKey(
            access_key_id=key.access_key,
            secret_access_key=key.secret_key,
            endpoint=key.endpoint,
            region=key.region,
            bucket=key.bucket,
            prefix=prefix,
            expiration=key.expires,
        )

    return router


async def _prefix(store: CatalogStore, name: CollectionName, item: str | None) -> str:
    """The prefix of what is asked for; ``NotFound`` when it is not there."""
    if item is not None:
        await store.item(name.full, item)
        return layout.item_prefix(name, item)
    if not await store.has_collection(name):
        raise NotFound(f"collection {name.full} does not exist")
    return layout.collection_prefix(name)
