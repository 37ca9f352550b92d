"""What staging and processing share: starting a process of the server on items."""

from __future__ import annotations

from collections.abc import AsyncIterable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

from rs_client.errors import Invalid
from rs_client.flow import Flow, Server

if TYPE_CHECKING:
    import pystac

    from rs_client.stac import Search

type Items = Search | pystac.Item | str | Iterable[pystac.Item | str]
"""What a process may be run on: a search, an item or its address, or several of them."""
type AsyncItems = Items | AsyncIterable[pystac.Item]
"""The same with asyncio, whose searches give their items as they come."""


def execute(
    server: Server, process: str, hrefs: Sequence[str], to: str | None, more: Mapping[str, Any] | None = None
) -> Flow[dict[str, Any]]:
    """Start a process on items, once; ``to`` is the collection its results go to. Gives the job's document.

    ``more`` are further inputs, among them items by the name of an input. Raises ``Invalid`` when there is no item.
    """
    body = {"inputs": asked(process, hrefs, to, more)}
    document: dict[str, Any] = yield from server.post_once(f"/processes/{process}/execution", body)
    return document


def asked(process: str, hrefs: Sequence[str], to: str | None, more: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The inputs of a process that is to run on items; ``Invalid`` when there is none."""
    if not hrefs and not more:
        raise Invalid(f"there is no item to run {process} on", hint="look at what the search finds")
    stated = {"collection": to, **(more or {})}
    given = {name: value for name, value in stated.items() if value is not None}
    return {**({"items": [{"href": href} for href in hrefs]} if hrefs else {}), **given}


def addresses(items: Items) -> list[str]:
    """The addresses of items; a search is asked for them.

    Raises ``Invalid`` for an item that has none, and for a search of asyncio, which cannot be waited for here.
    """
    if isinstance(items, str):
        return [items]
    if hasattr(items, "get_self_href"):
        return [address(cast("pystac.Item", items))]
    if hasattr(items, "__aiter__"):
        raise Invalid("a search of asyncio must be gathered first", hint="[item async for item in s.cadip.search(…)]")
    search = getattr(items, "items", None)  # of a collection of items, which is iterable itself, this is their list
    found: Iterable[pystac.Item | str] = search() if callable(search) else cast("Iterable[pystac.Item | str]", items)
    return [address(item) for item in found]


async def gathered(items: AsyncItems) -> list[str]:
    """The addresses of items; those of a search of asyncio, too. Raises as ``addresses``: ``Invalid``."""
    if isinstance(items, AsyncIterable):
        return [address(item) async for item in items]
    return addresses(items)


def address(item: pystac.Item | str) -> str:
    """The address of an item, which is how the server is told about it. Raises ``Invalid`` when it has none."""
    if isinstance(item, str):
        return item
    href = item.get_self_href()
    if href is None:
        raise Invalid(f"item {item.id} has no address of its own", hint="take it from a search, or from a job")
    return href
