"""CADIP stations: raw downlink sessions, each an item whose assets are the CADU files."""

from __future__ import annotations

from rs_client.stac import StacClient


class CadipClient(StacClient):
    """The sessions of every CADIP station you may read."""
