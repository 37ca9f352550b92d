"""The files of one downlink session in a folder, told by their names."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from rs_client.processing.errors import InputUnreadable

_NAME = re.compile(r"DCS_(?P<unit>[^_]+)_(?P<session>.+)_ch(?P<channel>\d+)_DSDB_(?P<block>\d+)\.raw")
_SESSION = re.compile(r"S(?P<mission>[1-6])(?P<serial>[A-Z])_\d{14}(?P<orbit>\d{6})")
_QUALITY = "*QualityInfo*.json"


@dataclass(frozen=True)
class File:
    """One file of a session."""

    path: Path
    session: str
    channel: int
    block: int


@dataclass(frozen=True)
class SessionFolder:
    """One downlink session."""

    id: str
    files: tuple[File, ...]
    quality: tuple[Mapping[str, Any], ...] = ()
    """What the station counted (``QualityInfo`` of CADIP), one for each channel."""

    def facts(self) -> dict[str, Any]:
        """What a payload tells of the session; ``orbit``, the absolute one, and platform where the id has them.

        Source: the ids of CADIP (IF-15), ``<satellite>_<yyyyMMddHHmmss><orbit, 6 digits>``.
        """
        facts: dict[str, Any] = {"id": self.id, "quality": list(self.quality)}
        if found := _SESSION.fullmatch(self.id):
            constellation = f"sentinel-{found['mission']}"
            facts |= {
                "platform": f"{constellation}{found['serial'].lower()}",
                "constellation": constellation,
                "orbit": int(found["orbit"]),
            }
        return facts

    def inputs(self) -> list[dict[str, Any]]:
        """The files as inputs of a payload, ``size`` in bytes."""
        return [
            {
                "input": "cadu",
                "channel": file.channel,
                "block": file.block,
                "href": file.path.resolve().as_uri(),
                "size": file.path.stat().st_size,
            }
            for file in self.files
        ]


def read(folder: Path, quality: Path | None = None) -> SessionFolder:
    """Find the files ``DCS_…_ch<n>_DSDB_<nnnnn>.raw`` of a session in a folder and below.

    ``quality``: a JSON file with what the station counted; without it, one named ``…QualityInfo….json`` is taken if it
    is there. Raises ``InputUnreadable``: there is no file, or files of several sessions, or one that is there twice.
    """
    files = sorted(_files(folder), key=lambda file: (file.channel, file.block, file.path))
    sessions = sorted({file.session for file in files})
    if not sessions:
        raise InputUnreadable(f"{folder} holds no file of a downlink session (DCS_…_ch1_DSDB_00001.raw)")
    if len(sessions) > 1:
        raise InputUnreadable(f"{folder} holds files of several sessions: {', '.join(sessions)}; give a folder of one")
    for before, after in pairwise(files):
        if (before.channel, before.block) == (after.channel, after.block):
            raise InputUnreadable(f"{before.path} and {after.path} are the same file of the session; take one away")
    found = [quality] if quality else sorted(folder.rglob(_QUALITY))
    return SessionFolder(sessions[0], tuple(files), tuple(one for path in found for one in _quality(path)))


def _files(folder: Path) -> Iterable[File]:
    for path in folder.rglob("*.raw"):
        if found := _NAME.fullmatch(path.name):
            yield File(path, found["session"], int(found["channel"]), int(found["block"]))


def _quality(path: Path) -> list[Mapping[str, Any]]:
    """A list, one alone, or an OData answer with a ``value`` or an expanded ``QualityInfo``."""
    try:
        told = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputUnreadable(f"{path} cannot be read as JSON: {error}") from error
    if isinstance(told, dict):
        told = told.get("QualityInfo") or told.get("value") or [told]
    rows = told if isinstance(told, list) else [told]
    if not all(isinstance(row, dict) and "Channel" in row for row in rows):
        raise InputUnreadable(f"{path} is no QualityInfo of a station: it names no Channel")
    return rows
