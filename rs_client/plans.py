"""What a processing job would do, before it is asked for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rs_client import display

_MB = 1_000_000


class Plan:
    """A dry run: inputs chosen and why, what would be staged first, cluster and products.

    ``document`` has it all, sizes in bytes, memory of a worker in GiB.
    """

    def __init__(self, document: Mapping[str, Any]) -> None:
        self.document = dict(document)

    @property
    def problems(self) -> list[str]:
        """What keeps the job from running; empty when nothing does."""
        return list(self.document["problems"])

    @property
    def rows(self) -> list[tuple[str, str, str, str]]:
        """What is read and made: part, item, size (in MB of 10⁶ bytes; of a product its type) and reason."""
        rows = []
        for step in self.document["steps"]:
            for each in (*step["inputs"], *step["adfs"]):
                size = f"{each['files']} files, {each['bytes'] / _MB:.1f} MB"
                staged = f"; staged first into {each['stage_to']}" if each["stage_to"] else ""
                rows.append((each["name"], each["id"], size, f"{each['why']}{staged}"))
            rows += [
                (f"→ {each['name']}", each["id"], each["product:type"], f"in {each['collection']}")
                for each in step["outputs"]
            ]
        return rows

    @property
    def summary(self) -> str:
        """Cluster and sizes in one line."""
        plan, cluster = self.document, self.document["cluster"]
        size = f"{cluster['workers']} workers of {cluster['cores']} cores and {cluster['memory_gib']:g} GiB"
        staging = f", {plan['bytes_to_stage'] / _MB:.1f} MB of them staged first" if plan["bytes_to_stage"] else ""
        return f"{plan['processor']} {plan['version']} on {size}; {plan['bytes_to_read'] / _MB:.1f} MB to read{staging}"

    def __repr__(self) -> str:
        notes = [f"note: {note}" for note in self.document["notes"]] + [f"problem: {each}" for each in self.problems]
        table = display.text_table(("", "item", "size", "why"), self.rows)
        return "\n".join((self.summary, table.strip("\n"), *notes))

    def _repr_html_(self) -> str:
        notes = [("note", note) for note in self.document["notes"]] + [("problem", each) for each in self.problems]
        more = display.table(("", ""), notes, parts=2) if notes else ""
        return display.table((self.summary, "item", "size", "why"), self.rows, parts=2) + more
