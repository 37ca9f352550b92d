"""CADIP stations (ESA-EOPG-EOPGC IF-15): raw downlink sessions, each an item whose assets are the CADU files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from rs_client.asyncstac import AsyncStation
from rs_client.stac import StationClient


class CadipClient(StationClient):
    """The sessions of every CADIP station you may read; search by ``platform``, ``orbit`` (absolute), ``station``.

    Items have the STAC extensions cadip, sat, file and timestamps; an asset's ``file:size`` is in bytes.
    """

    PATH: ClassVar[str] = "/cadip"
    WORDS: ClassVar[Mapping[str, str]] = {"platform": "platform", "orbit": "sat:absolute_orbit"}


class AsyncCadipClient(AsyncStation):
    """The sessions of every CADIP station you may read, for asyncio."""

    KIND: ClassVar[type[StationClient]] = CadipClient
