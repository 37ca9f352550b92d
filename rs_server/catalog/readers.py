"""The routes by which the owner of a collection shares it, without an administrator."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Literal

from fastapi import APIRouter, Path, Request
from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, field_validator, model_validator

from rs_server.access.authentication import Access
from rs_server.access.grants import Grants, Reader, ReaderKind
from rs_server.access.guards import Caller, require_owner
from rs_server.access.policy import Right
from rs_server.catalog.client import visible
from rs_server.catalog.names import CollectionName
from rs_server.catalog.store import CatalogStore
from rs_server.errors import BadInput, NotFound

MOST_READERS = 1000  # in one call

Name = Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[^\x00-\x1f\x7f/]+$")]


class ReaderInfo(BaseModel):
    """A user or a group, what they may do with the collection, and until when."""

    model_config = ConfigDict(extra="forbid")

    user: Name | None = Field(None, description="Login of a user; or else `group`")
    group: Name | None = Field(None, description="Name of a group; or else `user`")
    rights: list[Literal["read", "download", "write"]] = Field(
        min_length=1, description="`read` finds items, `download` fetches their files, `write` adds and changes them"
    )
    until: AwareDatetime | None = Field(None, description="End date with a time zone; null: until revoked")

    @model_validator(mode="after")
    def _one_of_both(self) -> ReaderInfo:
        if (self.user is None) == (self.group is None):
            raise ValueError("name either a user or a group")
        return self

    def reader(self) -> Reader:
        """The same as a value."""
        kind = ReaderKind.USER if self.user is not None else ReaderKind.GROUP
        return Reader(kind, self.user or self.group or "", frozenset(map(Right, self.rights)), self.until)

    @classmethod
    def of(cls, reader: Reader) -> ReaderInfo:
        """A reader as it is told."""
        shown = {"rights": sorted(reader.rights, key=list(Right).index), "until": reader.until}
        return cls.model_validate({str(reader.kind): reader.name, **shown})


class ReaderList(BaseModel):
    """Who holds rights on a collection by its owner's leave."""

    model_config = ConfigDict(extra="forbid")

    readers: list[ReaderInfo] = Field(max_length=MOST_READERS)


class Sharing(ReaderList):
    """What each of these readers holds from now on."""

    @field_validator("readers")
    @classmethod
    def _each_once_and_not_over(cls, readers: list[ReaderInfo]) -> list[ReaderInfo]:
        named = [(each.user, each.group) for each in readers]
        if len(set(named)) < len(named):
            raise ValueError("name each reader once")
        if any(each.until is not None and each.until <= datetime.now(UTC) for each in readers):
            raise ValueError("the end date of a reader has passed")
        return readers


def create_router() -> APIRouter:
    """The routes, to be included in the catalog; the lifespan state holds ``access``."""
    router = APIRouter(tags=["Sharing"])
    path = "/collections/{collection_id}/readers"

    @router.get(path, response_model_exclude_unset=True)
    async def list_readers(request: Request, collection_id: str) -> ReaderList:
        """Whom the caller shares a collection of theirs with."""
        name = _own(collection_id, request)
        if not await CatalogStore(request.state.database).has_collection(name):
            raise NotFound(f"collection {collection_id} does not exist")
        return await _listed(_access(request).grants, name)

    @router.put(path, response_model_exclude_unset=True)
    async def share(request: Request, who: Caller, collection_id: str, sharing: Sharing) -> ReaderList:
        """Give each of these readers exactly these rights, from now on; readers that are not named keep theirs."""
        name, access = _own(collection_id, request), _access(request)
        readers = [each.reader() for each in sharing.readers]
        for each in readers:
            await _require_there(access, each, name)
        await access.grants.give(who, name.owner, name.name, readers)
        return await _listed(access.grants, name)

    @router.delete(path + "/{kind}/{name}", status_code=204)
    async def unshare(
        request: Request,
        who: Caller,
        collection_id: str,
        kind: ReaderKind,
        name: Annotated[str, Path(max_length=255)],
    ) -> None:
        """Take back what a user or a group was given, at once."""
        own = _own(collection_id, request)
        await _access(request).grants.revoke(who, own.owner, own.name, kind, name)

    return router


async def _listed(grants: Grants, name: CollectionName) -> ReaderList:
    return ReaderList(readers=[ReaderInfo.of(each) for each in await grants.of(name.owner, name.name)])


def _own(text: str, request: Request) -> CollectionName:
    """A collection of the caller's own; for others it does not exist, or they may not."""
    name = visible(text, request)
    require_owner(request.state.principal, name.owner, name.name)
    return name


async def _require_there(access: Access, reader: Reader, name: CollectionName) -> None:
    """Refuse a name that nobody has: a slip would share with whoever gets that name one day."""
    if reader.kind is ReaderKind.USER and reader.name == name.owner:
        raise BadInput(f"{reader.name} owns the collection", hint="owners hold every right already")
    if access.directory is None:
        return
    of_kind = access.directory.find if reader.kind is ReaderKind.USER else access.directory.group
    if await of_kind(reader.name) is None:
        raise BadInput(f"there is no {reader.kind} {reader.name}")


def _access(request: Request) -> Access:
    access: Access = request.state.access
    return access
