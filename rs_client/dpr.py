"""Data processing (DPR): processors that run on a Dask cluster of the platform."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rs_client import display
from rs_client.execution import AsyncItems, Items, addresses, asked, execute, gathered
from rs_client.flow import Flow, Server
from rs_client.glance import glance
from rs_client.jobs import AsyncJob, Job
from rs_client.plans import Plan

if TYPE_CHECKING:
    from rs_client.aio import AsyncRsClient
    from rs_client.session import RsClient

ROUTE = "/dpr/processes"
_USES = (
    ("see what would happen", 's.dpr.plan("s1-l0", items)'),
    ("run it", 's.process("s1-l0", items, to="s1-l0")'),
    ("what a processor takes", 's.dpr.describe("s1-l0")'),
)


class ProcessorList(dict[str, str]):
    """Processors, id → title, shown as a table."""

    def __repr__(self) -> str:
        return display.text_table(_HEAD, list(self.items()))

    def _repr_html_(self) -> str:
        return display.table(_HEAD, list(self.items()), parts=2)


class Processor(dict[str, Any]):
    """What a processor takes and gives (OGC API – Processes, Part 1, ``process``), shown as a table."""

    @property
    def rows(self) -> list[tuple[str, str, str]]:
        """Inputs and outputs: which it is, its name, and what it is."""
        return [
            (
                kind.removesuffix("s"),
                name,
                ": ".join(str(told[key]) for key in ("title", "description") if told.get(key)),
            )
            for kind in ("inputs", "outputs")
            for name, told in (self.get(kind) or {}).items()
        ]

    @property
    def summary(self) -> str:
        """Id, version and title in one line."""
        return " ".join(str(self[name]) for name in ("id", "version", "title") if self.get(name))

    def __repr__(self) -> str:
        return f"{self.summary}\n{display.text_table(_PARTS_HEAD, self.rows)}"

    def _repr_html_(self) -> str:
        rows = [("processor", self.summary), ("description", self.get("description") or "")]
        return display.card(rows, more=display.table(_PARTS_HEAD, self.rows, parts=2))


_HEAD = ("processor", "title")
_PARTS_HEAD = ("", "name", "what it is")


def listed(server: Server) -> Flow[ProcessorList]:
    """What the caller may run."""
    found = (yield from server.get(ROUTE))["processes"]
    return ProcessorList({each["id"]: each.get("title", "") for each in found})


def planned(server: Server, processor: str, inputs: dict[str, Any]) -> Flow[Plan]:
    """What a processor would do with inputs. Raises as ``DprClient.plan``."""
    return Plan((yield from server.post(f"{ROUTE}/{processor}/plan", {"inputs": inputs})))


def described(server: Server, processor: str) -> Flow[Processor]:
    """What a processor takes and gives. Raises as ``DprClient.describe``."""
    return Processor((yield from server.get(f"{ROUTE}/{processor}")))


class DprClient:
    """Starts processing jobs."""

    def __init__(self, session: RsClient) -> None:
        self._session = session

    def processors(self) -> ProcessorList:
        """What you may run: id → title."""
        http = self._session.http
        return http.run(listed(http.server))

    def run(self, processor: str, items: Items, to: str | None = None, **inputs: Any) -> Job:
        """Run a processor on items; its products go to the collection ``to``. Returns at once.

        Without ``to`` they go to a collection of yours that is named after their type. ``inputs`` are what else the
        processor takes: ``parameters``, ``mode``, ``workers``, ``adfs``; ``describe`` lists them. Raises ``NotFound``
        for a processor that does not exist, ``Invalid`` when there is no item or an input is not one that it takes.
        """
        return run(self._session, processor, items, to, **inputs)

    def plan(self, processor: str, items: Items, to: str | None = None, **inputs: Any) -> Plan:
        """What ``run`` with the same arguments would do; makes no job and changes nothing. Raises as ``run``."""
        http = self._session.http
        return http.run(planned(http.server, processor, asked(processor, addresses(items), to, inputs)))

    def describe(self, processor: str) -> Processor:
        """What a processor takes and gives, and its ``taskTable``: a dict, shown as a table.

        Raises ``NotFound`` for a processor that does not exist, or that you may not run.
        """
        http = self._session.http
        return http.run(described(http.server, processor))

    def __repr__(self) -> str:
        return f"<DprClient {self._session.server_url}>"

    def _repr_html_(self) -> str:
        offered = glance(self._session.http, lambda http: http.run(listed(http.server)))
        more = offered.value._repr_html_() if offered.value is not None else ""
        return display.card([("processing", self._session.server_url), *_USES], more=more, note=offered.excuse)


class AsyncDprClient:
    """Starts processing jobs, for asyncio; raises as ``DprClient``."""

    def __init__(self, session: AsyncRsClient) -> None:
        self._session = session

    async def processors(self) -> ProcessorList:
        """What you may run: id → title."""
        http = self._session.http
        return await http.run(listed(http.server))

    async def run(self, processor: str, items: AsyncItems, to: str | None = None, **inputs: Any) -> AsyncJob:
        """Run a processor on items; see ``DprClient.run``."""
        http = self._session.http
        document = await http.run(execute(http.server, processor, await gathered(items), to, inputs))
        return AsyncJob(self._session, document)

    async def plan(self, processor: str, items: AsyncItems, to: str | None = None, **inputs: Any) -> Plan:
        """What ``run`` with the same arguments would do; see ``DprClient.plan``."""
        http = self._session.http
        return await http.run(planned(http.server, processor, asked(processor, await gathered(items), to, inputs)))

    async def describe(self, processor: str) -> Processor:
        """What a processor takes and gives; see ``DprClient.describe``."""
        http = self._session.http
        return await http.run(described(http.server, processor))

    def __repr__(self) -> str:
        return f"<AsyncDprClient {self._session.server_url}>"

    def _repr_html_(self) -> str:
        uses = [(what, f"await {call}") for what, call in _USES]
        return display.card([("processing", self._session.server_url), *uses])


def run(session: RsClient, processor: str, items: Items, to: str | None = None, **inputs: Any) -> Job:
    """Run a processor of the platform on items, given as a search, items or their addresses; see ``DprClient.run``."""
    http = session.http
    return Job(session, http.run(execute(http.server, processor, addresses(items), to, inputs)))
