"""Subscriptions to a search: standing orders to stage every new item that it finds."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast
from urllib.parse import parse_qsl, unquote, urlsplit

from rs_client import display
from rs_client.errors import Invalid
from rs_client.filters import said
from rs_client.flow import Flow, Server, read

if TYPE_CHECKING:
    from rs_client.asyncstac import AsyncSearch
    from rs_client.stac import Search

ROUTE = "/processes/staging/subscriptions"

type Lasting = Search | str | Mapping[str, Any]
"""What can be subscribed to: a search, its address, or ``{"href": …}`` or ``{"service": …, "search": {…}}``."""
type AsyncLasting = Lasting | AsyncSearch
"""The same with asyncio, whose searches are others."""

_FORMS = 'give s.cadip.search(…), the address of a search, {"href": …} or {"service": "cadip", "search": {…}}'
_PLACE = re.compile(r"/(?P<service>[a-z]+)/(?:search|collections/(?P<collection>[^/]+)/items)$")
_OF_A_PAGE = frozenset({"limit", "token", "fields", "sortby"})  # what is new is looked for in an order of its own


@dataclass(frozen=True, slots=True)
class Subscription:
    """A standing order to stage every new item that a search finds, as it was when the server was asked.

    ``search`` is the body of a STAC item search of ``service``, ``to`` the full id of the collection, ``options`` are
    those of ``StagingOptions``. Wanted is what is published from ``since`` on; what was published before ``cursor`` has
    been seen. So far ``items`` were found, and ``jobs`` started for them. ``looked`` is when the station was asked
    last, ``reason`` why in vain (else empty). Times have their zone; ``ended`` is ``None`` while it stands.
    """

    id: str
    owner: str
    service: str
    search: Mapping[str, Any] = field(hash=False)
    to: str
    options: Mapping[str, Any] = field(hash=False)
    since: datetime
    cursor: datetime
    created: datetime
    items: int = 0
    jobs: int = 0
    looked: datetime | None = None
    reason: str = ""
    ended: datetime | None = None

    @classmethod
    def of(cls, document: Mapping[str, Any]) -> Subscription:
        """Read the server's record."""
        times = {
            name: datetime.fromisoformat(document[name])
            for name in ("since", "cursor", "created", "looked", "ended")
            if document[name]
        }
        return cls(
            **{name: document[name] for name in ("id", "owner", "service", "search", "items", "jobs")},
            **cast("dict[str, Any]", times),
            to=document["options"]["collection"],
            options={name: value for name, value in document["options"].items() if name != "collection"},
            reason=document["reason"] or "",
        )

    @property
    def finds(self) -> str:
        """What it is about, in one line: the service, and the parameters of the search."""
        told = {name: value for name, value in self.search.items() if not name.startswith("filter-")}
        return ", ".join((self.service, *(f"{name} {_said(name, value)}" for name, value in told.items())))

    @property
    def state(self) -> str:
        """``standing``, ``standing, last look failed`` or ``ended``."""
        if self.ended:
            return "ended"
        return "standing, last look failed" if self.reason else "standing"

    def __repr__(self) -> str:
        return f"<Subscription {self.id} {display.subscription_line(self)}>"

    def _repr_html_(self) -> str:
        return display.subscription(self)


class SubscriptionList(list[Subscription]):
    """Subscriptions, shown as a table."""

    def __repr__(self) -> str:
        return display.subscriptions_text(self)

    def _repr_html_(self) -> str:
        return display.subscriptions(self)


def _said(name: str, value: Any) -> str:
    """A parameter of a search as a person says it."""
    if name == "filter":
        return said(value)
    if isinstance(value, list) and all(isinstance(each, str) for each in value):
        return " ".join(value)
    return value if isinstance(value, str) else json.dumps(value)


def subscribed(
    server: Server, search: Lasting, to: str, since: datetime | None, options: Mapping[str, Any]
) -> Flow[Subscription]:
    """Subscribe to a search. Raises as ``StagingClient.subscribe``: ``Invalid`` for what is no search of the server.

    Tried again when the server is away: it gives the same subscription while that stands.
    """
    asked = yield from _asked(server, search)
    stated = {**asked, "collection": to, "since": since.isoformat() if since else None, **options}
    body = {name: value for name, value in stated.items() if value is not None}
    return Subscription.of(read((yield from server.again("POST", ROUTE, json=body))))


def listed(server: Server) -> Flow[SubscriptionList]:
    """The caller's subscriptions, the newest first."""
    return SubscriptionList(Subscription.of(each) for each in (yield from server.get(ROUTE))["subscriptions"])


def subscription_at(server: Server, subscription_id: str) -> Flow[Subscription]:
    """One subscription. Raises as ``StagingClient.subscription``."""
    return Subscription.of((yield from server.get(f"{ROUTE}/{subscription_id}")))


def unsubscribed(server: Server, subscription_id: str) -> Flow[None]:
    """End a subscription. Raises as ``StagingClient.unsubscribe``."""
    yield from server.delete(f"{ROUTE}/{subscription_id}")


async def searched(search: AsyncLasting) -> Lasting:
    """The same, where a search of asyncio is one that can be read: its station may have to be looked up."""
    from rs_client.asyncstac import AsyncSearch

    if isinstance(search, AsyncSearch):
        return cast("Search", await search._stated())  # noqa: SLF001 - a search of ours
    return search


def _asked(server: Server, search: Lasting) -> Flow[dict[str, Any]]:
    """A search as the server keeps it: its ``service`` and its body."""
    from pystac_client import ItemSearch

    match search:
        case ItemSearch():
            return (yield from _of_search(server, search))
        case str(href):
            return (yield from _of_address(server, href))
        case {"href": str(href)} if len(search) == 1:
            return (yield from _of_address(server, href))
        case {"service": str(service), "search": dict(body)} if search.keys() == {"service", "search"}:
            return {"service": service, "search": body}
    raise Invalid(f"a {type(search).__name__} cannot be subscribed to", hint=_FORMS)


def _of_search(server: Server, search: Search) -> Flow[dict[str, Any]]:
    if search._max_items is not None:  # noqa: SLF001 - told in no other way
        raise Invalid("a subscription has no last item, and this search has max_items", hint="search without it")
    service, _ = yield from _place(server, search.url)
    stated = search._parameters  # noqa: SLF001 - get_parameters() joins lists into texts for GET
    return {"service": service, "search": {name: each for name, each in stated.items() if name not in _OF_A_PAGE}}


def _of_address(server: Server, href: str) -> Flow[dict[str, Any]]:
    """The search at an address: its query, in the form of a body."""
    service, collection = yield from _place(server, href)
    query = parse_qsl(urlsplit(href).query, keep_blank_values=True)
    asked = [(name, value) for name, value in query if name not in _OF_A_PAGE]
    if len(dict(asked)) < len(asked):
        raise Invalid(f"{href} gives a parameter twice", hint="separate several values by commas")
    body = {name: _read(name, value) for name, value in asked}
    if "filter" in body:
        body.setdefault("filter-lang", "cql2-text")
    return {"service": service, "search": {**body, **({"collections": [collection]} if collection else {})}}


def _place(server: Server, href: str) -> Flow[tuple[str, str | None]]:
    """The service of a search, and the collection where its address names one."""
    from rs_client.stac import own_address

    found = _PLACE.search(urlsplit(href).path)
    if found is None:
        raise Invalid(f"{href} is not the address of a search", hint=_FORMS)
    if not href.startswith("/") and not server.owns(href):  # it may be told by the name that the server has for others
        server.also_at(own_address((yield from server.get("/")), server.url))
    server.address(href)
    return found["service"], unquote(found["collection"]) if found["collection"] else None


def _read(name: str, value: str) -> Any:
    """A parameter of a query as a body has it."""
    try:
        return _READERS.get(name, str)(value)
    except ValueError as error:
        raise Invalid(f"this cannot be searched: {name} is {value}") from error


_READERS: Mapping[str, Callable[[str], Any]] = {
    "collections": lambda text: text.split(","),
    "ids": lambda text: text.split(","),
    "bbox": lambda text: [float(number) for number in text.split(",")],
    "intersects": json.loads,
    "query": json.loads,
}
