"""PRIP stations (ESA-EOPG-EOPGC IF-3): products fresh from the production services, each an item with one asset."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from rs_client.asyncstac import AsyncStation
from rs_client.stac import StationClient

PRODUCT_WORDS: Mapping[str, str] = {
    "platform": "platform",
    "product_type": "product:type",
    "orbit": "sat:absolute_orbit",
    "relative_orbit": "sat:relative_orbit",
    "orbit_state": "sat:orbit_state",
}
"""Word → property of the STAC extensions product and sat; ``orbit`` is the absolute one, ``orbit_state`` ascending or
descending."""


class PripClient(StationClient):
    """The products of every PRIP station you may read; search by the words of ``PRODUCT_WORDS``, or ``station``."""

    PATH: ClassVar[str] = "/prip"
    WORDS: ClassVar[Mapping[str, str]] = PRODUCT_WORDS


class AsyncPripClient(AsyncStation):
    """The products of every PRIP station you may read, for asyncio."""

    KIND: ClassVar[type[StationClient]] = PripClient
