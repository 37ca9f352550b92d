"""A search as callers state it, understood: which rows of which collections, in which order, from where on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from rs_server.errors import BadInput
from rs_server.stations import filters
from rs_server.stations.filters import COLLECTION, Compare, Constant, Filter, Ref, compare, conjunction, transform
from rs_server.stations.instants import Instant, strict
from rs_server.stations.model import StationKind
from rs_server.stations.odata import SortKey
from rs_server.stations.paging import Cursor
from rs_server.stations.residual import Check

MOST_IDS = 100
# What an empty list of wanted members stands for (STAC API fields extension §3).
DEFAULT_FIELDS = ("type", "stac_version", "id", "geometry", "bbox", "links", "assets", "datetime")
DEFAULT_LIMIT = 10
MOST_ITEMS = 1_000  # a larger limit is answered with pages of this size, as OGC API – Features §7.15.2 allows


@dataclass(frozen=True, slots=True)
class Fields:
    """Which members of an item are wanted; nothing named is everything."""

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """A STAC search, every part understood. ``collections`` None: all that the caller may read."""

    filter: Filter = True
    collections: tuple[str, ...] | None = None
    order: tuple[SortKey, ...] = ()
    limit: int = DEFAULT_LIMIT
    cursor: Cursor | None = None
    fields: Fields = field(default_factory=Fields)


def id_filter(kind: StationKind, ids: Sequence[str]) -> Filter:
    """The item is one of these."""
    if len(ids) > MOST_IDS:
        raise BadInput(f"ids: more than {MOST_IDS}", hint="search for them in several requests")
    return filters.one_of(kind.by_name["id"], ids)


def datetime_filter(kind: StationKind, text: str) -> Filter:
    """The ``datetime`` parameter: a moment, or an interval that may be open at one end."""
    first, slash, last = text.partition("/")
    try:
        since = None if slash and first in ("", "..") else Instant(strict(first))
        until = None if slash and last in ("", "..") else Instant(strict(last if slash else first))
    except ValueError as error:
        raise BadInput(f"datetime: {error}") from error
    if slash and since is None and until is None:
        raise BadInput("datetime: an interval needs at least one end")
    if since and until and since > until:
        raise BadInput("datetime: the interval ends before it begins")
    return filters.within(kind, since, until)


def sort_order(kind: StationKind, terms: Sequence[str]) -> tuple[SortKey, ...]:
    """Sort keys from ``-published,+id``; none: newest first."""
    if not terms:
        return (SortKey(kind.by_name["published"], descending=True),)
    return tuple(_sort_key(kind, term.strip()) for term in terms)


def _sort_key(kind: StationKind, term: str) -> SortKey:
    name = term.removeprefix("+").removeprefix("-").strip()
    found = kind.find(name)
    if found is None or not found.sortable:
        known = ", ".join(each.stac for each in kind.properties if each.sortable)
        raise BadInput(f"sortby: {kind.name} items cannot be sorted by {name!r}", hint=f"sort by one of {known}")
    return SortKey(found, descending=term.startswith("-"))


def constraint(kind: StationKind, constraints: dict[str, list[str]]) -> Filter:
    """The filter that defines a collection; ``ValueError`` for settings that this kind cannot honour."""
    terms: list[Any] = [
        {"op": "in", "args": [{"property": name}, list(values)]} for name, values in constraints.items()
    ]
    try:
        return conjunction([filters.read(kind, term) for term in terms])
    except BadInput as error:
        raise ValueError(error.detail) from error


def within_collection(found: Filter, collection: str) -> Filter:
    """The filter with what it says about the collection decided: that is known before the station is asked."""
    return transform(found, lambda leaf: _decided(leaf, collection))


def _decided(leaf: filters.Leaf, collection: str) -> Filter:
    match leaf:
        case Compare(op, Ref(property_), Constant() as right) if property_ is COLLECTION:
            return compare(op, Constant(collection), right)
        case filters.Like(Ref(property_), _, _) if property_ is COLLECTION:
            return Check(leaf).matches({COLLECTION.stac: collection})
    return leaf
