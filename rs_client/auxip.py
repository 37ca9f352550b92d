"""AUXIP stations (ESA-EOPG-EOPGC IF-10): auxiliary data files, each an item with one asset."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from rs_client.asyncstac import AsyncStation
from rs_client.stac import StationClient


class AuxipClient(StationClient):
    """The files of every AUXIP station you may read; search by ``platform``, ``product_type``, ``station``."""

    PATH: ClassVar[str] = "/auxip"
    WORDS: ClassVar[Mapping[str, str]] = {"platform": "platform", "product_type": "product:type"}


class AsyncAuxipClient(AsyncStation):
    """The files of every AUXIP station you may read, for asyncio."""

    KIND: ClassVar[type[StationClient]] = AuxipClient
