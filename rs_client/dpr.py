"""Data processing (DPR): processors that run on a Dask cluster of the platform."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rs_client import display
from rs_client.execution import Items, addresses, execute
from rs_client.jobs import Job
from rs_client.plans import Plan, plan

if TYPE_CHECKING:
    from rs_client.session import RsClient


class ProcessorList(dict[str, str]):
    """Processors, id → title, shown as a table."""

    def _repr_html_(self) -> str:
        return display.table(("processor", "title"), list(self.items()))


class DprClient:
    """Starts processing jobs."""

    def __init__(self, session: RsClient) -> None:
        self._session = session

    def processors(self) -> ProcessorList:
        """What you may run: id → title."""
        found: list[dict[str, Any]] = self._session.http.get("/dpr/processes")["processes"]
        return ProcessorList({each["id"]: each.get("title", "") for each in found})

    def run(self, processor: str, items: Items, to: str, **inputs: Any) -> Job:
        """Run a processor on staged items; its products go to the collection ``to``. Returns at once.

        ``inputs`` are what else the processor takes, as ``describe`` lists it. Raises ``NotFound`` for a processor
        that does not exist, ``Invalid`` when there is no item or an input is not one that it takes.
        """
        return run(self._session, processor, items, to, **inputs)

    def plan(self, processor: str, items: Items, to: str | None = None, **inputs: Any) -> Plan:
        """What ``run`` would do: inputs chosen and why, what would be staged, cluster and products. Changes nothing."""
        return plan(self._session, processor, items, to, **inputs)

    def describe(self, processor: str) -> dict[str, Any]:
        """What a processor takes and gives (OGC API – Processes, process description), with its task table."""
        found: dict[str, Any] = self._session.http.get(f"/dpr/processes/{processor}")
        return found

    def __repr__(self) -> str:
        return f"<DprClient {self._session.server_url}>"


def run(session: RsClient, processor: str, items: Items, to: str, **inputs: Any) -> Job:
    """Run a processor of the platform on items, given as a search, items or their addresses; see ``DprClient.run``."""
    http = session.http
    return Job(session, http.run(execute(http.server, processor, addresses(items), to, inputs)))
