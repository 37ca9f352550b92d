"""The route that hands out storage keys: what a key opens is what the access policy lets its owner do."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, ConfigDict, Field, model_validator

from rs_server.access import audit, policy
from rs_server.access.guards import Caller, require, require_visible
from rs_server.access.policy import Principal, Right, Service
from rs_server.catalog.names import CollectionName, resolve
from rs_server.database import Database
from rs_server.errors import BadInput, NotFound
from rs_server.settings import Settings
from rs_server.storage import layout
from rs_server.storage.credentials import CredentialIssuer, Credentials, Scope
from rs_server.storage.layout import Buckets, Location


class Wanted(BaseModel):
    """Which files."""

    model_config = ConfigDict(extra="forbid")

    collection: str | None = Field(
        None,
        description="Id of the collection, or one of its short forms; default: all that the caller may download",
        min_length=1,
        max_length=200,
    )
    item: str | None = Field(None, description="One item of it; default: all of them", min_length=1, max_length=255)
    product_type: str | None = Field(
        None, description="The product:type of files to come, which may decide about their bucket", max_length=200
    )
    write: bool = Field(
        default=False, description="Also to write and delete; the item of files to come need not be there"
    )

    @model_validator(mode="after")
    def _item_of_a_collection(self) -> Wanted:
        if self.item is not None and self.collection is None:
            raise ValueError("an item is named with its collection")
        return self


class StorageKey(BaseModel):
    """A key to the files under a prefix until it expires; the secret is shown here and never again."""

    access_key_id: str
    secret_access_key: str
    endpoint: str
    region: str
    bucket: str
    prefix: str = Field(description="Where the files lie in that bucket; empty for a key to several places")
    expiration: datetime


class ContainerCredentials(BaseModel):
    """A key as AWS SDKs read it from ``AWS_CONTAINER_CREDENTIALS_FULL_URI``."""

    AccessKeyId: str
    SecretAccessKey: str
    Token: str = Field("", description="Empty: the key is no session of a token service")
    Expiration: str


def create_router() -> APIRouter:
    """The routes, to be included at the root; the lifespan state holds ``credentials`` and ``database``."""
    router = APIRouter(tags=["Storage"])

    @router.post("/storage/credentials")
    async def storage_credentials(request: Request, response: Response, who: Caller, wanted: Wanted) -> StorageKey:
        """A key to the files of a collection, of one item, or to all that the caller may download."""
        key, place = await _issued(request, who, wanted)
        response.headers["Cache-Control"] = "no-store"
        return StorageKey(
            access_key_id=key.access_key,
            secret_access_key=key.secret_key,
            endpoint=key.endpoint,
            region=key.region,
            bucket=place.bucket,
            prefix=place.key,
            expiration=key.expires,
        )

    @router.get("/storage/credentials")
    async def container_credentials(
        request: Request, response: Response, who: Caller, wanted: Annotated[Wanted, Query()]
    ) -> ContainerCredentials:
        """The same for AWS SDKs: the address in `AWS_CONTAINER_CREDENTIALS_FULL_URI`, the login in
        `AWS_CONTAINER_AUTHORIZATION_TOKEN`; they come again before the key ends."""
        key, _ = await _issued(request, who, wanted)
        response.headers["Cache-Control"] = "no-store"
        return ContainerCredentials(
            AccessKeyId=key.access_key,
            SecretAccessKey=key.secret_key,
            Expiration=key.expires.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        )

    return router


async def _issued(request: Request, who: Principal, wanted: Wanted) -> tuple[Credentials, Location]:
    """The key, and the place it opens where it is one."""
    database: Database = request.state.database
    settings: Settings = request.state.settings
    buckets = Buckets(settings.storage.bucket, settings.catalog.lifecycle)
    if wanted.collection is None:
        place = Location(settings.storage.bucket, "")
        scope = _everywhere(who, await _collections(database), write=wanted.write)
        about: dict[str, str] = {}
    else:
        name = resolve(wanted.collection, who)
        _permit(who, name, wanted)
        place = await _place(database, name, wanted, buckets)
        scope = Scope(read=(place.key,), write=(place.key,) if wanted.write else ())
        about = {"collection": name.full}  # so that its owner finds it on record
    issuer: CredentialIssuer = request.state.credentials
    key = await issuer.issue(who.login, "written by the user" if wanted.write else "read by the user", scope)
    details: dict[str, str | int] = {"name": key.name, "write": int(wanted.write), **about}
    await audit.record(database, who, "storage.key", place.key or "all", **details)
    return key, place


def _permit(who: Principal, name: CollectionName, wanted: Wanted) -> None:
    require_visible(who, Service.CATALOG, name.resource, f"collection {wanted.collection}")
    require(who, Right.DOWNLOAD, Service.CATALOG, name.resource)
    if wanted.write:
        require(who, Right.WRITE, Service.CATALOG, name.resource)


def _everywhere(who: Principal, collections: Iterable[CollectionName], *, write: bool) -> Scope:
    """All places that the policy opens to the caller: a user's own key."""
    names = {name.resource: layout.collection_prefix(name) for name in collections}
    may_read = policy.permitted(who, Right.DOWNLOAD, Service.CATALOG, names)
    may_write = policy.permitted(who, Right.WRITE, Service.CATALOG, names) if write else []
    if not may_read and not may_write:
        raise NotFound("there is no collection whose files you may download")
    return Scope(read=tuple(names[each] for each in may_read), write=tuple(names[each] for each in may_write))


async def _collections(database: Database) -> list[CollectionName]:
    async with database.connection() as conn:
        cursor = await conn.execute("SELECT id FROM pgstac.collections ORDER BY id")
        found = [str(row["id"]) for row in await cursor.fetchall()]
    return [name for full in found if (name := _name_or_none(full)) is not None]


def _name_or_none(full: str) -> CollectionName | None:
    try:
        return CollectionName.parse(full)
    except BadInput:  # not made through this server: nobody's
        return None


async def _place(database: Database, name: CollectionName, wanted: Wanted, buckets: Buckets) -> Location:
    """Where the files of what is asked for lie, or will; ``NotFound`` when it is not there."""
    async with database.connection() as conn:
        cursor = await conn.execute(
            "SELECT EXISTS (SELECT FROM pgstac.collections WHERE id = %s) AS collection, "
            "i.id IS NOT NULL AS item, i.content->'properties'->>'product:type' AS product_type, "
            "i.content->'assets' AS assets "
            "FROM (VALUES (1)) one LEFT JOIN pgstac.items i ON i.collection = %s AND i.id = %s",
            [name.full, name.full, wanted.item],
        )
        there = await cursor.fetchone()
    assert there is not None
    if not there["collection"]:
        raise NotFound(f"collection {name.full} does not exist")
    if wanted.item is None:
        return Location(buckets.of(name, wanted.product_type), layout.collection_prefix(name))
    if not there["item"] and not wanted.write:
        raise NotFound(f"item {wanted.item} of collection {name.full} does not exist")
    lie = (each.bucket for each in layout.named({"assets": there["assets"]}) if each.bucket in buckets.all)
    by_rule = buckets.of(name, wanted.product_type or there["product_type"])
    bucket = by_rule if wanted.write else next(lie, by_rule)  # files stay where they are, whatever the rules say since
    return Location(bucket, layout.item_prefix(name, wanted.item))
