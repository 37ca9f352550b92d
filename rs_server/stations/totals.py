"""The files that an item lists, held against the totals of each series that its station tells, or is yet to tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from rs_server.stations.model import StationKind

Sizes = Mapping[int, Sequence[int]]
"""How many bytes the files of each series have."""


@dataclass(frozen=True, slots=True)
class Totals:
    """What the totals say against an item, and what they do not say, though they will; each in words."""

    differing: tuple[str, ...] = ()
    untold: str | None = None

    @property
    def doubt(self) -> str | None:
        """Why the item is not what it seems, if it is not."""
        return "; ".join(self.differing) or None


def sizes_of(kind: StationKind, item: Mapping[str, Any]) -> dict[int, list[int]]:
    """How many bytes the files of each series of an item have; assets that belong to none do not count."""
    found: dict[int, list[int]] = {}
    if kind.assets.files is not None:
        series = next(each.stac for each in kind.assets.properties if each.sources == (kind.assets.files.series,))
        for asset in (item.get("assets") or {}).values():
            if series in asset:
                found.setdefault(asset[series], []).append(asset.get("file:size", 0))
    return found


def against(kind: StationKind, sizes: Sizes, told: Sequence[Mapping[str, Any]] | None) -> Totals:
    """Hold files against what their station says of each series, where None is a station that never says it.

    Some stations write numbers as texts. What cannot be read is held against the item as well.
    """
    rule = kind.assets.files
    if rule is None or told is None:
        return Totals()
    word = rule.series.lower()
    try:
        announced = {int(each[rule.series]): each for each in told}
        differing = [
            f"{word} {series}: {found}"
            for series, each in announced.items()
            for found in _differing(kind, each, sizes.get(series, ()))
        ]
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        return Totals((f"what the station says of its files cannot be read: {error!r}",))
    missing = " and ".join(map(str, sorted(sizes.keys() - announced.keys())))
    return Totals(tuple(differing), f"no totals of {word} {missing} came" if missing else None)


def _differing(kind: StationKind, told: Mapping[str, Any], sizes: Sequence[int]) -> list[str]:
    chunks, volume = kind.totals
    counted = ((chunks, len(sizes), "files"), (volume, sum(sizes), "bytes"))
    return [
        f"{found} of {told[name]} {unit}"
        for name, found, unit in counted
        if told.get(name) is not None and int(told[name]) != found
    ]
