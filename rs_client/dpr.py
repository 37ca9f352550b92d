"""Data processing (DPR): processors that run on a Dask cluster of the platform."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rs_client import display
from rs_client.execution import Items, addresses, asked, execute
from rs_client.jobs import Job
from rs_client.plans import Plan

if TYPE_CHECKING:
    from rs_client.session import RsClient

ROUTE = "/dpr/processes"


class ProcessorList(dict[str, str]):
    """Processors, id → title, shown as a table."""

    def __repr__(self) -> str:
        return display.text_table(("processor", "title"), list(self.items()))

    def _repr_html_(self) -> str:
        return display.table(("processor", "title"), list(self.items()))


class DprClient:
    """Starts processing jobs."""

    def __init__(self, session: RsClient) -> None:
        self._session = session

    def processors(self) -> ProcessorList:
        """What you may run: id → title."""
        found: list[dict[str, Any]] = self._session.http.get(ROUTE)["processes"]
        return ProcessorList({each["id"]: each.get("title", "") for each in found})

    def run(self, processor: str, items: Items, to: str | None = None, **inputs: Any) -> Job:
        """Run a processor on items; its products go to the collection ``to``. Returns at once.

        Without ``to`` they go to a collection of yours that is named after their type. ``inputs`` are what else the
        processor takes: ``parameters``, ``mode``, ``workers``, ``adfs``; ``describe`` lists them. Raises ``NotFound``
        for a processor that does not exist, ``Invalid`` when there is no item or an input is not one that it takes.
        """
        return run(self._session, processor, items, to, **inputs)

    def plan(self, processor: str, items: Items, to: str | None = None, **inputs: Any) -> Plan:
        """What ``run`` with the same arguments would do; makes no job and changes nothing. Raises as ``run``."""
        body = {"inputs": asked(processor, addresses(items), to, inputs)}
        return Plan(self._session.http.post(f"{ROUTE}/{processor}/plan", body))

    def describe(self, processor: str) -> dict[str, Any]:
        """What a processor takes and gives (OGC API – Processes, Part 1, ``process``), and its ``taskTable``.

        Raises ``NotFound`` for a processor that does not exist, or that you may not run.
        """
        found: dict[str, Any] = self._session.http.get(f"{ROUTE}/{processor}")
        return found

    def __repr__(self) -> str:
        return f"<DprClient {self._session.server_url}>"


def run(session: RsClient, processor: str, items: Items, to: str | None = None, **inputs: Any) -> Job:
    """Run a processor of the platform on items, given as a search, items or their addresses; see ``DprClient.run``."""
    http = session.http
    return Job(session, http.run(execute(http.server, processor, addresses(items), to, inputs)))
