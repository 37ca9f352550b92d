"""What may be asked of staging, and how it is kept: items by address, searches by service, and what to do with them."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable
from typing import Annotated, Any, Literal
from urllib.parse import parse_qsl, unquote, urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Discriminator, Field, Tag, ValidationError

from rs_server.errors import BadInput
from rs_server.processes.model import Inputs
from rs_server.processes.references import ByReference, Inline, Reference, read, split
from rs_server.staging.plan import Existing
from rs_server.stations.requests import SearchBody, SearchQuery

ServiceName = Literal["cadip", "auxip", "prip", "lta", "catalog"]
_SEARCH_PATH = re.compile(r"/(?P<service>[a-z]+)/(?:search|collections/(?P<collection>[^/]+)/items)")
_PAGED = {"limit", "token", "fields"}


class BySearch(BaseModel):
    """All items that a search finds, page by page."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    service: ServiceName = Field(description="Whose search it is")
    search: dict[str, Any] = Field(description="The body of a STAC item search")


def _listed(value: Any) -> Any:
    return value if isinstance(value, list | tuple) else [value]


def _form(item: Any) -> str | None:
    """Which form an item is given in, by its members; so that what is wrong is told of that form alone."""
    if isinstance(item, BaseModel):
        return type(item).__name__
    members = item if isinstance(item, dict) else {}
    forms = {"href": "ByReference", "search": "BySearch", "service": "BySearch", "value": "Inline"}
    return next((form for member, form in forms.items() if member in members), None)


StagingItem = Annotated[
    Annotated[ByReference, Tag("ByReference")]
    | Annotated[BySearch, Tag("BySearch")]
    | Annotated[Inline, Tag("Inline")],
    Discriminator(
        _form,
        custom_error_type="item",
        custom_error_message='an item is {"href": …}, {"service": …, "search": {…}} or {"value": {…}}',
    ),
]
StagingItems = Annotated[
    tuple[StagingItem, ...],
    Field(
        min_length=1,
        max_length=1000,
        title="Items",
        description="Items by their addresses, as STAC items, or as searches: the address of a search, or its body",
    ),
    BeforeValidator(_listed),
]


class Options(Inputs):
    """Where to put what is staged, and how."""

    collection: str = Field(
        title="Collection",
        description="Collection of the catalog to publish in; a new one of the caller's own is made",
        min_length=1,
        max_length=200,
    )
    assets: tuple[str, ...] = Field(
        (), title="Assets", description="Names of the assets wanted of each item; none: all of them", max_length=1000
    )
    existing: Existing = Field(
        Existing.REPLACE,
        title="Existing items",
        description="What to do with an item that the collection has already: skip it, replace it if its files are "
        "others, or fail it",
    )
    priority: int = Field(
        50, ge=0, le=100, title="Priority", description="Among the caller's own jobs; 100 comes first"
    )
    follow: bool = Field(
        default=False,
        title="Follow",
        description="Go on with sessions that are still growing until they are complete, and publish them then",
    )
    strict: bool = Field(
        default=False, title="Strict", description="All items or none: one that fails makes the whole job fail"
    )


class StagingInputs(Options):
    """What to stage, and where to."""

    items: StagingItems


class Search(BaseModel):
    """A search, as it is kept."""

    service: ServiceName
    body: dict[str, Any]


class StagingRequest(BaseModel):
    """What was admitted: paths of items, searches, and the full id of the collection."""

    items: tuple[str, ...] = ()
    searches: tuple[Search, ...] = ()
    collection: str
    assets: tuple[str, ...] = ()
    existing: Existing = Existing.REPLACE
    priority: int = 50
    follow: bool = False
    strict: bool = False


def sorted_out(
    items: Iterable[ByReference | BySearch | Inline], public_url: str
) -> tuple[tuple[Reference, ...], tuple[Search, ...]]:
    """The items and the searches meant; ``BadInput`` names the first that is neither."""
    references: list[Reference] = []
    searches: list[Search] = []
    for number, item in enumerate(items):
        where = f"inputs.items.{number}"
        if isinstance(item, BySearch):
            searches.append(checked(item.service, item.search, where))
        elif isinstance(item, ByReference) and (found := _search_at(item.href, public_url, where)):
            searches.append(found)
        else:
            references += read([item], public_url, first=number)
    return tuple(dict.fromkeys(references)), tuple(searches)


def checked(service: ServiceName, body: dict[str, Any], where: str) -> Search:
    """A search whose form is right; what it is about is looked at later. ``BadInput``."""
    try:
        read_body = SearchBody.model_validate(body)
    except ValidationError as error:
        first = error.errors()[0]
        raise BadInput(f"{where}.search: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
    kept = read_body.model_dump(mode="json", by_alias=True, exclude_defaults=True, exclude=_PAGED)
    return Search(service=service, body=kept | {"filter-lang": read_body.filter_lang})


def _search_at(address: str, public_url: str, where: str) -> Search | None:
    """The search that an address of ours serves, or None when it serves none."""
    parts, ours = split(address, where), urlsplit(public_url)
    found = _SEARCH_PATH.fullmatch(parts.path.removeprefix(ours.path.rstrip("/")))
    if found is None:
        return None
    if parts.netloc and (parts.scheme, parts.netloc) != (ours.scheme, ours.netloc):
        raise BadInput(
            f"{where}: {address} is not an address of this server", hint=f"searches of {public_url} are taken"
        )
    try:
        asked = parse_qsl(parts.query, keep_blank_values=True)
        if twice := [name for name, number in Counter(name for name, _ in asked).items() if number > 1]:
            raise BadInput(f"{where}: {twice[0]} is given more than once", hint="separate several values by commas")
        query = SearchQuery.model_validate(dict(asked))
        body = query.as_body()
        if found["collection"]:
            body = body.model_copy(update={"collections": [unquote(found["collection"])]})
        document = body.model_dump(mode="json", by_alias=True, exclude_defaults=True, exclude=_PAGED)
        return Search.model_validate(
            {"service": found["service"], "body": document | {"filter-lang": body.filter_lang}}
        )
    except ValidationError as error:
        first = error.errors()[0]
        raise BadInput(f"{where}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from error
