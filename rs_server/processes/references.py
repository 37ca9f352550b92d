"""Items that a process is given by reference: addresses of this server's own item routes, never data to be trusted."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import SplitResult, quote, unquote, urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from rs_server.errors import BadInput

_ITEM_PATH = re.compile(r"/(?P<service>[a-z]+)/collections/(?P<collection>[^/]+)/items/(?P<item>[^/]+)")

_ASSET = re.compile(r"(?P<item>\S+/collections/[^/]+/items/[^/]+)/download/[^/]+")


@dataclass(frozen=True, slots=True)
class Reference:
    """One item of one of our services."""

    service: str
    collection: str
    item: str

    @property
    def path(self) -> str:
        """The path that serves the item."""
        return f"/{self.service}/collections/{self.collection}/items/{self.item}"


class ByReference(BaseModel):
    """An item by the address that serves it; what else a link carries is passed over."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    href: str = Field(description="Address of the item, …/collections/{collection}/items/{item}", max_length=2000)


class Inline(BaseModel):
    """A whole STAC item, or a FeatureCollection of them: only what tells its address is used of each.

    That is its link ``self``, or else the addresses of its assets, or its link ``collection`` with its id.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    value: dict[str, Any]


def _listed(value: Any) -> Any:
    return value if isinstance(value, list | tuple) else [value]


ItemInputs = Annotated[
    tuple[ByReference | Inline, ...],
    Field(min_length=1, max_length=1000, title="Items", description="The items to work on"),
    BeforeValidator(_listed),
]


def read(items: Iterable[ByReference | Inline], public_url: str, *, first: int = 0) -> tuple[Reference, ...]:
    """The items meant, each once; ``BadInput`` names the first that is not an item of this server.

    ``first`` is the number of the first item among the inputs.
    """
    addresses = (
        (f"inputs.items.{number}", address)
        for number, item in enumerate(items, first)
        for address in _addresses(number, item)
    )
    return tuple(dict.fromkeys(parse(address, public_url, where) for where, address in addresses))


def parse(address: str, public_url: str, where: str) -> Reference:
    """Read one address; it is absolute and ours, or a path."""
    parts, ours = split(address, where), urlsplit(public_url)
    if parts.netloc and (parts.scheme, parts.netloc) != (ours.scheme, ours.netloc):
        raise BadInput(f"{where}: {address} is not an address of this server", hint=f"items of {public_url} are taken")
    found = _ITEM_PATH.fullmatch(parts.path.removeprefix(ours.path.rstrip("/")))
    if found is None or parts.query or ".." in parts.path or "\0" in unquote(parts.path):
        raise BadInput(
            f"{where}: {address} is not the address of an item",
            hint="an item's address is …/{service}/collections/{collection}/items/{item}",
        )
    return Reference(found["service"], unquote(found["collection"]), unquote(found["item"]))


def split(address: str, where: str) -> SplitResult:
    """The parts of an address; ``BadInput`` for what is none."""
    try:
        return urlsplit(address)
    except ValueError as error:
        raise BadInput(f"{where}: {address} is not an address: {error}") from error


def _addresses(number: int, item: ByReference | Inline) -> list[str]:
    if isinstance(item, ByReference):
        return [item.href]
    if item.value.get("type") == "FeatureCollection":
        features = item.value.get("features")
        if not isinstance(features, list) or not features:
            raise BadInput(f"inputs.items.{number}.value.features: a list of items is needed")
        return [_address(number, feature) for feature in features]
    return [_address(number, item.value)]


def _address(number: int, item: Any) -> str:
    """Where an item given whole is to be had: all that tells of it must agree on one address, but for a ``self``."""
    document = item if isinstance(item, Mapping) else {}
    if address := _linked(document, "self"):
        return address
    assets = document.get("assets")
    hrefs = [str(each.get("href")) for each in _mappings(assets.values() if isinstance(assets, Mapping) else ())]
    told = {found["item"] for href in hrefs if (found := _ASSET.fullmatch(href))}
    if len(told) == 1:
        return str(told.pop())
    collection, name = _linked(document, "collection"), document.get("id")
    if not told and collection and isinstance(name, str):
        return f"{collection}/items/{quote(name, safe='')}"
    reason = "its assets are of several items" if told else "it has no link 'self', and no asset of this server"
    raise BadInput(
        f"inputs.items.{number}.value: where the item is to be had cannot be told: {reason}",
        hint="give the item's address as href",
    )


def _linked(item: Mapping[str, Any], rel: str) -> str | None:
    links = item.get("links")
    found = _mappings(links if isinstance(links, list) else ())
    return next((str(link["href"]) for link in found if link.get("rel") == rel and link.get("href")), None)


def _mappings(values: Iterable[Any]) -> list[Mapping[str, Any]]:
    return [value for value in values if isinstance(value, Mapping)]
