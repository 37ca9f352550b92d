"""Where a file lands in the object storage: ``owner/collection/item/asset``, in the bucket that a rule names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import urlsplit

from rs_server.errors import BadInput
from rs_server.settings import ANY, LifecycleRule

# No slash, no wildcard, no control character, and no name that is or begins like "." or "..": a key says what it is,
# and a prefix in an access policy covers what it spells.
_SEGMENT = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:+=@~-]{0,254}")


class Named(Protocol):
    """A collection's name, in its two parts."""

    @property
    def owner(self) -> str:
        """Login of the owner."""
        ...

    @property
    def name(self) -> str:
        """The owner's name for it."""
        ...


@dataclass(frozen=True, slots=True)
class Location:
    """An object, or everything under a prefix."""

    bucket: str
    key: str


class Buckets:
    """Which bucket the files of a collection and a product type lie in."""

    def __init__(self, default: str, rules: Iterable[LifecycleRule] = ()) -> None:
        self._default = default
        self._rules = tuple(rules)

    @property
    def all(self) -> frozenset[str]:
        """Every bucket that files may lie in."""
        return frozenset({self._default, *(rule.bucket for rule in self._rules if rule.bucket)})

    def of(self, collection: Named, product_type: str | None) -> str:
        """The bucket of new files."""
        rule = deciding(self._rules, collection, product_type)
        return (rule.bucket if rule is not None else None) or self._default

    def of_any_type(self, collection: Named) -> frozenset[str]:
        """The buckets that files of a collection may lie in, whatever their type."""
        types = {None, *(rule.product_type for rule in self._rules if rule.product_type != ANY)}
        return frozenset(self.of(collection, each) for each in types)


def deciding(rules: Iterable[LifecycleRule], collection: Named, product_type: str | None) -> LifecycleRule | None:
    """The most specific rule that fits: the owner weighs more than the collection, and that more than the type."""
    asked = (collection.owner, collection.name, product_type)
    fitting = [rule for rule in rules if _fits(rule, asked)]
    return max(fitting, key=_weight) if fitting else None


def _fits(rule: LifecycleRule, asked: tuple[str, str, str | None]) -> bool:
    return all(said in (ANY, value) for said, value in zip(_said(rule), asked, strict=True))


def _weight(rule: LifecycleRule) -> tuple[bool, ...]:
    return tuple(said != ANY for said in _said(rule))


def _said(rule: LifecycleRule) -> tuple[str, str, str]:
    return rule.owner, rule.collection, rule.product_type


def collection_prefix(collection: Named) -> str:
    """The prefix of a collection's files, with a slash at the end."""
    return f"{segment(collection.owner)}/{segment(collection.name)}/"


def item_prefix(collection: Named, item_id: str) -> str:
    """The prefix of an item's files, with a slash at the end."""
    return f"{collection_prefix(collection)}{segment(item_id)}/"


def run_prefix(collection: Named, item_id: str, run: str) -> str:
    """The prefix of what one run makes of an item, with a slash at the end."""
    return f"{item_prefix(collection, item_id)}{segment(run)}/"


def asset_key(collection: Named, item_id: str, asset: str) -> str:
    """The key of one asset of an item; ``BadInput`` for names that cannot be part of a key."""
    return f"{item_prefix(collection, item_id)}{segment(asset)}"


def href(bucket: str, key: str) -> str:
    """The address of an object, ``s3://bucket/key``."""
    return f"s3://{bucket}/{key}"


def parse(address: str) -> Location:
    """Read what ``href`` wrote; ``BadInput`` for anything else."""
    parts = urlsplit(address)
    key = parts.path.removeprefix("/")
    if parts.scheme != "s3" or not parts.netloc or not key or parts.query or parts.fragment:
        raise BadInput(f"{address} is not the address of an object (s3://bucket/key)")
    return Location(parts.netloc, key)


def named(item: Mapping[str, Any]) -> Iterator[Location]:
    """The objects that a catalog item's assets name; addresses of any other kind are passed over."""
    for asset in (item.get("assets") or {}).values():
        try:
            yield parse(str(asset.get("href", "")))
        except BadInput:
            continue


def segment(text: str) -> str:
    """A text that may be one step of a key; ``BadInput`` for any other."""
    if not _SEGMENT.fullmatch(text):
        raise BadInput(f"{text!r} cannot be part of the name of a stored file")
    return text
