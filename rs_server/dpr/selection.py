"""Choosing auxiliary files: from a task table's rule and the inputs' interval to a search, and from what it finds to
one file, with the reason why. Pure: the search itself is the caller's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cmp_to_key, partial
from typing import Any

import cql2

from rs_client.processing.tasktable import Adf, Select
from rs_server.errors import BadInput
from rs_server.storage.stac import stamp


@dataclass(frozen=True, slots=True)
class Span:
    """What auxiliary files must fit: the interval of the inputs, and their platform."""

    start: datetime
    end: datetime
    platform: str


@dataclass(frozen=True, slots=True)
class Query:
    """How a file is chosen: a CQL2 text with placeholders, and the order in which the first one wins."""

    title: str
    filter: str
    sortby: tuple[str, ...]


_ASKED = ("product:type", "platform", "start_datetime", "end_datetime")
_TYPE = "\"product:type\" = '{product_type}' AND platform = '{platform}'"

QUERIES: Mapping[Select, Query] = {
    Select.LATEST_VALID: Query(
        title="the newest of those that are valid all the while",
        filter=f"{_TYPE} AND start_datetime <= TIMESTAMP('{{start}}') AND end_datetime >= TIMESTAMP('{{end}}')",
        sortby=("-created",),
    ),
    Select.LATEST_CREATED: Query(title="the newest of all", filter=_TYPE, sortby=("-created",)),
    Select.CLOSEST: Query(
        title="the newest of the last validity that began before",
        filter=f"{_TYPE} AND start_datetime <= TIMESTAMP('{{start}}')",
        sortby=("-start_datetime", "-created"),
    ),
}


@dataclass(frozen=True, slots=True)
class Ask:
    """A query with its values filled in."""

    title: str
    filter: str
    sortby: tuple[str, ...]

    def matches(self, item: Mapping[str, Any]) -> bool:
        """Whether an item is what was asked for."""
        told = _flat(item)
        if any(name in self.filter and told.get(name) is None for name in _ASKED):
            return False  # an item that does not tell a property does not match; cql2 would not know
        return bool(cql2.parse_text(self.filter).matches(told))

    def search(self, limit: int) -> dict[str, Any]:
        """The body of a STAC search, less the collections."""
        return {
            "filter-lang": "cql2-json",
            "filter": cql2.parse_text(self.filter).to_json(),
            "sortby": [
                {"field": term.lstrip("-"), "direction": "desc" if term.startswith("-") else "asc"}
                for term in self.sortby
            ],
            "limit": limit,
        }


def span(items: Sequence[Mapping[str, Any]]) -> Span:
    """The interval that items cover together, and the platform of all; ``BadInput`` when they tell none."""
    starts, ends, platforms = [], [], set()
    for item in items:
        properties = item.get("properties") or {}
        start = properties.get("start_datetime") or properties.get("datetime")
        if start is None:
            raise BadInput(f"{item.get('id')} does not tell when it was sensed, so no auxiliary file can be chosen")
        starts.append(moment(start))
        ends.append(moment(properties.get("end_datetime") or start))
        platforms.add(str(properties.get("platform") or ""))
    if len(platforms) != 1 or "" in platforms:
        raise BadInput(f"the inputs are not of one platform: {', '.join(sorted(platforms)) or 'none told'}")
    return Span(min(starts), max(ends), platforms.pop())


def ask(adf: Adf, around: Span) -> Ask:
    """The query for an auxiliary file of an interval, widened by the margins of the task table."""
    query = QUERIES[adf.select]
    before, after = adf.margin_s
    values = {
        "product_type": adf.product_type,
        "platform": around.platform,
        "start": stamp(around.start - timedelta(seconds=before)),
        "end": stamp(around.end + timedelta(seconds=after)),
    }
    # Values stand between single quotes in CQL2 text, where a quote is doubled.
    quoted = {name: value.replace("'", "''") for name, value in values.items()}
    return Ask(f"{adf.select}: {query.title}", query.filter.format(**quoted), query.sortby)


def best(asked: Ask, found: Iterable[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The first of the matching items in the query's order; every answer is checked, whoever gave it."""
    matching = [item for item in found if asked.matches(item)]
    return min(matching, key=cmp_to_key(partial(_compared, asked.sortby)), default=None)


def why(asked: Ask, chosen: Mapping[str, Any], number: int) -> str:
    """The reason for a choice, in a sentence."""
    properties = chosen.get("properties") or {}
    valid = f"{properties.get('start_datetime')} to {properties.get('end_datetime')}"
    among = "the only one" if number == 1 else f"one of {number}"
    return f"{asked.title}; {among} that fit, valid {valid}, created {properties.get('created')}"


def moment(text: str) -> datetime:
    """An RFC 3339 instant."""
    return datetime.fromisoformat(text).astimezone(UTC)


def _flat(item: Mapping[str, Any]) -> dict[str, Any]:
    """The properties as a filter names them."""
    return {"id": item.get("id"), "collection": item.get("collection"), **(item.get("properties") or {})}


def _compared(sortby: Sequence[str], a: Mapping[str, Any], b: Mapping[str, Any]) -> int:
    for term in (*sortby, "id"):
        name = term.lstrip("-")
        left, right = (_comparable(_flat(item).get(name)) for item in (a, b))
        if left != right:
            order = -1 if left < right else 1
            return -order if term.startswith("-") else order
    return 0


def _comparable(value: Any) -> tuple[int, str]:
    """Instants may be written with and without fractions; an absent value comes last where the newest is first."""
    if value is None:
        return (0, "")
    try:
        return (1, moment(value).isoformat(timespec="microseconds"))
    except (TypeError, ValueError):
        return (1, str(value))
