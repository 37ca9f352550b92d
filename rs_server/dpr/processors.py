"""What may run: the processors that installed packages offer, each with its task table."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points

import structlog

from rs_client.processing import tasktable
from rs_client.processing.tasktable import BadTaskTable, TaskTable

log = structlog.get_logger(__name__)

GROUP = tasktable.GROUP


@dataclass(frozen=True, slots=True)
class Processor:
    """A processor; ``module`` and ``unit`` name what runs in the workers' environment.

    That is an eopf processing unit where the task table names one, else the callable of the entry point.
    """

    id: str
    module: str
    unit: str
    task: TaskTable

    @property
    def main_input(self) -> str:
        """The input that products are named after: the first."""
        return next(iter(self.task.inputs))


def processors(offered: Iterable[EntryPoint] | None = None) -> tuple[Processor, ...]:
    """The processors offered (default: by the packages installed here), by name.

    A unit itself is never imported here: it lives in the environment of the workers. One whose task table cannot be
    read is left out, with a warning for the operator, and the others are offered all the same.
    """
    found = entry_points(group=GROUP) if offered is None else offered
    read = (_read(entry) for entry in sorted(found, key=lambda entry: entry.name))
    return tuple(processor for processor in read if processor is not None)


def _read(entry: EntryPoint) -> Processor | None:
    try:
        task = tasktable.of(entry)
    except BadTaskTable as error:
        log.warning("processor_not_offered", processor=entry.name, reason=str(error))
        return None
    module, _, unit = (task.unit or f"{entry.module}:{entry.attr}").partition(":")
    return Processor(entry.name, module, unit, task)
