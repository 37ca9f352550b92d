"""The times of an item's life: when it was created, published, updated, expires and was withdrawn.

::

    created ──▶ published ──▶ updated … ──▶ expires ──▶ unpublished ──▶ published again, when it is staged again

The catalog keeps these itself but for ``created`` and ``eopf:origin_datetime``, which are the data's own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from rs_server.catalog.documents import instant
from rs_server.catalog.names import CollectionName
from rs_server.settings import ANY, LifecycleRule
from rs_server.storage.stac import EOPF, TIMESTAMPS, stamp

Properties = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Terms:
    """What holds for an item: how long it is kept, None for ever, and which bucket its files lie in."""

    kept: timedelta | None
    bucket: str


class Rules:
    """The rule table: the most specific line decides, where the owner weighs more than the collection and the type."""

    def __init__(self, rules: Iterable[LifecycleRule] = (), bucket: str = "") -> None:
        self._rules = tuple(rules)
        self._bucket = bucket

    @property
    def buckets(self) -> frozenset[str]:
        """Every bucket that files may lie in."""
        return frozenset({self._bucket, *(rule.bucket for rule in self._rules if rule.bucket)})

    def terms(self, name: CollectionName, product_type: str | None) -> Terms:
        """What holds for a product type in a collection."""
        asked = (name.owner, name.name, product_type)
        fitting = [rule for rule in self._rules if _fits(rule, asked)]
        if not fitting:
            return Terms(None, self._bucket)
        rule = max(fitting, key=_weight)
        return Terms(timedelta(days=rule.days) if rule.days is not None else None, rule.bucket or self._bucket)


def _fits(rule: LifecycleRule, asked: tuple[str, str, str | None]) -> bool:
    return all(said in (ANY, value) for said, value in zip(_said(rule), asked, strict=True))


def _weight(rule: LifecycleRule) -> tuple[bool, ...]:
    return tuple(said != ANY for said in _said(rule))


def _said(rule: LifecycleRule) -> tuple[str, str, str]:
    return rule.owner, rule.collection, rule.product_type


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
