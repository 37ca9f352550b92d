"""The times of an item's life: when it was created, published, updated, expires and was withdrawn.

::

    created ──▶ published ──▶ updated … ──▶ expires ──▶ unpublished ──▶ published again, when it is staged again

The catalog keeps these itself but for ``created`` and ``eopf:origin_datetime``, which are the data's own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from rs_server.catalog.documents import instant
from rs_server.catalog.names import CollectionName
from rs_server.settings import LifecycleRule
from rs_server.storage import layout
from rs_server.storage.stac import EOPF, TIMESTAMPS, stamp

Properties = Mapping[str, Any]


class Rules:
    """How long items are kept, after the rule table."""

    def __init__(self, rules: Iterable[LifecycleRule] = ()) -> None:
        self._rules = tuple(rules)

    def kept(self, name: CollectionName, product_type: str | None) -> timedelta | None:
        """How long items of a product type in a collection are kept; None: for ever."""
        rule = layout.deciding(self._rules, name, product_type)
        return timedelta(days=rule.days) if rule is not None and rule.days is not None else None


def stamped(
    item: Mapping[str, Any], *, now: datetime, kept: timedelta | None, before: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    """The item with its times; ``before`` is the one that it replaces."""
    given: Properties = item["properties"]
    earlier: Properties = (before or {}).get("properties") or {}
    moment = stamp(now)
    created = given.get("created") or earlier.get("created") or moment
    withdrawn = earlier.get("unpublished") if not item["assets"] else None
    times = {
        "created": created,
        "published": earlier.get("published") or moment,
        "updated": moment,
        "eopf:origin_datetime": given.get("eopf:origin_datetime") or earlier.get("eopf:origin_datetime") or created,
        "expires": _expires(given, earlier, now, kept),
        "unpublished": withdrawn,
    }
    kept_properties = {name: value for name, value in given.items() if name not in times}
    return {
        **item,
        "stac_extensions": sorted({*item.get("stac_extensions", ()), TIMESTAMPS, EOPF}),
        "properties": kept_properties | {name: value for name, value in times.items() if value is not None},
    }


def _expires(given: Properties, earlier: Properties, now: datetime, kept: timedelta | None) -> str | None:
    """The end of an item: never later than its rule says, sooner if its writer says so.

    An item that is there keeps its end; one that had been withdrawn begins anew.
    """
    running = earlier.get("expires") if not earlier.get("unpublished") else None
    latest = instant(running) or (now + kept if kept is not None else None)
    asked = instant(given.get("expires")) if not earlier.get("unpublished") else None
    ends = [moment for moment in (latest, asked) if moment is not None]
    return stamp(min(ends)) if ends else None


def withdrawn(item: Mapping[str, Any], now: datetime) -> dict[str, Any]:
    """What stays of an item whose time is over: all but its files."""
    moment = stamp(now)
    return {
        **item,
        "assets": {},
        "links": [],
        "properties": {**item["properties"], "updated": moment, "unpublished": moment},
    }
