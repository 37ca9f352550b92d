"""The catalog: your collections, and those that others let you read."""

from __future__ import annotations

from rs_client.stac import StacClient


class CatalogClient(StacClient):
    """The platform's STAC catalog."""
