"""AUXIP stations: auxiliary data files, each an item with one asset."""

from __future__ import annotations

from rs_client.stac import StacClient


class AuxipClient(StacClient):
    """The auxiliary files of every AUXIP station you may read."""
