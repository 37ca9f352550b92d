"""Takes on the stations of the settings file whenever it changes, without a restart."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NoReturn

import structlog
import yaml
from pydantic import ValidationError

from rs_server.settings import StationSettings
from rs_server.stations.client import Stations

log = structlog.get_logger(__name__)

EVERY_S = 2.0

Read = Callable[[], Mapping[str, StationSettings]]
Stamp = tuple[int, int, int]


class Renewal:
    """Compares the file with what was seen of it: its time, size and number behind any links.

    A mounted ConfigMap is replaced by link. To look costs one call of the system; settings that are wrong change
    nothing.
    """

    def __init__(self, stations: Stations, source: Path, read: Read) -> None:
        self._stations = stations
        self._source = source
        self._read = read
        self._seen: Stamp | None = None
        self._one = asyncio.Lock()

    async def look(self) -> None:
        """Take the settings on if they have changed; for who must not work with older ones than others have."""
        async with self._one:
            stamp = await asyncio.to_thread(_stamp, self._source)
            if stamp is not None and stamp != self._seen:
                self._seen = stamp
                await take_on(self._stations, self._read)

    async def follow(self, every_s: float = EVERY_S) -> NoReturn:
        """Look every few seconds."""
        while True:
            await self.look()
            await asyncio.sleep(every_s)


async def take_on(stations: Stations, read: Read) -> None:
    """Use the settings as they are now; if they are wrong the old ones stay, and ``refused`` says why."""
    before = stations.settings
    try:
        after = await asyncio.to_thread(read)
        await stations.renew(after)
    except (OSError, ValueError, yaml.YAMLError) as error:
        stations.refused = _why(error)
        log.error("stations_not_renewed", reason=stations.refused)
        return
    stations.refused = ""
    changed = sorted(name for name in {*before, *after} if before.get(name) != after.get(name))
    if changed:
        log.info("stations_renewed", changed=changed)


def _stamp(source: Path) -> Stamp | None:
    """None while there is no file: it is being replaced."""
    try:
        found = source.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _why(error: Exception) -> str:
    """What is wrong, without the text itself: secrets stand in it."""
    match error:
        case ValidationError():
            return "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in error.errors())
        case yaml.MarkedYAMLError(problem=problem, problem_mark=mark):
            return f"no YAML: {problem}{f', line {mark.line + 1}' if mark else ''}"
    return str(error)
