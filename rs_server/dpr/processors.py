"""What may run: the processors that installed packages offer, and what is known of each before it runs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points

GROUP = "rs.processors"


@dataclass(frozen=True, slots=True)
class Task:
    """What a processor takes and makes."""

    title: str
    description: str
    level: str
    product_type: str
    input_role: str
    version: str = "1.0.0"


@dataclass(frozen=True, slots=True)
class Processor:
    """A processor; ``target`` is the callable that runs a payload, as ``module:name``, in the workers' environment."""

    id: str
    target: str
    task: Task


TASKS: Mapping[str, Task] = {
    "s1-l0": Task(
        title="Sentinel-1 Level 0",
        description="Takes the space packets out of a downlink session: one Zarr product, a group for each APID.",
        level="L0",
        product_type="S1_L0",
        input_role="cadu",
    ),
}


def processors(offered: Iterable[EntryPoint] | None = None) -> tuple[Processor, ...]:
    """The processors offered (default: by the packages installed here) that have a task table.

    The callable itself is never imported here: it lives in the environment of the workers.
    """
    found = entry_points(group=GROUP) if offered is None else offered
    known = {entry.name: entry.value for entry in found if entry.name in TASKS}
    return tuple(Processor(name, target, TASKS[name]) for name, target in sorted(known.items()))
