"""Sentinel platform names: one STAC value, and the two ways stations write it."""

from __future__ import annotations

import re

PLATFORMS = (*(f"sentinel-{n}{unit}" for n in "123" for unit in "abcd"), "sentinel-5p", "sentinel-6a")
CONSTELLATIONS = ("sentinel-1", "sentinel-2", "sentinel-3", "sentinel-5", "sentinel-6")

_PLATFORM = re.compile(r"sentinel-([0-9])([a-z])")
_CONSTELLATION = re.compile(r"sentinel-([0-9])")
_SATELLITE = re.compile(r"S([0-9])([A-Z])")
_SHORT_NAME = re.compile(r"SENTINEL-[0-9]")


def from_satellite(code: str) -> str | None:
    """``S1A`` → ``sentinel-1a``; None for a code of another form."""
    found = _SATELLITE.fullmatch(code)
    return f"sentinel-{found[1]}{found[2].lower()}" if found else None


def to_satellite(platform: str) -> str | None:
    """``sentinel-1a`` → ``S1A``; None for what is no Sentinel."""
    found = _PLATFORM.fullmatch(platform)
    return f"S{found[1]}{found[2].upper()}" if found else None


def constellation_of_satellite(code: str) -> str | None:
    """``S1A`` → ``sentinel-1``."""
    platform = from_satellite(code)
    return platform and platform[:-1]


def to_satellite_prefix(constellation: str) -> str | None:
    """``sentinel-1`` → ``S1``, what the codes of its satellites begin with."""
    found = _CONSTELLATION.fullmatch(constellation)
    return f"S{found[1]}" if found else None


def from_attributes(short_name: str, serial: str) -> str | None:
    """``SENTINEL-1`` and ``A`` → ``sentinel-1a``; None where a file serves the whole constellation."""
    platform = f"{short_name}{serial}".lower()
    return (
        platform if _SHORT_NAME.fullmatch(short_name) and serial.isupper() and _PLATFORM.fullmatch(platform) else None
    )


def to_attributes(platform: str) -> tuple[str, str] | None:
    """``sentinel-1a`` → ``SENTINEL-1`` and ``A``."""
    found = _PLATFORM.fullmatch(platform)
    return (f"SENTINEL-{found[1]}", found[2].upper()) if found else None


def from_short_name(short_name: str) -> str | None:
    """``SENTINEL-1`` → ``sentinel-1``."""
    return short_name.lower() if _SHORT_NAME.fullmatch(short_name) else None


def to_short_name(constellation: str) -> str | None:
    """``sentinel-1`` → ``SENTINEL-1``."""
    return constellation.upper() if _CONSTELLATION.fullmatch(constellation) else None
