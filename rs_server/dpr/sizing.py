"""How large the cluster of a job is: what its task table asks for, within what the caller may use."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from rs_client.processing.tasktable import Resources
from rs_server.errors import Forbidden
from rs_server.settings import ClusterLimits

EVERYBODY = "*"  # the limits of those whom no group gives more


@dataclass(frozen=True, slots=True)
class Size:
    """A cluster: so many workers of so many cores and so much memory, in GiB."""

    workers: int
    cores: int
    memory_gib: float

    def __str__(self) -> str:
        return f"{self.workers} × ({self.cores} cores, {self.memory_gib:g} GiB)"


def limits_of(groups: Iterable[str], limits: Mapping[str, ClusterLimits]) -> ClusterLimits:
    """What a member of these groups may use: of each kind the most that one of them gives."""
    mine = [limits[group] for group in (EVERYBODY, *groups) if group in limits] or [ClusterLimits()]
    return ClusterLimits(
        workers=max(each.workers for each in mine),
        cores=max(each.cores for each in mine),
        memory_gib=max(each.memory_gib for each in mine),
    )


def size(resources: Resources, octets: int, limits: ClusterLimits, wanted_workers: int | None = None) -> Size:
    """The size for inputs of so many octets.

    ``Forbidden`` names what is too little when the least that the processor can do with is more than the limits give.
    """
    fewest, most = resources.workers
    memory = _quarters(resources.memory_gib_for(octets))
    short = [
        f"{needed:g} {what}, of which you may use {given:g}"
        for what, needed, given in (
            ("workers", fewest, limits.workers),
            ("cores a worker", resources.cores, limits.cores),
            ("GiB of memory a worker", memory, limits.memory_gib),
        )
        if needed > given
    ]
    if short:
        raise Forbidden(
            f"the processor needs at least {'; '.join(short)}",
            hint="ask an operator for a larger limit (dask.limits)",
            denied="limit",
        )
    workers = max(fewest, min(wanted_workers or most, most, limits.workers))
    spare = _quarters(memory + resources.spare_memory_gib)
    return Size(workers, resources.cores, max(memory, min(spare, limits.memory_gib)))


def _quarters(gib: float) -> float:
    return math.ceil(gib * 4) / 4
