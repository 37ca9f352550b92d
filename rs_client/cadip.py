"""CADIP stations: raw downlink sessions, each an item whose assets are the CADU files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from rs_client.stac import StationClient


class CadipClient(StationClient):
    """The sessions of every CADIP station you may read; search by ``platform``, ``orbit`` (absolute), ``station``."""

    PATH: ClassVar[str] = "/cadip"
    WORDS: ClassVar[Mapping[str, str]] = {"platform": "platform", "orbit": "sat:absolute_orbit"}
