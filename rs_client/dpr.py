"""Data processing (DPR): processors that run on a Dask cluster of the platform."""

from __future__ import annotations

from typing import Any

from rs_client.catalog import CatalogClient
from rs_client.execution import Items, execute
from rs_client.http import Http
from rs_client.jobs import Job


class DprClient:
    """Starts processing jobs."""

    def __init__(self, http: Http, catalog: CatalogClient) -> None:
        self._http, self._catalog = http, catalog

    def processors(self) -> dict[str, str]:
        """What you may run: id → title."""
        found: list[dict[str, Any]] = self._http.get("/processes")["processes"]
        return {process["id"]: process.get("title", "") for process in found if process["id"] != "staging"}

    def run(self, processor: str, items: Items, to: str) -> Job:
        """Run a processor on staged items; its products go to the collection ``to``. Returns at once."""
        return execute(self._http, self._catalog, processor, items, to)
