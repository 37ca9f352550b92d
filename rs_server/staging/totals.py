"""A session that looks complete, held against the totals of each channel that its station tells, or is yet to tell."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Files = Mapping[int, Sequence[int]]
"""The sizes of the files of each channel, in bytes."""


@dataclass(frozen=True, slots=True)
class Totals:
    """What the totals say against a session: ``doubt``; what they do not say, though they will: ``untold``."""

    doubt: str | None = None
    untold: str | None = None


def against(document: Mapping[str, Any], told: Sequence[Mapping[str, Any]] | None) -> Totals:
    """Hold the files that an item lists against what its station says, where None is a station that never says it.

    Some stations write numbers as texts.
    """
    if told is None:
        return Totals()
    files = _files(document)
    try:
        announced = {int(each["Channel"]): each for each in told}
        doubts = [doubt for channel, each in announced.items() if (doubt := _doubt(channel, each, files))]
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        return Totals(doubt=f"its quality record cannot be read: {error!r}")
    if doubts:
        return Totals(doubt=doubts[0])
    untold = sorted(files.keys() - announced.keys())
    return Totals(untold=f"no quality record of channel {_listed(untold)} came") if untold else Totals()


def _files(document: Mapping[str, Any]) -> Files:
    found: dict[int, list[int]] = {}
    for asset in (document.get("assets") or {}).values():
        if "cadip:channel" in asset:
            found.setdefault(int(asset["cadip:channel"]), []).append(asset.get("file:size", 0))
    return found


def _doubt(channel: int, told: Mapping[str, Any], files: Files) -> str | None:
    sizes = files.get(channel, ())
    for what, announced, found in (
        ("files", told.get("TotalChunks"), len(sizes)),
        ("bytes", told.get("TotalVolume"), sum(sizes)),
    ):
        if announced is not None and int(announced) != found:
            return f"channel {channel} has {found} {what}, and its quality record says {int(announced)}"
    return None


def _listed(channels: Sequence[int]) -> str:
    return " and ".join(map(str, channels))
