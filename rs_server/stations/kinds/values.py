"""Values of products as the ground segment writes them, and as STAC does; None for what has no counterpart there."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from rs_server.stations import platforms

_LEVEL = re.compile(r"(?:LEVEL-?|S2MSI|L)?([0-4][ABC]?)")
_TIMELINESS = {  # what stations call it → how soon after sensing (ISO 8601)
    "NRT-10m": "PT10M",
    "NRT-1h": "PT1H",
    "NRT-3h": "PT3H",
    "NRT": "PT3H",
    "NR": "PT3H",
    "Fast-24h": "PT24H",
    "ST": "PT48H",
    "STC": "PT48H",
    "Off-line": "P7D",
    "OFFL": "P7D",
    "NT": "P1M",
    "NTC": "P1M",
    "Reprocessing": "P1Y",
    "RPRO": "P1Y",
}
_POLARISATIONS = frozenset({"HH", "VV", "HV", "VH", "LH", "LV", "RH", "RV", "CH", "CV"})
_DESIGNATORS: Mapping[str, str] = {  # COSPAR ids
    "sentinel-1a": "2014-016A",
    "sentinel-1b": "2016-025A",
    "sentinel-1c": "2024-235A",
    "sentinel-2a": "2015-028A",
    "sentinel-2b": "2017-013A",
    "sentinel-2c": "2024-157A",
    "sentinel-3a": "2016-011A",
    "sentinel-3b": "2018-039A",
    "sentinel-5p": "2017-064A",
}
_RADAR = "SENTINEL-1"


def level(text: str) -> str | None:
    """``LEVEL1`` → ``L1``, ``S2MSI2A`` → ``L2A``."""
    found = _LEVEL.fullmatch(text)
    return f"L{found[1]}" if found else None


def level_spellings(value: str) -> tuple[str, ...]:
    """Every way to write ``L1``."""
    step = value.removeprefix("L")
    return (step, value, f"LEVEL{step}", f"LEVEL-{step}", f"S2MSI{step}")


def timeliness(category: str) -> str | None:
    """``NRT-3h`` → ``PT3H``."""
    return _TIMELINESS.get(category)


def timeliness_category(category: str) -> str | None:
    """The category itself, where it is known how soon that is: STAC has no category without."""
    return category if category in _TIMELINESS else None


def timeliness_spellings(duration: str) -> tuple[str, ...]:
    """The categories that mean this duration."""
    return tuple(category for category, value in _TIMELINESS.items() if value == duration)


def software(name: str, version: str) -> dict[str, str]:
    """Name and version of a processor."""
    return {str(name): str(version)}


def instruments(short_name: str) -> list[str]:
    """``SAR`` → ``sar``."""
    return [short_name.lower()]


def polarisations(text: str) -> list[str] | None:
    """``VV&VH`` → ``VV`` and ``VH``."""
    found = text.split("&")
    return found if _POLARISATIONS.issuperset(found) and len(found) == len(set(found)) else None


def to_polarisations(values: list[str]) -> str:
    """``VV`` and ``VH`` → ``VV&VH``."""
    return "&".join(values)


def positive(number: Any) -> int | None:
    """A count from 1 on; where it is unknown, stations write 0 or -1."""
    return int(number) if int(number) > 0 else None


def orbit_state(direction: str) -> str | None:
    """``ASCENDING`` → ``ascending``."""
    return direction.lower() if direction in orbit_state_spellings(direction.lower()) else None


def orbit_state_spellings(state: str) -> tuple[str, ...]:
    """Every way to write ``ascending``."""
    return (state.upper(), state, state.capitalize()) if state in ("ascending", "descending") else ()


def designator(short_name: str, serial: str) -> str | None:
    """The international designator of a satellite."""
    return _DESIGNATORS.get(platforms.from_attributes(short_name, serial) or "")


def radar_mode(mode: str, short_name: str) -> str | None:
    """The mode of a radar; other instruments have modes of their own."""
    return mode if short_name == _RADAR else None


def other_mode(mode: str, short_name: str) -> str | None:
    """The mode of an instrument that is no radar."""
    return None if short_name == _RADAR else mode


def band(short_name: str) -> str | None:
    """The radar of Sentinel-1 works in C band …"""
    return "C" if short_name == _RADAR else None


def frequency(short_name: str) -> float | None:
    """… at 5.405 GHz …"""
    return 5.405 if short_name == _RADAR else None


def side(short_name: str) -> str | None:
    """… and looks to the right."""
    return "right" if short_name == _RADAR else None


def tile(tile_id: str) -> str:
    """``33TWN`` → ``MGRS-33TWN``."""
    return f"MGRS-{tile_id.removeprefix('T') if len(tile_id) == 6 else tile_id}"


def tile_spellings(code: str) -> tuple[str, ...]:
    """``MGRS-33TWN`` → ``33TWN`` and ``T33TWN``."""
    bare = code.removeprefix("MGRS-")
    return bare, f"T{bare}"


def online(there: bool) -> str:  # noqa: FBT001 - a value of an entity
    """Whether a product can be fetched at once, as the status of an order (STAC order extension)."""
    return "succeeded" if there else "orderable"
