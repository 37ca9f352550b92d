"""Staging: from a station into object storage and the catalog."""

from __future__ import annotations

from rs_client.catalog import CatalogClient
from rs_client.execution import Items, execute
from rs_client.http import Http
from rs_client.jobs import Job


class StagingClient:
    """Starts staging jobs."""

    def __init__(self, http: Http, catalog: CatalogClient) -> None:
        self._http, self._catalog = http, catalog

    def stage(self, items: Items, to: str) -> Job:
        """Bring items of a station into a collection; returns at once.

        ``items`` is a search, an item or several; ``to`` a collection of yours (made if it is absent) or one that you
        may write. What is there already is not fetched again.
        """
        return execute(self._http, self._catalog, "staging", items, to)
