"""What a processing job will do: which items it reads and why, what must be staged, its cluster and its products."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from rs_server.catalog.names import CollectionName
from rs_server.dpr.sizing import Size
from rs_server.processes.references import Reference

CATALOG = "catalog"


@dataclass(frozen=True, slots=True)
class Chosen:
    """One item that is read, under the name of its input, and why it is this one.

    ``source`` is where it lies now; ``stage_to`` is the collection that it must be staged into first, if it must.
    """

    name: str
    source: Reference
    item: Mapping[str, Any] = field(repr=False, compare=False)
    why: str
    files: int
    octets: int
    stage_to: CollectionName | None = None

    @property
    def staged(self) -> Reference:
        """Where it lies once it is staged."""
        if self.stage_to is None:
            return self.source
        return Reference(CATALOG, self.stage_to.full, self.source.item)


@dataclass(frozen=True, slots=True)
class Product:
    """One product: its name, its collection, and what the output is called."""

    output: str
    id: str
    product_type: str
    collection: CollectionName


@dataclass(frozen=True, slots=True)
class Step:
    """One run of the unit: what it reads and what it makes."""

    inputs: tuple[Chosen, ...]
    adfs: tuple[Chosen, ...]
    products: tuple[Product, ...]

    @property
    def read(self) -> tuple[Chosen, ...]:
        """Everything that it reads."""
        return self.inputs + self.adfs

    @property
    def label(self) -> str:
        """What it is called: after its first product."""
        return self.products[0].id


@dataclass(frozen=True, slots=True)
class Plan:
    """The whole job. ``problems`` says what keeps it from running; ``notes`` what was left out, and why."""

    processor: str
    version: str
    mode: str
    parameters: Mapping[str, Any]
    steps: tuple[Step, ...]
    size: Size
    notes: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()

    @property
    def chosen(self) -> Iterator[Chosen]:
        """Each item once, in order of first use."""
        seen = set()
        for each in (chosen for step in self.steps for chosen in step.read):
            if each.source not in seen:
                seen.add(each.source)
                yield each

    @property
    def to_stage(self) -> dict[str, list[Chosen]]:
        """What must be staged, by the collection it goes to."""
        waiting: dict[str, list[Chosen]] = {}
        for each in self.chosen:
            if each.stage_to is not None:
                waiting.setdefault(each.stage_to.full, []).append(each)
        return waiting

    @property
    def octets(self) -> int:
        """Bytes of all that is read."""
        return sum(each.octets for each in self.chosen)

    @property
    def files(self) -> int:
        """Files of all that is read."""
        return sum(each.files for each in self.chosen)

    def document(self, public_url: str) -> dict[str, Any]:
        """The plan as people and programs read it."""
        staging = [each for waiting in self.to_stage.values() for each in waiting]
        return {
            "processor": self.processor,
            "version": self.version,
            "mode": self.mode,
            "parameters": dict(self.parameters),
            "steps": [_step(step, public_url) for step in self.steps],
            "cluster": asdict(self.size),
            "bytes_to_read": self.octets,
            "files_to_read": self.files,
            "bytes_to_stage": sum(each.octets for each in staging),
            "files_to_stage": sum(each.files for each in staging),
            "notes": list(self.notes),
            "problems": list(self.problems),
        }


def _step(step: Step, public_url: str) -> dict[str, Any]:
    return {
        "inputs": [_chosen(each, public_url) for each in step.inputs],
        "adfs": [_chosen(each, public_url) for each in step.adfs],
        "outputs": [
            {
                "name": product.output,
                "id": product.id,
                "product:type": product.product_type,
                "collection": product.collection.full,
            }
            for product in step.products
        ],
    }


def _chosen(each: Chosen, public_url: str) -> dict[str, Any]:
    return {
        "name": each.name,
        "id": each.source.item,
        "href": f"{public_url}{each.source.path}",
        "why": each.why,
        "files": each.files,
        "bytes": each.octets,
        "stage_to": None if each.stage_to is None else each.stage_to.full,
    }
