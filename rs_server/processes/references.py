"""Items that a process is given by reference: addresses of this server's own item routes, never data to be trusted."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any
from urllib.parse import unquote, urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from rs_server.errors import BadInput

_ITEM_PATH = re.compile(r"/(?P<service>[a-z]+)/collections/(?P<collection>[^/]+)/items/(?P<item>[^/]+)")


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
    """A whole STAC item, or a FeatureCollection of them: only the link ``self`` of each is used."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    value: dict[str, Any]


def _listed(value: Any) -> Any:
    return value if isinstance(value, list | tuple) else [value]


ItemInputs = Annotated[
    tuple[ByReference | Inline, ...],
    BeforeValidator(_listed),
    Field(min_length=1, max_length=1000, title="Items", description="The items to work on"),
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
    parts, ours = urlsplit(address), urlsplit(public_url)
    if parts.netloc and (parts.scheme, parts.netloc) != (ours.scheme, ours.netloc):
        raise BadInput(f"{where}: {address} is not an address of this server", hint=f"items of {public_url} are taken")
    found = _ITEM_PATH.fullmatch(parts.path.removeprefix(ours.path.rstrip("/")))
    if found is None or parts.query or ".." in parts.path:
        raise BadInput(
            f"{where}: {address} is not the address of an item",
            hint="an item's address is …/{service}/collections/{collection}/items/{item}",
        )
    return Reference(found["service"], unquote(found["collection"]), unquote(found["item"]))


def _addresses(number: int, item: ByReference | Inline) -> list[str]:
    if isinstance(item, ByReference):
        return [item.href]
    if item.value.get("type") == "FeatureCollection":
        return [_self_link(number, feature) for feature in item.value.get("features") or []]
    return [_self_link(number, item.value)]


def _self_link(number: int, item: Any) -> str:
    links = item.get("links") if isinstance(item, Mapping) else None
    for link in links or []:
        if isinstance(link, Mapping) and link.get("rel") == "self" and isinstance(link.get("href"), str):
            return str(link["href"])
    raise BadInput(f"inputs.items.{number}.value: the item has no link 'self'", hint="give the item's address as href")
